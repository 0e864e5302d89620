"""What every defence must keep to, and the model behind one: run it, check it, count what it costs.

A defence is a function from attempts to replies that asks the model as it likes (`Defence`). `Behind` makes a
target of model and defence, so that an attack that searches meets both. This module refuses to know how any
defence works.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from sirl.attacks.hashing import settled
from sirl.errors import DefenceError, StoppedError
from sirl.judges import identify, judge_name
from sirl.records import Around, Attempt, Completion, Defended, Judge, Target, sent_through

REFUSAL = "I'm sorry, but I can't help with that."  # what a defence says in the model's place


class Defence(Protocol):
    """Reply to attempts in a model's place: one completion an attempt, same order, of that very attempt.

    `target` is the model. What is drawn at random depends on `seed` and the attempt alone. A reply that
    failed stays failed: it is no refusal. `refusal` makes a reply that is the defence's own. A defence that
    only changes what is sent has `sent`, from an attempt to that: likelihoods and gradients then are those of
    the defended model.
    """

    def __call__(self, attempts: Sequence[Attempt], target: Target, seed: int) -> list[Completion]: ...


@dataclass(frozen=True, slots=True)
class DefenceInfo:
    """One defence: what it does, where it comes from, and how many calls of models a request may cost.

    `needs_weights` says that it works on the model's own tokens. `calls` 0: it has not said.
    """

    name: str
    mechanism: str
    source: str
    summary: str
    run: Defence
    calls: int = 0
    needs_weights: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the `Means` that it cannot do without."""
        return tuple(getattr(self.run, "NEEDS", ()))

    @property
    def identity(self) -> str:
        """Name it with the hash of its code and settings, models by what tells them from others."""
        module = sys.modules.get(getattr(self.run, "__module__", ""))
        own = getattr(module, "__file__", None)
        ours = sorted(Path(__file__).parent.glob("*.py"))
        settings = [(f.name, _settled(getattr(self.run, f.name))) for f in _fields(self.run) if f.compare]
        return identify(self.name, *ours, *([own] if own else []), settings=repr(settings))


@dataclass(frozen=True, slots=True)
class Means:
    """What defences may be given besides the model: each takes what it has a field of that name for.

    writer  a model that rewords; without one the model under test does
    guard   a judge of *harmful?* that reads the request alone
    judge   a judge of *harmful?* that reads the reply
    plain   plain requests that a filter must let through, by which it is set
    """

    writer: Target | None = None
    guard: Judge | None = None
    judge: Judge | None = None
    plain: tuple[str, ...] = ()


@dataclass(slots=True)
class Ledger:
    """What each request has cost so far, by the id of its prompt: calls, tokens; None: not known."""

    calls: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int | None] = field(default_factory=dict)

    def note(self, identity: str, tokens: int | None) -> None:
        """Add one call."""
        before = self.tokens.get(identity, 0)
        self.calls[identity] = self.calls.get(identity, 0) + 1
        self.tokens[identity] = None if before is None or tokens is None else before + tokens

    def clear(self) -> None:
        """Begin anew."""
        self.calls.clear()
        self.tokens.clear()


@dataclass(frozen=True, slots=True)
class Counted(Around):
    """A model that writes into the ledger what each request costs; for the rest as it is."""

    target: Target
    ledger: Ledger

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        read = prompt_lengths(self.target, attempts)
        replies = self.target.reply(attempts, seed)
        for attempt, reply, length in zip(attempts, replies, read, strict=True):
            self.ledger.note(attempt.prompt.id, None if length is None else length + len(reply.token_ids))
        return replies

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        return self.target.log_likelihood(attempts, beginnings)

    def message_logprobs(self, texts: Sequence[str], owners: Sequence[str] | None) -> list[tuple[float, ...]]:
        """Return the log-prob of each token of a user's message, for prompts of these ids; None: for nobody."""
        found: list[tuple[float, ...]] = self.__getattr__("message_logprobs")(texts)
        for identity, row in zip(owners or (), found, strict=False):
            self.ledger.note(identity, len(row))
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)


