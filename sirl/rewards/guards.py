"""What keeps a certainty reward from being gamed: each guard is one pure function, each can be left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

GRAM = 4  # tokens; a phrase
TOO_REPETITIVE = 0.5  # share of a reply's phrases that were said before


def is_degenerate(token_ids: Sequence[int], finished: bool) -> bool:
    """Say whether a reply is none: cut at the length limit, its end alone, or mostly its own phrases again."""
    return not finished or len(token_ids) < 2 or repetition(token_ids) > TOO_REPETITIVE


def repetition(token_ids: Sequence[int]) -> float:
    """Return the share of a reply's 4-grams that occurred earlier in it: 0 for prose, near 1 for a loop."""
    grams = [tuple(token_ids[i : i + GRAM]) for i in range(len(token_ids) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def floored(rewards: Sequence[float], degenerate: Sequence[bool], floor: float) -> list[float]:
    """Return rewards in which a degenerate reply has at most `floor`, same order.

    Repetition and empty replies are what a model is surest of; without a floor they are the best there is.
    Source: RENT (arXiv 2505.22660) gives replies without an answer a fixed, high entropy.
    """
    return [min(r, floor) if bad else r for r, bad in zip(rewards, degenerate, strict=True)]


def without_flat(rewards: Sequence[float | None], group: int, spread: float) -> list[float | None]:
    """Return rewards without the groups whose rewards lie within `spread` (nats) of each other, same order.

    Divided by its own spread, the hair's breadth between four alike replies would be a full-sized push.
    `group` replies to one prompt stand together.
    """
    kept: list[float | None] = []
    for start in range(0, len(rewards), group):
        members = rewards[start : start + group]
        given = [r for r in members if r is not None]
        flat = not given or max(given) - min(given) < spread
        kept += [None] * len(members) if flat else members
    return kept


def without_outliers(rewards: Sequence[float | None], entropies: Sequence[float]) -> list[float | None]:
    """Return rewards without those of abnormally sure replies, below Q1 - 1.5 (Q3 - Q1) of the step.

    `entropies` are each reply's mean (nats a token). Source: M-GRPO, samples dropped by interquartile range.
    """
    first, third = np.quantile(np.asarray(entropies, dtype=float), [0.25, 0.75])
    least = first - 1.5 * (third - first)
    return [None if entropy < least else r for r, entropy in zip(rewards, entropies, strict=True)]


def divided_by_side(
    rewards: Sequence[float | None], sides: Sequence[Hashable], group: int
) -> list[float | None]:
    """Return rewards divided by how far those of their side lie from the mean of their group, same order.

    So neither the entropy's nor the penalty's scale decides how loud the other is. `group` replies to one
    prompt stand together; a side whose rewards never differ in a group is left as it is.
    """
    centred: dict[Hashable, list[float]] = defaultdict(list)
    for start in range(0, len(rewards), group):
        given = [r for r in rewards[start : start + group] if r is not None]
        centred[sides[start]] += [r - sum(given) / len(given) for r in given]
    scales = {side: float(np.sqrt(np.mean(np.square(values)))) for side, values in centred.items() if values}
    return [None if r is None else r / (scales[s] or 1.0) for r, s in zip(rewards, sides, strict=True)]
