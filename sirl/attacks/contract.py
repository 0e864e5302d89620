"""What an attack says of itself, and what it must keep to.

`AttackInfo` is one line of the table of attacks; `attack_prompts` runs any attack, ours or a user's, and
checks what comes back. The target is metered, so a budget is counted and not believed. This module refuses
to know how any attack works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sirl.errors import AttackError
from sirl.records import Attack, Attempt, Completion, Prompt, Target

AttackKind = Literal["static", "transfer", "adaptive", "custom"]
Access = Literal["none", "prefill", "black-box", "logprobs", "white-box", "unknown"]
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class AttackInfo:
    """One attack: what it does, what it needs, where it comes from.

    `access` is what it needs of the model: none (only to send a chat), prefill (to write the first words of
    the reply), black-box (replies), logprobs (the likelihood of replies), white-box (weights). `kind` is
    static (a fixed transform), transfer (optimised on another model), adaptive (optimised on the model under
    test), or custom (a user's; it has not said).
    """

    name: str
    mechanism: str
    access: Access
    kind: AttackKind
    source: str
    summary: str
    run: Attack


@dataclass(frozen=True, slots=True)
class Meter:
    """A target that counts the queries on each prompt and stops an attack that passes its budget."""

    target: Target
    attack: str
    budget: int
    spent: dict[str, int]

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        self._count(attempts)
        return self.target.reply(attempts, seed)

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        self._count(attempts)
        return self.target.log_likelihood(attempts, beginnings)

    def _count(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            identity = attempt.prompt.id
            if identity not in self.spent:
                raise _broken(
                    self.attack, f"queried the target about {identity!r}", "only prompts it was given"
                )
            self.spent[identity] += 1
            if self.spent[identity] > self.budget:
                raise _over_budget(self.attack, identity, self.spent[identity], self.budget)


def attack_prompts(
    attack: AttackInfo, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
) -> list[Attempt]:
    """Run an attack and return its attempts, one a prompt, same order, checked against the contract.

    Attempts carry the name the attack was asked for by, and no fewer queries than were counted. A static
    attack never sees the target. Raises AttackError when the contract is broken, a prompt id repeats, or an
    adaptive attack has no target.
    """
    _check_inputs(attack, prompts, target, budget)
    spent = {prompt.id: 0 for prompt in prompts}
    metered = None if target is None else Meter(target, attack.name, budget, spent)
    result = attack.run(tuple(prompts), None if attack.kind == "static" else metered, budget, seed)
    _check_list(attack.name, prompts, result)
    for prompt, attempt in zip(prompts, result, strict=True):
        _check_attempt(attack, prompt, attempt, budget)
    return [replace(a, attack=attack.name, queries=max(a.queries, spent[a.prompt.id])) for a in result]


def _check_inputs(attack: AttackInfo, prompts: Sequence[Prompt], target: Target | None, budget: int) -> None:
    if attack.kind == "adaptive" and target is None:
        raise AttackError(
            f"attack {attack.name!r} is adaptive and was given no target",
            "the model under test",
            "pass a target, or choose static attacks",
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
        raise _broken(name, f"returned {type(result).__name__}", "a list of Attempt")
    if len(result) != len(prompts):
        raise _broken(name, f"returned {len(result)} attempts", f"{len(prompts)}, one a prompt")
    for item in result:
        if not isinstance(item, Attempt):
            raise _broken(name, f"returned a {type(item).__name__} in its list", "Attempt")


def _check_attempt(attack: AttackInfo, prompt: Prompt, attempt: Attempt, budget: int) -> None:
    name = attack.name
    if attempt.prompt != prompt:
        found = f"returned prompt {attempt.prompt.id!r} where {prompt.id!r} was given"
        raise _broken(name, found, "the same prompts, unchanged, in the same order")
    if attempt.queries > budget:
        raise _over_budget(name, prompt.id, attempt.queries, budget)
    if attack.kind == "static" and attempt.queries:
        raise _broken(name, f"is static and reports {attempt.queries} queries", "0")
    if not attempt.messages or any(not message.content.strip() for message in attempt.messages):
        raise _broken(name, f"sent an empty message for prompt {prompt.id!r}", "some text in every message")
    if any(message.role not in ROLES for message in attempt.messages):
        roles = ", ".join(message.role for message in attempt.messages)
        raise _broken(name, f"used the roles {roles}", f"only {', '.join(ROLES)}")
    if attempt.messages[-1].role != "user":
        last = attempt.messages[-1].role
        raise _broken(name, f"ended with a message of the {last}", "the user's; use prefill to begin the reply")


def _broken(name: str, found: str, expected: str) -> AttackError:
    return AttackError(f"attack {name!r} {found}", expected, "correct the attack; see sirl.records.Attack")


def _over_budget(name: str, prompt_id: str, queries: int, budget: int) -> AttackError:
    return _broken(name, f"spent {queries} queries on prompt {prompt_id!r}", f"at most {budget}")
