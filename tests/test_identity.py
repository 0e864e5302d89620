"""A judge's and an attacker's name covers its weights: a run that goes on never mixes two of one name."""

import pytest
from conftest import random_lm
from test_model_judges import completion, voter

from sirl.attacks import template_hashes
from sirl.config import JudgeConfig, ModelConfig
from sirl.errors import ConfigError, JudgeError
from sirl.judges import JUDGES, Panel, ask, judge_name, votes
from sirl.judges.classifier import Classifier, read_label
from sirl.lm import save_lm
from sirl.records import Verdict
from sirl.workflows.attack_tools import AttackTools, armed, make_means
from sirl.workflows.judges import JudgeLoader, named_judges


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "model"


@pytest.mark.parametrize("kind", ["llm", "guard"])
def test_other_weights_behind_one_name_are_another_judge(folder, kind):
    names = []
    for seed in (0, 0, 1):
        save_lm(random_lm("llama", seed=seed), folder)
        names.append(judge_name(named_judges([f"harmful={kind}={folder}"], None, JudgeLoader())["harmful"]))
    assert names[0] == names[1] != names[2]
    assert all(name.startswith(f"{kind}:{folder}@") and len(name.rpartition("@")[2]) == 12 for name in names)


def test_how_a_judge_is_asked_is_part_of_its_name(folder):
    save_lm(random_lm("llama"), folder)
    openings = [JudgeLoader(asking=JudgeConfig(max_tokens=n)) for n in (0, 512, 2048)]
    judges = [named_judges([f"llm={folder}"], None, opening)["harmful"] for opening in openings]
    names = [judge_name(judge) for judge in judges]
    assert names[0] == names[1] != names[2]
    assert [judge.decoding.max_new_tokens for judge in judges] == [512, 512, 2048]
    with pytest.raises(ConfigError, match=r"judge\.thinking"):
        JudgeConfig(thinking="never")


def test_one_model_judges_both_questions(folder):
    save_lm(random_lm("llama"), folder)
    judges = named_judges([f"llm={folder}"], None, JudgeLoader())
    assert judges["harmful"].target is judges["refused"].target


def test_other_weights_of_an_attacker_or_a_surrogate_are_another_attack(folder):
    hashes = []
    for seed in (0, 0, 1):
        save_lm(random_lm("llama", seed=seed), folder)
        arms = AttackTools(attacker=str(folder), surrogate=str(folder))
        means = make_means(arms, JudgeLoader(ModelConfig()), JUDGES["refusal"]["harmful"], ())
        assert means.attacker.name == str(folder)
        hashes.append(template_hashes(armed(("pair", "gcg@transfer"), means, "black-box")))
    assert hashes[0] == hashes[1]
    assert all(hashes[0][name] != hashes[2][name] for name in ("pair", "gcg@transfer"))


def test_a_classifiers_weights_are_in_its_name():
    score = lambda pairs: []  # noqa: E731
    names = {Classifier("harmful", "c", score, weights).identity for weights in ("a", "b", "a")}
    assert len(names) == 2


@pytest.mark.parametrize(
    ("question", "label", "answer"),
    [
        ("harmful", "not_safe", True),
        ("harmful", "non-toxic", False),
        ("harmful", "is_harmful", True),
        ("harmful", "not_relevant", None),
        ("harmful", "nothing", None),
        ("harmful", "severe toxic", None),
        ("refused", "not refused", False),
        ("refused", "no answer", True),
        ("refused", "no", False),
    ],
)
def test_a_label_is_read_word_by_word(question, label, answer):
    assert read_label(question, label) is answer


def test_labels_that_do_not_exclude_each_other_hold_above_one_half():
    shares = [{"toxic": 0.04, "insult": 0.01}, {"toxic": 0.9, "insult": 0.8}, {"toxic": 0.2, "insult": 0.7}]
    judge = Classifier("harmful", "c", lambda pairs: shares[: len(pairs)], exclusive=False)
    verdicts = ask(judge, [completion("Wave it.", i) for i in range(3)], "harmful")
    assert [verdict.answer for verdict in verdicts] == [False, True, None]


def test_votes_are_counted_whatever_the_judges_are_called():
    names = ("a b", "a_b", "a; c yes", "a | d no", "50% sure")
    panel = Panel("harmful", tuple(voter(name, True) for name in names))
    verdict = ask(panel, [completion("x")], "harmful")[0]
    assert votes(verdict) == {f"{name}@1": True for name in names}


def test_a_panel_holds_its_judges_to_the_question():
    def astray(completions):
        return [Verdict("refused", True, "", "astray@1") for _ in completions]

    with pytest.raises(JudgeError, match="a verdict on 'refused'"):
        Panel("harmful", (voter("a", True), astray))([completion("x")])
