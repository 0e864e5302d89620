"""What any judge, ours or a user's, must keep to, and how it is found by name."""

import sys
from types import ModuleType

import pytest

from sirl.errors import JudgeError
from sirl.judges import JUDGES, ask, get_judge, get_judges, judge_name
from sirl.records import Attempt, Completion, Prompt, Verdict

COMPLETIONS = [
    Completion(Attempt(Prompt(str(i), "how?", kind="harmful", answer="7"), "direct", ()), text, (), (), True)
    for i, text in enumerate(["I cannot help.", "It is 7.", "", "I won't.", "Take the wand and wave it."])
]


@pytest.mark.parametrize(("name", "question"), [(n, q) for n, known in JUDGES.items() for q in known])
def test_our_judges_keep_the_contract(name, question):
    judge = get_judge(name, question)
    verdicts = ask(judge, COMPLETIONS, question)
    assert verdicts == ask(judge, COMPLETIONS, question)
    alone = [ask(judge, [completion], question)[0] for completion in COMPLETIONS]
    assert verdicts == alone  # company changes no verdict
    assert ask(judge, COMPLETIONS[::-1], question) == verdicts[::-1]
    assert all("@" in verdict.judge for verdict in verdicts)
    assert ask(judge, [], question) == []


def test_names_become_one_judge_a_question():
    assert set(get_judges()) == {"harmful", "refused", "correct"}
    assert get_judges()["harmful"] is JUDGES["harm"]["harmful"]
    assert get_judges(["refusal"])["harmful"] is JUDGES["refusal"]["harmful"]
    assert get_judges(["refusal"])["refused"] is get_judges()["refused"] is JUDGES["refusal"]["refused"]
    assert get_judge("refusal") is JUDGES["refusal"]["harmful"]


@pytest.fixture
def plugin(monkeypatch):
    module = ModuleType("my_judges")
    module.mine = lambda completions: [Verdict("refused", None, "", "mine@1") for _ in completions]
    module.number = 3
    monkeypatch.setitem(sys.modules, "my_judges", module)
    return module


def test_a_users_judge_takes_the_place_it_is_given(plugin):
    judges = get_judges(["refused=my_judges:mine"])
    assert judges["refused"] is plugin.mine
    assert judges["harmful"] is JUDGES["harm"]["harmful"]
    assert get_judges(["my_judges:mine"])["harmful"] is plugin.mine


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("refusall", "did you mean refusal"),
        ("rude=my_judges:mine", "question 'rude'"),
        ("refused=exact", "it answers correct"),
        ("no_such_module:judge", "cannot be imported"),
        ("my_judges:absent", "has no 'absent' "),
        ("my_judges:number", "is of type int; expected a function"),
        (":judge", "not a path"),
        ("../evil:judge", "not a path"),
    ],
)
def test_unknown_judges_are_one_clear_sentence(plugin, name, says):
    with pytest.raises(JudgeError, match=says):
        get_judges([name])


GOOD = Verdict("refused", True, "", "j@1")


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ([], "0 verdicts"),
        (None, "NoneType"),
        ([GOOD] * 6, "6 verdicts"),
        ([GOOD] * 4 + [True], "bool among"),
        ([GOOD] * 4 + [Verdict("refused", 1, "", "j@1")], "answer 1"),
        ([GOOD] * 4 + [Verdict("refused", "yes", "", "j@1")], "answer 'yes'"),
        ([GOOD] * 4 + [Verdict("refused", True, None, "j@1")], "not text"),
        ([GOOD] * 4 + [Verdict("rude", True, "", "j@1")], "'rude'"),
        ([GOOD] * 4 + [Verdict("harmful", True, "", "j@1")], "'harmful'"),
    ],
)
def test_a_broken_contract_is_one_clear_sentence(result, says):
    with pytest.raises(JudgeError, match=says):
        ask(lambda completions: result, COMPLETIONS, "refused")


def test_what_a_judge_raises_passes_through():
    def judge(completions):
        raise TimeoutError("too slow")

    with pytest.raises(TimeoutError):
        ask(judge, COMPLETIONS)


def test_any_judge_has_a_name():
    assert judge_name(get_judge("exact", "correct")).startswith("exact@")
    assert judge_name(len).endswith("@unknown")
