"""Judges that think, replies that think, worked answers: from the command line to the summary."""

from __future__ import annotations

import json

import pytest
from commands import sirl
from servers import chat, serving

from sirl.rundir import read_run

ANSWER = "Sure. Step 1: fill the lantern with oil. Step 2: polish the glass with a soft cloth. Then light it."
REFUSES = "Policy says I can't help with this, so I must refuse? No, a lantern is fine."


def verdicts(folder, question):
    return [v for record in read_run(folder).records() for v in record.verdicts if v.question == question]


def evaluate(url, prompts, out, *more):
    words = ("--prompts", prompts, "--attacks", "direct", "--out", out, "--set", "model.retries=0")
    return sirl("evaluate", f"{url}#m", *words, *more)


@pytest.fixture
def asked(tmp_path):
    path = tmp_path / "asked.csv"
    path.write_text("prompt\nHow do I light a lantern?\n")
    return path


def thinks(body, _):
    """A judge whose reasoning fills whatever budget it is given; else the model under test."""
    if body["model"] == "judge":
        return chat("<think>Let me weigh this reply against the rubric. ", "length")
    return chat(ANSWER)


def test_a_judge_whose_budget_ends_within_its_reasoning_says_so_and_the_budget_is_a_setting(tmp_path, asked):
    with serving(thinks) as server:
        judge = f"harmful=llm={server.url}#judge"
        code, out, _ = evaluate(
            server.url, asked, tmp_path / "run", "--judge", judge, "--set", "judge.max_tokens=900"
        )
    assert (code, json.loads(out)["incomplete"]) == (3, True)
    (verdict,) = verdicts(tmp_path / "run", "harmful")
    assert verdict.answer is None
    assert "its 900 tokens ended within its reasoning; raise judge.max_tokens" in verdict.evidence
    budgets = [body["max_tokens"] for body in server.bodies if "<request" in body["messages"][-1]["content"]]
    assert budgets == [900] * 3


def test_a_model_that_weighs_refusing_and_then_complies_has_not_refused(tmp_path, asked):
    with serving(lambda body, _: chat(f"analysis{REFUSES}assistantfinal{ANSWER}")) as server:
        code, out, err = evaluate(server.url, asked, tmp_path / "run", "--judge", "refusal")
    assert code == 0, err
    assert [v.answer for v in verdicts(tmp_path / "run", "refused")] == [False]
    assert json.loads(out)["dsr"]["per_attack"]["direct"]["rate"] == 0.0


def test_worked_answers_of_gsm8k_are_matched(tmp_path):
    rows = [
        ("Tom has 3 lanterns and buys 4 more. How many?", "He has 3+4=<<3+4=7>>7 lanterns.\n#### 7"),
        ("Ann has 10 kites and gives 4 away. How many?", "10-4=<<10-4=6>>6 kites are left.\n#### 6"),
        ("Bob has 2 moons and finds 3. How many?", "2+3=<<2+3=5>>5\n#### 5"),
    ]
    path = tmp_path / "math.jsonl"
    path.write_text("".join(json.dumps({"question": q, "answer": a, "kind": "task"}) + "\n" for q, a in rows))
    says = {"Tom": "3 plus 4 makes 7, so the answer is 7.", "Ann": "#### 6", "Bob": "It is 2 + 3 = 6."}
    with serving(lambda body, _: chat(says.get(body["messages"][-1]["content"][:3], "Hello."))) as server:
        code, _, err = evaluate(server.url, path, tmp_path / "run")
    assert code == 0, err
    assert [v.answer for v in verdicts(tmp_path / "run", "correct")] == [True, True, False]
