from __future__ import annotations

import json
import sys
from contextlib import suppress
from functools import partial

import pytest
from conftest import random_lm

from sirl.config import ModelConfig
from sirl.errors import AttackError, JudgeError
from sirl.lm import save_lm
from sirl.plugins import load_plugin
from sirl.records import Decoding
from sirl.workflows.models import open_target

MODULE = """
from functools import partial
def judge(completions):
    return []
class Callable:
    def __call__(self):
        return 1
made = Callable()
fixed = partial(judge)
number = 3
_hidden = 4
"""


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """A user's package on the import path."""
    package = tmp_path / "plugged_in"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "mine.py").write_text(MODULE)
    (package / "broken.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("plugged_in")]:
        monkeypatch.delitem(sys.modules, name)


def load(path, noun="judge", error=JudgeError, also=()):
    return load_plugin(path, noun, error, also)


def test_anything_that_can_be_called_is_found():
    assert load("plugged_in.mine:judge")([]) == []
    assert load("plugged_in.mine:made")() == 1
    assert load("plugged_in.mine:Callable")()() == 1
    assert isinstance(load("plugged_in.mine:fixed"), partial)


def test_what_cannot_be_called_is_found_where_its_type_is_welcome():
    assert load("plugged_in.mine:number", also=int) == 3
    assert load("plugged_in.mine:number", also=(str, int)) == 3
    with pytest.raises(JudgeError, match=r"'plugged_in.mine:number' is of type int; expected a function"):
        load("plugged_in.mine:number", also=str)


@pytest.mark.parametrize(
    "path",
    ["judge", "plugged_in.mine.judge", ":judge", "plugged_in.mine:", "plugged_in/mine.py:judge", "a b:c", ""],
)
def test_what_is_no_path_is_refused_before_any_import(path):
    with pytest.raises(JudgeError) as error:
        load(path)
    assert "is not a path; expected module:function; write my_pkg.mine:judge." in str(error.value)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("no_such_pkg:judge", "judge 'no_such_pkg:judge' cannot be imported (No module named 'no_such_pkg')"),
        ("plugged_in.other:judge", "cannot be imported (No module named 'plugged_in.other')"),
        ("plugged_in.broken:judge", "cannot be imported (No module named 'no_such_dependency')"),
        ("plugged_in.mine:jugde", "module 'plugged_in.mine' has no 'jugde'"),
        ("plugged_in.mine:jugde", "did you mean judge"),
    ],
)
def test_what_is_not_there_is_told_in_a_sentence(path, sentence):
    with pytest.raises(JudgeError) as error:
        load(path)
    assert sentence in str(error.value)
    assert "_hidden" not in str(error.value)


def test_the_error_and_the_noun_are_the_callers():
    with pytest.raises(AttackError, match=r"attack 'x' is not a path; .* write my_pkg.mine:attack"):
        load("x", "attack", AttackError)


def test_code_that_comes_with_a_model_runs_only_for_the_one_that_is_trusted(tmp_path, monkeypatch):
    """A judge's, an attacker's or a surrogate's is trusted by its name, not with the model under test."""
    ran, folder = tmp_path / "ran", tmp_path / "model"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path / "cache")
    save_lm(random_lm("llama"), folder)
    code = f"import pathlib\nfrom transformers import LlamaConfig\npathlib.Path({str(ran)!r}).touch()\n"
    code += "class Own(LlamaConfig):\n    pass\n"
    (folder / "own.py").write_text(code)
    config = json.loads((folder / "config.json").read_text()) | {"auto_map": {"AutoConfig": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    for trusting in ({"trust_remote_code": True}, {"trusted_code": ("another",)}):
        target, _ = open_target(str(folder), ModelConfig(**trusting), Decoding())
        assert target.access == "white-box"
        assert not ran.exists()
    with suppress(ValueError):  # it brings a config and no model of its own
        open_target(str(folder), ModelConfig(trusted_code=(str(folder),)), Decoding())
    assert ran.exists()
