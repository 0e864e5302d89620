from __future__ import annotations

import pickle

import pytest

from sirl import errors
from sirl.errors import (
    AttackError,
    ConfigError,
    DataError,
    DefenceError,
    JudgeError,
    RunError,
    SirlError,
    TemplateError,
    suggest,
)

PARENTS = {
    ConfigError: ValueError,
    DataError: ValueError,
    TemplateError: ValueError,
    AttackError: ValueError,
    DefenceError: ValueError,
    JudgeError: ValueError,
    RunError: RuntimeError,
}


@pytest.mark.parametrize(("kind", "parent"), PARENTS.items())
def test_each_error_is_ours_and_the_standard_one(kind, parent):
    with pytest.raises(parent) as caught:
        raise kind("train.steps = 0", "1 or more", "change it")
    assert isinstance(caught.value, SirlError)
    assert isinstance(caught.value, kind)


def test_a_message_has_three_parts():
    error = ConfigError("train.steps = 0", "1 or more", "change it")
    assert str(error) == "train.steps = 0; expected 1 or more; change it."
    assert (error.found, error.expected, error.advice) == ("train.steps = 0", "1 or more", "change it")


@pytest.mark.parametrize("kind", PARENTS)
def test_an_error_survives_another_process(kind):
    error = kind("a", "b", "c")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.found, again.expected, again.advice) == ("a", "b", "c")


def test_the_tree_is_as_drawn():
    assert set(SirlError.__subclasses__()) == set(PARENTS)
    for kind, parent in PARENTS.items():
        (line,) = (line for line in errors.__doc__.splitlines() if f"── {kind.__name__} " in line)
        assert f"({parent.__name__})" in line


def test_an_unknown_name_suggests_near_ones():
    assert suggest("trian", ["train", "gap"]) == "did you mean train? known: gap, train"
    assert suggest("step", ["steps", "stop", "kl"]) == "did you mean steps or stop? known: kl, steps, stop"
    assert suggest("zzz", (name for name in "ba")) == "known: a, b"
