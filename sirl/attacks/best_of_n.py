"""Say the request again and again with random slips of the pen, until one is answered.

Each candidate has the middle letters of some words shuffled, some letters in the other case and a few
characters moved by one place in the code table. It needs no attacker model. This module refuses to know
what is asked.

Defaults: temperature 1, and rates of 0.63, 0.63 and 0.06 (the square root of sigma, twice, and its cube,
with sigma 0.4), from its code (jplhughes/bon-jailbreaking: almj/attacks/run_text_bon.py,
experiments/1_run_text_bon.sh); 10,000 samples from the paper, where the script names 120 steps of 60, which
is 7,200.

Departures: several candidates are tried per round. Success is judged on a new reply to the message found;
the paper counts a request as broken if any of its samples succeeded.

Source: arXiv 2412.03556 (Best-of-N jailbreaking), text only; its code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from sirl.attacks.search import Hunt, hunts, needed
from sirl.attacks.tries import bench, going, say_to
from sirl.records import Attempt, Decoding, Judge, Prompt, Target

NAME = "best_of_n"
_PRINTABLE = range(32, 127)
_SIGMA = 0.4  # how strong the slips are


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Try `width` candidates a round; the rates are of words shuffled, letters recased, characters moved.

    Every reply is drawn at `temperature`, the one that is measured too, and `max_new_tokens` bounds it.
    """

    NEEDS: ClassVar = ("judge",)
    recover: ClassVar = None  # the request is reworded
    width: int = 8
    scramble: float = _SIGMA**0.5
    recase: float = _SIGMA**0.5
    noise: float = _SIGMA**3
    temperature: float = 1.0
    max_new_tokens: int = 256
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return the first that succeeds, else the best. Raises AttackError without a target or a judge."""
        court = bench(needed(target, NAME), self.judge, NAME, seed)
        searches = hunts(prompts, budget, seed, NAME)
        while open_ := going(searches):
            court.send([(hunt, [self._slipped(hunt) for _ in range(self.width)]) for hunt in open_])
        return [hunt.result(self._drawn(say_to(hunt, NAME, hunt.prompt.text))) for hunt in searches]

    def _slipped(self, hunt: Hunt) -> Attempt:
        return self._drawn(say_to(hunt, NAME, self.slip(hunt.prompt.text, hunt.rng)))

    def _drawn(self, attempt: Attempt) -> Attempt:
        return replace(attempt, decoding=Decoding(self.temperature, max_new_tokens=self.max_new_tokens))

    def slip(self, text: str, rng: np.random.Generator) -> str:
        """Return the text with random slips; the request itself if nothing would be left of it."""
        words = [_shuffled(w, rng) if rng.random() < self.scramble else w for w in re.split(r"(\s+)", text)]
        letters = [c.swapcase() if rng.random() < self.recase else c for c in "".join(words)]
        moved = "".join(_moved(c, rng) if rng.random() < self.noise else c for c in letters)
        return moved if moved.strip() else text


def _shuffled(word: str, rng: np.random.Generator) -> str:
    """Shuffle the middle of a word of more than three letters."""
    if len(word) < 4:
        return word
    return word[0] + "".join(rng.permutation(list(word[1:-1]))) + word[-1]


def _moved(character: str, rng: np.random.Generator) -> str:
    """Move a printable ASCII character to a neighbour in the code table; leave any other alone."""
    code = ord(character) + (1 if rng.random() < 0.5 else -1)
    return chr(code) if ord(character) in _PRINTABLE and code in _PRINTABLE else character
