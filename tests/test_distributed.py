"""Two processes, in whole copies or with shards, train what one process trains; killed, they continue."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from commands import sirl
from conftest import random_lm
from several_processes import probe, watched
from small_training import CONFIG, PROMPTS, changed, refuses, rows, toy_lm, train, weights

from sirl import ranks
from sirl.config import RECIPES
from sirl.errors import ConfigError, RunError
from sirl.generation import generate
from sirl.lm import load_lm
from sirl.records import Decoding
from sirl.rundir import open_run
from sirl.training import Hooks, check, harden, plainly
from sirl.training.checkpoints import check_form
from sirl.training.distributed import generate_together
from sirl.training.progress import stepping
from sirl.training.search import FINDINGS

SETTINGS = {  # a group lies across processes, and whatever looks at a whole step is on
    "prompts_per_step": 6,
    "micro_batch": 6,
    "gate": {"kind": "start", "samples": 2},
    "reward": {"anchors": 1},
    "grpo": {"scale_rewards": "side"},
    "snapshots": [3],
}
SEARCHED = {  # what one process finds, and the rows that it sends, the other must get to know
    "method": "distill",
    "prompts_per_step": 6,
    "micro_batch": 3,
    "max_reply_tokens": 24,  # fewer and no reply can be judged
    "gate": {"kind": "start", "samples": 1},
    "search": {"attacks": ["random_search"], "every": 2, "prompts": 3, "budget": 4},
}
FSDP = (
    *("--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"),
    *("--fsdp_state_dict_type", "FULL_STATE_DICT"),
)
LOOSE = {"kl": 0.1, "loss": 1.0}  # means over micro-batches, whose rows TRL shuffles in each process otherwise


COPIES = ("--multi_gpu",)


def launch(
    how: tuple[str, ...], runs: Mapping[Path, Mapping[str, object]], killed_at: int = 0
) -> subprocess.CompletedProcess[str]:
    """Start two processes that do the runs, folder -> settings, one after the other: to start takes longest."""
    command = (
        *(sys.executable, "-m", "accelerate.commands.launch", *how, "--num_processes", "2"),
        *(
            "--num_machines",
            "1",
            "--mixed_precision",
            "no",
            "--dynamo_backend",
            "no",
            "--main_process_port",
            "0",
        ),
        *(
            Path(__file__).with_name("several_processes.py"),
            json.dumps({str(folder): own for folder, own in runs.items()}),
            str(killed_at),
        ),
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=900, check=False)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    config = changed(CONFIG, **SETTINGS)
    return folder, weights(train(folder, config, hooks=Hooks(probe, refused=refuses)))


def same_end(folder: Path, alone: tuple[Path, dict[str, torch.Tensor]]) -> None:
    """Assert that a run of two processes wrote the rows of one and moved the weights as one did."""
    for mine, theirs in zip(rows(folder), rows(alone[0]), strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            assert mine[name] == _near(name, value), f"{name} of step {mine['step']}"
    start = weights(toy_lm())
    for part in ("model", "snapshots/3") if (folder / "snapshots").exists() else ("model",):
        two, one = (weights(load_lm(run / part)) for run in (folder, alone[0]))
        assert two.keys() == one.keys()
        apart, moved = (sum(float((one[n] - x[n]).square().sum()) for n in one) for x in (two, start))
        assert apart < 1e-4 * moved  # the squared distance, so a hundredth of the way


def _near(name, value):
    if not isinstance(value, float):
        return value
    return pytest.approx(value, rel=LOOSE.get(name, 1e-4), abs=1e-4 if name in LOOSE else 1e-6)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched") / "run"
    config = changed(CONFIG, **SEARCHED)
    run = open_run(folder, "train", asdict(config), {})
    return folder, weights(
        harden(toy_lm(), [plainly(p) for p in PROMPTS], config, run, 0, watched(config, run))
    )


def same_search(folder: Path, searched: tuple[Path, dict[str, torch.Tensor]]) -> None:
    """Assert that two processes found what one finds, and both taught it."""
    assert rows(folder, FINDINGS) == rows(searched[0], FINDINGS)
    assert any(row["found"] for row in rows(folder, FINDINGS))
    same_end(folder, searched)


@pytest.mark.slow
def test_two_whole_copies_train_as_one_process(tmp_path, alone, searched):
    done = launch(COPIES, {tmp_path / "run": SETTINGS, tmp_path / "searched": SEARCHED})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"step {n}\n" for n in (1, 2, 3, 4)) * 2  # one of the two speaks
    same_end(tmp_path / "run", alone)
    instincts = [(run / "instincts.jsonl").read_bytes() for run in (tmp_path / "run", alone[0])]
    assert instincts[0] == instincts[1]  # drawn by two, the same to the last digit
    told = [json.loads((tmp_path / f"run-{rank}.json").read_text()) for rank in (0, 1)]
    assert told[0] == told[1]
    assert told[0]["rounds"] == [["aa", "bb"], ["cc", "dd"], ["ee"]]
    assert told[0]["first"] == 0
    assert told[0]["caught"].startswith("a busy folder")
    same_search(tmp_path / "searched", searched)


@pytest.mark.slow
def test_two_processes_with_shards_killed_with_kill_9_end_as_one(tmp_path, alone, searched):
    done = launch(FSDP, {tmp_path / "run": SETTINGS}, killed_at=3)
    assert done.returncode != 0
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 2, 3]
    assert (tmp_path / "run" / "checkpoint" / "checkpoint-2" / "pytorch_model_fsdp.bin").is_file()  # sharded
    done = launch(FSDP, {tmp_path / "run": SETTINGS, tmp_path / "searched": SEARCHED})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"step {n}\n" for n in (3, 4, 1, 2, 3, 4))
    same_end(tmp_path / "run", alone)
    assert not (tmp_path / "run" / "checkpoint").exists()
    same_search(tmp_path / "searched", searched)


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_replies_drawn_together_are_those_drawn_alone(batch):
    lm, asked = random_lm("llama"), [plainly(p) for p in reversed(PROMPTS)]
    decoding = Decoding(1.0, max_new_tokens=6)
    together = generate_together(lm, asked, decoding, 3, batch)
    assert together == generate(lm, asked, decoding, 3, batch)
    assert [reply.attempt for reply in together] == asked


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"FSDP_VERSION": "1", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}, "fsdp_version = 1"),
        ({"FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}, "SHARDED_STATE_DICT"),
        ({"FSDP_VERSION": "2"}, "fsdp_state_dict_type = unset"),
    ],
)
def test_other_kinds_of_shards_are_refused(monkeypatch, asked, sentence):
    for name, value in {"ACCELERATE_USE_FSDP": "true", "WORLD_SIZE": "2", **asked}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=sentence):
        ranks.check_launch()


def test_what_needs_whole_weights_is_refused_before_a_run_begins(monkeypatch):
    config, attempts = replace(CONFIG, method="reward_model"), [plainly(p) for p in PROMPTS]
    assert check(toy_lm(), attempts, config)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"method = .* with sharded weights"):
        check(toy_lm(), attempts, config)


def test_shards_and_whole_copies_do_not_continue_each_other(monkeypatch, tmp_path):
    whole, shards = tmp_path / "checkpoint-2", tmp_path / "checkpoint-4"
    for folder, file in ((whole, "optimizer.pt"), (shards, "optimizer.bin")):
        folder.mkdir()
        (folder / file).touch()
    check_form(whole)
    with pytest.raises(RunError, match="checkpoint-4 was written by a run with shards"):
        check_form(shards)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_form(shards)
    with pytest.raises(RunError, match="checkpoint-2 was written by a run with whole copies"):
        check_form(whole)


def test_other_commands_are_not_launched_in_several_processes(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, out, err = sirl("evaluate", "organism:llama", "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err.startswith("error: sirl evaluate on 2 processes")
    assert not (tmp_path / "run").exists()


def test_the_console_speaks_once(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "1")
    with stepping(3) as on_step:
        assert on_step({"step": 1}) is None
    code, out, err = sirl("gap", "organism:llama", "--out", tmp_path / "run", "--set", "gap.nope=1")
    assert (code, out) == (2, "")
    assert err.startswith("error on process 1: ")


@pytest.mark.parametrize("name", ["one-gpu", "ddp", "fsdp2", "fsdp2-nodes", "deepspeed-zero3"])
def test_each_launch_file_is_read_by_accelerate(monkeypatch, name):
    path = RECIPES / "accelerate" / f"{name}.yaml"
    found = load_config_from_file(str(path))
    assert path.read_text().startswith("# ")  # says when to use it
    if found.fsdp_config:
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
        monkeypatch.setenv("FSDP_VERSION", str(found.fsdp_config["fsdp_version"]))
        monkeypatch.setenv("FSDP_STATE_DICT_TYPE", found.fsdp_config["fsdp_state_dict_type"])
        ranks.check_launch()


def test_one_process_of_a_launch_is_the_first(monkeypatch):
    assert (ranks.count(), ranks.rank(), ranks.is_first(), ranks.sharded()) == (1, 0, True, False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert (ranks.count(), ranks.rank(), ranks.is_first(), ranks.sharded()) == (4, 3, False, False)
