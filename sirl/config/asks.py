"""What a settings file asks for that its reader should know before it is obeyed: code, secrets, other hosts.

Words on the command line are the user's own; a file may be anybody's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sirl.config.requests import named_variables, without_logins

_LOG = logging.getLogger("sirl")
_PLUGIN = re.compile(r"(?:\w+=)?[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # my_pkg.mine:attack, harmful=my_pkg.mine:judge
_SWITCHES = {
    "trust_remote_code": "code that comes with the model runs",
    "trusted_code": "code that comes with these models runs",
    "secrets_over_http": "keys may go over http",
    "key_host": "keys go to that host",
}


def say_aloud(path: Path, tables: Mapping[str, Any]) -> None:
    """Warn, once a process, of everything in a settings file that runs code or sends something away."""
    for asked in _asked(tables):
        _warn(str(path), asked)


@cache
def _warn(path: str, asked: str) -> None:
    _LOG.warning("%s asks for %s", path, asked)


def _asked(tables: Mapping[str, Any], section: str = "") -> Iterator[str]:
    for name, value in tables.items():
        where = f"{section}.{name}" if section else name
        if isinstance(value, Mapping) and name not in ("extra_headers", "extra_query"):
            yield from _asked(value, where)
            continue
        told = f"{where} = {without_logins(value)}"
        if name in _SWITCHES and value:
            yield f"{told}: {_SWITCHES[name]}"
        words = [word.strip() for word in (value.split(",") if isinstance(value, str) else _texts(value))]
        if name in ("attacks", "judges", "defence") and (own := [w for w in words if _PLUGIN.fullmatch(w)]):
            yield f"{where}: {', '.join(own)}: that Python code runs"
        if name in ("extra_headers", "extra_query") and (secrets := named_variables(str(value))):
            yield f"{where}: {', '.join(secrets)}: what these variables hold is sent"
        if any("http://" in word or "https://" in word for word in words):
            yield f"{told}: prompts and replies go there"


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
