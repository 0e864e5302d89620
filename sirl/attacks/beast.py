"""BEAST: grow a suffix token by token, from what the model itself would write next, keeping the best beams.

Each step asks the model for the likeliest next tokens behind every beam, draws some, and keeps the suffixes
that make agreement likeliest. Needs no gradient; the suffix
stays readable. This module refuses to know tensors.

Defaults: 40 tokens, 15 beams and 15 draws a beam, from its code (vinusankars/BEAST: ar_self_attack.py).

Departures from the paper: a smaller budget narrows the beams and keeps the length. Tokens are drawn from the
likeliest ones, each at most once; suffixes that do not survive as text are dropped. The best suffix of any
length is kept.

Source: arXiv 2402.15570.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sirl.attacks.search import Checks, beginning, hunts, opened
from sirl.attacks.suffix import Climb, Ids, filled, score, slotted
from sirl.records import Attempt, Judge, Prompt, Target, WhiteBox

NAME = "beast"


@dataclass(frozen=True, slots=True)
class Beast:
    """Beam search over a suffix of at most `length` tokens, at most `beams` beams, as many draws a beam.

    A budget that is too small for that gets narrower beams. `beginning` is the reply hoped for where a prompt
    gives none; next tokens are drawn, without repetition, from the `pool` likeliest.
    """

    beginning: str = "Sure, here is how to do it:"
    length: int = 40
    beams: int = 15
    pool: int = 256
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return each prompt with the best suffix found; a next-token query is one query, a score another."""
        model = opened(target, NAME)
        growing = [
            _Growth(Climb(hunt, slot, (), beginning(hunt.prompt, self.beginning), filled(slot, "")), [()])
            for hunt in hunts(prompts, budget, seed, NAME)
            for slot in [slotted(hunt.prompt, NAME)]
        ]
        checks, width = Checks(model, self.judge, seed), self._width(budget)
        if budget:
            score([growth.climb for growth in growing], [[()]] * len(growing), model)
        while True:
            going = checks.going([growth.climb.hunt for growth in growing])
            able = [
                g for g in growing if g.climb.hunt in going and g.climb.hunt.left > 1 and g.grown < self.length
            ]
            if not able:
                return [g.climb.hunt.result(g.climb.start) for g in growing]
            self._grow(able, width, model)

    def _width(self, budget: int) -> int:
        """Return how many beams, and draws a beam, the budget allows over the whole length."""
        fits = [k for k in range(1, self.beams + 1) if self.length * k * (k + 1) <= budget]
        return max(fits, default=1)

    def _grow(self, growing: Sequence[_Growth], width: int, model: WhiteBox) -> None:
        """Lengthen the beams of every prompt by one token, in two calls."""
        for growth in growing:  # a beam needs a query for its next tokens and at least one for a score
            growth.beams = growth.beams[: growth.climb.hunt.left // 2]
        flat = [(growth, beam) for growth in growing for beam in growth.beams]
        found = iter(
            model.next_tokens([g.climb.slotted for g, _ in flat], [beam for _, beam in flat], self.pool)
        )
        rows = []
        for growth in growing:
            growth.climb.hunt.queries += len(growth.beams)
            drawn = [[(*beam, t) for t in _draw(*next(found), width, growth)] for beam in growth.beams]
            in_turns = [row[i] for i in range(width) for row in drawn if i < len(row)]
            rows.append(in_turns[: growth.climb.hunt.left])
        scores = score([growth.climb for growth in growing], rows, model)
        for growth, row, values in zip(growing, rows, scores, strict=True):
            ranked = sorted((-v, ids) for v, ids in zip(values, row, strict=True) if v is not None)
            growth.beams = [ids for _, ids in ranked[:width]] or growth.beams
            growth.grown += 1


@dataclass(slots=True)
class _Growth:
    """One prompt's beams, best first, and how often they grew."""

    climb: Climb
    beams: list[Ids]
    grown: int = 0


def _draw(tokens_K: np.ndarray, logprobs_K: np.ndarray, count: int, growth: _Growth) -> list[int]:
    """Draw distinct tokens by the model's own probabilities (the largest of log-prob plus Gumbel noise)."""
    noisy_K = logprobs_K + growth.climb.hunt.rng.gumbel(size=len(logprobs_K))
    return [int(t) for t in tokens_K[np.argsort(-noisy_K)[:count]]]
