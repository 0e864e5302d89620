"""Signals and guards on groups computed by hand."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch

from sirl import rewards
from sirl.entropy import self_certainty
from sirl.errors import ConfigError
from sirl.rewards import REWARDS, Scored, find_reward

SCORED = Scored(
    entropies=[[1.0, 3.0], [0.5], [0.0, 0.0, 0.3]],
    logprobs=[[-1.0, -2.0], [-0.25], [0.0, -3.0, 0.0]],
    certainties=[[2.0, 4.0], [1.0], [5.0, 5.0, 2.0]],
    seeds=[7, 8, 7],
)
BY_HAND = {
    "sirl": [-2.0, -0.5, -0.1],
    "inverted": [2.0, 0.5, 0.1],
    "min_perplexity": [-1.5, -0.25, -1.0],
    "constant": [0.0, 0.0, 0.0],
    "sum_entropy": [-4.0, -0.5, -0.3],
    "self_certainty": [3.0, 1.0, 4.0],
}


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_each_reward_by_hand(name):
    assert find_reward(name).of(SCORED) == pytest.approx(BY_HAND[name])


def test_each_reward_is_tested_by_hand_and_names_its_scorer():
    assert set(REWARDS) == {*BY_HAND, "random"}
    others = {name: reward.scorer for name, reward in REWARDS.items() if reward.scorer != "sampler"}
    assert others == {"self_certainty": "policy"}


def test_random_reward_depends_on_the_seed_alone():
    first, second, third = find_reward("random").of(SCORED)
    assert first == third != second
    assert all(0 <= value < 1 for value in (first, second))
    assert find_reward("random").of(Scored([[9.0]], [[-9.0]], [()], [8])) == [second]


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_rewards_are_plain_floats_in_order_and_leave_their_input_alone(name):
    columns = {
        key: [list(row) for row in getattr(SCORED, key)] for key in ("entropies", "logprobs", "certainties")
    }
    given = Scored(**columns, seeds=SCORED.seeds)
    made = REWARDS[name].of(given)
    assert [type(value) for value in made] == [float] * 3
    assert given == SCORED
    backwards = Scored(
        *(list(getattr(SCORED, f))[::-1] for f in ("entropies", "logprobs", "certainties", "seeds"))
    )
    assert REWARDS[name].of(backwards) == made[::-1]


@pytest.mark.parametrize("make", [np.array, torch.tensor, tuple])
def test_rows_may_be_arrays_tensors_or_tuples(make):
    assert REWARDS["sirl"].of(replace(SCORED, entropies=[make([1.0, 3.0])])) == [-2.0]


def test_a_reply_without_tokens_has_no_reward():
    with pytest.raises(ValueError, match="without tokens"):
        REWARDS["sirl"].of(replace(SCORED, entropies=[[]]))


def test_unknown_reward_suggests_the_nearest():
    with pytest.raises(ConfigError, match=r"did you mean inverted or .*known: constant, inverted, "):
        find_reward("invert")


def test_self_certainty_by_hand():
    logits_NV = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, -torch.inf], [2.0, 0.0, 0.0]])
    expected = [log(3), log(2), log(np.exp(2) + 2) - 2 / 3]  # equal; an impossible token; a peak
    assert self_certainty(logits_NV).tolist() == pytest.approx(expected)


# --- repetition


@pytest.mark.parametrize(
    ("ids", "share"),
    [
        (list(range(12)), 0.0),
        ([5, 6, 7, 8] * 3, 5 / 9),  # 9 phrases, 4 of them new
        ([5, 6, 7, 8, 5, 6, 7, 8], 1 / 5),
        ([1, 2, 3], 0.0),  # too short for a phrase
    ],
)
def test_repetition_by_hand(ids, share):
    assert rewards.repetition(ids) == pytest.approx(share)


# --- scaling


def test_each_side_is_divided_by_its_own_spread():
    given = [-0.1, -0.3, -1.0, 0.0, 0.0, 0.0, -2.0, -2.0]
    sides = ["refuse"] * 2 + ["answer"] * 2 + ["split"] * 2 + ["refuse"] * 2
    # refuse: deviations .1, -.1, 0 and 0: rms .1 sqrt(1/2); answer: -.5, .5: rms .5
    scale = 0.1 * 0.5**0.5
    expected = [-0.1 / scale, -0.3 / scale, -2.0, 0.0, 0.0, 0.0, -2.0 / scale, -2.0 / scale]
    assert rewards.divided_by_side(given, sides, 2) == pytest.approx(expected)
