"""Settings of what is sent to an endpoint: JSON objects kept as text, and where their secrets come from.

A setting that holds a JSON object is text, so that settings stay values that can be compared and hashed. A key
is never written out in a setting: it is named, as $AZURE_OPENAI_API_KEY, and read from the environment when a
request is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NewType

from sirl.errors import ConfigError

JsonObject = NewType("JsonObject", str)  # the text of a JSON object; empty stands for {}
NOTHING = JsonObject("")
_NAMED = re.compile(r"\$(?:\{(\w+)\}|(\w+))")  # $NAME or ${NAME}
_LOGIN = re.compile(r"(https?://)[^/?#\s]*@")
_SECRET = re.compile(r"key|token|secret|auth|passw|credential|cookie|signature|^sig$", re.IGNORECASE)


def json_object(name: str, value: Any) -> JsonObject:
    """Return a setting's JSON object as text, from a TOML table or from text. Raises ConfigError.

    The message does not repeat the value, which may be a secret.
    """
    if isinstance(value, Mapping):
        return JsonObject(json.dumps(value))
    try:
        read = json.loads(value) if value else {}
    except (TypeError, ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise ConfigError(f"{name} is no JSON object", 'a JSON object, as {"name": "value"}', f"change {name}")
    return JsonObject(value)


def fields_of(text: JsonObject) -> dict[str, Any]:
    """Return what a setting's JSON object holds."""
    return dict(json.loads(text)) if text else {}


def require_named_secrets(where: str, values: Mapping[str, Any]) -> None:
    """Raise ConfigError if a header or parameter is no text, or has a secret written out."""
    for name, value in values.items():
        if not isinstance(value, str):
            raise ConfigError(f"{where} {name!r} is no text", "text", "put its value in quotes")
        if _SECRET.search(name) and not _NAMED.search(value):
            raise ConfigError(
                f"{where} {name!r} with its secret written out",
                "the name of an environment variable that holds it",
                f'write "{name}": "$VARIABLE", in single quotes for the shell, and export the variable',
            )


def without_logins(value: Any) -> Any:
    """Return a value without the user and password of any address in its texts, in lists and tables too."""
    if isinstance(value, str):
        return _LOGIN.sub(r"\1", value)
    if isinstance(value, Mapping):
        return {name: without_logins(one) for name, one in value.items()}
    return [without_logins(one) for one in value] if isinstance(value, (list, tuple)) else value


def named_variables(value: str) -> list[str]:
    """Return the environment variables that a header's or parameter's value names."""
    return [one or other for one, other in _NAMED.findall(value)]


def filled(value: str, environment: Mapping[str, str]) -> str:
    """Return a value with the variables that it names filled in. Raises ConfigError if one is not set."""
    for variable in named_variables(value):
        if not environment.get(variable):
            raise ConfigError(
                f"the environment variable {variable} is not set",
                "the secret that a header or parameter of the endpoint names",
                f"export {variable}, or leave it out of model.extra_headers and model.extra_query",
            )
    return _NAMED.sub(lambda found: environment[found[1] or found[2]].strip(), value)
