"""The benchmark of one GPU: its models have the published sizes, and at toy size it runs through on a CPU."""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from sirl.training import asking, rollout
from sirl.workflows.shapes import shape_of

PARAMETERS = {"llama-3.1-8b": 8_030_261_248, "qwen2.5-7b": 7_615_616_512}  # of their pages on the hub
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu_step.py"


@pytest.fixture(scope="module")
def gpu_step():
    spec = importlib.util.spec_from_file_location("gpu_step", SCRIPT)
    module = sys.modules["gpu_step"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu_step"]


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen2.5-7b"])
def test_its_models_have_the_published_sizes(gpu_step, name):
    assert shape_of(gpu_step.config_of(name), name).parameters == PARAMETERS[name]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "how"), [("qwen2.5-7b", ()), ("llama-3.1-8b", ("--full",))])
def test_the_toy_runs_and_leaves_nothing(gpu_step, capsys, tmp_path, monkeypatch, name, how):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    hooked = asking.read_instincts, rollout.draw
    gpu_step.main(["--toy", "--model", name, "--steps", "2", "--prompts", "4", *how])
    out = capsys.readouterr().out
    lines = [re.split(r" *\| *", text)[1:-1] for text in out.splitlines() if text.startswith("| ")]
    found = {(method, phase) for method, phase, what, *_ in lines if what in ("s a step", "s, once")}
    steps = {("sirl", "drawing"), ("sirl", "training"), ("distill", "asking"), ("distill", "training")}
    assert found == steps
    for *_, measured, estimate, ratio in lines[1:]:  # without the heading
        if measured != "---:":
            assert float(measured) > 0
            assert float(ratio) == pytest.approx(float(measured) / float(estimate), rel=0.02, abs=0.01)
    assert ("every weight" in out) == bool(how)
    assert (asking.read_instincts, rollout.draw) == hooked
    assert not list(tmp_path.iterdir())


def test_without_a_gpu_it_says_so(gpu_step, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"error: PyTorch sees no CUDA GPU; .* use --toy"):
        gpu_step.main([])
