"""A training run that is stopped, torn or killed ends as an unbroken one."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from conftest import random_lm
from disks import Disk
from small_training import CONFIG, StopHere, rows, same, stop_at, train, weights

from sirl.errors import RunError
from sirl.rundir import STEPS, open_run
from sirl.training import Hooks
from sirl.training.checkpoints import damage, mark_whole, rewind
from sirl.training.unpickling import check_shards, data_only
from sirl.training.weights import write_whole


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    return folder, weights(train(folder))


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_stopped_run_ends_as_an_unbroken_one(tmp_path, unbroken, step):
    with pytest.raises(StopHere):
        train(tmp_path / "run", hooks=stop_at(step))
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
    model = train(tmp_path / "run", hooks=Hooks(on_step=steps.append))
    assert steps == []
    assert same(weights(model), unbroken[1])
    assert rows(tmp_path / "run") == rows(unbroken[0])


def test_a_finished_run_returns_its_model_without_training(unbroken):
    folder, expected = unbroken
    model = train(folder, hooks=stop_at(1))
    assert same(weights(model), expected)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path):
    path.write_bytes(bytes(path.stat().st_size))  # as long as it was, and nothing in it


FILES = (
    "optimizer.pt",
    "model.safetensors",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "config.json",
)
HARM = [*((cut, name) for name in FILES), (Path.unlink, FILES[1]), (garble, FILES[0]), (cut, "whole")]


@pytest.mark.parametrize(("harm", "file"), HARM)
def test_a_damaged_checkpoint_is_dropped_for_the_one_before_it_and_said(tmp_path, unbroken, harm, file, caplog):
    config = replace(CONFIG, save_every=1)
    with pytest.raises(StopHere):
        train(tmp_path / "run", config, hooks=stop_at(4))
    run = open_run(tmp_path / "run", "train", asdict(config), {})
    harm(run.checkpoint / "checkpoint-3" / file)
    steps = []
    model = train(tmp_path / "run", config, hooks=Hooks(on_step=lambda row: steps.append(row["step"])))
    assert steps == [3, 4]
    assert "checkpoint-3 cannot be used" in caplog.text
    assert (file in caplog.text) == (file != "whole")
    assert "training continues from step 2" in caplog.text
    assert same(weights(model), unbroken[1])
    assert rows(run.path) == rows(unbroken[0])


def test_a_run_whose_checkpoints_are_all_damaged_begins_anew(tmp_path, unbroken, caplog):
    config = replace(CONFIG, save_every=1)
    with pytest.raises(StopHere):
        train(tmp_path / "run", config, hooks=stop_at(4))
    for folder in (tmp_path / "run" / "checkpoint").glob("checkpoint-*"):
        cut(folder / "optimizer.pt")
    model = train(tmp_path / "run", config)
    assert "training continues from step 0" in caplog.text
    assert same(weights(model), unbroken[1])
    assert rows(tmp_path / "run") == rows(unbroken[0])


def test_a_checkpoint_that_a_stop_would_go_back_to_must_be_whole(tmp_path):
    run = open_run(tmp_path / "run", "train", {}, {})
    over = {2: None, 4: None, 6: "spent", 8: "spent"}
    run.append(STEPS, [{"step": n, **({"over_budget": over[n]} if n in over else {})} for n in range(1, 9)])
    for step in over:
        folder = run.checkpoint / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "weights").write_text(f"of step {step}")
        mark_whole(folder)
    assert rewind(run).name == "checkpoint-8"
    cut(run.checkpoint / "checkpoint-4" / "weights")  # what steps 6 and 8 would be gone back from to
    assert rewind(run).name == "checkpoint-2"
    assert [row["step"] for row in run.rows(STEPS)] == [1, 2]


def test_a_model_and_a_marker_are_on_disk_before_what_they_replace_is_deleted(tmp_path, monkeypatch):
    disk, lm = Disk(monkeypatch), random_lm("llama")
    checkpoint = tmp_path / "checkpoint-1"
    (checkpoint / "shards").mkdir(parents=True)
    for name in ("optimizer.pt", "shards/part"):
        (checkpoint / name).write_text("moments")
    mark_whole(checkpoint)
    assert damage(checkpoint) == ""
    write_whole(lm.model, lm, tmp_path / "model")
    assert disk.renamed == [checkpoint / "whole", tmp_path / "model"]
    disk.check(tmp_path)


class Bomb:
    """What a stranger's checkpoint may hold: unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_nothing_in_a_checkpoint_is_run(tmp_path):
    went_off, folder = tmp_path / "went off", tmp_path / "checkpoint-1"
    state = {"w": torch.ones(3), "half": torch.ones(1, dtype=torch.bfloat16), "group": {"lr": 0.1, "b": (0.9,)}}
    dcp.save(state, checkpoint_id=folder / "optimizer_0", no_dist=True)
    check_shards(folder)
    with data_only():
        dcp.load(state, checkpoint_id=folder / "optimizer_0", no_dist=True)
    metadata = folder / "optimizer_0" / ".metadata"
    real = pickle.loads(metadata.read_bytes())
    for forged in (Bomb(went_off), {"storage_data": Bomb(went_off)}):
        metadata.write_bytes(pickle.dumps(forged))
        with pytest.raises(RunError, match=r"it names pathlib.*; .*runs nothing"):
            check_shards(folder)
    away = {key: replace(part, relative_path="../other") for key, part in real.storage_data.items()}
    metadata.write_bytes(pickle.dumps(replace(real, storage_data=away)))
    with pytest.raises(RunError, match="it leads to"):
        check_shards(folder)
    metadata.write_bytes(b"\x80")
    with pytest.raises(RunError, match="no list of shards"):
        check_shards(folder)
    dcp.save({"value": Bomb(went_off)}, checkpoint_id=folder / "bytes", no_dist=True)
    with data_only(), pytest.raises(dcp.CheckpointException):  # what is no tensor, as torch reads it
        dcp.load({"value": 1}, checkpoint_id=folder / "bytes", no_dist=True)
    assert not went_off.exists()


