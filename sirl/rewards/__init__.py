"""Scores to rewards: the method, the controls that must stand beside it, the gate and the guards. Pure.

A reward is a plain number a reply: no gradient flows through it. None means that the reply takes no part in
its step: it has no advantage, and its siblings are measured without it. Nothing here may read a label: this
room never sees the question, its kind or its answer.
"""

from sirl.rewards.gate import Consistency, Side, gated_reward, sides_by_certainty
from sirl.rewards.guards import (
    divided_by_side,
    floored,
    is_degenerate,
    repetition,
    without_flat,
    without_outliers,
)
from sirl.rewards.signals import REWARDS, Reward, Scored, Scorer, find_reward

__all__ = [
    "REWARDS",
    "Consistency",
    "Reward",
    "Scored",
    "Scorer",
    "Side",
    "divided_by_side",
    "find_reward",
    "floored",
    "gated_reward",
    "is_degenerate",
    "repetition",
    "sides_by_certainty",
    "without_flat",
    "without_outliers",
]
