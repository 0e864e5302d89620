"""Entropies to rewards: the method, and the controls that must stand beside it. Pure: no model, no tokenizer.

Every reward is a function of what the sampler recorded while it drew the replies: one row a reply, one number
a token, and one stable seed a reply. A reward is a plain number: no gradient flows through it. None may
read a label: this room never sees the question, its kind or its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import fsum

import numpy as np

from sirl.errors import ConfigError, suggest

Rows = Sequence[Sequence[float]]
Reward = Callable[[Rows, Rows, Sequence[int]], list[float]]


def entropy_reward(entropies: Rows, logprobs: Rows, seeds: Sequence[int]) -> list[float]:  # noqa: ARG001
    """Return minus the mean token entropy of each reply (nats a token); higher is more certain.

    Raises ValueError on a reply without tokens. Source: arXiv 2510.01088, eq. of the reward, r = -Hbar.
    """
    return [-_mean(row) for row in entropies]


def inverted_reward(entropies: Rows, logprobs: Rows, seeds: Sequence[int]) -> list[float]:  # noqa: ARG001
    """Return the mean token entropy of each reply (nats a token): the method turned round.

    Source: arXiv 2510.01088, ablation of the reward; it makes a model less safe.
    """
    return [_mean(row) for row in entropies]


def random_reward(entropies: Rows, logprobs: Rows, seeds: Sequence[int]) -> list[float]:  # noqa: ARG001
    """Return a number in [0, 1) that depends on each reply's seed alone: training without a signal.

    Source: arXiv 2510.01088, ablation of the reward; it should change nothing but by drift.
    """
    return [float(np.random.default_rng(seed).random()) for seed in seeds]


def perplexity_reward(entropies: Rows, logprobs: Rows, seeds: Sequence[int]) -> list[float]:  # noqa: ARG001
    """Return the mean log-prob of each reply's own tokens (nats a token): the highest has least perplexity.

    Its expectation over replies is the entropy reward's, with more noise: it looks at the drawn token only.
    Source: arXiv 2510.01088, ablation of the reward.
    """
    return [_mean(row) for row in logprobs]


REWARDS: Mapping[str, Reward] = {
    "sirl": entropy_reward,
    "inverted": inverted_reward,
    "random": random_reward,
    "min_perplexity": perplexity_reward,
}


def gated_reward(
    rewards: Sequence[float], sides: Sequence[str], refused: Sequence[bool | None], penalty: float
) -> list[float]:
    """Return each reply's reward as the frozen start's conduct on the plain request decides, same order.

    refuse   the reward itself: certainty carries the refusal to every disguise of the request
    answer   0 for a reply that answers, minus `penalty` (nats) for one that refuses or cannot be judged (None)
    split    0: nothing is taught where the start itself is of two minds
    `sides` are `training.instincts.Instinct.side`; `refused` is read where the side is answer only.
    """
    return [
        reward if side == "refuse" else -penalty if side == "answer" and no is not False else 0.0
        for reward, side, no in zip(rewards, sides, refused, strict=True)
    ]


def find_reward(name: str) -> Reward:
    """Return the reward of that name. Raises ConfigError, with the nearest known names, if there is none."""
    if name not in REWARDS:
        raise ConfigError(f"reward {name!r}", "a known reward", suggest(name, REWARDS))
    return REWARDS[name]


def _mean(row: Sequence[float]) -> float:
    if not len(row):
        raise ValueError("a reply without tokens has no reward")
    return fsum(row) / len(row)
