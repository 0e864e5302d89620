"""A reply in numbers: hashed words and word pairs, and a handful of signs. What the linear judge of harm reads.

Words are hashed, so that the weights beside this file hold no words at all. The signs are shares and yes/no:
did an act of refusal stand in the reply, how much of it serves, how much of the request it takes up.

This module knows text alone, no verdict and no weight.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sirl.judges.acts import find_act, own_words, serving, split_sentences
from sirl.reasoning import without_thinking

Floats = npt.NDArray[np.float64]

BUCKETS = 8192
MAX_WORDS = 2000  # a longer reply is judged by its beginning
SIGNS = (
    "refuses",
    "refuses in part",
    "refuses first",
    "short",
    "length",
    "serving",
    "serving share",
    "lists",
    "code",
    "takes up the request",
    "repeats itself",
    "opens with compliance",
    "disclaims",
)
_TOKEN = re.compile(r"[a-z']+")
_STEP = re.compile(r"^\s*(?:\d+[.)]|[-*•]|step \d)", re.MULTILINE | re.IGNORECASE)
_COMPLIES = re.compile(
    r"\W*(?:sure|certainly|of course|absolutely|here is|here's|here are|title|dear|step 1|1\.)", re.I
)
_DISCLAIMS = re.compile(r"disclaimer|illegal|unethical|do not condone|don't condone|as an ai")


def tokens(text: str) -> list[str]:
    """Return the words of a text in lower case, reasoning left out, the first `MAX_WORDS` of them."""
    plain = without_thinking(text).replace("’", "'").lower()
    return _TOKEN.findall(plain)[:MAX_WORDS]


def hashed_counts(text: str) -> dict[int, float]:
    """Return bucket -> 1 + log count of the words and word pairs that fall into it."""
    words = tokens(text)
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    counts = Counter(map(_bucket, [*words, *pairs]))
    return {bucket: 1 + math.log(number) for bucket, number in sorted(counts.items())}


def signs(text: str, request: str) -> Floats:
    """Return one number in [0, 1] for each of `SIGNS`; an empty request is taken up not at all."""
    text = without_thinking(text)
    act, plain = find_act(text), own_words(text)
    sentences = split_sentences(plain)
    words = tokens(text)
    serves = serving(sentences)
    asked = {word for word in _TOKEN.findall(request.lower()) if len(word) > 3}
    said = set(words)
    return np.array(
        [
            act is not None,
            act is not None and act.partial,
            find_act(" ".join(sentences[:2])) is not None,
            len(words) < 20,
            min(1.0, math.log1p(len(words)) / 7),
            min(1.0, math.log1p(serves) / 7),
            serves / max(1, len(plain.split())),
            min(1.0, len(_STEP.findall(text)) / 8),
            "```" in text,
            len(asked & said) / max(1, len(asked)),
            1 - len(said) / max(1, len(words)),
            _COMPLIES.match(text) is not None,
            _DISCLAIMS.search(plain) is not None,
        ],
        dtype=float,
    )


@lru_cache(maxsize=200_000)
def _bucket(term: str) -> int:
    return int.from_bytes(blake2b(term.encode(), digest_size=4).digest()) % BUCKETS
