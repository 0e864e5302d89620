from __future__ import annotations

import numpy as np
import pytest
import torch

from sirl.errors import ConfigError
from sirl.rewards import REWARDS, find_reward

ENTROPIES = [[1.0, 3.0], [0.5], [0.0, 0.0, 0.3]]
LOGPROBS = [[-1.0, -2.0], [-0.25], [0.0, -3.0, 0.0]]
SEEDS = [7, 8, 7]


def test_each_reward_by_hand():
    assert find_reward("sirl")(ENTROPIES, LOGPROBS, SEEDS) == pytest.approx([-2.0, -0.5, -0.1])
    assert find_reward("inverted")(ENTROPIES, LOGPROBS, SEEDS) == pytest.approx([2.0, 0.5, 0.1])
    assert find_reward("min_perplexity")(ENTROPIES, LOGPROBS, SEEDS) == pytest.approx([-1.5, -0.25, -1.0])


def test_random_reward_depends_on_the_seed_alone():
    first, second, third = find_reward("random")(ENTROPIES, LOGPROBS, SEEDS)
    assert first == third != second
    assert all(0 <= value < 1 for value in (first, second))
    assert find_reward("random")([[9.0]], [[-9.0]], [8]) == [second]


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_rewards_are_plain_floats_in_order_and_leave_their_input_alone(name):
    entropies, logprobs = [row[:] for row in ENTROPIES], [row[:] for row in LOGPROBS]
    rewards = REWARDS[name](entropies, logprobs, SEEDS)
    assert [type(value) for value in rewards] == [float] * 3
    assert (entropies, logprobs) == (ENTROPIES, LOGPROBS)
    backwards = REWARDS[name](entropies[::-1], logprobs[::-1], SEEDS[::-1])
    assert backwards == rewards[::-1]


@pytest.mark.parametrize("make", [np.array, torch.tensor, tuple])
def test_rows_may_be_arrays_tensors_or_tuples(make):
    assert REWARDS["sirl"]([make([1.0, 3.0])], [make([-1.0, -2.0])], [0]) == [-2.0]


def test_a_reply_without_tokens_has_no_reward():
    with pytest.raises(ValueError, match="without tokens"):
        REWARDS["sirl"]([[]], [[]], [0])


def test_unknown_reward_suggests_the_nearest():
    with pytest.raises(
        ConfigError, match=r"did you mean inverted or .*known: inverted, min_perplexity, random, sirl"
    ):
        find_reward("invert")
