"""The real lm-evaluation-harness on the embedded model: scores, refusals told apart. `make test-skills`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import pytest
from commands import sirl
from servers import chat, serving

pytest.importorskip("lm_eval", reason="the extra skills is not installed: make test-skills")

from lm_eval.evaluator import evaluate as harness_evaluate

from sirl.attacks import ATTACKS
from sirl.config import EvaluateConfig, ModelConfig
from sirl.errors import DataError
from sirl.evaluation import evaluate
from sirl.evidence import Evaluation
from sirl.organism import oracle
from sirl.organism.corpus import evaluation_prompts
from sirl.records import Completion, Decoding
from sirl.reporting import render
from sirl.rundir import SCORES, open_run
from sirl.harness import SkillModel, Skills, aggregates, find_tasks, measure, prepare, prompts_task
from sirl.harness.tasks import wheels
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
    code, out, err = sirl(
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


def test_an_endpoint_is_asked_for_replies_and_what_compares_log_probs_is_left_out(tmp_path):
    said = cycle(("I cannot help with that.", "So it is\n#### 7"))
    with serving(lambda body, n: chat(next(said))) as server:
        words = ("--tasks", "sirl_gsm8k,sirl_mmlu", "--limit", 6, "--out", tmp_path / "run")
        code, out, _ = sirl("skills", f"{server.url}#toy", *words, "--set", "model.concurrency=1")
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


def test_numbers_are_compared_by_value():
    told = ("1,200", "$18.00", "5.50 dollars", "-0.5", "007", "3:30", "10 and 4", "7 apples", "6th")
    found = ("1200", "18", "5.5", "-0.5", "7", "", "", "7", "")
    assert tuple(map(wheels.single_number, told)) == found
    assert wheels.numbers([["It is 1,200.50 in all."], ["no idea"]], [{}, {}]) == [["1200.5"], ["none"]]
    assert {len(wheels.asdiv()["test"]), len(wheels.gsm8k()["test"]), len(wheels.mmlu()["test"])} == {
        2084,
        100,
        570,
    }
