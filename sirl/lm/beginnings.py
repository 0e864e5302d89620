"""Which rows begin alike, so that a model reads what they share once.

Requests under one attack share its template, and all rows of a model share the head of its chat template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sirl.records import Rows

_WORTH = 0.8  # of the padded tokens of separate rows: reading in two passes and copying a cache is not free


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first `length` tokens of these rows, which all share them."""

    rows: tuple[int, ...]
    length: int


def beginnings(rows: Rows) -> list[Beginning]:
    """Part rows into groups by what they begin with, or return none where that saves too little.

    Of all ways to part the sorted rows it is the one that spares most tokens. Every row keeps at least one of
    its own, whose logits are wanted.
    """
    order = sorted(range(len(rows)), key=lambda i: tuple(rows[i]))
    alike = [_alike(rows[i], rows[j]) for i, j in pairwise(order)]
    spared, start = [0], [0]  # best for the first n rows, and where its last group starts
    for end in range(1, len(rows) + 1):
        best, begin, shared = spared[end - 1], end - 1, len(rows[order[end - 1]]) - 1
        for first in range(end - 2, -1, -1):
            shared = min(shared, alike[first], len(rows[order[first]]) - 1)
            if spared[first] + (end - first - 1) * shared > best:
                best, begin = spared[first] + (end - first - 1) * shared, first
        spared.append(best)
        start.append(begin)
    parts: list[list[int]] = []
    end = len(rows)
    while end:
        parts.append(order[start[end] : end])
        end = start[end]
    lengths = [_shared([rows[i] for i in part]) for part in parts]
    longest = max((n for n, part in zip(lengths, parts, strict=True) if len(part) > 1), default=0)
    groups = [Beginning(tuple(part), min(n, longest)) for n, part in zip(lengths, parts, strict=True)]
    return groups if _read(rows, groups) <= _WORTH * _padded(list(map(len, rows))) else []


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two rows begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _shared(rows: Rows) -> int:
    """Return how many tokens all rows begin with alike, less the one that each keeps; they are sorted."""
    return min(len(min(rows, key=len)) - 1, _alike(rows[0], rows[-1]))


def _read(rows: Rows, groups: Sequence[Beginning]) -> int:
    """Return how many tokens are read, padding included: the beginnings, then what is left of the rows."""
    left = [len(rows[i]) - group.length for group in groups for i in group.rows]
    return _padded([group.length for group in groups]) + _padded(left)


def _padded(lengths: Sequence[int]) -> int:
    return len(lengths) * max(lengths)
