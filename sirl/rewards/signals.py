"""What a reply is worth by the model's own certainty: the method, and the controls that stand beside it.

Every reward is a function of what one scorer found at each token of a step's replies. For most the scorer is
the sampler, which records as it draws, so that they cost no forward pass; for self-certainty it is the policy,
which reads the replies again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Literal

import numpy as np

from sirl.errors import ConfigError, suggest

Rows = Sequence[Sequence[float]]
Scorer = Literal["sampler", "policy"]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a scorer found at the tokens of a step's replies: one row a reply, one number a token, in nats.

    `certainties` are `entropy.self_certainty`, empty where the scorer is the sampler. `seeds` are one stable
    number a reply.
    """

    entropies: Rows
    logprobs: Rows
    certainties: Rows
    seeds: Sequence[int]


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward: who scores the replies, and how scores become one number a reply.

    sampler   recorded while the policy drew
    policy    the policy, in a forward pass of its own
    """

    scorer: Scorer
    of: Callable[[Scored], list[float]]


def certainty(scored: Scored) -> list[float]:
    """Return minus the mean token entropy of each reply (nats a token); higher is more certain.

    Raises ValueError on a reply without tokens. Source: arXiv 2510.01088, eq. of the reward, r = -Hbar.
    """
    return [-_mean(row) for row in scored.entropies]


def uncertainty(scored: Scored) -> list[float]:
    """Return the mean token entropy of each reply (nats a token): the method turned round.

    Source: arXiv 2510.01088, ablation of the reward; it makes a model less safe.
    """
    return [_mean(row) for row in scored.entropies]


def chance(scored: Scored) -> list[float]:
    """Return a number in [0, 1) that depends on each reply's seed alone: training without a signal.

    Source: arXiv 2510.01088, ablation of the reward; it should change nothing but by drift.
    """
    return [float(np.random.default_rng(seed).random()) for seed in scored.seeds]


def constant(scored: Scored) -> list[float]:
    """Return 0 for each reply: no advantage at all, so that only the KL penalty is left."""
    return [0.0] * len(scored.entropies)


def likelihood(scored: Scored) -> list[float]:
    """Return the mean log-prob of each reply's own tokens (nats a token): the highest has least perplexity.

    Its expectation over replies is the entropy reward's, with more noise: it looks at the drawn token only.
    Source: arXiv 2510.01088, ablation of the reward.
    """
    return [_mean(row) for row in scored.logprobs]


def self_certainty(scored: Scored) -> list[float]:
    """Return the mean of logsumexp(z) - mean(z) over a reply's tokens (nats a token).

    Source: Intuitor (arXiv 2505.19590), the divergence of the uniform from the model's distribution, but for
    the constant ln V.
    """
    return [_mean(row) for row in scored.certainties]


def total_certainty(scored: Scored) -> list[float]:
    """Return minus the summed token entropy of each reply (nats): shorter is better, all else equal.

    Source: EM-RL (arXiv 2505.15134), the sequence-level entropy reward.
    """
    return [-fsum(row) for row in scored.entropies]


REWARDS: Mapping[str, Reward] = {
    "sirl": Reward("sampler", certainty),
    "inverted": Reward("sampler", uncertainty),
    "random": Reward("sampler", chance),
    "constant": Reward("sampler", constant),
    "min_perplexity": Reward("sampler", likelihood),
    "sum_entropy": Reward("sampler", total_certainty),
    "self_certainty": Reward("policy", self_certainty),
}


def find_reward(name: str) -> Reward:
    """Return the reward of that name. Raises ConfigError, with the nearest known names, if there is none."""
    if name not in REWARDS:
        raise ConfigError(f"reward {name!r}", "a known reward", suggest(name, REWARDS))
    return REWARDS[name]


def _mean(row: Sequence[float]) -> float:
    if not len(row):
        raise ValueError("a reply without tokens has no reward")
    return fsum(row) / len(row)
