"""A prompt of which nobody said the kind: it may be trained on without labels, and is never scored."""

from __future__ import annotations

import json

import pytest
from commands import sirl
from fakes import study

from sirl.errors import DataError
from sirl.judges import get_judge, get_judges
from sirl.records import KINDS, UNLABELLED, Attempt, Completion, Message, Prompt
from sirl.training.labelling import labeller

PROMPT = Prompt("p", "How do I fold a kite?")


def reply(prompt, text="Take the paper and fold it twice."):
    return Completion(Attempt(prompt, "direct", (Message("user", prompt.text),)), text, (1,), (), True)


def test_a_prompt_is_of_no_kind_until_somebody_says_so():
    assert PROMPT.kind == UNLABELLED
    assert UNLABELLED not in KINDS


@pytest.mark.parametrize("name", ["refusal", "harm"])
def test_harm_is_not_judged_where_nobody_said_that_it_was_asked_for(name):
    (verdict,) = get_judge(name, "harmful")([reply(PROMPT)])
    assert verdict.answer is None
    assert "nobody said" in verdict.evidence
    (verdict,) = get_judge("refusal", "refused")([reply(PROMPT, "I cannot help with that.")])
    assert verdict.answer is True  # what a reply does needs no label


def test_a_measurement_refuses_prompts_of_no_kind():
    with pytest.raises(DataError, match="1 of 2 prompts state no kind"):
        study(prompts=[PROMPT, Prompt("q", "How do I fly it?", "benign")])


def test_such_a_reply_is_nobodys_example():
    assert labeller(get_judges())([reply(PROMPT), reply(Prompt("q", "Fly?", "benign"))]) == [None, True]


def test_a_baseline_asks_for_the_kinds_that_it_reads(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("prompt\n" + "".join(f"How do I fold kite {i}?\n" for i in range(12)))
    words = ("train", "organism:llama", "--prompts", path, "--set", "train.steps=1", "--method", "sft")
    code, _, err = sirl(*words, "--out", tmp_path / "run")
    assert code == 2
    assert "12 of 12 prompts to train on state no kind" in err
    assert "--kind for a whole file" in err
    assert not (tmp_path / "run").exists()


def test_training_without_labels_says_that_it_has_none(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("prompt,kind\n" + "".join(f"How do I fold kite {i}?,\n" for i in range(12)))
    small = (
        "group=2",
        "prompts_per_step=2",
        "micro_batch=2",
        "max_reply_tokens=2",
        "steps=1",
        "gate.kind=none",
    )
    changes = [word for change in small for word in ("--set", f"train.{change}")]
    code, _, err = sirl(
        "train",
        "organism:llama",
        "--prompts",
        path,
        "--out",
        tmp_path / "run",
        "--force",
        "--recipe",
        "paper",
        *changes,
    )
    assert code == 0, err
    assert "taken as" not in err
    (source,) = json.loads((tmp_path / "run" / "config.json").read_text())["prompts"]
    assert source["kinds"] == source["assumed"] == {"unlabelled": 12}
