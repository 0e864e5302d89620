"""The real lm-evaluation-harness on the embedded model: scores, refusals told apart. `make test-skills`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from commands import sirl as command
from servers import chat, serving

pytest.importorskip("lm_eval", reason="the extra skills is not installed: make test-skills")

import lm_eval.tasks
from lm_eval.evaluator import evaluate as harness_evaluate

import sirl
from sirl.attacks import ATTACKS
from sirl.config import EvaluateConfig, ModelConfig
from sirl.defences import Means, defend, get_defence
from sirl.errors import ConfigError, DataError
from sirl.evaluation import evaluate
from sirl.evidence import Evaluation
from sirl.harness import SkillModel, Skills, aggregates, find_tasks, measure, named, prepare, prompts_task
from sirl.harness.tasks import wheels
from sirl.organism import oracle
from sirl.organism.corpus import evaluation_prompts
from sirl.records import Completion, Decoding
from sirl.reporting import render
from sirl.rundir import SCORES, open_run, read_run
from sirl.workflows.models import open_model

pytestmark = [pytest.mark.skills, pytest.mark.filterwarnings("default")]  # its libraries' warnings are theirs
ASKED = evaluation_prompts({"math": 6, "code": 4, "chat": 4}, 0)
TOKENS = 48


@pytest.fixture(scope="module")
def target():
    return open_model("organism:llama", ModelConfig()).drawing(Decoding(max_new_tokens=TOKENS))


def own(target, limit=None):
    return prepare("own", prompts_task("own", ASKED, oracle.correct, TOKENS), target, limit, 0, False)


def measured(path, target, ready, longest=0):
    config = {"model": path.name, "seed": 0, "settings": {"batch": 4}}
    run = open_run(path, "skills", config, {f"task {r.name}": r.fingerprint for r in ready})
    return run, measure(Skills(tuple(ready), target, oracle.refused, 0, 4, longest), run)


@dataclass(frozen=True)
class Damaged:
    """The model, but that it says one thing whatever it is asked, and counts what it is asked."""

    target: Any
    says: str
    asked: list[str]

    def __getattr__(self, name):
        return getattr(self.target, name)

    def reply(self, attempts, seed):
        self.asked.extend(a.prompt.id for a in attempts)
        return [Completion(a, self.says, (1,), (self.says,), finished=True) for a in attempts]


def test_the_organisms_own_tasks_agree_with_sirl_evaluate(target, tmp_path):
    _, rows = measured(tmp_path / "skills", target, [own(target)])
    config = EvaluateConfig(attacks=("direct",), batch=4, max_reply_tokens=TOKENS)
    study = Evaluation(tuple(ASKED), {"direct": ATTACKS["direct"]}, target, oracle.JUDGES, config, 0)
    records = evaluate(study, open_run(tmp_path / "evaluate", "evaluate", {"seed": 0}, {}))
    answers = [record.answer("correct") for record in records]
    assert [bool(row["score"]) for row in rows] == answers
    assert sum(answers) > len(answers) / 2


def test_the_harness_by_itself_finds_the_same_with_our_model(target, tmp_path):
    for name in ("own", "sirl_mmlu"):  # replies, and likelihoods
        task = own(target).task if name == "own" else find_tasks([name])[name][0]
        ready = prepare(name, task, target, 5, 0, False)
        _, rows = measured(tmp_path / name, target, [ready])
        found = harness_evaluate(
            SkillModel(target),
            {"tasks": {name: task}, "groups": {}, "group_map": {}},
            samples={name: list(ready.requests)},
            apply_chat_template=True,
            fewshot_as_multiturn=True,
            bootstrap_iters=0,
        )
        measure_name = rows[0]["measure"].partition(",")[0]
        assert [sample[measure_name] for sample in found["samples"][name]] == [row["score"] for row in rows]
        assert found["results"][name][rows[0]["measure"]] == aggregates(ready, rows)[rows[0]["measure"]]


def test_a_model_that_refuses_and_one_that_is_cut_off_are_told_apart(target, tmp_path):
    ready = own(target)
    before, _ = measured(tmp_path / "before", target, [ready])
    refusing = Damaged(target, "I'm sorry, but I can't help with that.", [])
    told = {}
    for name, model, longest in (("refuses", refusing, 0), ("cuts", target, 2)):
        after, _ = measured(tmp_path / name, model, [ready], longest)
        section = render([before, after]).partition('id="skills"')[2].partition("<section")[0]
        told[name] = " ".join(re.sub(r"<[^>]+>", " ", section).split())
    assert ("refused" in told["refuses"], "cut off at the length" in told["refuses"]) == (True, False)
    assert ("own refused" in told["cuts"], "cut off at the length" in told["cuts"]) == (False, True)
    assert re.search(r"own refused 0\.0 % 100\.0 % −\d+\.\d points", told["refuses"].replace("\u00a0", " "))


def test_a_run_that_was_killed_goes_on_where_it_was_and_asks_nothing_twice(target, tmp_path):
    ready, model = own(target), Damaged(target, "7", [])
    run, rows = measured(tmp_path / "run", model, [ready])
    assert len(model.asked) == len(set(model.asked)) == len(rows) == len(ASKED)
    lines = (run.path / SCORES).read_text().splitlines(keepends=True)
    (run.path / SCORES).write_text("".join(lines[:8]) + lines[8][:20])  # torn, its record written
    model.asked.clear()
    _, again = measured(tmp_path / "run", model, [ready])
    assert (again, len(model.asked)) == (rows, len(ASKED) - 8)
    assert [record.prompt.id for record in run.records()] == [row["key"] for row in rows]


def test_a_folder_of_ones_own_tasks_and_names_that_nobody_has(target, tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        '{"q": "What is 2 + 2?", "a": "4"}\n{"q": "What is 3 + 4?", "a": "7"}\n'
    )
    common = (
        "dataset_path: json\ntest_split: train\noutput_type: generate_until\ndoc_to_text: q\ndoc_to_target: a\n"
    )
    (tmp_path / "mine.yaml").write_text(
        f"task: mine\ndataset_kwargs: {{data_files: {tmp_path / 'rows.jsonl'}}}\n{common}"
    )
    (tmp_path / "lost.yaml").write_text(
        f"task: lost\ndataset_kwargs: {{data_files: {tmp_path / 'no'}}}\n{common}"
    )
    code, out, err = command(
        *(
            "skills",
            "organism:llama",
            "--tasks",
            "mine,lost",
            "--include-path",
            tmp_path,
            "--out",
            tmp_path / "run",
        ),
        *("--max-tokens", 8),
    )
    summary = json.loads(out)
    assert (code, summary["skills"]["mine"]["n"]) == (0, 2)
    assert "--tasks offline needs no download" in summary["left_out"]["lost"]
    assert "skipped: lost" in err
    with pytest.raises(DataError, match="did you mean sirl_mmlu"):
        find_tasks(["sirl_mmlo"])


BBH = sorted(p.stem for p in Path(lm_eval.tasks.__file__).parent.glob("bbh/cot_zeroshot/[a-z]*.yaml"))
CHOICES = {"choices": ["7", "8"], "labels": [1, 0]}
HUB = {  # data set -> its configurations, split, and an invented row in its columns
    "openai/gsm8k": (
        ("main",),
        ("train", "test"),
        {"question": "What is 3 + 4?", "answer": "3 + 4 = 7\n#### 7"},
    ),
    "google/IFEval": (
        ("default",),
        ("train",),
        {"key": 1, "prompt": "Name a tree. Use no commas.", "instruction_id_list": ["punctuation:no_comma"]}
        | {"kwargs": [{}]},
    ),
    "SaylorTwift/bbh": (tuple(BBH), ("test",), {"input": "Sort. List: plum fig", "target": "fig plum"}),
    "HuggingFaceH4/MATH-500": (
        ("default",),
        ("test",),
        {"problem": "What is $3 + 4$?", "solution": "It is $\\boxed{7}$.", "answer": "7"},
    ),
    "Maxwell-Jia/AIME_2024": (("default",), ("train",), {"Problem": "What is 3 + 4?", "Answer": 7}),
    "truthfulqa/truthful_qa": (
        ("multiple_choice",),
        ("validation",),
        {"question": "What is 3 + 4?", "mc1_targets": CHOICES, "mc2_targets": CHOICES},
    ),
    "skg/toxigen-data": (
        ("annotated",),
        ("train", "test"),
        {"text": "Foxes like plums.", "toxicity_ai": 1.0, "toxicity_human": 1.0},
    ),
}


def test_every_task_of_the_suites_is_scored_where_its_data_are_and_told_where_they_are_not(
    tmp_path, monkeypatch
):
    """The data of the hub stand as folders of the hub's names, which `datasets` takes first."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    asked = named(["quick", "paper"])
    left_out = {name: why for name, why in find_tasks(asked).items() if isinstance(why, str)}
    assert left_out.keys() == {name for name in asked if not name.startswith("sirl_")}
    assert all(any(data in why for data in HUB) for why in left_out.values()), left_out
    for data, (configs, splits, row) in HUB.items():
        (tmp_path / data).mkdir(parents=True)
        (tmp_path / data / "rows.jsonl").write_text(json.dumps(row) + "\n")
        files = [{"split": split, "path": "rows.jsonl"} for split in splits]
        told = json.dumps({"configs": [{"config_name": config, "data_files": files} for config in configs]})
        (tmp_path / data / "README.md").write_text(f"---\n{told}\n---\n")
    monkeypatch.chdir(tmp_path)
    words = {"limit": 1, "max_tokens": 16, "allow_code": True}
    run = sirl.skills("organism:llama", ["quick", "paper"], out=tmp_path / "run", **words)
    assert run.summary.left_out == {}
    assert run.summary.scores.keys() == {*asked, "organism_math", "organism_code", "organism_chat"}
    assert all(score is not None for score in run.summary.scores.values())
    filters = {name: measure.partition(",")[2] for name, measure in run.summary.json["measures"].items()}
    named_so = {name for name, kept in filters.items() if kept == "flexible-extract"}
    assert named_so == {"gsm8k_cot_zeroshot", *(f"bbh_cot_zeroshot_{name}" for name in BBH)}


