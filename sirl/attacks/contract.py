"""What an attack says of itself, what it may be given, and what it must keep to.

`AttackInfo` is one line of the table of attacks; `arm` gives attacks what they need besides the model under
test; `attack_prompts` runs any attack, ours or a user's, and checks what comes back. The target is metered, so
a budget is counted and not believed. This module refuses to know how any attack works.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from time import perf_counter
from typing import Any

from sirl.attacks.phrases import PhraseBook
from sirl.errors import AttackError
from sirl.records import (
    Access,
    Attack,
    AttackKind,
    Attempt,
    Completion,
    Judge,
    Prompt,
    Search,
    Target,
)

ROLES = ("system", "user", "assistant")
ACCESS: tuple[Access, ...] = (
    "none",
    "black-box",
    "prefill",
    "logprobs",
    "white-box",
)  # each holds those before
SEARCHING = ("adaptive", "transfer")
Recover = Callable[[str], str]  # the last message sent -> the request


def whole(text: str) -> str:
    """Return the message as it is: the request stands in it, word for word."""
    return text


@dataclass(frozen=True, slots=True)
class AttackInfo:
    """One attack: what it does, what it needs, where it comes from.

    `access` is what it needs of the model it searches on or is sent to: none (only to send a chat), black-box
    (replies), prefill (to write the first words of the reply), logprobs (the likelihood of replies), white-box
    (weights). `kind` is static (a fixed transform), transfer (searched on `surrogate`, then replayed), adaptive
    (searched on the model under test), or custom (a user's; it has not said). `budget` is the queries a
    prompt that it spends by default.
    """

    name: str
    mechanism: str
    access: Access
    kind: AttackKind
    source: str
    summary: str
    run: Attack
    budget: int = 0
    surrogate: Target | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the `Means` that it cannot do without."""
        return tuple(getattr(self.run, "NEEDS", ()))

    @property
    def recover(self) -> Recover | None:
        """What reads the request back from the last message: the attack's own `recover`, if it has one.

        By default `whole`. None: the attack puts the request into other words, so nothing can read it back.
        """
        recover: Recover | None = getattr(self.run, "recover", whole)
        return recover


@dataclass(frozen=True, slots=True)
class Means:
    """What attacks may be given besides the model under test; each takes what it has a field of that name for.

    judge      answers *harmful?*, so that a search knows when it has succeeded; the searcher's own judge, which
               may be the evaluation's
    attacker   a model that writes messages
    surrogate  a model to search on in place of the one under test
    benign     plain harmless requests, to tell harmful ones from
    phrase_book  what to translate requests by
    """

    judge: Judge | None = None
    attacker: Target | None = None
    surrogate: Target | None = None
    benign: tuple[Prompt, ...] = ()
    phrase_book: PhraseBook | None = None


def arm(info: AttackInfo, means: Means) -> AttackInfo:
    """Return the attack with the means that it has fields for; a transfer attack gets the surrogate."""
    run: Any = info.run
    if is_dataclass(run) and not isinstance(run, type):
        names = {f.name for f in fields(run)} & {f.name for f in fields(means)}
        given = {name: getattr(means, name) for name in names if getattr(means, name)}
        run = replace(run, **given)
    return replace(info, run=run, surrogate=means.surrogate if info.kind == "transfer" else None)


def unmet(info: AttackInfo, target: Access) -> str:
    """Say what an armed attack lacks against a target of this access; empty if it can be run."""
    if info.kind == "transfer" and info.surrogate is None:
        return "it is a transfer attack and needs a surrogate model"
    lacking = [name for name in info.needs if not getattr(info.run, name)]
    if lacking:
        return f"it needs {' and '.join(lacking)}"
    searched = info.surrogate.access if info.surrogate else target
    if info.access in ACCESS and ACCESS.index(searched) < ACCESS.index(info.access):
        return f"it needs {info.access} access and the model gives {searched}"
    return ""


@dataclass(slots=True)
class Spent:
    """What one prompt has cost so far."""

    queries: int = 0
    passes: int = 0


@dataclass(frozen=True, slots=True)
class Meter:
    """A target that counts what each prompt costs and stops an attack that passes its budget."""

    target: Target
    attack: str
    budget: int
    spent: Mapping[str, Spent]

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def access(self) -> Access:
        return self.target.access

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        self._count(attempts, passes=0)
        completions = self.target.reply(attempts, seed)
        for completion in completions:
            self.spent[completion.attempt.prompt.id].passes += len(completion.token_ids)
        return completions

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        self._count(attempts, passes=1)
        return self.target.log_likelihood(attempts, beginnings)

    def _count(self, attempts: Sequence[Attempt], passes: int) -> None:
        for attempt in attempts:
            identity = attempt.prompt.id
            if identity not in self.spent:
                raise broken(self.attack, f"queried the target about {identity!r}", "only prompts it was given")
            spent = self.spent[identity]
            spent.queries += 1
            spent.passes += passes
            if spent.queries > self.budget:
                raise _over_budget(self.attack, identity, spent.queries, self.budget)


def attack_prompts(
    attack: AttackInfo, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
) -> list[Attempt]:
    """Run an attack and return its attempts, one a prompt, same order, checked against the contract.

    Attempts carry the name the attack was asked for by, and what was counted: kind, budget, queries, passes and
    seconds. A static attack never sees the target; a transfer attack searches on its surrogate. Raises
    AttackError when the contract is broken, a prompt id repeats, or a search has nothing to search on.
    """
    searched = attack.surrogate if attack.kind == "transfer" else target
    _check_inputs(attack, prompts, searched, budget)
    spent = {prompt.id: Spent() for prompt in prompts}
    metered = None if searched is None else Meter(searched, attack.name, budget, spent)
    start = perf_counter()
    result = attack.run(tuple(prompts), None if attack.kind == "static" else metered, budget, seed)
    seconds = (perf_counter() - start) / max(1, len(prompts))
    _check_list(attack.name, prompts, result)
    for prompt, attempt in zip(prompts, result, strict=True):
        _check_attempt(attack, prompt, attempt, budget)
    return [_stamped(attempt, attack, budget, spent[attempt.prompt.id], seconds) for attempt in result]


def _stamped(attempt: Attempt, attack: AttackInfo, budget: int, spent: Spent, seconds: float) -> Attempt:
    """Return the attempt under the attack's name, with what was counted in place of what was claimed."""
    if attack.kind == "static":
        return replace(attempt, attack=attack.name, search=Search())
    search = replace(
        attempt.search,
        kind=attack.kind,
        budget=budget,
        queries=max(attempt.search.queries, spent.queries),
        passes=max(attempt.search.passes, spent.passes),
        seconds=round(seconds, 4),
        surrogate=attack.surrogate.name if attack.surrogate else attempt.search.surrogate,
    )
    return replace(attempt, attack=attack.name, search=search)


def _check_inputs(attack: AttackInfo, prompts: Sequence[Prompt], target: Target | None, budget: int) -> None:
    if attack.kind in SEARCHING and target is None:
        wanted = "the model under test" if attack.kind == "adaptive" else "a surrogate model"
        raise AttackError(
            f"attack {attack.name!r} is {attack.kind} and was given no target",
            wanted,
            "pass one, or choose static attacks",
        )
    if attack.kind in SEARCHING and target is not None and (lack := unmet(attack, target.access)):
        raise AttackError(
            f"attack {attack.name!r} cannot be run: {lack}", "what it needs", "pass it, or drop it"
        )
    if budget < 0:
        raise AttackError(f"budget is {budget}", "0 or more queries a prompt", "raise the budget")
    if len({prompt.id for prompt in prompts}) != len(prompts):
        raise AttackError(
            "two prompts have the same id", "one id a prompt", "load the prompts through sirl.prompts"
        )


def _check_list(name: str, prompts: Sequence[Prompt], result: object) -> None:
    """Check what can be said before looking at any one attempt."""
    if not isinstance(result, (list, tuple)):
        raise broken(name, f"returned {type(result).__name__}", "a list of Attempt")
    if len(result) != len(prompts):
        raise broken(name, f"returned {len(result)} attempts", f"{len(prompts)}, one a prompt")
    for item in result:
        if not isinstance(item, Attempt):
            raise broken(name, f"returned a {type(item).__name__} in its list", "Attempt")


def _check_attempt(attack: AttackInfo, prompt: Prompt, attempt: Attempt, budget: int) -> None:
    name = attack.name
    if attempt.prompt != prompt:
        found = f"returned prompt {attempt.prompt.id!r} where {prompt.id!r} was given"
        raise broken(name, found, "the same prompts, unchanged, in the same order")
    if attempt.search.queries > budget:
        raise _over_budget(name, prompt.id, attempt.search.queries, budget)
    if attack.kind == "static" and attempt.search.queries:
        raise broken(name, f"is static and reports {attempt.search.queries} queries", "0")
    if not attempt.messages or any(not message.content.strip() for message in attempt.messages):
        raise broken(name, f"sent an empty message for prompt {prompt.id!r}", "some text in every message")
    if any(message.role not in ROLES for message in attempt.messages):
        roles = ", ".join(message.role for message in attempt.messages)
        raise broken(name, f"used the roles {roles}", f"only {', '.join(ROLES)}")
    if attempt.messages[-1].role != "user":
        last = attempt.messages[-1].role
        raise broken(name, f"ended with a message of the {last}", "the user's; use prefill to begin the reply")


def broken(name: str, found: str, expected: str) -> AttackError:
    """Return the error that says which promise an attack broke."""
    return AttackError(f"attack {name!r} {found}", expected, "correct the attack; see sirl.records.Attack")


def _over_budget(name: str, prompt_id: str, queries: int, budget: int) -> AttackError:
    return broken(name, f"spent {queries} queries on prompt {prompt_id!r}", f"at most {budget}")
