"""Scores to rewards: the method, the controls that must stand beside it, and the gate. Pure.

A reward is a plain number a reply: no gradient flows through it. Nothing here may read a label: this room
never sees the question, its kind or its answer.
"""

from sirl.rewards.gate import (
    Consistency,
    Side,
    gated_reward,
    propensity_cut,
    sides_by_propensity,
)
from sirl.rewards.repetition import LOOPING, loops, repetition
from sirl.rewards.scaling import divided_by_side
from sirl.rewards.signals import REWARDS, Reward, Scored, Scorer, find_reward

__all__ = [
    "LOOPING",
    "REWARDS",
    "Consistency",
    "Reward",
    "Scored",
    "Scorer",
    "Side",
    "divided_by_side",
    "find_reward",
    "gated_reward",
    "loops",
    "propensity_cut",
    "repetition",
    "sides_by_propensity",
]