def test_an_endpoint_is_asked_for_replies_and_what_compares_log_probs_is_left_out(tmp_path):
    said = cycle(("I cannot help with that.", "So it is\n#### 7"))
    with serving(lambda body, n: chat(next(said))) as server:
        words = ("--tasks", "sirl_gsm8k,sirl_mmlu", "--limit", 6, "--out", tmp_path / "run")
        code, out, _ = command("skills", f"{server.url}#toy", *words, "--set", "model.concurrency=1")
    summary = json.loads(out)
    assert (code, list(summary["skills"])) == (0, ["sirl_gsm8k"])
    assert 0.3 < summary["skills"]["sirl_gsm8k"]["audit"]["refused"] < 0.7  # every other reply
    assert "log-probs" in summary["left_out"]["sirl_mmlu"]


def test_the_right_programs_pass_however_they_are_written_and_code_waits_for_leave(target):
    task = find_tasks(["sirl_humaneval"])["sirl_humaneval"][0]
    assert "--allow-code" in prepare("sirl_humaneval", task, target, 2, 0, False)
    docs = [doc for doc in wheels.humaneval()["test"] if doc["task_id"] in ("HumanEval/0", "HumanEval/38")]
    for doc in docs:
        body = doc["canonical_solution"]
        whole = doc["prompt"] + body
        test = f"{doc['test']}\ncheck({doc['entry_point']})"
        replies = (f"Sure:\n```python\n{whole}```\nIt works.", whole, body, f"```\n{body}```")
        scores = [wheels.pass_at_1([test], [[wheels.program(doc, reply)]]) for reply in replies]
        assert scores == [1.0] * 4
        assert wheels.pass_at_1([test], [[wheels.program(doc, "I can't help with that.")]]) == 0.0


