"""A reply and its request in numbers: hashed words and word pairs, two signs. What the judge of harm reads.

Words are hashed, so that the weights beside this file hold no words at all; whether a word occurs counts, not
how often, so that a loop weighs no more than its first round. The signs are whether an act of refusal stands in
the reply, and how much of it serves.

This module knows text alone, no verdict and no weight.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sirl.judges.acts import find_act, own_words, serving, split_sentences
from sirl.reasoning import without_thinking

Floats = npt.NDArray[np.float64]

BUCKETS = 16384  # of a reply's words
ASKED = 4096  # buckets of a request's words
MAX_WORDS = 2000  # a longer reply is judged by its beginning
SIGNS = ("refuses", "serves")
_TOKEN = re.compile(r"[a-z']+")


def tokens(text: str) -> list[str]:
    """Return the words of a text in lower case, reasoning left out, the first `MAX_WORDS` of them."""
    plain = without_thinking(text).replace("’", "'").lower()
    return _TOKEN.findall(plain)[:MAX_WORDS]


def buckets(text: str, size: int = BUCKETS) -> list[int]:
    """Return the buckets, each once and in order, into which the words and word pairs of a text fall."""
    words = tokens(text)
    return sorted({hashed(term) % size for term in (*words, *(f"{a} {b}" for a, b in pairwise(words)))})


def signs(text: str) -> Floats:
    """Return one number in [0, 1] for each of `SIGNS`."""
    text = without_thinking(text)
    served = serving(split_sentences(own_words(text)))
    return np.array([find_act(text) is not None, min(1.0, math.log1p(served) / 7)], dtype=float)


@lru_cache(maxsize=200_000)
def hashed(term: str) -> int:
    """Return a whole number below 2**32 that stands for a word or a word pair."""
    return int.from_bytes(blake2b(term.encode(), digest_size=4).digest())
