"""Rewards whose scorer is not the sampler: the start, the policy, a moving average of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_training import CONFIG, StopHere, rows, same, stop_at, toy_lm, train, weights

from sirl.generation import Draw
from sirl.scoring import certainties, teacher_forced
from sirl.training import rollout
from sirl.training.average import DECAY
from sirl.training.scorers import rescored

DRAWS = [
    Draw((5, 6, 7), (8, 9, 3), (0.1, 0.2, 0.3), (-0.1, -0.2, -0.3), True),
    Draw((5,), (4, 3), (0.5, 0.6), (-0.5, -0.6), True),
]


def other_lm():
    lm = toy_lm()
    with torch.no_grad():
        for weight in lm.model.parameters():
            weight.mul_(1.5)
    return lm


def forced(lm):
    return list(teacher_forced(lm, [d.prompt_ids for d in DRAWS], [d.token_ids for d in DRAWS]))


def test_the_start_scores_what_the_policy_drew_and_anchors_keep_what_was_recorded():
    policy, start = other_lm(), toy_lm()
    found = rescored("start", DRAWS, [False, True], policy, start, None)
    assert found["scored_entropies"][0] == pytest.approx(forced(start)[0][0].tolist())
    assert found["scored_entropies"][0] != pytest.approx(forced(policy)[0][0].tolist(), abs=1e-3)
    assert found["scored_entropies"][1] == (0.5, 0.6)
    assert found["scored_logprobs"][1] == (-0.5, -0.6)


def test_the_sampler_and_the_policy_leave_what_was_recorded():
    policy = other_lm()
    recorded = rescored("sampler", DRAWS, [False, False], policy, toy_lm(), None)
    assert recorded["scored_entropies"] == [d.entropies for d in DRAWS]
    found = rescored("policy", DRAWS, [False, False], policy, toy_lm(), None)
    expected = certainties(policy, [d.prompt_ids for d in DRAWS], [d.token_ids for d in DRAWS])
    assert found["scored_certainties"] == [c.tolist() for c in expected]
    assert found["scored_entropies"] == recorded["scored_entropies"]


@pytest.mark.parametrize("rank", [0, 4])
def test_the_average_moves_slowly_scores_and_gives_the_policy_its_weights_back(tmp_path, monkeypatch, rank):
    seen = []
    real = rollout.rescored

    def spy(scorer, draws, anchored, policy, start, average):
        before = {n: w.detach().clone() for n, w in policy.model.named_parameters() if w.requires_grad}
        found = real(scorer, draws, anchored, policy, start, average)
        after = {n: w.detach() for n, w in policy.model.named_parameters() if w.requires_grad}
        assert same(before, after)
        seen.append((before, {n: w.clone() for n, w in average.weights.items()}))
        return found

    monkeypatch.setattr(rollout, "rescored", spy)
    train(tmp_path / "run", replace(CONFIG, steps=3, reward="ema_entropy", lora_rank=rank, learning_rate=1e-2))
    (first, average), (second, moved), _ = seen
    assert same(first, average)
    for name, weight in moved.items():
        torch.testing.assert_close(weight, DECAY * average[name] + (1 - DECAY) * second[name])
    assert any(not torch.equal(second[n], moved[n]) for n in moved)


def test_a_run_scored_by_its_average_continues_with_the_same_average(tmp_path):
    config = replace(CONFIG, reward="ema_entropy", learning_rate=1e-2)
    whole = weights(train(tmp_path / "whole", config))
    with pytest.raises(StopHere):
        train(tmp_path / "cut", config, watch=stop_at(3))
    assert same(weights(train(tmp_path / "cut", config)), whole)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
