"""A reward whose scorer is not the sampler: the policy reads its replies again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_training import CONFIG, train

from sirl.config.train import RewardConfig
from sirl.scoring import certainties
from sirl.training import rewarding, rollout


def test_self_certainty_is_read_by_the_policy_and_leaves_what_was_recorded(tmp_path, monkeypatch):
    read, scored = [], []
    spy = lambda *given: read.append(list(certainties(*given))) or read[-1]  # noqa: E731
    monkeypatch.setattr(rollout, "certainties", spy)
    real = rewarding.Scored
    monkeypatch.setattr(rewarding, "Scored", lambda **given: scored.append(real(**given)) or scored[-1])
    train(tmp_path / "run", replace(CONFIG, steps=1, reward=RewardConfig("self_certainty")))
    (rows,), (seen,) = read, scored
    assert [len(row) for row in rows] == [len(row) for row in seen.entropies]
    for row, own in zip(rows, seen.certainties, strict=True):
        assert list(own) == pytest.approx(row.tolist())
