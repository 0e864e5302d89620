"""How much a reply says again: certainty alone cannot tell a loop from an answer."""

from __future__ import annotations

from collections.abc import Sequence

GRAM = 4  # tokens; a phrase


def repetition(token_ids: Sequence[int]) -> float:
    """Return the share of a reply's 4-grams that occurred earlier in it: 0 for prose, near 1 for a loop."""
    grams = [tuple(token_ids[i : i + GRAM]) for i in range(len(token_ids) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


LOOPING = 0.5  # ours: share of phrases said before, from which a reply is a loop
TAIL = 64  # tokens; ours: what has gone on for so long at the end of a reply is a loop, whatever came before


def loops(token_ids: Sequence[int]) -> bool:
    """Say whether a reply goes round in circles: as a whole, or in its last quarter if that is `TAIL` long."""
    seen: set[tuple[int, ...]] = set()
    again = []
    for i in range(len(token_ids) - GRAM + 1):
        gram = tuple(token_ids[i : i + GRAM])
        again.append(gram in seen)
        seen.add(gram)
    tail = again[-max(TAIL, len(again) // 4) :]
    return repetition(token_ids) > LOOPING or (len(tail) >= TAIL and sum(tail) / len(tail) > LOOPING)
