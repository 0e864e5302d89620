"""vLLM for real, on the shipped organism: replies and figures of the transformers target. `make test-vllm`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from commands import CONSOLE_SCRIPT, sirl
from conftest import attempts

from sirl.cli.sources import open_target
from sirl.config import ModelConfig
from sirl.lm import load_lm
from sirl.organism import WEIGHTS
from sirl.organism.corpus import evaluation_prompts
from sirl.records import Attempt, Decoding, Message
from sirl.rundir import read_run
from sirl.targets import LocalTarget, VLLMTarget, open_vllm

pytestmark = pytest.mark.filterwarnings("default")  # what vLLM and its libraries deprecate is not ours to mend
GREEDY = Decoding(max_new_tokens=48)
MEMORY = ("--set", "model.memory=0.15")


@pytest.fixture(scope="module")
def engine() -> VLLMTarget:
    return open_vllm(WEIGHTS / "llama", "organism:llama", ModelConfig(memory=0.15), GREEDY)


@pytest.fixture(scope="module")
def local() -> LocalTarget:
    return LocalTarget(load_lm(WEIGHTS / "llama", name="organism:llama"), GREEDY)


@pytest.fixture(scope="module")
def asked() -> list[Attempt]:
    prompts = evaluation_prompts({"harmful": 12, "benign": 8, "math": 4}, 0)
    plain = [Attempt(p, "direct", (Message("user", p.text),)) for p in prompts]
    return [*plain, *(replace(a, attack="prefill", prefill="Sure, here is") for a in plain[:12])]


@pytest.mark.vllm
def test_greedy_replies_are_those_of_transformers(engine, local, asked):
    ours, theirs = local.reply(asked, 0), engine.reply(asked, 0)
    assert [c.attempt for c in theirs] == asked
    assert [c.text for c in theirs] == [c.text for c in ours]
    assert [c.token_ids for c in theirs] == [c.token_ids for c in ours]
    assert [c.finished for c in theirs] == [c.finished for c in ours]
    assert all(c.entropies is None for c in theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert b.logprobs == pytest.approx(a.logprobs, abs=2e-3)
        assert b.pieces == a.pieces


@pytest.mark.vllm
def test_beginnings_are_scored_as_by_transformers(engine, local, asked):
    beginnings = [("Sure, here is how", "I cannot")[i % 2] for i in range(len(asked))]
    expected = local.log_likelihood(asked, beginnings)
    assert engine.log_likelihood(asked, beginnings) == pytest.approx(expected, abs=2e-3)
    with pytest.raises(ValueError, match="without tokens"):
        engine.log_likelihood(asked[:1], [""])


@pytest.mark.vllm
def test_draws_depend_on_the_seed_and_the_attempt_alone(engine, asked):
    hot = [replace(a, decoding=Decoding(1.5, 0.98, 100, 32)) for a in asked[:8]]
    together = [c.text for c in engine.reply(hot, 0)]
    assert [engine.reply([a], 0)[0].text for a in hot[:3]] == together[:3]
    assert [c.text for c in engine.reply(hot[::-1], 0)][::-1] == together
    assert [c.text for c in engine.reply(hot, 1)] != together


@pytest.mark.vllm
def test_a_prompt_that_does_not_fit_costs_no_other(engine):
    first, long, last = engine.reply(attempts(["hello", "moonfox " * 5000, "hello"]), 0)
    assert (first.error, last.error, long.text) == ("", "", "")
    assert "the engine takes" in long.error


@pytest.mark.vllm
def test_the_command_line_gives_the_figures_of_transformers(tmp_path):
    """In a process of its own, as a user runs it: stdout is the summary alone."""
    path = tmp_path / "mine.jsonl"
    prompts = evaluation_prompts({"harmful": 8, "benign": 4, "borderline": 4}, 0)
    path.write_text("".join(json.dumps({"id": p.id, "prompt": p.text, "kind": p.kind}) + "\n" for p in prompts))
    words = ("--prompts", path, "--attacks", "direct,past_tense,ica,prefill", "--recipe", "organism")
    assert sirl("evaluate", "organism:llama", "--out", tmp_path / "local", *words)[0] == 0
    there = ("--out", tmp_path / "vllm", *words, *MEMORY, "--set", "model.engine=vllm")
    command = [*CONSOLE_SCRIPT, *map(str, ("evaluate", "organism:llama", *there))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ours, theirs = json.loads((tmp_path / "local" / "summary.json").read_text()), json.loads(done.stdout)
    for name in ("dsr", "over_refusal", "unscored"):
        assert theirs[name] == ours[name]
    hashes = read_run(tmp_path / "vllm").environment["hashes"]
    assert hashes["engine"].startswith("vllm ")
    assert len(hashes["weight files"]) == 12


def test_vllm_is_an_extra_and_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    words = ("evaluate", "organism:llama", "--out", "nowhere", "--set", "model.engine=vllm")
    code, _, err = sirl(*words)
    assert code == 2
    assert "vllm cannot be imported" in err
    assert "pip install 'sirl[vllm]'" in err


@pytest.mark.parametrize("command", ["gap", "train"])
def test_what_needs_weights_says_so_before_vllm_starts(tmp_path, command):
    code, _, err = sirl(command, "organism:llama", "--out", tmp_path / "run", "--set", "model.engine=vllm")
    assert code == 2
    assert "organism:llama, which gives replies and neither weights nor entropies" in err
    assert not (tmp_path / "run").exists()


def test_attackers_and_surrogates_stay_with_transformers():
    opened = open_target("organism:llama", ModelConfig(engine="vllm"), GREEDY)
    assert isinstance(opened, LocalTarget)
    assert (opened.access, opened.decoding) == ("white-box", GREEDY)


def test_an_engine_that_does_not_start_is_one_sentence(monkeypatch, tmp_path):
    def llm(**settings):
        raise RuntimeError("Engine core initialization failed.\nSee root cause above.")

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=llm))
    words = ("--out", tmp_path / "run", "--set", "model.engine=vllm", "--set", "model.memory=0.5")
    code, _, err = sirl("evaluate", "organism:llama", *words)
    assert code == 2
    assert "(Engine core initialization failed. See root cause above.)" in err
    assert "50% of the device's memory free" in err
    assert not (tmp_path / "run").exists()
