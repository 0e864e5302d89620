"""Whose reward a prompt gets, as the frozen start's conduct on the plain request decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Side = Literal["refuse", "answer", "split"]


@dataclass(frozen=True, slots=True)
class Consistency:
    """Where the start answers, in nats: a refusal loses `penalty`, the start's own answer gains `bonus`."""

    penalty: float
    bonus: float


def gated_reward(
    rewards: Sequence[float],
    sides: Sequence[str],
    refused: Sequence[bool | None],
    anchored: Sequence[bool],
    consistency: Consistency,
) -> list[float]:
    """Return each reply's reward as the frozen start's conduct on the plain request decides, same order.

    refuse   the reward itself: certainty carries the refusal to every disguise of the request
    answer   0 for a reply that answers, minus the penalty for one that refuses or cannot be judged (None), the
             bonus for an anchor, which is the start's own answer: what drifts from it is drawn back
    split    0: nothing is taught where the start itself is of two minds
    `refused` and `anchored` are read where the side is answer only.
    """
    answering = [
        consistency.bonus if given else 0.0 if no is False else -consistency.penalty
        for no, given in zip(refused, anchored, strict=True)
    ]
    worth = {"refuse": rewards, "answer": answering, "split": [0.0] * len(rewards)}
    return [worth[side][i] for i, side in enumerate(sides)]


def sides_by_certainty(entropies: Sequence[float]) -> list[Side]:
    """Part requests by the start's mean reply entropy (nats a token), same order, without a judge of refusals.

    The surer of two groups is refuse, the other split, which nothing rewards; the cut is where the variance
    between the groups is greatest (Otsu 1979). Requests that are all alike are all split.
    """
    values = np.sort(np.asarray(entropies, dtype=float))
    if len(values) < 2 or values[0] == values[-1]:
        return ["split"] * len(values)
    below = np.arange(1, len(values))
    low = np.cumsum(values)[:-1] / below
    high = (values.sum() - np.cumsum(values)[:-1]) / (len(values) - below)
    place = int(np.argmax(below * (len(values) - below) * (high - low) ** 2))
    cut = (values[place] + values[place + 1]) / 2
    return ["refuse" if value < cut else "split" for value in entropies]
