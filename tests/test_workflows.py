"""The Python API: what `import sirl` gives, how its verbs are called, and what they return."""

from __future__ import annotations

import inspect
import subprocess
import sys
from contextlib import contextmanager

import pandas
import pytest
from pyarrow import parquet

import sirl
from sirl import metrics
from sirl.errors import ConfigError, DataError, RunError
from sirl.metrics import Graded
from sirl.rundir import open_run
from sirl.workflows.runs import finished

MEASURING = (
    "(model, prompts=None, *, out, attacks=(), judges=(), tools=None, recipe='', settings=(), seed=0, "
    "shard='', quick=False, progress=None)"
)
VERBS = {
    "load": "(model, **settings)",
    "load_prompts": "(source, *, kind=None, column=None, limit=None, seed=0)",
    "gap": MEASURING,
    "evaluate": MEASURING,
    "skills": "(model, tasks='offline', *, out, include_path=(), limit=None, allow_code=False, max_tokens=0, "
    "judges=(), recipe='', settings=(), seed=0, progress=None)",
    "train": "(model, prompts=None, *, out, held_out=None, method='', recipe='', settings=(), seed=0, "
    "force=False, progress=None)",
    "judge": "(run, judges, *, out, settings=(), seed=0, progress=None)",
    "merge": "(shards, *, out)",
    "study": "(recipe, *, out, only='', render=False, progress=None)",
    "report": "(*runs, out='report.html', allow_different_protocol=False, transcripts='redacted')",
    "plan": "(model, *, recipe='', gpus=1, device='h100', memory=0.0, prompt_tokens=0, reply_tokens=0, "
    "utilisation=0.35, streaming=0.5, settings=())",
    "export": "(model, *, out, evaluations=(), trust_remote_code=False, progress=None)",
}
NOUNS = {
    *(
        "AttackTools",
        "Attempt",
        "Completion",
        "EvaluationSummary",
        "GapSummary",
        "Model",
        "Prompt",
        "PromptSet",
    ),
    *(
        "PromptSources",
        "Rate",
        "Record",
        "Records",
        "Run",
        "SkillsSummary",
        "StudySummary",
        "TrainingSummary",
        "Verdict",
    ),
}


def test_the_names_and_signatures_are_these():
    assert set(sirl.__all__) == {*VERBS, *NOUNS} == set(dir(sirl))
    for name, expected in VERBS.items():
        signature = inspect.signature(getattr(sirl, name))
        bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
        assert str(inspect.Signature(bare)) == expected, name
    assert all(inspect.isclass(getattr(sirl, name)) for name in NOUNS)
    with pytest.raises(AttributeError, match="no attribute 'gaps'"):
        _ = sirl.gaps


def test_import_is_quick_and_needs_no_torch():
    code = (
        "import time; start = time.process_time(); import sirl; spent = time.process_time() - start\n"
        "import sys; print(spent, *{'torch', 'transformers', 'numpy', 'typer', 'lm_eval'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    spent, *heavy = done.stdout.split()
    assert float(spent) < 0.2
    assert heavy == []


@pytest.fixture(scope="module")
def model():
    return sirl.load("organism:llama")


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    settings = {"evaluate.max_reply_tokens": 8, "evaluate.max_unscored": 1.0}
    prompts = sirl.PromptSources(limit=1)
    return sirl.evaluate(
        model, prompts, attacks="direct, aim", out=tmp_path_factory.mktemp("r"), settings=settings
    )


def test_a_run_reads_well_and_its_records_become_tables(run, tmp_path):
    assert run.kind == "evaluate"
    assert run.summary.withstood == run.summary.json["dsr"]["mean"]
    assert set(run.summary.by_attack) == {"direct", "aim"}
    text, page = repr(run), run._repr_html_()
    assert text.startswith(f"evaluate run in {run.path}\n  attacks withstood ")
    assert "benign refused" in text
    assert page.count("<tr>") == len(run.summary.lines())
    assert sirl.Run.open(run.path) == run
    records = run.records()
    table = records.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert len(table) == sum(max(1, len(record.verdicts)) for record in records)
    assert set(table["question"]) <= {"refused", "harmful", "correct"}
    assert set(table["answer"]) <= {True, False, None}
    assert records.to_parquet(tmp_path / "records.parquet") == len(table)
    assert parquet.read_table(tmp_path / "records.parquet").to_pandas().equals(table)
    with pytest.raises(RunError, match="is of kind evaluate; expected a training run"):
        _ = run.model


def test_what_a_page_of_a_notebook_shows_is_text(tmp_path, run):
    other = sirl.Run(tmp_path / "<b>", "evaluate", run.summary)
    assert "<b>" not in other._repr_html_()


def test_a_loaded_model_is_not_opened_by_other_settings(model, tmp_path):
    with pytest.raises(
        ConfigError, match=r"model.dtype=bfloat16 for a model that is loaded already.*sirl\.load"
    ):
        sirl.evaluate(model, out=tmp_path / "run", settings=["model.dtype=bfloat16"])


def test_an_old_run_is_refused_in_one_sentence(tmp_path):
    old = open_run(tmp_path, "evaluate", {}, {})
    old.write_summary({"dsr": {}})
    with pytest.raises(RunError, match=r"holds no summary that this version reads .* repeat its command"):
        finished(old)


def test_a_run_of_skills_reads_as_any_other_and_what_it_needs_is_told(tmp_path, monkeypatch):
    done = open_run(tmp_path / "run", "skills", {"model": "toy", "seed": 0}, {})
    graded = [Graded(f"sums/{i}", "sums", i % 2, ("refused", "answered")[i % 2]) for i in range(4)]
    json = {
        "skills": {"sums": metrics.skill(graded)},
        "left_out": {"ifeval": "no network"},
        "incomplete": False,
    }
    done.write_summary(json)
    run = sirl.Run.open(done.path)
    assert (run.kind, run.summary.scores, run.summary.audit["sums"]["refused"]) == (
        "skills",
        {"sums": 0.5},
        0.5,
    )
    assert "sums                 0.500, 50.0% refused\n  ifeval               left out: no network" in repr(run)
    assert run.records() == ()
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ConfigError, match=r"lm_eval cannot be imported .* pip install 'sirl\[skills\]'"):
        sirl.skills("organism:llama", out=tmp_path / "none")


def test_progress_is_told_to_whoever_is_given(tmp_path):
    titles = []

    @contextmanager
    def phases(title):
        titles.append(title)
        yield lambda done, total, note: None

    with pytest.raises(ConfigError):
        sirl.gap("organism:lama", out=tmp_path / "x", progress=phases)
    sirl.load("organism:llama")
    assert titles == []
    with pytest.raises(DataError):
        sirl.gap("organism:llama", str(tmp_path / "absent.csv"), out=tmp_path / "y", progress=phases)
    assert titles == ["load organism:llama"]
