"""Requests near where the base model begins to refuse, made without a label from the training prompts.

What is carried teaches refusing, which spreads first to plain requests that the base model refuses now and
then. Sets of clearly harmful and clearly harmless prompts hold none of these, so some are made:

halves    the first half of one prompt and the second half of another. They need not make sense
written   the first words of a prompt, of every second one with a few words of another behind them, and what the
          base model itself writes on in the user's turn. What it writes is what it takes for a likely request

Only the base model's own conduct on them is held, and of that only the first token of the reply, which decides.
The pool is kept in the run folder: a continued run meets the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sirl.training.schedule import stable_seed

MOST = 512  # requests made in each of the two ways: as many as there are prompts, up to this
TOKENS = 20  # written on to a beginning
FLOOR = 0.02  # added to p (1 - p), at most .25: what is surely answered is held now and then too

Write = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Boundary:
    """Plain requests, and how likely the base model is to refuse each."""

    texts: tuple[str, ...] = ()
    propensities: tuple[float, ...] = ()

    def chosen(self, count: int, seed: int) -> np.ndarray:
        """Return the numbers of `count` of them, drawn in proportion to p (1 - p): undecided ones mostly."""
        p = np.asarray(self.propensities)
        weights = p * (1 - p) + FLOOR
        return np.random.default_rng(seed).choice(len(p), size=count, p=weights / weights.sum())


def near_requests(texts: Sequence[str], seed: int, write: Write) -> list[str]:
    """Return the texts themselves, halves of two of them, and requests that `write` went on with; each once."""
    rng = np.random.default_rng(stable_seed("boundary", seed))
    count = min(MOST, len(texts))
    made = [*texts, *_halves(texts, count, rng), *write(beginnings(texts, count, rng))]
    return list(dict.fromkeys(text for text in made if text.strip()))


def beginnings(texts: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Return beginnings of requests: the first words of a text, every second one with some of another."""
    words = [text.split() for text in texts if text.split()]
    found = []
    for number in range(count if words else 0):
        first, other = (words[i] for i in rng.integers(len(words), size=2))
        if number % 2:
            found.append(" ".join(first[: rng.integers(2, max(3, len(first) // 2 + 1))]))
        else:
            start = int(rng.integers(max(1, len(other) - 2)))
            found.append(" ".join([*first[: rng.integers(2, 4)], *other[start : start + rng.integers(1, 3)]]))
    return found


def _halves(texts: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    halves = [halved(text) for text in texts]
    pairs = rng.integers(len(halves), size=(count, 2)).tolist() if halves else []
    return [halves[i][0] + halves[j][1] for i, j in pairs if i != j]


def halved(text: str) -> tuple[str, str]:
    """Cut a text before the space nearest to its middle, or, without a space inside, in its middle."""
    middle = len(text) // 2
    spaces = [i for i, c in enumerate(text) if c.isspace() and text[:i].strip() and text[i:].strip()]
    cut = min(spaces, key=lambda i: abs(i - middle), default=middle)
    return text[:cut], text[cut:]
