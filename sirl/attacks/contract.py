"""What every attack must keep to: run any attack, ours or a user's, and check what comes back.

The target is metered, so a budget is counted and not believed. This module refuses to know how any attack
works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import cast

import numpy as np

from sirl.attacks.info import SEARCHING, AttackInfo, unmet
from sirl.errors import AttackError
from sirl.records import Around, Attempt, Completion, Prompt, Rows, Search, Target, WhiteBox

ROLES = ("system", "user", "assistant")


@dataclass(slots=True)
class Spent:
    """What one prompt has cost so far."""

    queries: int = 0
    passes: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Meter(Around):
    """A target that counts what each prompt costs and stops an attack that passes its budget.

    Each reply of a search is drawn under a key of its own, so that where replies are drawn at random no draw is
    that of another query, nor the one by which the attempt that was found is measured afterwards.
    """

    target: Target
    attack: str
    budget: int
    spent: Mapping[str, Spent]

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        numbers = self._count(attempts, passes=0)
        drawn = [
            replace(attempt, attack=f"{self.attack}.search", sample=number)
            for attempt, number in zip(attempts, numbers, strict=True)
        ]
        completions = self.target.reply(drawn, seed)
        for completion in completions:
            spent = self.spent[completion.attempt.prompt.id]
            spent.passes += len(completion.token_ids)
            spent.lost += completion.passing
        return [
            replace(c, attempt=replace(c.attempt, attack=asked.attack, sample=asked.sample))
            for c, asked in zip(completions, attempts, strict=True)
        ]

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        self._count(attempts, passes=1)
        return self.target.log_likelihood(attempts, beginnings)

    def usable_tokens(self) -> np.ndarray:
        return self._open.usable_tokens()

    def slot_ids(self, attempts: Sequence[Attempt], texts: Sequence[str]) -> list[tuple[int, ...] | None]:
        return self._open.slot_ids(attempts, texts)

    def slot_texts(self, attempts: Sequence[Attempt], ids: Rows) -> list[str | None]:
        return self._open.slot_texts(attempts, ids)

    def slot_likelihood(self, attempts: Sequence[Attempt], ids: Rows, beginnings: Sequence[str]) -> list[float]:
        self._count(attempts, passes=1)
        return self._open.slot_likelihood(attempts, ids, beginnings)

    def slot_substitutes(
        self, attempts: Sequence[Attempt], ids: Rows, beginnings: Sequence[str], count: int
    ) -> list[np.ndarray]:
        self._count(attempts, passes=2)
        return self._open.slot_substitutes(attempts, ids, beginnings, count)

    def slot_vectors(self, ids: Rows) -> list[np.ndarray]:
        return self._open.slot_vectors(ids)

    def slot_gradients(
        self, attempts: Sequence[Attempt], vectors: Sequence[np.ndarray], beginnings: Sequence[str]
    ) -> list[tuple[float, np.ndarray]]:
        self._count(attempts, passes=2)
        return self._open.slot_gradients(attempts, vectors, beginnings)

    def slot_energies(
        self,
        attempts: Sequence[Attempt],
        logits: Sequence[np.ndarray],
        beginnings: Sequence[str],
        fluency: float,
    ) -> list[tuple[float, np.ndarray]]:
        self._count(attempts, passes=2)
        return self._open.slot_energies(attempts, logits, beginnings, fluency)

    def next_tokens(
        self, attempts: Sequence[Attempt], ids: Rows, count: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        self._count(attempts, passes=1)
        return self._open.next_tokens(attempts, ids, count)

    def hidden_states(self, attempts: Sequence[Attempt]) -> np.ndarray:
        for attempt in attempts:  # examples to learn from are no attacked prompt: all of these pay for each
            identity = attempt.prompt.id
            for payer in [identity] if identity in self.spent else self.spent:
                self._charge(payer, passes=1)
        return self._open.hidden_states(attempts)

    @property
    def _open(self) -> WhiteBox:
        """The target as an open one; `search.opened` has asked whether it is."""
        return cast(WhiteBox, self.target)

    def _count(self, attempts: Sequence[Attempt], passes: int) -> list[int]:
        """Charge each attempt to its prompt; return the number that each query has among its prompt's."""
        numbers = []
        for attempt in attempts:
            identity = attempt.prompt.id
            if identity not in self.spent:
                raise broken(self.attack, f"queried the target about {identity!r}", "only prompts it was given")
            self._charge(identity, passes)
            numbers.append(self.spent[identity].queries)
        return numbers

    def _charge(self, identity: str, passes: int) -> None:
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
    seconds. A static attack never sees the target; a transfer attack searches on its surrogate. A replay of
    prompts found elsewhere sees no model, and what it says of their search is kept. Raises AttackError when the
    contract is broken, a prompt id repeats, or a search has nothing to search on.
    """
    searched = attack.surrogate if attack.kind == "transfer" else target
    _check_inputs(attack, prompts, searched, budget)
    spent = {prompt.id: Spent() for prompt in prompts}
    metered = None if searched is None else Meter(searched, attack.name, budget, spent)
    start = perf_counter()
    blind = attack.kind == "static" or attack.replays
    result = attack.run(tuple(prompts), None if blind else metered, budget, seed)
    seconds = (perf_counter() - start) / max(1, len(prompts))
    _check_list(attack.name, prompts, result)
    for prompt, attempt in zip(prompts, result, strict=True):
        _check_attempt(attack, prompt, attempt, budget)
    return [_stamped(attempt, attack, budget, spent[attempt.prompt.id], seconds) for attempt in result]


def _stamped(attempt: Attempt, attack: AttackInfo, budget: int, spent: Spent, seconds: float) -> Attempt:
    """Return the attempt under the attack's name, with what was counted in place of what was claimed."""
    if attack.kind == "static":
        return replace(attempt, attack=attack.name, search=Search())
    if attack.replays:
        return replace(attempt, attack=attack.name, search=replace(attempt.search, kind=attack.kind))
    search = replace(
        attempt.search,
        kind=attack.kind,
        budget=budget,
        queries=max(attempt.search.queries, spent.queries),
        passes=max(attempt.search.passes, spent.passes),
        lost=spent.lost + attempt.search.lost,
        seconds=round(seconds, 4),
        surrogate=attack.surrogate.name if attack.surrogate else attempt.search.surrogate,
    )
    return replace(attempt, attack=attack.name, search=search)


def _check_inputs(attack: AttackInfo, prompts: Sequence[Prompt], target: Target | None, budget: int) -> None:
    searches = attack.kind in SEARCHING and not attack.replays
    if searches and target is None:
        wanted = "the model under test" if attack.kind == "adaptive" else "a surrogate model"
        raise AttackError(
            f"attack {attack.name!r} is {attack.kind} and was given no target",
            wanted,
            "pass one, or choose static attacks",
        )
    if searches and target is not None and (lack := unmet(attack, target.access)):
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
    if attempt.search.queries > budget and not attack.replays:
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
