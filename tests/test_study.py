"""A study: what a recipe asks for, what a cell does, and a whole small one on the shipped organism."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from commands import sirl

from sirl.config import RECIPES, ModelConfig
from sirl.config.study import START, StudyConfig, load_study
from sirl.errors import ConfigError, DataError, RunError
from sirl.organism import WEIGHTS
from sirl.rundir import locked, open_run
from sirl.workflows import cells, measure
from sirl.workflows.cells import KIND, WHOLE, Cell, cells_of, model_at, outcome
from sirl.workflows.models import open_model
from sirl.workflows.studies import CELLS, known

RECIPE = """
[study]
models = ["organism:llama"]
seeds = [0]
steps = [0, 1, 2]
reference = "plain"
[study.train]
prompts_per_step = 2
micro_batch = 8
save_every = 9
[study.evaluate]
attacks = ["direct", "aim"]
max_reply_tokens = 16
[study.tuned]
"the rate" = ["aim"]
[study.sizes]
harmful = 2
benign = 1
open = 1
borderline = 1
math = 1
code = 1
chat = 1
[methods.plain]
gate.kind = "none"
search.attacks = []
[methods.unfit]
gate.kind = "none"
search.attacks = []
max_prompt_tokens = 1
[methods.best_of_2]
best_of = 2
temperature = 1.0
"""
STUDY = StudyConfig(
    models=("organism:llama", "organism:qwen2"),
    seeds=(0, 1),
    steps=(0, 30, 100),
    reference="distill",
    methods={
        "plain": {"gate": {"kind": "none"}, "search": {"attacks": []}},
        "distill": {},
        "best_of_4": {"best_of": 4, "temperature": 1.0},
    },
    train={"learning_rate": 1e-3},
    evaluate={"attacks": ["aim"], "budget": 7},
    sizes={"harmful": 5},
)
PLAIN = Cell(STUDY, "organism:llama", "plain", 1)


def written(folder: Path, text: str) -> Path:
    path = folder / "small.toml"
    path.write_text(text)
    return path


# --- what a recipe asks for


def test_a_recipe_is_read(tmp_path):
    study = load_study(str(written(tmp_path, RECIPE)))
    assert (study.models, study.seeds, study.steps) == (("organism:llama",), (0,), (0, 1, 2))
    assert study.methods["best_of_2"] == {"best_of": 2, "temperature": 1.0}
    assert [study.trains(name) for name in ("start", "plain", "best_of_2")] == [False, True, False]
    assert study.sizes["harmful"] == 2
    assert study.tuned == {"the rate": ("aim",)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            ('reference = "plain"', 'reference = "plian"'),
            "'plian'; expected one of the methods, or start with step 0; did you mean plain",
        ),
        (("seeds = [0]", "seeds = [0, 0]"), "study.seeds = .* each once"),
        (("seeds = [0]", 'seeds = ["0"]'), "study.seeds = .* expected a list of whole numbers"),
        (("seeds = [0]", "seeds = [true]"), "study.seeds = .* expected a list of whole numbers"),
        (('"the rate" = ["aim"]', '"the rate" = "aim"'), "study.tuned = .* expected a table of a list of text"),
        (("seeds = [0]", "sedes = [0]"), "study.sedes; .* did you mean seeds"),
        (("seeds = [0]", ""), "without study.seeds"),
        (("steps = [0, 1, 2]", "steps = [0]"), "a step above 0 for methods that train"),
        (("[methods.plain]", "[methods.start]"), "'plain'; expected one of the methods"),
        (("[methods.unfit]", "[methods.start]"), "a method's name = 'start'"),
        (("[methods.unfit]", '[methods."a/b"]'), "a method's name = 'a/b'"),
        (("[study.sizes]", "[train]"), "section 'train'"),
        (("[study]", "[model]"), "section 'model'"),
        ((RECIPE, "[train]"), "no study"),
    ],
)
def test_a_slip_in_a_recipe_is_told(tmp_path, change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_study(str(written(tmp_path, RECIPE.replace(*change))))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('gate.kind = "none"', 'gait.kind = "none"'), "train.gait; .* did you mean gate"),
        (("best_of = 2", "best_of = 0"), "best_of = 0"),
        (("temperature = 1.0", "temperature = 0.0"), "best_of = 2; expected 1 at temperature 0"),
        (("harmful = 2", "harmfull = 2"), "study.sizes.harmfull is unknown; .* did you mean harmful"),
    ],
)
def test_a_slip_in_a_setting_costs_no_run(tmp_path, change, sentence):
    code, _, error = sirl("study", written(tmp_path, RECIPE.replace(*change)), "--out", tmp_path / "out")
    assert code == 2
    assert re.search(sentence, error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "path", [p for p in sorted(RECIPES.glob("*.toml")) if "[study]" in p.read_text()], ids=lambda p: p.stem
)
def test_shipped_studies_are_studies(path):
    study = load_study(path.stem)
    assert study.reference in {*study.methods, START}
    for cell in cells_of(study):
        assert cell.protocol()["seed"] == cell.seed


# --- what a cell does


def test_cells_are_every_method_on_every_model_and_seed():
    paths = [cell.path.as_posix() for cell in cells_of(STUDY)]
    assert len(paths) == len(set(paths)) == 4 * 2 * 2
    assert paths[:4] == [f"organism-llama/{name}/seed-0" for name in ("start", "plain", "distill", "best_of_4")]
    assert cells_of(replace(STUDY, steps=(30,)))[0].method == "plain"  # the start was not asked for


def test_two_models_need_two_folders():
    with pytest.raises(ConfigError, match="different folder names"):
        cells_of(replace(STUDY, models=("a/b", "a:b")))


@pytest.mark.parametrize("model", ["..", ".", "../..", "/", "https://me:pw@h.org/v1#m"])
def test_no_model_is_named_out_of_its_studys_folder(model):
    cell, *_ = cells_of(replace(STUDY, models=(model,)))
    first, *_ = cell.path.parts
    assert not cell.path.is_absolute()
    assert first.strip("."), "a folder of its own, below the study's"
    assert "pw" not in first


def test_a_method_that_trains_changes_train(tmp_path):
    job = PLAIN.training(tmp_path, PLAIN.steps)
    assert (job.model, job.seed, job.out) == ("organism:llama", 1, tmp_path)
    assert job.settings == {
        "train.learning_rate": 0.001,
        "train.gate.kind": "none",
        "train.search.attacks": [],
        "train.steps": 100,
        "train.snapshots": [30],
    }
    measured = PLAIN.measurement("somewhere", tmp_path)
    assert measured.settings == {"evaluate.attacks": ["aim"], "evaluate.budget": 7}
    assert (measured.model, measured.recipe, measured.sizes["harmful"]) == ("somewhere", "organism", 5)


def test_settings_that_a_baseline_does_not_read_are_not_for_it(tmp_path):
    study = replace(
        STUDY,
        reference="sirl",
        methods={"sirl": {"method": "sirl"}, "sft": {"method": "sft"}},
        train={"grpo": {"kl": 0.1}, "group": 6},
    )
    assert Cell(study, "organism:llama", "sirl", 0).training(tmp_path, (2,)).settings["train.grpo.kl"] == 0.1
    told = Cell(study, "organism:llama", "sft", 0).training(tmp_path, (2,)).settings
    assert told == {"train.group": 6, "train.method": "sft", "train.steps": 2}


def test_a_method_that_splits_its_budget_is_trained_for_each_number_of_steps():
    study = replace(
        STUDY,
        reference="sirl",
        methods={"sirl": {"method": "sirl"}, "reward_model": {"method": "reward_model"}},
    )
    cell = Cell(study, "organism:llama", "reward_model", 0)
    assert cell.courses == {"train-30": (30,), "train-100": (100,)}
    told = cell.protocol()
    assert [told[f"train-{step}"].get("steps", 30) for step in cell.steps] == [30, 100]
    assert Cell(study, "organism:llama", "sirl", 0).courses == {"train": (30, 100)}


def test_a_way_to_answer_changes_evaluate_and_trains_nothing(tmp_path):
    cell = Cell(STUDY, "organism:llama", "best_of_4", 0)
    recipe = cell.measurement(cell.model, tmp_path).settle()
    assert (recipe.evaluate.best_of, recipe.evaluate.temperature, recipe.evaluate.budget) == (4, 1.0, 7)
    assert cell.steps == (0,)
    assert "train" not in cell.protocol()


def test_a_cells_protocol_holds_what_is_no_default():
    told = PLAIN.protocol()
    assert told["train"]["learning_rate"] == 1e-3
    assert "clip" not in told["train"]  # the default's
    assert told[WHOLE]["train"]["grpo"]["clip"] == 0.2  # by which a cell is known when a default has changed
    assert told[WHOLE]["evaluate"]["budget"] == 7
    assert told["evaluate"] == {"attacks": ("aim",), "budget": 7, "max_reply_tokens": 64}


def training_run(folder: Path, summary: dict | None, *steps: int) -> Path:
    """Write what a training run leaves: models after steps, and a summary unless it failed."""
    for step in steps:
        shutil.copytree(WEIGHTS / "llama", folder / "snapshots" / str(step))
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"kind": "train", "model": "organism:llama"}))
    (folder / "environment.json").write_text("{}")
    if summary is not None:
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_the_model_of_a_step(tmp_path):
    run = training_run(tmp_path / "train", {"steps": 100}, 30)
    assert model_at(run, 30) == (str(run / "snapshots" / "30"), 30)
    assert model_at(run, 100) == (str(run), 100)
    with pytest.raises(RunError, match="no model of step 50"):
        model_at(run, 50)  # the model of step 100 must not pass for it


def test_the_kept_model_stands_for_later_steps(tmp_path):
    run = training_run(tmp_path / "train", {"steps": 70, "kept_step": 60}, 30, 65)
    assert [model_at(run, step)[1] for step in (30, 65, 100, 300)] == [30, 60, 60, 60]
    none_kept = training_run(tmp_path / "other", {"steps": 70, "kept_step": 0})
    assert model_at(none_kept, 30) == (str(none_kept), 0)


def test_a_failed_training_has_the_models_that_it_left(tmp_path):
    run = training_run(tmp_path / "train", None, 30)
    assert model_at(run, 30)[1] == 30
    with pytest.raises(RunError, match="no model of step 100"):
        model_at(run, 100)


def test_a_snapshot_is_the_hardened_organism(tmp_path):
    run = training_run(tmp_path / "train", None, 30)
    subject = open_model(str(run / "snapshots" / "30"), ModelConfig())
    assert (subject.name, subject.is_organism) == ("organism:llama+sirl@30", True)
    assert subject.lm is not None


# --- a whole study


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, Path, str]:
    folder = tmp_path_factory.mktemp("study")
    recipe, out = written(folder, RECIPE), folder / "out"
    code, summary, error = sirl("study", recipe, "--out", out)
    assert (code, "1 of 4 cells failed" in error) == (3, True)
    return recipe, out, summary


def read(out: Path) -> dict:
    return json.loads((out / "study.json").read_text())


def test_every_cell_has_an_outcome(done):
    _, out, summary = done
    assert json.loads(summary) == {"done": 3, "failed": 1, "held": 0}
    cells = {cell["method"]: cell for cell in read(out)["cells"]}
    assert {name: cell["state"] for name, cell in cells.items()} == {
        "start": "done",
        "plain": "done",
        "unfit": "failed",
        "best_of_2": "done",
    }
    assert "prompt" in cells["unfit"]["failed"]
    assert not cells["unfit"]["rows"]


def test_a_row_says_which_model_it_is_of(done):
    _, out, _ = done
    cells = {cell["method"]: cell for cell in read(out)["cells"]}
    told = {name: [(r["step"], r["of_step"], r["best_of"]) for r in cells[name]["rows"]] for name in cells}
    assert told == {
        "start": [(0, 0, 1)],
        "plain": [(1, 1, 1), (2, 2, 1)],
        "unfit": [],
        "best_of_2": [(0, 0, 2)],
    }
    at = {step: out / f"organism-llama/plain/seed-0/at-{step}/config.json" for step in (1, 2)}
    models = [json.loads(path.read_text())["model"] for path in at.values()]
    assert models == ["organism:llama+distill@1", "organism:llama+distill"]
    row = cells["plain"]["rows"][0]
    assert row["dsr"]["per_attack"].keys() == {"direct", "aim"}
    assert row["dsr"]["n"] == 2
    assert row["unscored"]["n"] == 2 * 2 + 1 + 1 + 8 + 1 + 3
    assert row["entropy"]["attacked"]["n"] == 2
    assert row["entropy"]["benign"]["n"] == 2  # without the extra draws of the open prompt


def test_the_start_is_measured_once_and_stands_in_each_table(done):
    _, out, _ = done
    assert len(list(out.rglob("at-0"))) == 2  # the start, and the start that answers with the best of two
    tables = {table["step"]: table["rows"] for table in read(out)["tables"]}
    assert [row["method"] for row in tables[0]] == ["start", "best_of_2"]
    assert [row["method"] for row in tables[2]] == ["start", "plain", "unfit", "best_of_2"]
    assert [row["failed"] for row in tables[2]] == [0, 0, 1, 0]
    assert tables[2][0]["columns"] == tables[0][0]["columns"]


def test_a_finished_study_is_not_done_again(done):
    recipe, out, summary = done
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/**/*.jsonl")}
    assert sirl("study", recipe, "--out", out)[1] == summary
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/**/*.jsonl")} == before


def test_one_file_of_cells_is_the_whole_study(done, tmp_path):
    recipe, out, _ = done
    lines = (out / CELLS).read_text().splitlines()
    assert [{"sirl", "torch"} <= json.loads(line)["versions"].keys() for line in lines] == [True] * 4
    assert known(str(recipe), out / CELLS)["tables"] == read(out)["tables"]
    part = tmp_path / "part.jsonl"
    part.write_text("\n".join(lines[:2]))
    states = [cell["state"] for cell in known(str(recipe), part)["cells"]]
    assert states == ["done", "done", "missing", "missing"]
    for change, sentence in (
        (("harmful = 2", "harmful = 3"), "other settings"),
        (("seeds = [0]", "seeds = [5]"), "a cell of"),
    ):
        with pytest.raises(DataError, match=sentence):
            known(str(written(tmp_path, RECIPE.replace(*change))), out / CELLS)


def test_a_cell_that_was_made_under_another_default_is_refused(done, tmp_path):
    recipe, out, _ = done
    row = json.loads((out / CELLS).read_text().splitlines()[0])
    path = tmp_path / "cells.jsonl"
    row["config"][WHOLE]["evaluate"]["defence"] = "what was the default"
    path.write_text(json.dumps(row))
    with pytest.raises(DataError, match="other settings"):
        known(str(recipe), path)
    del row["config"][WHOLE]  # as cells were kept before
    path.write_text(json.dumps(row))
    assert known(str(recipe), path)["cells"][0]["state"] == "done"


def test_a_cell_that_another_process_holds_is_left_to_it(done, tmp_path):
    recipe, _, _ = done
    cell = cells_of(load_study(str(recipe)))[0]
    run = open_run(tmp_path / "out" / cell.path, KIND, cell.protocol(), {})
    with locked(run):
        code, summary, error = sirl("study", recipe, "--out", tmp_path / "out", "--only", "start")
    assert (code, json.loads(summary)) == (0, {"missing": 4, "held": 1})
    assert "another process is working on it" in error
    assert outcome(cell, tmp_path / "out")["state"] == "missing"


def test_other_settings_are_refused(done):
    recipe, out, _ = done
    other = written(recipe.parent / "out", recipe.read_text().replace("max_reply_tokens = 16", "budget = 3"))
    code, _, error = sirl("study", other, "--out", out)
    assert code == 2
    assert "holds a run with evaluate = " in error


def test_only_and_render(done, tmp_path):
    recipe, _, _ = done
    code, summary, _ = sirl("study", recipe, "--out", tmp_path, "--render")
    assert (code, json.loads(summary)) == (0, {"missing": 4, "held": 0})
    assert "Not measured yet: start, plain, unfit, best_of_2." in (tmp_path / "study.md").read_text()
    code, _, error = sirl("study", recipe, "--out", tmp_path, "--only", "nothing")
    assert code == 2
    assert "for example, organism-llama/start/seed-0" in error


def test_a_crash_is_a_cells_outcome_and_the_study_goes_on(tmp_path, monkeypatch):
    recipe, out, asked = written(tmp_path, RECIPE), tmp_path / "out", []

    def fail(name, error):
        def call(*words, **named):
            asked.append(name)
            raise error

        return call

    monkeypatch.setattr(cells.training, "train", fail("train", RuntimeError("out of memory")))
    monkeypatch.setattr(measure, "evaluate", fail("evaluate", MemoryError("no memory\nis left")))
    code, summary, error = sirl("study", recipe, "--out", out)
    assert (code, json.loads(summary)) == (3, {"failed": 4, "held": 0})
    assert asked == ["evaluate", "train", "train", "evaluate"], "after each crash the study went on"
    assert "  failed: MemoryError: no memory is left" in error
    assert "4 of 4 cells failed" in error
    told = {cell["method"]: cell["failed"] for cell in read(out)["cells"]}
    assert (told["start"], told["plain"]) == ("MemoryError: no memory is left", "RuntimeError: out of memory")
    assert "MemoryError: no memory is left" in (out / "study.md").read_text()

    known = fail("evaluate", RunError("a busy folder", "a free one", "wait"))
    monkeypatch.setattr(measure, "evaluate", known)
    for _ in range(2):  # the first tries again what crashed; what is known to be wrong stays as it is
        asked.clear()
        sirl("study", recipe, "--out", out, "--only", "start")
    assert asked == []
    assert read(out)["cells"][0]["failed"] == "a busy folder; expected a free one; wait."


def test_an_interrupt_ends_a_study(tmp_path, monkeypatch):
    def interrupt(*words, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "evaluate", interrupt)
    code, _, _ = sirl("study", written(tmp_path, RECIPE), "--out", tmp_path / "out", "--only", "start")
    assert code not in (0, 3)
    assert not list((tmp_path / "out").rglob("summary.json"))
