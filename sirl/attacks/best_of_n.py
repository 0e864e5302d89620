"""Say the request again and again with random slips of the pen, until one is answered.

Each candidate has the middle letters of some words shuffled, some letters in the other case and a few
characters moved by one place in the code table. It needs no attacker model. This module refuses to know
what is asked.

Departures: none in the changes and their rates; several candidates are tried a round.

Source: arXiv 2412.03556 (Best-of-N jailbreaking), text only: rates of .6, .6 and .06.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from sirl.attacks.search import hunts, needed
from sirl.attacks.tries import bench, going, say_to
from sirl.records import Attempt, Judge, Prompt, Target

NAME = "best_of_n"
_PRINTABLE = range(32, 127)


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Try `width` candidates a round; the rates are of words shuffled, letters recased, characters moved."""

    NEEDS: ClassVar = ("judge",)
    recover: ClassVar = None  # the request is reworded
    width: int = 8
    scramble: float = 0.6
    recase: float = 0.6
    noise: float = 0.06
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return the first that succeeds, else the best. Raises AttackError without a target or a judge."""
        court = bench(needed(target, NAME), self.judge, NAME, seed)
        searches = hunts(prompts, budget, seed, NAME)
        while open_ := going(searches):
            court.send(
                [
                    (
                        hunt,
                        [say_to(hunt, NAME, self.slip(hunt.prompt.text, hunt.rng)) for _ in range(self.width)],
                    )
                    for hunt in open_
                ]
            )
        return [hunt.result(say_to(hunt, NAME, hunt.prompt.text)) for hunt in searches]

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
