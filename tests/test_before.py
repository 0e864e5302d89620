"""Runs from when [train] was one flat table: they are read, shown and exported as ever, and not continued."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from commands import sirl
from small_training import CONFIG, same, toy_lm, weights

from sirl.config import TrainConfig
from sirl.config.before import MOVED
from sirl.config.sections import leaves
from sirl.errors import RunError
from sirl.lm import load_lm, save_lm
from sirl.rundir import begun_run, open_run, read_run
from sirl.workflows.models import resolve_model

NOW = {keys: name for name, keys in MOVED.items()}
MINE = {
    "gate": "start",
    "gate_samples": 8,
    "reward": "random",
    "anchors": 1,
    "search": ["pair"],
    "disguises": ["ica"],
}


def flat(**changes) -> dict:
    """The settings as a run of then wrote them."""
    then = {NOW.get(keys, keys[0]): value for keys, value in leaves(TrainConfig, asdict(CONFIG))}
    return {**then, "drift_budget": 0.3, **changes}


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "old"
    settings = {
        "kind": "train",
        "model": "maker/m",
        "seed": 0,
        "train": flat(**MINE),
        "prompts": [],
        "probes": 0,
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "environment.json").write_text(json.dumps({"versions": {}, "hashes": {"weights": "w"}}))
    (folder / "steps.jsonl").write_text(json.dumps({"step": 1, "reward": -1.0, "seconds": 1.0}) + "\n")
    (folder / "summary.json").write_text(
        json.dumps({"steps": 1, "kept_step": 1, "stopped": None, "instinct": None})
    )
    save_lm(toy_lm(), folder / "model")
    return folder


def test_a_run_of_before_is_read_by_the_names_of_now(old):
    found = read_run(old).config["train"]
    assert found["gate"] == {"kind": "start", "samples": 8}
    assert found["reward"] == {"kind": "random", "anchors": 1, "penalty": 0.5, "bonus": 0.0}
    assert (found["search"]["attacks"], found["search"]["every"], found["drift_budget"]) == (["pair"], 5, 0.3)
    assert "distill" not in found, "its method did not read that"
    assert {name for name, value in found.items() if name in MOVED and not isinstance(value, dict)} == set()
    assert resolve_model(str(old))[1:] == ("maker/m+sirl", "maker/m", ("ica", "pair"))
    assert same(weights(load_lm(old / "model")), weights(toy_lm()))


def test_a_run_of_before_is_shown_and_exported(old, tmp_path):
    page, out = tmp_path / "page.html", tmp_path / "out"
    code, _, err = sirl("report", old, "--out", page)
    assert code == 0, err
    assert "SIRL with the reward “random”" in page.read_text(encoding="utf-8")
    code, _, err = sirl("export", old, "--out", out)
    assert code == 0, err
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "with the reward `random`" in card
    assert "`ica`; `pair` searched against the moving model" in card
    assert "| `gate.samples` | 8 | 4 |" in card
    assert "| `drift_budget` | 0.3 | no such setting |" in card


def test_a_run_of_before_is_not_continued(old):
    config = {"model": "maker/m", "seed": 0, "train": asdict(CONFIG), "prompts": [], "probes": 0}
    sentence = rf"{old} holds a run of an earlier version of sirl, whose settings of training had other names; "
    sentence += (
        r"expected a run of this version to continue; continue it with the version that began it, or name"
    )
    for go_on in (open_run, begun_run):
        with pytest.raises(RunError, match=sentence):
            go_on(old, "train", config, {"weights": "w"})
