"""What may not be installed, imported here and nowhere else: a user's own attack or judge, and the extras.

This room knows how to import; it does not know what an attack, a judge or an engine is. Nothing is imported
from the current folder until the user names a module of it: a downloaded run folder may hold a jinja2.py.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from sirl.errors import ConfigError, SirlError, suggest


def load_plugin(path: str, noun: str, error: type[SirlError], also: type | tuple[type, ...] = ()) -> Any:
    """Import `module:attribute`, a function or one of the types in `also`.

    The current folder is searched too, after everything that is installed. Raises `error` if it is no path, if
    module or attribute is not there, or is something else.
    """
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise error(f"{noun} {path!r} is not a path", "module:function", f"write my_pkg.mine:{noun}")
    _search_here_last()
    try:
        module = importlib.import_module(module_name)
    except ImportError as cause:
        raise error(
            f"{noun} {path!r} cannot be imported ({cause})",
            "a module on the import path",
            "check its name and run from its folder, or install it",
        ) from cause
    if not hasattr(module, attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        found = f"module {module_name!r} has no {attribute!r} (it is {getattr(module, '__file__', None)})"
        raise error(found, f"a function: {noun}", suggest(attribute, public))
    found = getattr(module, attribute)
    if not (callable(found) or isinstance(found, also)):
        raise error(f"{path!r} is of type {type(found).__name__}", "a function", f"name the {noun} itself")
    return found


def _search_here_last() -> None:
    """Let a user's module be imported from the current folder, which then shadows nothing that is installed."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
        importlib.invalidate_caches()


def require_extra(package: str, extra: str) -> None:
    """Raise ConfigError if a package that an extra of ours installs is not there; it is not imported."""
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"{package} is not installed", f"the extra {extra}", f"pip install 'sirl[{extra}]'")


def load_extra(package: str, extra: str) -> Any:
    """Import a package that an extra of ours installs. Raises ConfigError if it is not there."""
    try:
        return importlib.import_module(package)
    except ImportError as cause:
        raise ConfigError(
            f"{package} cannot be imported ({cause})", f"the extra {extra}", f"pip install 'sirl[{extra}]'"
        ) from cause
