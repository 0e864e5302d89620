"""What an endpoint's words name: address, query, login and model; and its secrets, which are shown nowhere."""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

import httpx2

from sirl.config import ModelConfig
from sirl.config.requests import (
    JsonObject,
    fields_of,
    filled,
    named_variables,
    require_named_secrets,
)
from sirl.errors import ConfigError

SCHEMES = ("http://", "https://")
KEY = "SIRL_API_KEY"  # of the one host that a command asks, or of model.key_host; KEY_HOST is another host's
USUAL_KEYS = {"api.openai.com": "OPENAI_API_KEY"}  # sent to that host and those below it alone
PATH = "chat/completions"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model is asked: `url` without `PATH`; `query` as it is written, secrets by their variables."""

    url: str
    model: str
    query: Mapping[str, str] = field(default_factory=dict)
    login: tuple[str, str] | None = field(default=None, repr=False)  # user and password

    @property
    def hosts(self) -> tuple[str, ...]:
        """The server as `host:port` and as `host`; the one name where the scheme's own port is meant."""
        parts = urlsplit(self.url)
        return tuple(dict.fromkeys((parts.netloc, parts.hostname or "")))

    @property
    def overheard(self) -> bool:
        """Whether others on the way can read what is sent: http, and not to this machine."""
        host = self.hosts[-1]
        try:
            here = ip_address(host).is_loopback
        except ValueError:
            here = host == "localhost" or host.endswith(".localhost")
        return self.url.startswith("http://") and not here


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
        if re.search(r"\s", address):
            raise ValueError("white space in an address")
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


def require_one_host(config: ModelConfig, words: Iterable[str]) -> None:
    """Raise ConfigError if a secret that names no host could go to several that a command names.

    `words` are those for models and judges; what is no address, or has one behind `llm=`, may be among them.
    """
    found = (re.search(r"https?://.*", word) for word in words)
    addresses = [read_address(one[0]) for one in found if one]
    named = [name for value in _extra(config) for name in named_variables(value)]
    keyless = [one for one in addresses if os.environ.get(KEY) and not (one.login or _own_key(one)[1])]
    for secret, takers in [*((name, addresses) for name in named), (KEY, keyless)]:
        hosts = {one.hosts[0]: _own_key(one)[0][0] for one in takers}
        if len(hosts) > 1 and not config.key_host:
            (first, _), *others = hosts.items()
            raise ConfigError(
                f"the secret {secret} and endpoints at {' and '.join(hosts)}",
                "to know which of them it is for",
                f"--set model.key_host={first}; other hosts have keys of their own: "
                + ", ".join(f"export {variable}=..." for _, variable in others),
            )


def headers_of(config: ModelConfig, address: Address) -> dict[str, str]:
    """Return the headers of a request. The host's key is sent where no other secret is.

    Raises ConfigError if a variable that they name is not set, or if a secret would be readable on the way.
    """
    extra = {name.lower(): value for name, value in _for_it(config.extra_headers, config, address).items()}
    headers = {"content-type": "application/json"}
    named = [*extra.values(), *written_query(config, address).values()]
    if not (address.login or any(named_variables(value) for value in extra.values())):
        variables, key = key_of(config, address)
        if key:
            headers["authorization"] = f"Bearer {key}"
            named.append(f"${next(name for name in variables if os.environ.get(name))}")
    secrets = [name for value in named for name in named_variables(value)]
    secrets += ["the login of the address"] if address.login else []
    if secrets and address.overheard and not config.secrets_over_http:
        raise ConfigError(
            f"{secrets[0]} would go to {address.url} unencrypted",
            "https, or http to this machine",
            "use https, or --set model.secrets_over_http=true on a network that you trust",
        )
    headers |= {name: filled(value, os.environ) for name, value in extra.items()}
    for name, value in headers.items():
        _require_sendable(name, value, secrets)
    return headers


def written_query(config: ModelConfig, address: Address) -> dict[str, str]:
    """Return the query as it may be shown: its secrets by the names of their variables."""
    return {**address.query, **_for_it(config.extra_query, config, address)}


def query_of(config: ModelConfig, address: Address) -> dict[str, str]:
    """Return the query of a request. Raises as `headers_of`."""
    return {name: filled(value, os.environ) for name, value in written_query(config, address).items()}


def key_of(config: ModelConfig, address: Address) -> tuple[tuple[str, ...], str]:
    """Return the variables that may hold a host's key, of which the first that is set counts, and the key."""
    variables, key = _own_key(address)
    if not _is_its(config, address):
        return variables, key
    return (*variables, KEY), key or os.environ.get(KEY, "").strip()


def without_secrets(text: str, config: ModelConfig, address: Address, shortest: int = 1) -> str:
    """Return a text with every secret that a request carries struck out, however a server may write it.

    Those of fewer than `shortest` characters stay: a user's name of two letters is part of many a word.
    """
    values = [*_extra(config), *address.query.values()]
    variables = [name for value in values for name in named_variables(value)]
    secrets = [key_of(config, address)[1], *(address.login or ())]
    secrets += [os.environ.get(name, "").strip() for name in variables]
    secrets += [b64encode(":".join(address.login).encode()).decode()] if address.login else []
    forms = {form for secret in secrets if len(secret) >= shortest for form in _written(secret) if form}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def _written(secret: str) -> tuple[str, ...]:
    """Return the ways in which a server, or an error, may write a secret."""
    return (
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        " ".join(secret.split()),
    )


def _require_sendable(name: str, value: str, secrets: Sequence[str]) -> None:
    """Raise ConfigError, which does not repeat the value, if a header cannot hold it."""
    if not re.fullmatch(r"[\t\x20-\x7e]*", value):
        source = f", from {' and '.join(secrets)}," if secrets else ""
        raise ConfigError(
            f"the header {name}{source} holds a line break or a letter beyond ASCII",
            "characters that a header takes",
            "set it again: often a key was copied with something behind it",
        )


def _own_key(address: Address) -> tuple[tuple[str, ...], str]:
    """Return the variables that hold this host's key and no other's, and the key."""
    own = [f"{KEY}_" + re.sub(r"\W", "_", host).upper() for host in address.hosts]
    host = address.hosts[-1]
    own += [name for known, name in USUAL_KEYS.items() if host == known or host.endswith(f".{known}")]
    return tuple(own), next((os.environ[name].strip() for name in own if os.environ.get(name)), "")


def _is_its(config: ModelConfig, address: Address) -> bool:
    """Say whether what the settings hold in secrets is this host's."""
    return not config.key_host or config.key_host.lower() in address.hosts


def _for_it(fields: JsonObject, config: ModelConfig, address: Address) -> dict[str, str]:
    """Return the headers or parameters that go to this host: those with a secret only if it is its own."""
    its = _is_its(config, address)
    return {name: value for name, value in fields_of(fields).items() if its or not named_variables(value)}


def _extra(config: ModelConfig) -> list[str]:
    return [*fields_of(config.extra_headers).values(), *fields_of(config.extra_query).values()]
