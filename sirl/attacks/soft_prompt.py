"""Soft prompts: vectors of the embedding space behind the request, moved up the gradient of agreement.

No text corresponds to them, so this is the strongest attack on open weights and none on a model that only
takes text. They are sent as `Attempt.soft`. This module refuses to know tensors and how a gradient is taken.

Defaults: 100 iterations on 20 vectors that start as `!`, from its code (SchwinnL/LLM_Embedding_Attack:
embedding_attack_toxic.py; its script for a single request takes 500).

Departures from the paper: the vectors start as a plain suffix. Steps are relative to the spread of the
start's numbers and shrink to a tenth towards the end of the budget; its code uses 0.01 for every model. Each
request has its own search. Vectors are sent, so a model that only takes text cannot be attacked.

Source: arXiv 2402.09063.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sirl.attacks.search import Checks, Hunt, beginning, hunts, opened
from sirl.attacks.suffix import plain_starts, slotted
from sirl.records import Attempt, Judge, Prompt, Target, WhiteBox

NAME = "soft_prompt"


@dataclass(frozen=True, slots=True)
class SoftPrompt:
    """Signed gradient ascent on `length` vectors, which start as a plain suffix.

    A step moves every number by `rate` times the spread of the start's numbers, less towards the end of the
    budget. `beginning` is the reply hoped for where a prompt gives none.
    """

    beginning: str = "Sure, here is how to do it:"
    length: int = 20
    rate: float = 0.1
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return each prompt with the best vectors found; a gradient is one query and scores them too."""
        model = opened(target, NAME)
        searches = hunts(prompts, budget, seed, NAME)
        slots = [slotted(prompt, NAME) for prompt in prompts]
        climbing = [_Climb(*parts) for parts in zip(searches, slots, self._starts(model, slots), strict=True)]
        starts = [climb.attempt() for climb in climbing]
        checks = Checks(model, self.judge, seed)
        while going := checks.going(searches):
            self._step([climb for climb in climbing if climb.hunt in going], model)
        return [climb.hunt.result(start) for climb, start in zip(climbing, starts, strict=True)]

    def _starts(self, model: WhiteBox, slots: Sequence[Attempt]) -> list[np.ndarray]:
        """Return the vectors of a plain suffix; where none stands apart, of any token."""
        rows = plain_starts(model, slots, self.length)
        return model.slot_vectors([row or [int(model.usable_tokens()[0])] * self.length for row, _ in rows])

    def _step(self, climbing: Sequence[_Climb], model: WhiteBox) -> None:
        """Score where each climb stands and move it on."""
        found = model.slot_gradients(
            [climb.slotted for climb in climbing],
            [climb.vectors for climb in climbing],
            [beginning(climb.hunt.prompt, self.beginning) for climb in climbing],
        )
        for climb, (value, gradient_LH) in zip(climbing, found, strict=True):
            climb.hunt.queries += 1
            climb.hunt.offer(climb.attempt(), value)
            climb.hunt.mark()
            share = self.rate * max(0.1, climb.hunt.left / climb.hunt.budget)
            moved = climb.vectors + share * climb.spread * np.sign(gradient_LH)
            climb.vectors = moved.astype(np.float32)


@dataclass(slots=True)
class _Climb:
    """Where one prompt's vectors_LH stand."""

    hunt: Hunt
    slotted: Attempt
    vectors: np.ndarray
    spread: float = 0.0

    def __post_init__(self) -> None:
        self.spread = float(self.vectors.std())

    def attempt(self) -> Attempt:
        return replace(self.slotted, soft=tuple(map(tuple, self.vectors.tolist())))
