"""Tell from its files and settings what an attack would send: a continued run must find the same hash.

The files of an attack are the module of its function, the modules of this package (or of a user's own) that
it imports, directly or not, and the templates that bear the attack's name or the name of one of these
modules. A template or table that is named otherwise would be missed. This module refuses to know any
single attack.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sirl.attacks.info import TRANSFER, VARIANT, AttackInfo
from sirl.attacks.static import TEMPLATES

ROOM = "sirl.attacks"
# What builds fixed attacks, and what runs all and says under which keys a search draws its replies.
RUNNERS = (f"{ROOM}.static", f"{ROOM}.contract")


def attack_hash(info: AttackInfo) -> str:
    """Return 12 hex digits of SHA-256 over the files and settings of an attack.

    A function that has no source file is `unknown`.
    """
    run = _function(info)
    if _source(run.__module__) is None:
        return "unknown"
    digest = hashlib.sha256()
    for path in files_of(info):
        digest.update(path.read_bytes())
    if is_dataclass(run):  # its settings, and by name what it was armed with
        digest.update(repr([(f.name, settled(getattr(run, f.name))) for f in fields(run)]).encode())
    if info.surrogate:
        digest.update(repr(settled(info.surrogate)).encode())
    return digest.hexdigest()[:12]


def files_of(info: AttackInfo) -> list[Path]:
    """Return the files that decide what an attack sends: modules, then templates and tables, each sorted."""
    modules = _modules(_function(info).__module__)
    plain = info.name.removesuffix(TRANSFER).partition(VARIANT)[0]
    owners = {plain, *(name.rpartition(".")[2] for name in modules)}
    templates = [path for path in TEMPLATES.glob("*.*") if path.name.partition(".")[0] in owners]
    return [*sorted(modules.values()), *sorted(templates)]


def settled(value: Any) -> Any:
    """Return what stands for a setting from one process to the next.

    Models and judges are told by what they call themselves, functions by their names: never by an address.
    """
    if isinstance(identity := getattr(value, "identity", None), str):
        return identity
    if hasattr(value, "reply"):
        return value.name
    name = getattr(value, "__qualname__", None)
    return f"{getattr(value, '__module__', '')}.{name}" if name else value


def _function(info: AttackInfo) -> Any:
    """Return what runs the attack; functools.partial names its own module, not the function's."""
    return getattr(info.run, "func", info.run)


def _modules(start: str) -> dict[str, Path]:
    """Return by name the files of a module, of those that run it, and of all that they import near them."""
    rooms = {ROOM, start.rpartition(".")[0] or start}
    found: dict[str, Path | None] = {}
    waiting = [start, *RUNNERS]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _source(name)
            waiting += [m for m in _imported(found[name]) if m.rpartition(".")[0] in rooms]
    return {name: path for name, path in found.items() if path}


def _source(name: str) -> Path | None:
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file) if file else None


@cache
def _imported(path: Path | None) -> tuple[str, ...]:
    """Return the modules that a file imports by their full names, and what it imports from packages."""
    if path is None or path.suffix != ".py":
        return ()
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if _source(name))
