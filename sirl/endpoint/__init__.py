"""A chat model behind an OpenAI-compatible address: text goes out, text comes back.

    address   what its words name, and its secrets
    form      the body of a request as this server takes it
    pace      when it may leave
    bill      what it may cost
    wire      one request and its answer
    faults    what a refusal means
    answers   the reply in an answer

Requests run side by side in threads, each in its own connection, so a reply belongs to its attempt whatever
order replies come in. What passes (a busy server, a lost connection, garbage) is tried again after a growing
wait; what does not leaves a completion with an `error` and costs no other reply; what the provider's filter
blocked is an outcome of its own. What can never succeed (a refused key, an unknown model) ends the run at once,
with the replies that came before it.

This room has no weights: tokens, log-probs and entropies stay at the server, and it says so by its `access`.
It knows no attack and no judge, and it needs no torch. Keys come from the environment when a request is made,
each for its own host; they are kept nowhere and are struck from every message.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event
from time import sleep
from typing import Any

import httpx2

from sirl.config import ModelConfig
from sirl.endpoint.address import (
    KEY,
    USUAL_KEYS,
    Address,
    headers_of,
    is_endpoint,
    key_of,
    query_of,
    read_address,
    require_one_host,
    without_secrets,
    written_query,
)
from sirl.endpoint.answers import choice_in, read_reply
from sirl.endpoint.bill import count_request, count_tokens
from sirl.endpoint.faults import FaultError
from sirl.endpoint.form import Form
from sirl.endpoint.pace import Pace, retry_after
from sirl.endpoint.wire import UNSENT, certificates, post
from sirl.errors import AttackError, ConfigError, DataError, StoppedError, visible
from sirl.records import Access, Attempt, Completion, Decoding, Message, Prompt, item_seed

__all__ = [
    "KEYS",
    "EndpointTarget",
    "backoff",
    "is_endpoint",
    "open_endpoint",
    "require_one_host",
    "retry_after",
]

KEYS = (KEY, *USUAL_KEYS.values())  # variables that are read whatever the host is called

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds before the second try, and before any
PATIENCE = 300.0  # seconds: a server that asks for a longer wait is given up
SECRET = 12  # characters from which on a secret is struck from replies too
LONGER = 10  # times model.timeout: an answer that drips for longer than this is given up
BLOCKED = "blocked by the provider's filter"
SETTINGS = (
    "if a field of the request is at fault, leave it out with --set model.omit_body=NAME, name the length "
    "limit with --set model.token_limit=NAME, or add a field with --set model.extra_body (docs/targets.md)"
)
ADDRESS = "check the address, http://host:port/v1#model-name"
OPENING = Attempt(Prompt("opening", "Hello", "benign"), "opening", (Message("user", "Hello"),))
_LOG = logging.getLogger("sirl")
Read = Callable[[Any], Any]  # what is wanted of an answer; raises FaultError


@dataclass(frozen=True, slots=True)
class EndpointTarget:
    """A model behind `url` (up to and with /v1). `decoding` serves attempts that bring none of their own.

    `pace` and `form` are shared by all that are made of this one with `replace`.
    """

    url: str
    model: str
    decoding: Decoding
    config: ModelConfig = field(default_factory=ModelConfig, repr=False)
    login: tuple[str, str] | None = field(default=None, repr=False)  # user and password of the address
    query: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    pace: Pace = field(default_factory=Pace, repr=False, compare=False)
    form: Form = field(default_factory=Form, repr=False, compare=False)

    @property
    def name(self) -> str:
        return f"{self.url}#{self.model}"

    @property
    def access(self) -> Access:
        return "prefill" if self.config.prefill else "black-box"

    @property
    def independent(self) -> bool:
        """Replies do not depend on what else is asked with them."""
        return True

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        """Return one completion an attempt, same order; one without a reply carries its `error`.

        Raises AttackError on an attempt that this endpoint cannot be sent, StoppedError, which holds the
        replies that came, where no request can succeed.
        """
        for attempt in attempts:
            self._require_sendable(attempt)
        over = Event()
        with self._client() as client, ThreadPoolExecutor(self.config.concurrency) as pool:
            asked = [pool.submit(self._completion, client, attempt, seed, over) for attempt in attempts]
            try:
                wait(asked, return_when=FIRST_EXCEPTION)
            finally:
                over.set()
                pool.shutdown()  # those under way are waited for: they are paid
        errors = [error for one in asked if (error := one.exception())]
        if failure := next((error for error in errors if not isinstance(error, CancelledError)), None):
            raise _stopped(failure, asked)
        return [one.result() for one in asked]

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        """Raise AttackError: an endpoint does not score what it has not written."""
        found = f"{self.name} cannot score {len(beginnings)} beginnings of {len(attempts)} replies"
        raise AttackError(found, "a model whose weights are here", "use another attack, or name@transfer")

    def fingerprint(self) -> dict[str, str]:
        """Return the address, the model and what the server says of it, after one short reply.

        The question is put in the run's own form, and settles it: `request body` says what differs from what
        docs/targets.md describes. Raises DataError if there is no reply, ConfigError if there never will be.
        """
        try:
            with self._client() as client:
                answer = self._opening(client)
        except FaultError as fault:
            found = f"{self.name} does not reply ({fault.words})"
            advice = SETTINGS if fault.kind == "lasting" else ADDRESS
            raise DataError(found, "an OpenAI-compatible chat server", advice) from None
        self.form.fixed = True
        said = {name: answer.get(name) for name in ("model", "system_fingerprint")}
        known = {f"server {name}": self._struck(str(value)) for name, value in said.items() if value}
        told = self.form.told(self.config)
        query = "&".join(f"{name}={value}" for name, value in written_query(self.config, self._address).items())
        ours = {"endpoint": self.url, "model": self.model, "query": query, "request body": told}
        return {**{name: value for name, value in ours.items() if value}, **known}

    def _opening(self, client: httpx2.Client) -> dict[str, Any]:
        """Ask the opening question as the run draws, and once more as it draws by chance if it is greedy."""
        said = self._ask(client, lambda: self._body(OPENING, 0), _completed)
        if self.decoding.temperature == 0:
            by_chance = replace(OPENING, decoding=replace(self.decoding, temperature=1.0))
            with suppress(FaultError):  # a greedy run may do without; if not, each such request says why
                self._ask(client, lambda: self._body(by_chance, 0), _completed)
        return dict(said)

    @property
    def _address(self) -> Address:
        return Address(self.url, self.model, self.query, self.login)

    def _completion(self, client: httpx2.Client, attempt: Attempt, seed: int, over: Event) -> Completion:
        if over.is_set():
            raise CancelledError
        try:
            text, finished = self._ask(client, lambda: self._body(attempt, seed), read_reply)
            text = without_secrets(text, self.config, self._address, SECRET)  # of a server that echoes
        except ConfigError:
            over.set()  # at once: no other request leaves
            raise
        except FaultError as fault:
            blocked = fault.kind == "blocked"
            error = f"{BLOCKED}: {fault.words}" if blocked else fault.words
            passing = fault.kind == "passing"
            return Completion(attempt, "", (), (), False, error=error, blocked=blocked, passing=passing)
        return Completion(attempt, text, (), (), finished=finished)

    def _ask(self, client: httpx2.Client, body: Callable[[], dict[str, Any]], read: Read) -> Any:
        """Return what `read` finds in the answer, asked for again while that may help.

        Raises FaultError where none comes, ConfigError where none ever will.
        """
        tries, doubted, again = 0, False, False
        while True:
            self.pace.turn(60 / self.config.requests_per_minute if self.config.requests_per_minute else 0.0)
            sent = body()
            try:
                return read(self._post(client, sent, again))
            except FaultError as fault:
                again = True
                fault.words = self._struck(fault.words)
                if fault.kind == "denied" or (fault.kind == "unsure" and read is _completed):
                    raise self._refused(fault) from None
                if self.form.adapt(fault, sent, self.config):
                    continue
                if fault.kind == "unsure":
                    if doubted:
                        fault.kind = "blocked"
                        raise
                    doubted = True
                    # The key's, or this request's? The opening question raises if it is the key's.
                    self._ask(client, lambda: self._body(OPENING, 0), _completed)
                    continue
                if fault.kind != "passing" or fault.wait > PATIENCE or tries == self.config.retries:
                    if fault.kind != "blocked":
                        fault.words += f" (try {tries + 1} of {self.config.retries + 1})"
                    raise
                if fault.wait:
                    self.pace.hold(fault.wait)  # the server spoke to all of us
                sleep(max(fault.wait, backoff(tries)))
                tries += 1

    def _post(self, client: httpx2.Client, body: Mapping[str, Any], again: bool) -> Any:
        count_request(self.name, again)
        try:
            answer = post(client, body, self.config.timeout * LONGER)
            count_tokens(self.name, answer)
            return answer
        except httpx2.RequestError as error:
            self._tell_resent(error)
            raise FaultError("passing", f"{type(error).__name__}: {error}") from None

    def _tell_resent(self, error: httpx2.RequestError) -> None:
        """Say, once, that what is sent again after it has left may be paid for twice."""
        if self.pace.resent or isinstance(error, UNSENT) or not self.config.retries:
            return
        self.pace.resent = True
        _LOG.warning(
            "%s: no answer to a request (%s); such requests are sent again up to %d times, each may be billed; "
            "to avoid this raise model.timeout, or set model.retries=0",
            self.name,
            type(error).__name__,
            self.config.retries,
        )

    def _refused(self, fault: FaultError) -> ConfigError:
        variables = " or ".join(key_of(self.config, self._address)[0])
        advice = (
            f"check the model's name, the address and the key in {variables}, or in the variable that "
            "model.extra_headers names"
        )
        return ConfigError(f"{self.name} refuses ({fault.words})", "a model that may be asked", advice)

    def _require_sendable(self, attempt: Attempt) -> None:
        if attempt.soft:
            found = f"attack {attempt.attack!r} sends embeddings to {self.name}"
            raise AttackError(found, "text", "use it on a model whose weights are here")
        if attempt.prefill and not self.config.prefill:
            found = f"attack {attempt.attack!r} begins the reply of {self.name}"
            advice = "use --set model.prefill=true if it does, or leave the attack out"
            raise AttackError(found, "a server that continues a begun reply", advice)

    def _body(self, attempt: Attempt, seed: int) -> dict[str, Any]:
        plan = attempt.decoding or self.decoding
        turns = [{"role": message.role, "content": message.content} for message in attempt.messages]
        begun = {"continue_final_message": True, "add_generation_prompt": False} if attempt.prefill else {}
        if attempt.prefill:
            turns.append({"role": "assistant", "content": attempt.prefill})
        said = {"model": self.model, "messages": turns, **begun}
        return self.form.body(self.config, plan, item_seed(seed, attempt), said)

    def _client(self) -> httpx2.Client:
        return httpx2.Client(
            base_url=f"{self.url}/",
            params=query_of(self.config, self._address),
            auth=self.login,
            headers=headers_of(self.config, self._address),
            timeout=self.config.timeout,
            verify=certificates(),
            limits=httpx2.Limits(max_connections=self.config.concurrency),
        )

    def _struck(self, reason: str) -> str:
        """Return a short reason on one line, fit for disk, with every secret struck out."""
        whole = without_secrets(reason, self.config, self._address)
        return visible(" ".join(whole.split())[:200])


def open_endpoint(words: str, config: ModelConfig, decoding: Decoding) -> EndpointTarget:
    """Return the target that `http(s)://host:port/v1#model-name` names; nothing is sent yet.

    A user and password in the address are used and appear in no name. Raises ConfigError on another form.
    """
    found = read_address(words)
    return EndpointTarget(found.url, found.model, decoding, config, found.login, found.query)


def backoff(tries: int) -> float:
    """Return the seconds to wait after `tries` + 1 failures: doubled each time, at random by up to half less.

    At random so that requests that failed together do not come back together; no reply depends on it.
    """
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries, 30)) * random.uniform(0.5, 1.0)


def _completed(answer: Any) -> dict[str, Any]:
    """Return an answer that is a chat completion, whatever it says. Raises FaultError."""
    choice_in(answer)
    return dict(answer)


def _stopped(failure: BaseException, asked: Sequence[Future[Completion]]) -> BaseException:
    """Return the error of one request, with the replies that came to others where it ends the run."""
    if not isinstance(failure, ConfigError):
        return failure
    came = [one.result() for one in asked if not one.exception()]
    return StoppedError(failure.found, failure.expected, failure.advice, came)
