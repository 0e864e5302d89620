"""Nothing takes long in silence: phases say that they begin, how far they are and what is left."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import time

import pytest
from rich.console import Console

from sirl.cli import progress
from sirl.cli.progress import phase
from sirl.phases import showing
from sirl.training.progress import stepping

SETTINGS = (
    *("--set", "train.steps=2", "--set", "train.prompts_per_step=32", "--set", "train.micro_batch=16"),
    *("--set", "train.max_reply_tokens=16", "--set", "train.save_every=1", "--set", "train.search.prompts=1"),
    *("--set", "train.search.budget=1"),
    *("--set", "gap.max_reply_tokens=16", "--set", "train.max_prompt_tokens=220"),
)


@pytest.fixture
def told(monkeypatch, caplog):
    """The lines of the logger, with one every twentieth of a second."""
    monkeypatch.setattr(progress, "EVERY", 0.05)
    caplog.set_level(logging.INFO, logger="sirl")
    with showing(phase):
        yield lambda: [record.message for record in caplog.records]


def test_a_phase_tells_how_far_it_is_and_what_is_left(told):
    with phase("ask") as advance:
        time.sleep(0.12)
        advance(30, 120, "replies")
        time.sleep(0.12)
    lines = told()
    assert lines[0] == "ask"
    assert lines[1] == "ask: 0 s so far"  # nothing is done yet, and it is not silent
    assert lines[-1].startswith("ask: 30 of 120, replies, ")
    assert lines[-1].endswith(" left")
    time.sleep(0.12)
    assert told() == lines  # it is over


def test_what_a_phase_begins_with_says_nothing_of_its_pace(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    with phase("train") as advance:
        (outer,) = progress._open
        with phase("ask"):
            now[0] = 300.0
        now[0] = 310.0
        advance(1, 11, "")
        assert outer.line() == "train: 1 of 11, 5 min 10 s so far, about 1 min 40 s left"


def test_the_innermost_phase_speaks(told):
    with stepping(4) as on_step:
        on_step({"step": 1, "reward": -0.5, "benign_probe": None})
        with phase("ask held-out prompts"):
            time.sleep(0.12)
        time.sleep(0.12)
    lines = told()
    assert lines[:2] == ["train", "ask held-out prompts"]
    inner = [line.startswith("ask held-out prompts: ") for line in lines[2:]]
    assert inner == sorted(inner, reverse=True)
    assert inner[0]
    assert lines[-1].startswith("train: 1 of 4, reward -0.5, ")


def test_a_phase_that_fails_is_over(told):
    with pytest.raises(ZeroDivisionError), phase("ask"):
        1 / 0  # noqa: B018
    time.sleep(0.12)
    assert told() == ["ask"]


def test_on_a_terminal_there_are_bars_and_no_lines(told, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(progress, "Console", lambda **_: Console(stderr=True, force_terminal=True, width=120))
    with phase("ask") as advance, phase("within"):
        advance(30, 120, "replies")
        time.sleep(0.12)
    assert told() == []
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "30/120" in shown.err
    assert "replies" in shown.err


@pytest.mark.slow
def test_training_without_a_terminal_is_never_silent_and_stdout_is_the_summarys(tmp_path):
    command = [sys.executable, "-m", "sirl", "--every", "0.5", "train", "organism:llama", *SETTINGS]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--out", tmp_path / "run"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2
    lines = done.stderr.splitlines()
    for begun in (
        *("load organism:llama", "read the prompts", "check the settings", "hash the weights"),
        *("check the base model", "ask the base model", "train"),
        *("ask held-out prompts", "search before step 1", "save the model"),
    ):
        assert begun in lines, done.stderr
    assert any(line.startswith("check the base model: ") and line.endswith(" left") for line in lines)
    assert any("prompts are left out: longer than train.max_prompt_tokens = 220" in line for line in lines)
    assert any("prompts are taught: " in line for line in lines)


def test_a_name_in_brackets_is_a_name():
    bars = progress._columns()
    bars.add_task("load [/x]", total=2, note="[red]mine[/blue]")
    shown = io.StringIO()
    Console(file=shown, width=200).print(bars.get_renderable())
    assert "load [/x]" in shown.getvalue()
    assert "[red]mine[/blue]" in shown.getvalue()
