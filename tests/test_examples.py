"""Every example does what it says: executed with the shipped organism, at tiny size."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser
from commands import sirl
from test_docs import EXAMPLES, ROOT, parse

from sirl.config import EvaluateConfig, TrainConfig, load_recipe
from sirl.organism import WEIGHTS
from sirl.organism.corpus import evaluation_prompts
from sirl.records import to_json
from sirl.rundir import read_run

LLAMA = str(WEIGHTS / "llama")
ATTACKS = ("direct", "aim")
RAN = {
    "quickstart",
    "custom_model",
    "custom_attack",
    "custom_judge",
    "custom_defence",
    "custom_target",
    "train_model",
    "read_run",
}


def example(name: str):
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))


def test_no_example_is_left_out():
    assert {path.stem for path in EXAMPLES} == RAN | {"ray_train"}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory) -> str:
    asked = evaluation_prompts({"harmful": 4, "benign": 3, "math": 2}, 0)
    path = tmp_path_factory.mktemp("prompts") / "mine.jsonl"
    rows = [{"prompt": p.text, "id": p.id, "kind": p.kind, "category": p.category} for p in asked]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


SMALL = {
    "gap.max_reply_tokens": 24,
    "gap.samples": 2,
    "train.steps": 2,
    "train.prompts_per_step": 4,
    "train.micro_batch": 4,
    "train.max_reply_tokens": 12,
    "train.search.attacks": (),
    "evaluate.attacks": ATTACKS,
    "evaluate.max_reply_tokens": 24,
}


def test_quickstart_and_the_notebook(tmp_path, capsys):
    """The notebook continues the runs of the script: the same settings draw nothing again."""
    table = example("quickstart")["main"](str(tmp_path), 2, SMALL)
    said = capsys.readouterr().out
    assert f"gap run in {tmp_path / 'gap'}\n  entropy gap " in said
    assert "attacks withstood" in said
    assert (tmp_path / "train" / "model" / "model.safetensors").is_file()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.search(r'<h1 class="judged \w+">Jailbreak success', page)
    records = {part: (tmp_path / part / "records.jsonl").read_bytes() for part in ("gap", "before", "after")}

    cells = json.loads((ROOT / "examples" / "notebook.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names = {"out": str(tmp_path), "limit": 2, "settings": SMALL}
    assert {line.partition(" =")[0] for line in code[0].splitlines()} == set(names)
    for source in code[1:]:
        exec(compile(source, "notebook.ipynb", "exec"), names)
    assert table.equals(names["table"])
    assert set(table["attack"]) == set(ATTACKS)
    assert records == {part: (tmp_path / part / "records.jsonl").read_bytes() for part in records}
    assert "<table>" in names["after"]._repr_html_()


def test_custom_model(tmp_path, prompts, capsys):
    small = EvaluateConfig(attacks=ATTACKS, max_reply_tokens=24)
    gap = replace(small, temperature=1.0, samples=2)
    example("custom_model")["main"](LLAMA, prompts, str(tmp_path), gap, small)
    assert "mean DSR" in capsys.readouterr().out
    assert read_run(tmp_path / "gap").summary()["gap"]["most_replies"] == 2
    dsr = read_run(tmp_path / "evaluate").summary()["dsr"]
    assert dsr["n"] + dsr["unscored"] == 4  # `harm` does not know every request of an invented world


def test_train_model(tmp_path, prompts, capsys):
    config = load_recipe("default").train
    tiny = replace(config, steps=2, prompts_per_step=2, micro_batch=2, max_reply_tokens=12)
    assert isinstance(tiny, TrainConfig)
    example("train_model")["main"](LLAMA, prompts, str(tmp_path), tiny)
    assert "step 2" in capsys.readouterr().out
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_custom_target_and_read_run(tmp_path, capsys):
    example("custom_target")["main"](str(tmp_path / "run"))
    said = capsys.readouterr().out.splitlines()
    assert said == ["aim 0.5 of 2", "direct 0.5 of 2", "rot13 0.0 of 2"]  # the code passes the filter
    example("read_run")["main"](str(tmp_path / "run"), str(tmp_path / "run"))
    said = capsys.readouterr().out
    assert "mean DSR 0.25" in said
    assert "change 0.0" in said


def test_custom_attack_and_judge_by_the_command_line(tmp_path, prompts, monkeypatch):
    words = ["evaluate", LLAMA, "--out", tmp_path / "run", "--prompts", prompts]
    words += ["--attacks", "examples.custom_attack:attack", "--judge", "harmful=examples.custom_judge:judge"]
    words += ["--set", "evaluate.max_reply_tokens=24", "--set", "evaluate.max_unscored=1"]
    monkeypatch.chdir(ROOT)  # where examples.custom_attack is found
    code, _, err = sirl(*words)
    assert code == 0, err
    records = [to_json(r) for r in read_run(tmp_path / "run").records()]
    asked = [r for r in records if r["completion"]["attempt"]["prompt"]["kind"] == "harmful"]
    assert len(asked) == 4
    assert all("I teach a class" in r["completion"]["attempt"]["messages"][-1]["content"] for r in asked)
    assert {v["judge"].partition("@")[0] for r in asked for v in r["verdicts"]} >= {"steps"}


def test_custom_defence(monkeypatch):
    monkeypatch.chdir(ROOT)
    code, out, err = sirl("defences", "check", "examples.custom_defence:defence")
    assert (code, err) == (0, "")
    assert "keeps 6 promises" in out


def test_what_ray_would_start_on_a_machine_parses():
    """Ray is not installed here: what it runs on each machine is checked, word by word, and not run."""
    script = example("ray_train")
    asked = script["arguments"](["a/model", "/shared/run", "--machines", "3", "--gpus", "4"])
    words = script["command"](asked, 1, "10.0.0.1")
    assert words[:2] == ["accelerate", "launch"]
    launch = launch_command_parser().parse_args(words[2:])
    assert (launch.num_machines, launch.num_processes, launch.machine_rank) == (3, 12, 1)
    assert launch.module
    assert Path(launch.config_file).is_file()
    assert launch.training_script == "sirl"
    parse(" ".join(["sirl", *launch.training_script_args]), complete=True)


def test_what_slurm_would_start_on_a_machine_parses():
    """There is no cluster here: the shell reads the script, and the command line is checked, not run."""
    path = ROOT / "examples" / "slurm.sbatch"
    assert subprocess.run([shutil.which("bash") or "bash", "-n", path], check=False).returncode == 0
    line = re.search(r"accelerate launch (.*?)'$", path.read_text().replace("\\\n", " "), re.DOTALL)
    assert line is not None
    words = line[1].replace("$((SLURM_NNODES * 8))", "16").replace('"', "")
    words = re.sub(r"\$SLURM_\w+", "2", words).split()
    launch = launch_command_parser().parse_args(words)
    assert (launch.num_processes, launch.training_script) == (16, "sirl")
    parse(" ".join(["sirl", *launch.training_script_args]), complete=True)
