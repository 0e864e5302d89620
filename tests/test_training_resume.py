"""A training run that is stopped, torn or killed ends as an unbroken one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from small_training import CONFIG, StopHere, rows, same, stop_at, train, weights

from sirl.rundir import STEPS, open_run
from sirl.training import Watch
from sirl.training.checkpoints import rewind


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    return folder, weights(train(folder))


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_stopped_run_ends_as_an_unbroken_one(tmp_path, unbroken, step):
    with pytest.raises(StopHere):
        train(tmp_path / "run", watch=stop_at(step))
    assert len(rows(tmp_path / "run")) == step
    model = train(tmp_path / "run")
    assert same(weights(model), unbroken[1])
    assert rows(tmp_path / "run") == rows(unbroken[0])


def test_a_run_stopped_before_its_model_was_saved_only_saves_it(tmp_path, unbroken, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sirl.training.hardening.write_whole", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(tmp_path / "run")
    steps = []
    model = train(tmp_path / "run", watch=Watch(on_step=steps.append))
    assert steps == []
    assert same(weights(model), unbroken[1])
    assert rows(tmp_path / "run") == rows(unbroken[0])


def test_a_finished_run_returns_its_model_without_training(unbroken):
    folder, expected = unbroken
    model = train(folder, watch=stop_at(1))
    assert same(weights(model), expected)


def test_a_torn_checkpoint_is_dropped_for_the_one_before_it(tmp_path, unbroken):
    config = replace(CONFIG, save_every=1)
    with pytest.raises(StopHere):
        train(tmp_path / "run", config, watch=stop_at(4))
    run = open_run(tmp_path / "run", "train", asdict(config), {})
    torn = run.checkpoint / "checkpoint-3"
    (torn / "whole").unlink()
    (torn / "optimizer.pt").unlink()
    assert rewind(run) == run.checkpoint / "checkpoint-2"
    assert not torn.exists()
    assert [row["step"] for row in rows(run.path)] == [1, 2]
    model = train(tmp_path / "run", config)
    assert same(weights(model), unbroken[1])
    assert rows(run.path) == rows(unbroken[0])


def test_a_run_killed_with_kill_9_ends_as_an_unbroken_one(tmp_path, unbroken):
    code = """
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from small_training import CONFIG, Watch, train

        def kill(row):
            if row["step"] == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        train(Path(sys.argv[2]), watch=Watch(on_step=kill))
    """
    folder = tmp_path / "run"
    command = [sys.executable, "-c", textwrap.dedent(code), str(Path(__file__).parent), str(folder)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
    with (folder / STEPS).open("a") as handle:
        handle.write('{"step": 4, "rew')  # the line a kill tears
    steps = []
    model = train(folder, watch=Watch(on_step=lambda row: steps.append(row["step"])))
    assert steps == [3, 4]
    assert rows(folder) == rows(unbroken[0])
    assert same(weights(model), unbroken[1])


def test_other_seeds_train_otherwise(tmp_path, unbroken):
    assert not same(weights(train(tmp_path / "run", seed=1)), unbroken[1])
