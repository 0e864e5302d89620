"""COLD: Langevin dynamics on the logits of a soft suffix, for agreement and fluency at once, then made hard.

The suffix is a distribution over tokens at each place. Its energy, the likelihood of agreement plus that of
the suffix itself as text, less the chance of words that refuse, is followed uphill with noise that fades; now
and then tokens are drawn from it, and those that survive as text are scored. This module refuses to know
tensors and how a gradient is taken.

Defaults: 20 tokens, 2,000 Langevin steps, and weights of 100, 1 and 100 for agreement, fluency and refusal
words (1, 0.01 and 1 here), from its code (Yu-Fangxu/COLD-Attack: attack.sh, decoding_suffix.py). A step is
one query, and so is each of the 12 suffixes scored after every fourth step: 8,000 queries.

Departures from the paper: only the suffix attack; those that paraphrase the request or control its
sentiment, words and format have energies of their own. The energy of refusal words is the mean probability
that a position holds a word of our list, instead of a smoothed BLEU with the published list; words of
several tokens are skipped. Every round restarts the soft suffix at the best hard one. Hard suffixes are
drawn from it position by position; the published attack lets the model decode among its ten favourites per
position, which would cost 20 queries.

Source: arXiv 2402.08679; its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sirl.attacks.search import Checks, hunts, opened
from sirl.attacks.static import read_template
from sirl.attacks.suffix import Climb, Ids, climbs, score
from sirl.records import Attempt, Judge, Prompt, Target, WhiteBox

NAME = "cold"


@dataclass(frozen=True, slots=True)
class Cold:
    """Energy-based search over a suffix of `length` tokens.

    A round starts at the best suffix so far, held `peak` above even odds against all other tokens together. It
    takes `steps` steps of size `rate` (in logits; each place is scaled to the same pull) with Gaussian noise of
    `noise` that fades with the budget, and then draws `draws` suffixes, the likeliest one among them.
    `fluency` weighs the suffix's own log-prob against that of `beginning`, the reply hoped for, and `shunned`
    the chance of words that refuse.
    """

    beginning: str = "Sure, here is how to do it:"
    length: int = 20
    fluency: float = 0.01
    shunned: float = 1.0
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
        shunned = [_shunned(climb, model, usable_U) for climb in climbing]
        soft = [_Soft(*pair, np.zeros((0, len(usable_U)))) for pair in zip(climbing, shunned, strict=True)]
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
            gradient_LU = gradient_LU - self.shunned * s.pull_of_words()
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
    """One prompt's soft suffix, logits_LU over usable tokens; `shunned` says which are words that refuse."""

    climb: Climb
    shunned: np.ndarray
    logits: np.ndarray

    def pull_of_words(self) -> np.ndarray:
        """Return the gradient_LU of the mean chance that a place holds a shunned token."""
        chances_LU = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        chances_LU /= chances_LU.sum(axis=1, keepdims=True)
        share_L1 = chances_LU[:, self.shunned].sum(axis=1, keepdims=True)
        gradient_LU: np.ndarray = chances_LU * (self.shunned - share_L1) / len(self.logits)
        return gradient_LU


def _shunned(climb: Climb, model: WhiteBox, usable_U: np.ndarray) -> np.ndarray:
    """Say of each usable token whether it is a word that refuses, behind a space."""
    texts = [f" {word}" for word in read_template("cold.words").split()]
    rows = model.slot_ids([climb.slotted] * len(texts), texts)
    return np.isin(usable_U, [row[0] for row in rows if row and len(row) == 1])