@dataclass(frozen=True, slots=True)
class Behind(Around):
    """A model behind a defence, as attacks and evaluation see it.

    Every reply comes through the defence, to a search as to the judge. Likelihoods and gradients are the
    model's; with a defence that only changes what is sent, of what is sent.
    """

    target: Target
    info: DefenceInfo
    ledger: Ledger = field(default_factory=Ledger, repr=False, compare=False)

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        """Return the defended replies, each with what the defence did and cost. Raises DefenceError."""
        self.ledger.clear()
        places = [i for i, attempt in enumerate(attempts) if self._changes is not None or not attempt.soft]
        # Costs are kept by prompt id, so that each attempt has one of its own here.
        asked = [replace(a, prompt=replace(a.prompt, id=a.key)) for a in (attempts[i] for i in places)]
        try:
            found = self.info.run(tuple(asked), Counted(self.target, self.ledger), seed) if asked else []
        except StoppedError as stopped:  # its replies are to what the defence sent
            raise StoppedError(stopped.found, stopped.expected, stopped.advice) from stopped
        self._check(asked, found)
        sent = [attempts[i] for i in places]
        lengths = prompt_lengths(self.target, sent)
        replies = {
            i: self._stamped(attempts[i], reply, length)
            for i, reply, length in zip(places, found, lengths, strict=True)
        }
        return [replies.get(i) or self._unread(attempt) for i, attempt in enumerate(attempts)]

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        return self.target.log_likelihood(self._sent(attempts), beginnings)

    def __getattr__(self, name: str) -> Any:
        if name == "continuations" and self._changes is None:  # an answer that no defence of replies could read
            raise AttributeError(name)
        offered = getattr(self.target, name)
        return sent_through(offered, self._changes) if self._changes else offered

    @property
    def _changes(self) -> Any:
        return getattr(self.info.run, "sent", None)

    def _sent(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        return [self._changes(attempt) for attempt in attempts] if self._changes else list(attempts)

    def _check(self, asked: Sequence[Attempt], found: object) -> None:
        name = self.info.name
        if not isinstance(found, (list, tuple)) or not all(isinstance(c, Completion) for c in found):
            raise broken(name, "returned something else than a list of Completion", "one an attempt")
        if [c.attempt for c in found] != list(asked):
            told = f"returned {len(found)} replies that do not match the {len(asked)} attempts"
            raise broken(name, told, "one reply an attempt, same order, of that very attempt")
        for attempt in asked:
            calls = self.ledger.calls.get(attempt.prompt.id, 0)
            if self.info.calls and calls > self.info.calls:
                raise broken(name, f"made {calls} calls for one request", f"at most {self.info.calls}")

    def _stamped(self, attempt: Attempt, reply: Completion, length: int | None) -> Completion:
        """Return the reply of the attempt as it was asked, with its cost."""
        spent = self.ledger.tokens.get(attempt.key, 0)
        own = None if spent is None or length is None else spent - length - len(reply.token_ids)
        did = reply.defended.did if reply.defended else ""
        calls = self.ledger.calls.get(attempt.key, 0)
        return replace(reply, attempt=attempt, defended=Defended(did, calls, own))

    def _unread(self, attempt: Attempt) -> Completion:
        error = f"vectors are no text: {self.info.name} cannot read them"
        return Completion(attempt, "", (), (), finished=False, error=error, defended=Defended())


def prompt_lengths(target: Target, attempts: Sequence[Attempt]) -> list[int] | list[None]:
    """Return how many tokens each attempt is to the model; None where it does not tell."""
    tell = getattr(target, "prompt_lengths", None)
    return tell(attempts) if tell else [None] * len(attempts)


def defend(target: Target, info: DefenceInfo, means: Means | None = None) -> Behind:
    """Put a defence, with its means, before a model. Raises DefenceError if it lacks something."""
    ledger = Ledger()
    given = means or Means()
    names = {f.name for f in _fields(info.run)} & {f.name for f in fields(Means)}
    mine = {name: _counted(value, ledger) for name in names if (value := getattr(given, name))}
    run: Any = replace(info.run, **mine) if mine else info.run  # type: ignore[type-var]
    armed = replace(info, run=run)
    if lacking := [name for name in armed.needs if not getattr(run, name)]:
        advice = f"name it, as --defence {info.name}=MODEL"
        raise DefenceError(f"defence {info.name!r} without {' and '.join(lacking)}", "what it needs", advice)
    if info.needs_weights and target.access != "white-box":
        found = f"defence {info.name!r} and a model that gives {target.access} access"
        raise DefenceError(found, "a model whose weights are here", "choose another defence")
    return Behind(target, armed, ledger)


def _counted(value: Any, ledger: Ledger) -> Any:
    """Return a model, or a judge that asks one, that writes into the ledger."""
    if hasattr(value, "reply"):
        return Counted(value, ledger)
    names = {f.name for f in _fields(value)}
    return replace(value, target=Counted(value.target, ledger)) if "target" in names else value


def _settled(value: Any) -> Any:
    """Return what stands for a setting from one process to the next; a judge is told with its hash."""
    return judge_name(value) if callable(value) and not hasattr(value, "reply") else settled(value)


def _fields(value: Any) -> tuple[Any, ...]:
    return fields(value) if is_dataclass(value) and not isinstance(value, type) else ()


def refusal(attempt: Attempt, why: str) -> Completion:
    """Return a refusal by the defence, which says why it refuses."""
    return Completion(attempt, REFUSAL, (), (), finished=True, defended=Defended(why))


def replies_to(
    target: Target, sent: Sequence[Attempt], attempts: Sequence[Attempt], seed: int
) -> list[Completion]:
    """Return the model's replies to what is sent, as those to the attempts."""
    return [replace(c, attempt=a) for c, a in zip(target.reply(sent, seed), attempts, strict=True)]


def last_text(attempt: Attempt) -> str:
    """Return the last message, which is the user's."""
    return attempt.messages[-1].content


def with_last(attempt: Attempt, text: str) -> Attempt:
    """Return the attempt with another text in its last message."""
    last = replace(attempt.messages[-1], content=text)
    return replace(attempt, messages=(*attempt.messages[:-1], last))


def broken(name: str, found: str, expected: str) -> DefenceError:
    """Return the error that says which promise a defence broke."""
    return DefenceError(f"defence {name!r} {found}", expected, "correct it; see sirl.defences.Defence")
