"""What an endpoint's words name: address, query, login and model; and its secrets, which are shown nowhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

import httpx2

from sirl.config import ModelConfig
from sirl.config.requests import fields_of, filled, named_variables, require_named_secrets
from sirl.errors import ConfigError

SCHEMES = ("http://", "https://")
KEYS = ("SIRL_API_KEY", "OPENAI_API_KEY")  # the first that is set is sent
PATH = "chat/completions"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model is asked: `url` without `PATH`; `query` as it is written, secrets by their variables."""

    url: str
    model: str
    query: Mapping[str, str] = field(default_factory=dict)
    login: tuple[str, str] | None = field(default=None, repr=False)  # user and password


def is_endpoint(words: str) -> bool:
    """Say whether a model's name is an address."""
    return words.startswith(SCHEMES)


def read_address(words: str) -> Address:
    """Read `http(s)://host:port/v1?name=value#model-name`. Raises ConfigError on another form.

    A user and password in the address are used and appear in no name; nor does the query.
    """
    address, _, model = words.partition("#")
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
        httpx2.URL(address)
    except (ValueError, httpx2.InvalidURL):
        parts, port = urlsplit(""), ""
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    if not (is_endpoint(words) and host and model):
        bare = parts._replace(netloc=f"{host or ''}{port}", query="").geturl()
        raise ConfigError(
            f"endpoint {bare or words.partition('://')[0]}{' without a model' if not model else ''}",
            "http(s)://host:port/v1#model-name",
            "name the model behind #, as the server calls it",
        )
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    require_named_secrets("query parameter", query)
    login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    path = parts.path.rstrip("/").removesuffix(f"/{PATH}")
    return Address(f"{parts.scheme}://{host}{port}{path}", model, query, login)


def headers_of(config: ModelConfig, address: Address) -> dict[str, str]:
    """Return the headers of a request. The usual key is sent where no other secret is.

    Raises ConfigError if a variable that they name is not set.
    """
    extra = {name.lower(): value for name, value in fields_of(config.extra_headers).items()}
    headers = {"content-type": "application/json"}
    keyed = address.login or any(named_variables(value) for value in extra.values())
    if (key := usual_key()) and not keyed:
        headers["authorization"] = f"Bearer {key}"
    return headers | {name: filled(value, os.environ) for name, value in extra.items()}


def written_query(config: ModelConfig, address: Address) -> dict[str, str]:
    """Return the query as it may be shown: its secrets by the names of their variables."""
    return {**address.query, **fields_of(config.extra_query)}


def query_of(config: ModelConfig, address: Address) -> dict[str, str]:
    """Return the query of a request. Raises as `headers_of`."""
    return {name: filled(value, os.environ) for name, value in written_query(config, address).items()}


def usual_key() -> str:
    """Return the key of the environment; empty if there is none."""
    return next((os.environ[name].strip() for name in KEYS if os.environ.get(name)), "")


def without_secrets(text: str, config: ModelConfig, address: Address) -> str:
    """Return a text with every secret that a request carries struck out, however it is written in a URL."""
    values = [*fields_of(config.extra_headers).values(), *written_query(config, address).values()]
    variables = [name for value in values for name in named_variables(value)]
    secrets = [usual_key(), *(address.login or ()), *(os.environ.get(name, "").strip() for name in variables)]
    forms = {
        form for secret in secrets if secret for form in (secret, quote(secret, safe=""), quote_plus(secret))
    }
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return text