def test_puzzles_are_the_same_in_every_process_and_their_answers_are_read_as_stated():
    code = "from sirl.harness.tasks import wheels; print(wheels.reasoning()['test'].to_list())"
    other = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": "1"}, capture_output=True, check=True
    )
    rows = wheels.reasoning()["test"].to_list()
    assert other.stdout.decode().strip() == str(rows)
    replies = [f"So 3, as a sum.\n**Answer:** {row['answer'].title()}.\nThat is all." for row in rows]
    assert wheels.answers([[reply] for reply in replies], rows) == [[row["answer"]] for row in rows]
    said = ("It is 7.\n\n(1,402)\n", "final answer: 007 apples", "Answer:", "", "I can't help with that.")
    found = [["1402"], ["7"], ["none"], ["none"], ["i can't help with that"]]
    assert wheels.answers([[reply] for reply in said], [{}] * 5) == found
    assert wheels.answers([["The answer is: 17.\n"], ["So the answer is 10."]], [{}] * 2) == [["17"], ["10"]]


def test_a_defence_stands_around_the_model_and_likelihoods_that_it_cannot_read_are_left_out(target, tmp_path):
    settings = {"evaluate.defence": "self_reminder", "evaluate.system": "Be brief."}
    words = {"out": tmp_path / "run", "limit": 2, "settings": settings}
    run = sirl.skills("organism:llama", "organism_math, sirl_mmlu", **words)
    assert run.kind == "skills"
    assert sirl.Run.open(run.path) == run
    table = run.records().to_pandas(transcripts="all")
    assert set(table["category"]) == {"organism_math"}  # a choice by likelihood has no reply
    assert table["messages"].str.contains("Be brief").all()
    assert set(table["defence_calls"]) == {1}
    assert {"defence", "system"} <= read_run(run.path).environment["hashes"].keys()
    task = find_tasks(["sirl_mmlu"])["sirl_mmlu"][0]
    behind = defend(target, get_defence("smooth_llm")[0], Means())
    assert "as it is asked, does not give" in prepare("sirl_mmlu", task, behind, 2, 0, False)
    changed = {"evaluate.best_of": 2, "evaluate.temperature": 1.0}
    with pytest.raises(ConfigError, match="best_of"):
        sirl.skills("organism:llama", "organism_math", out=tmp_path / "best", settings=changed)


def test_numbers_are_compared_by_value():
    told = ("1,200", "$18.00", "5.50 dollars", "-0.5", "007", "3:30", "10 and 4", "7 apples", "6th")
    found = ("1200", "18", "5.5", "-0.5", "7", "", "", "7", "")
    assert tuple(map(wheels.single_number, told)) == found
    assert wheels.numbers([["It is 1,200.50 in all."], ["no idea"]], [{}, {}]) == [["1200.5"], ["none"]]
    sets = (wheels.asdiv, wheels.gsm8k, wheels.mmlu, wheels.reasoning)
    assert [len(read()["test"]) for read in sets] == [2084, 100, 570, 200]
