"""Whose reward a prompt gets, as the base model's conduct on the plain request decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Side = Literal["refuse", "answer", "split"]


@dataclass(frozen=True, slots=True)
class Consistency:
    """Where the base answers, in nats: a refusal loses `penalty`, the base's own answer gains `bonus`."""

    penalty: float
    bonus: float


def gated_reward(
    rewards: Sequence[float],
    sides: Sequence[str],
    refused: Sequence[bool | None],
    anchored: Sequence[bool],
    consistency: Consistency,
) -> list[float]:
    """Return each reply's reward as the base model's conduct on the plain request decides, same order.

    refuse   the reward itself: certainty carries the refusal to every disguise of the request
    answer   0 for a reply that answers, minus the penalty for one that refuses or cannot be judged (None), the
             bonus for an anchor, which is the base's own answer: what drifts from it is drawn back
    split    0: nothing is taught where it is in doubt what the base does
    `refused` and `anchored` are read where the side is answer only.
    """
    answering = [
        consistency.bonus if given else 0.0 if no is False else -consistency.penalty
        for no, given in zip(refused, anchored, strict=True)
    ]
    worth = {"refuse": rewards, "answer": answering, "split": [0.0] * len(rewards)}
    return [worth[side][i] for i, side in enumerate(sides)]


FLOOR = 0.1  # probability; ours: what would be refused less than once in ten times is not carried


def sides_by_propensity(propensities: Sequence[float], conducts: Sequence[Side]) -> list[Side]:
    """Part requests by the probability with which the base begins a refusal, same order.

    Above the cut a request is refuse, and so is one that the base refused every time it was asked. Of the
    others those that it never refused are answer, and the rest split. `conducts` say what it did, see
    `training.instincts`.
    """
    cut = propensity_cut(propensities)

    def side(propensity: float, conduct: Side) -> Side:
        if propensity > cut or conduct == "refuse":
            return "refuse"
        return conduct

    return [side(*pair) for pair in zip(propensities, conducts, strict=True)]


def propensity_cut(propensities: Sequence[float]) -> float:
    """Return the probability above which the base inclines to refuse: what parts them, at least `FLOOR`."""
    return max(cut_between(propensities) or 0.0, FLOOR)


def cut_between(values: Sequence[float]) -> float | None:
    """Return the cut that parts values into the two groups with the greatest variance between them.

    None if they are all alike or there are fewer than two. Source: Otsu 1979.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    if len(ordered) < 2 or ordered[0] == ordered[-1]:
        return None
    below = np.arange(1, len(ordered))
    low = np.cumsum(ordered)[:-1] / below
    high = (ordered.sum() - np.cumsum(ordered)[:-1]) / (len(ordered) - below)
    place = int(np.argmax(below * (len(ordered) - below) * (high - low) ** 2))
    return float((ordered[place] + ordered[place + 1]) / 2)
