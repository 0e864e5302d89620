"""A chat model behind an OpenAI-compatible address: text goes out, text comes back.

Requests run side by side in threads, each in its own connection, so a reply belongs to its attempt whatever
order replies come in. What passes (a busy server, a lost connection, garbage) is tried again after a growing
wait; what does not leaves a completion with an `error` and costs no other reply. What can never succeed (a
refused key, an unknown model) ends the run at once.

This room has no weights: tokens, log-probs and entropies stay at the server, and it says so by its `access`.
It knows no attack and no judge, and it needs no torch. The key comes from the environment (SIRL_API_KEY, else
OPENAI_API_KEY) when a request is made; it is kept nowhere and is struck from every message.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from time import monotonic, sleep
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2

from sirl.config import ModelConfig
from sirl.errors import AttackError, ConfigError, DataError
from sirl.records import Access, Attempt, Completion, Decoding, item_seed

SCHEMES = ("http://", "https://")
KEYS = ("SIRL_API_KEY", "OPENAI_API_KEY")  # the first that is set is sent
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds before the second try, and before any
PATIENCE = 300.0  # seconds: a server that asks for a longer wait is given up
_DENIED = (401, 403, 404)  # the key, the right or the model is wanting: no reply will ever come
_PASSING = (408, 409, 425, 429)  # and every 5xx: the same request may succeed later


class _NoReplyError(Exception):
    """One request came to nothing. `again`: it may be tried again, after `wait` seconds at least."""

    def __init__(self, reason: str, again: bool, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.again, self.wait = reason, again, wait


@dataclass(slots=True)
class Pace:
    """When the next request may leave; shared by the threads of one endpoint."""

    next_at: float = 0.0
    lock: Lock = field(default_factory=Lock)

    def turn(self, interval: float) -> None:
        """Sleep until this request's turn; turns are at least `interval` seconds apart."""
        with self.lock:
            mine = max(monotonic(), self.next_at)
            self.next_at = mine + interval
        sleep(max(0.0, mine - monotonic()))

    def hold(self, seconds: float) -> None:
        """Let nobody's turn come within `seconds`."""
        with self.lock:
            self.next_at = max(self.next_at, monotonic() + seconds)