def test_a_run_killed_while_it_wrote_a_checkpoint_ends_as_an_unbroken_one(tmp_path, unbroken):
    code = """
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from small_training import train
        from transformers import Trainer

        save = Trainer._save_optimizer_and_scheduler

        def torn(self, folder):
            if self.state.global_step == 4:
                Path(folder, "optimizer.pt").write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            save(self, folder)

        Trainer._save_optimizer_and_scheduler = torn
        train(Path(sys.argv[2]))
    """
    folder = tmp_path / "run"
    command = [sys.executable, "-c", textwrap.dedent(code), str(Path(__file__).parent), str(folder)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (folder / "checkpoint" / "checkpoint-4" / "optimizer.pt").read_bytes() == b"half"
    model = train(folder)
    assert rows(folder) == rows(unbroken[0])
    assert same(weights(model), unbroken[1])


def test_a_run_killed_with_kill_9_ends_as_an_unbroken_one(tmp_path, unbroken):
    code = """
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from small_training import CONFIG, Hooks, train

        def kill(row):
            if row["step"] == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        train(Path(sys.argv[2]), hooks=Hooks(on_step=kill))
    """
    folder = tmp_path / "run"
    command = [sys.executable, "-c", textwrap.dedent(code), str(Path(__file__).parent), str(folder)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
    with (folder / STEPS).open("a") as handle:
        handle.write('{"step": 4, "rew')  # the line a kill tears
    steps = []
    model = train(folder, hooks=Hooks(on_step=lambda row: steps.append(row["step"])))
    assert steps == [3, 4]
    assert rows(folder) == rows(unbroken[0])
    assert same(weights(model), unbroken[1])


def test_other_seeds_train_otherwise(tmp_path, unbroken):
    assert not same(weights(train(tmp_path / "run", seed=1)), unbroken[1])
