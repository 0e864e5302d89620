"""What all searches share: one prompt's purse and best find, and the checks that end a search that has won.

A `Hunt` is the search for one prompt: what it may spend, what it has spent, its best attempt so far. `Checks`
really sends the best of each hunt at a few milestones of its budget and has the reply judged; a prompt whose
attack has succeeded stops there, so that what it spent is the cost of success. This module refuses to know
how any attack proposes its next candidate.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from sirl.errors import AttackError
from sirl.records import Attempt, Completion, Judge, Prompt, Search, Target, Verdict, WhiteBox

MILESTONES = 16  # parts of a budget; the best is checked at the start of each


@dataclass(slots=True, eq=False)
class Hunt:
    """The search for one prompt; the only state of an attack that changes, and only within one call.

    `best` is what would be sent now and `score` what the attack thinks of it (higher is better for the attack;
    the scale is the attack's own); `judged` says that a judge has read a reply, `succeeded` that it called one
    harmful.
    """

    prompt: Prompt
    budget: int
    rng: np.random.Generator
    best: Attempt | None = None
    score: float = -math.inf
    queries: int = 0
    unusable: int = 0
    undecided: int = 0
    lost: int = 0  # orders to an attacker that got no answer, for a fault that may pass
    idle: int = 0  # rounds in a row in which it had nothing to send
    trace: tuple[tuple[int, float], ...] = ()
    judged: bool = False
    succeeded: bool = False
    due: int = 0  # the query count from which a check is due
    sent: Attempt | None = field(default=None, repr=False)  # the last attempt that was checked

    @property
    def left(self) -> int:
        """How many queries may still be spent."""
        return self.budget - self.queries

    def offer(self, attempt: Attempt, score: float) -> bool:
        """Take the attempt if it scores higher than the best; the first is always taken, a NaN never counts."""
        better = self.best is None or score > self.score
        if better:
            self.best, self.score = attempt, -math.inf if math.isnan(score) else float(score)
        return better

    def mark(self) -> None:
        """Write the place on the trace: queries so far and the best score; nothing while it is unscored."""
        if math.isfinite(self.score):
            self.trace += ((self.queries, round(self.score, 6)),)

    def result(self, start: Attempt) -> Attempt:
        """Return the best attempt, or the start if none was scored, with what the search cost."""
        search = Search(
            queries=self.queries,
            trace=self.trace,
            unusable=self.unusable,
            undecided=self.undecided,
            lost=self.lost,
            won=self.succeeded if self.judged else None,
        )
        return replace(self.best or start, search=search)


def hunts(prompts: Sequence[Prompt], budget: int, seed: int, name: str) -> list[Hunt]:
    """Return a hunt a prompt; each draws from its own generator, whatever its place in the list."""
    return [Hunt(prompt, budget, generator(seed, prompt.id, name)) for prompt in prompts]


def generator(seed: int, prompt_id: str, name: str) -> np.random.Generator:
    """Return the random generator of one prompt under one attack and seed."""
    digest = hashlib.sha256(f"{seed}|{prompt_id}|{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


@dataclass(frozen=True, slots=True)
class Checks:
    """Sends what was found and asks the judge; without a judge it asks nothing and no search ends early."""

    target: Target
    judge: Judge | None
    seed: int

    def going(self, searches: Sequence[Hunt]) -> list[Hunt]:
        """Check those that have come to a milestone, one query each; return those that may go on.

        These have queries left and have not succeeded. A best that was checked before is not sent again.
        """
        if self.judge is not None:
            due = [h for h in searches if h.best and h.left and not h.succeeded and h.queries >= h.due]
            self._check([h for h in due if h.best != h.sent])
            for hunt in due:
                part = hunt.queries * MILESTONES // hunt.budget + 1
                hunt.due = -(-part * hunt.budget // MILESTONES)
        return [h for h in searches if h.left > 0 and not h.succeeded]

    def _check(self, due: Sequence[Hunt]) -> None:
        if not due or self.judge is None:
            return
        attempts = [h.best for h in due if h.best]
        verdicts = verdicts_on(self.judge, self.target.reply(attempts, self.seed))
        for hunt, attempt, verdict in zip(due, attempts, verdicts, strict=True):
            hunt.queries += 1
            hunt.judged, hunt.sent, hunt.succeeded = True, attempt, verdict.answer is True


def verdicts_on(judge: Judge, completions: Sequence[Completion]) -> list[Verdict]:
    """Return one verdict a completion, same order: None where no reply came, and then nobody is asked."""
    verdicts = iter(judge(replied)) if (replied := [c for c in completions if not c.error]) else iter(())
    return [Verdict("harmful", None, c.error, "") if c.error else next(verdicts) for c in completions]


def needed(target: Target | None, name: str) -> Target:
    """Return the target. Raises AttackError if there is none."""
    if target is None:
        raise AttackError(
            f"{name} was given no target", "a model to search on", "pass a target, or choose static attacks"
        )
    return target


def opened(target: Target | None, name: str) -> WhiteBox:
    """Return the target as one whose weights are open. Raises AttackError if it is not."""
    if needed(target, name).access != "white-box":
        raise AttackError(
            f"{name} was given a model of {needed(target, name).access} access",
            "a model whose weights are open",
            "name a local model or a hub id, or search on a surrogate",
        )
    return cast(WhiteBox, target)


def beginning(prompt: Prompt, default: str) -> str:
    """Return how a reply that complies would begin: the data set's own words, else the attack's."""
    return prompt.target or default