@dataclass(frozen=True, slots=True)
class EndpointTarget:
    """A model behind `url` (up to and with /v1). `decoding` serves attempts that bring none of their own."""

    url: str
    model: str
    decoding: Decoding
    config: ModelConfig = field(default_factory=ModelConfig, repr=False)
    login: tuple[str, str] | None = field(default=None, repr=False)  # user and password of the address
    pace: Pace = field(default_factory=Pace, repr=False, compare=False)

    @property
    def name(self) -> str:
        return f"{self.url}#{self.model}"

    @property
    def access(self) -> Access:
        return "prefill" if self.config.prefill else "black-box"

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        """Return one completion an attempt, same order; one without a reply carries its `error`.

        Raises AttackError on an attempt that this endpoint cannot be sent, ConfigError where no request can
        succeed.
        """
        bodies = [self._body(attempt, seed) for attempt in attempts]
        with self._client() as client, ThreadPoolExecutor(self.config.concurrency) as pool:
            return list(pool.map(lambda a, b: self._completion(client, a, b), attempts, bodies))

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        """Raise AttackError: an endpoint does not score what it has not written."""
        found = f"{self.name} cannot score {len(beginnings)} beginnings of {len(attempts)} replies"
        raise AttackError(found, "a model whose weights are here", "use another attack, or name@transfer")

    def fingerprint(self) -> dict[str, str]:
        """Return the address, the model and what the server says of it, after one short reply.

        Raises DataError if there is none, ConfigError if there never will be.
        """
        body = {"model": self.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 16}
        try:
            with self._client() as client:
                answer = self._ask(client, body)
        except _NoReplyError as failure:
            found = f"{self.name} does not reply ({failure.reason})"
            raise DataError(
                found, "an OpenAI-compatible chat server", "check the address, http://host:port/v1#model"
            ) from None
        said = {name: answer.get(name) for name in ("model", "system_fingerprint")}
        known = {f"server {name}": str(value) for name, value in said.items() if value}
        return {"endpoint": self.url, "model": self.model, **known}

    def _completion(self, client: httpx2.Client, attempt: Attempt, body: Mapping[str, Any]) -> Completion:
        try:
            text, reason = _read(self._ask(client, body))
        except _NoReplyError as failure:
            return Completion(attempt, "", (), (), finished=False, error=failure.reason)
        if reason == "content_filter":  # taken back by the server: what the model said is not known
            return Completion(attempt, "", (), (), finished=False, error="withheld by the server's filter")
        return Completion(attempt, text, (), (), finished=reason == "stop")

    def _ask(self, client: httpx2.Client, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the server's answer, tried again while that may help. Raises _NoReplyError, ConfigError."""
        for tries in range(self.config.retries + 1):
            self.pace.turn(60 / self.config.requests_per_minute if self.config.requests_per_minute else 0.0)
            try:
                return self._post(client, body)
            except _NoReplyError as failure:
                if not failure.again or failure.wait > PATIENCE or tries == self.config.retries:
                    tried = f"{failure.reason} (try {tries + 1} of {self.config.retries + 1})"
                    raise _NoReplyError(tried, again=False) from None
                if failure.wait:
                    self.pace.hold(failure.wait)  # the server spoke to all of us
                sleep(max(failure.wait, backoff(tries)))
        raise AssertionError("the last try returns or raises")

    def _post(self, client: httpx2.Client, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            response = client.post("chat/completions", content=json.dumps(body).encode())
        except httpx2.RequestError as error:
            raise _NoReplyError(self._struck(f"{type(error).__name__}: {error}"), again=True) from None
        status = response.status_code
        if status != 200:
            reason = self._struck(f"HTTP {status} {response.text}")
            if status in _DENIED:
                advice = f"check the model's name, the address and the key in {' or '.join(KEYS)}"
                raise ConfigError(f"{self.name} refuses ({reason})", "a model that may be asked", advice)
            raise _NoReplyError(reason, status in _PASSING or status >= 500, retry_after(response.headers))
        try:
            answer = response.json()
            _read(answer)
        except (ValueError, RecursionError) as error:
            raise _NoReplyError(self._struck(f"no chat completion: {error}"), again=True) from None
        return dict(answer)

    def _body(self, attempt: Attempt, seed: int) -> dict[str, Any]:
        if attempt.soft:
            found = f"attack {attempt.attack!r} sends embeddings to {self.name}"
            raise AttackError(found, "text", "use it on a model whose weights are here")
        if attempt.prefill and not self.config.prefill:
            found = f"attack {attempt.attack!r} begins the reply of {self.name}"
            advice = "use --set model.prefill=true if it does, or leave the attack out"
            raise AttackError(found, "a server that continues a begun reply", advice)
        plan = attempt.decoding or self.decoding
        turns = [{"role": message.role, "content": message.content} for message in attempt.messages]
        begun = {"continue_final_message": True, "add_generation_prompt": False} if attempt.prefill else {}
        return {
            "model": self.model,
            "messages": [*turns, *([{"role": "assistant", "content": attempt.prefill}] if begun else [])],
            "temperature": plan.temperature,
            "top_p": plan.top_p,
            "max_tokens": plan.max_new_tokens,
            "seed": item_seed(seed, attempt),
            **({"top_k": plan.top_k} if plan.top_k else {}),  # no part of OpenAI's form, but of vLLM's
            **begun,
        }

    def _client(self) -> httpx2.Client:
        key = _key()
        headers = {"content-type": "application/json"}
        if key and not self.login:
            headers["authorization"] = f"Bearer {key}"
        return httpx2.Client(
            base_url=f"{self.url}/",
            auth=self.login,
            headers=headers,
            timeout=self.config.timeout,
            limits=httpx2.Limits(max_connections=self.config.concurrency),
        )

    def _struck(self, reason: str) -> str:
        """Return a short reason on one line, fit for disk, with every secret struck out."""
        for secret in (_key(), *(self.login or ())):
            reason = reason.replace(secret, "***") if secret else reason
        return _plain(" ".join(reason.split())[:200])


def is_endpoint(words: str) -> bool:
    """Say whether a model's name is an address."""
    return words.startswith(SCHEMES)


def open_endpoint(words: str, config: ModelConfig, decoding: Decoding) -> EndpointTarget:
    """Return the target that `http(s)://host:port/v1#model-name` names; nothing is sent yet.

    A user and password in the address are used and appear in no name. Raises ConfigError on another form.
    """
    address, _, model = words.partition("#")
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
        httpx2.URL(address)
    except (ValueError, httpx2.InvalidURL):
        parts, port = urlsplit(""), ""
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    if not (is_endpoint(words) and host and model) or parts.query:
        bare = parts._replace(netloc=f"{host or ''}{port}", query="").geturl()
        raise ConfigError(
            f"endpoint {bare or words.partition('://')[0]}{' without a model' if not model else ''}",
            "http(s)://host:port/v1#model-name, without a query",
            "name the model behind #, as the server calls it",
        )
    login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    url = f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
    return EndpointTarget(url, model, decoding, config, login)


def backoff(tries: int) -> float:
    """Return the seconds to wait after `tries` + 1 failures: doubled each time, at random by up to half less.

    At random so that requests that failed together do not come back together; no reply depends on it.
    """
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries, 30)) * random.uniform(0.5, 1.0)


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that a server asks to wait, given as seconds or as a date; 0 if it does not say."""
    said = headers.get("retry-after", "")
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(said)
    except (ValueError, TypeError):
        return 0.0
    seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, float(seconds))


def _read(answer: Any) -> tuple[str, str]:
    """Return a chat completion's text and why it ended. Raises ValueError if it is none."""
    try:
        choice = answer["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        text = message.get("content") or message.get("refusal") or ""
    except (TypeError, KeyError, IndexError, AttributeError):
        shape = sorted(answer) if isinstance(answer, dict) else type(answer).__name__
        raise ValueError(f"no message among {shape}") from None
    if not isinstance(text, str):
        raise ValueError(f"content of type {type(text).__name__}")
    return _plain(text), str(reason)


def _plain(text: str) -> str:
    """Return text that can be written as UTF-8: half a surrogate pair, which JSON may hold, becomes `?`."""
    return text.encode("utf-8", "replace").decode()


def _key() -> str:
    return next((os.environ[name].strip() for name in KEYS if os.environ.get(name)), "")
