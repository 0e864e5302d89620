"""How much a reply says again: certainty alone cannot tell a loop from an answer."""

from __future__ import annotations

from collections.abc import Sequence

GRAM = 4  # tokens; a phrase


def repetition(token_ids: Sequence[int]) -> float:
    """Return the share of a reply's 4-grams that occurred earlier in it: 0 for prose, near 1 for a loop."""
    grams = [tuple(token_ids[i : i + GRAM]) for i in range(len(token_ids) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
