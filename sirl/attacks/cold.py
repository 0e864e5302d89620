"""COLD: Langevin dynamics on the logits of a soft suffix, for agreement and fluency at once, then made hard.

The suffix is a distribution over tokens at each place. Its energy, the likelihood of agreement plus that of
the suffix itself as text, is followed uphill with noise that fades; now and then tokens are drawn from it,
and those that survive as text are scored. This module refuses to know tensors and how a gradient is taken.

Defaults: 20 tokens and 2,000 Langevin steps are the paper's and its code's; a step is one query, and so is
each of the 12 suffixes that are scored after every fourth, which makes 8,000.

Departures from the paper: two of the published energies, agreement and fluency; none for style or
similarity. The soft suffix starts every round anew at the best hard one. It is made hard by drawing tokens
from it at each place, where the published attack lets the model decode within its favourites. The best so
far is really sent and judged at sixteen milestones of the budget, and a prompt whose attack has succeeded
stops there; the hoped- for beginning is the data set's own where it gives one.

Source: arXiv 2402.08679.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sirl.attacks.search import Checks, hunts, opened
from sirl.attacks.suffix import Climb, Ids, climbs, score
from sirl.records import Attempt, Judge, Prompt, Target, WhiteBox

NAME = "cold"


@dataclass(frozen=True, slots=True)
class Cold:
    """Energy-based search over a suffix of `length` tokens.

    A round starts at the best suffix so far, held `peak` above even odds against all other tokens together. It
    takes `steps` steps of size `rate` (in logits; each place is scaled to the same pull) with Gaussian noise of
    `noise` that fades with the budget, and then draws `draws` suffixes, the likeliest one among them.
    `fluency` weighs the suffix's own log-prob against that of `beginning`, the reply hoped for.
    """

    beginning: str = "Sure, here is how to do it:"
    length: int = 20
    fluency: float = 0.1
    steps: int = 4
    draws: int = 12
    peak: float = 3.0
    rate: float = 2.0
    noise: float = 0.3
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return each prompt with the best hard suffix found; a gradient or a score is one query."""
        model = opened(target, NAME)
        usable_U = model.usable_tokens()
        climbing = climbs(hunts(prompts, budget, seed, NAME), model, NAME, self.length, self.beginning)
        soft = [_Soft(climb, np.zeros((0, len(usable_U)))) for climb in climbing]
        checks = Checks(model, self.judge, seed)
        if budget:
            score(climbing, [[climb.ids] for climb in climbing], model)
        while True:
            going = checks.going([climb.hunt for climb in climbing])
            able = [s for s in soft if s.climb.hunt in going and s.climb.hunt.left > 1 and s.climb.ids]
            if not able:
                return [c.hunt.result(c.start) for c in climbing]
            for s in able:
                s.logits = self._peaked(s.climb.ids, usable_U)
            for _ in range(self.steps):
                able = [s for s in able if s.climb.hunt.left > 1]
                self._step(able, model)
            score([s.climb for s in able], [self._harden(s, usable_U) for s in able], model)

    def _step(self, soft: Sequence[_Soft], model: WhiteBox) -> None:
        """Take one noisy step up the energy of every soft suffix, in one call."""
        found = model.slot_energies(
            [s.climb.slotted for s in soft],
            [s.logits for s in soft],
            [s.climb.beginning for s in soft],
            self.fluency,
        )
        for s, (_, gradient_LU) in zip(soft, found, strict=True):
            hunt = s.climb.hunt
            hunt.queries += 1
            pull_L1 = np.abs(gradient_LU).max(axis=1, keepdims=True) + 1e-12
            noise_LU = hunt.rng.standard_normal(gradient_LU.shape)
            step_LU = self.rate * gradient_LU / pull_L1 + self.noise * hunt.left / hunt.budget * noise_LU
            s.logits = (s.logits + step_LU).astype(np.float32)

    def _peaked(self, ids: Ids, usable_U: np.ndarray) -> np.ndarray:
        """Return logits_LU that hold the given tokens."""
        logits_LU = np.zeros((len(ids), len(usable_U)), dtype=np.float32)
        logits_LU[range(len(ids)), np.searchsorted(usable_U, ids)] = np.log(len(usable_U)) + self.peak
        return logits_LU

    def _harden(self, soft: _Soft, usable_U: np.ndarray) -> list[Ids]:
        """Draw suffixes from the soft one (the largest of logit plus Gumbel noise), its likeliest first."""
        hunt = soft.climb.hunt
        noise_DLU = hunt.rng.gumbel(size=(self.draws, *soft.logits.shape))
        noise_DLU[0] = 0.0
        drawn_DL = usable_U[(soft.logits + noise_DLU).argmax(axis=-1)]
        return list(dict.fromkeys(tuple(map(int, row)) for row in drawn_DL))[: hunt.left]


@dataclass(slots=True)
class _Soft:
    """One prompt's soft suffix, logits_LU over the usable tokens."""

    climb: Climb
    logits: np.ndarray
