"""vLLM for real, on the shipped organism: replies and figures of the transformers target. `make test-vllm`."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from math import exp, inf, sqrt
from multiprocessing import active_children
from socket import socket
from statistics import fmean
from time import monotonic, sleep
from types import SimpleNamespace
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from commands import CONSOLE_SCRIPT, sirl
from conftest import attempts

from sirl.config import ModelConfig
from sirl.errors import DataError
from sirl.generation import generate
from sirl.judges import get_judge
from sirl.lm import load_lm, render
from sirl.organism import WEIGHTS
from sirl.organism.corpus import evaluation_prompts
from sirl.records import Attempt, Decoding, Message, Prompt
from sirl.rundir import read_run
from sirl.scoring import teacher_forced
from sirl.targets import LocalTarget, Source, VLLMTarget, drawing_apart, open_vllm
from sirl.targets.apart import scored
from sirl.workflows.models import open_target

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
def test_choices_are_scored_as_by_transformers_and_what_is_too_long_costs_no_other(engine, local, asked):
    texts = [("A", " The answer is", "Sure, here is how", "I cannot")[i % 4] for i in range(len(asked))]
    texts[:4] = [reply.text for reply in local.reply(asked[:4], 0)]  # what greedy says
    ours, theirs = local.continuations(asked, texts), engine.continuations(asked, texts)
    assert [s for s, _ in theirs] == pytest.approx([s for s, _ in ours], abs=2e-2)
    assert [greedy for _, greedy in theirs] == [greedy for _, greedy in ours]
    assert {True, False} == {greedy for _, greedy in theirs}
    first, long, last = engine.continuations(attempts(["hello", "moonfox " * 5000, "hello"]), ["Sure"] * 3)
    assert (first, long) == (last, (-inf, False))


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
    words = (
        "--prompts",
        path,
        "--attacks",
        "direct,past_tense_rules,ica_harmless,prefill",
        "--recipe",
        "organism",
    )
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


# --- the base model's replies for training


@pytest.mark.vllm
def test_entropies_of_what_vllm_draws_are_those_of_its_own_distributions(engine, local, asked):
    """Ours come of one pass of transformers over vLLM's tokens; here vLLM tells its whole vocabulary."""
    hot = replace(engine, decoding=Decoding(1.0, max_new_tokens=48))
    replies = scored(local.lm, hot.reply(asked[:8], 0))
    engine.engine.model_config.max_logprobs = -1
    plan = sys.modules["vllm"].SamplingParams(max_tokens=1, prompt_logprobs=-1, detokenize=False)
    rows = [[*row, *r.token_ids] for row, r in zip(render(local.lm, asked[:8]), replies, strict=True)]
    outputs = engine.engine.generate([{"prompt_token_ids": row} for row in rows], plan, use_tqdm=False)
    for reply, output in zip(replies, outputs, strict=True):
        told = output.prompt_logprobs[-len(reply.token_ids) :]
        expected = [-sum(exp(t.logprob) * t.logprob for t in at.values()) for at in told]
        assert reply.entropies == pytest.approx(expected, abs=2e-2)
        assert reply.logprobs == pytest.approx(
            [at[i].logprob for at, i in zip(told, reply.token_ids, strict=True)], abs=2e-2
        )


def drawers() -> list[str]:
    """The processes of `drawing_apart`; the engine above has one of its own."""
    return [process.name for process in active_children() if process.name == "sirl-vllm"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A few steps of distillation by the command line, the start's replies drawn by vLLM."""
    out = tmp_path_factory.mktemp("vllm") / "run"
    settings = {
        "steps": 3,
        "prompts_per_step": 32,
        "micro_batch": 16,
        "save_every": 3,
        "gate.kind": "start",
        "gate.samples": 4,
    }
    changes = [word for name, value in settings.items() for word in ("--set", f"train.{name}={value}")]
    code, said, err = sirl(
        "train", "organism:llama", "--out", out, *changes, *MEMORY, "--set", "model.engine=vllm"
    )
    assert code == 0, err
    assert json.loads(said)["steps"] == 3
    return out


@pytest.mark.vllm
def test_training_draws_the_starts_replies_by_vllm_in_a_process_that_is_gone(trained, local):
    assert not drawers()
    run = read_run(trained)
    assert run.config["start_drawn_by"] == "vllm"
    kept = run.rows("instincts.jsonl")
    texts = [row["text"] for row in kept]
    drawn = [(row["text"], reply) for row in kept for reply in row["replies"]]
    prompts = [Attempt(Prompt(t, t), "direct", (Message("user", t),)) for t, _ in drawn]
    scored = teacher_forced(local.lm, render(local.lm, prompts), [reply["token_ids"] for _, reply in drawn])
    for (_, reply), (entropy_T, logprob_T) in zip(drawn, scored, strict=True):
        assert reply["entropies"] == pytest.approx(entropy_T.tolist(), abs=2e-2)
        assert reply["logprobs"] == pytest.approx(logprob_T.tolist(), abs=2e-2)
    losses = [row["divergence"] for row in run.rows("steps.jsonl")]
    assert all(loss > 0 for loss in losses)

    requests = [Attempt(Prompt(t, t), "direct", (Message("user", t),)) for t in texts]
    draws = [replace(a, sample=n) for a in requests for n in range(4)]
    here = generate(local.lm, draws, Decoding(1.0, max_new_tokens=64), 0)
    refused = [v.answer is True for v in get_judge("refusal", "refused")(here)]
    refusals = [sum(refused[i : i + 4]) for i in range(0, len(draws), 4)]
    judged = [[reply["refused"] is True for reply in row["replies"]] for row in kept]
    counted = (list(map(sum, judged)), refusals)
    shares = [sum(counts) / len(draws) for counts in counted]
    assert abs(shares[0] - shares[1]) < 4 * sqrt(2 * shares[1] * (1 - shares[1]) / len(draws))
    for side in ("refuse", "answer", "split"):
        shares = [fmean(_side(n) == side for n in counts) for counts in counted]
        middle = fmean(shares)
        assert abs(shares[0] - shares[1]) <= 3 * sqrt(2 * middle * (1 - middle) / len(texts))
    mean = fmean(fmean(reply.entropies) for reply in here)
    said = [reply for row in kept for reply in row["replies"]]
    assert fmean(fmean(reply["entropies"]) for reply in said) == pytest.approx(mean, abs=0.05)


def _side(refusals: int) -> str:
    return "refuse" if refusals == 4 else "answer" if refusals == 0 else "split"


@pytest.mark.vllm
def test_nothing_to_draw_starts_no_process_and_a_failure_is_told(local, tmp_path):
    config = ModelConfig(memory=0.15)
    with drawing_apart(local.lm, Source(tmp_path, "none", config)) as draw:
        assert not drawers()
        with pytest.raises(DataError, match="no model could be loaded"):
            draw(attempts(["hello"]), GREEDY, 0)
    assert not drawers()


# --- an exported model


@contextmanager
def served(folder):
    """A vLLM server of the folder on this machine; yields its address for `sirl`."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("--model", folder, "--served-model-name", "exported", "--host", "127.0.0.1", "--port", port)
    more = ("--dtype", "float32", "--enforce-eager", "--gpu-memory-utilization", "0.15")
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *map(str, (*words, *more))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/v1#exported"
    finally:
        process.terminate()
        process.wait(60)


def _wait(process, address):
    end = monotonic() + 300
    while monotonic() < end:
        assert process.poll() is None, "the server ended"
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            sleep(1)
    raise AssertionError("the server did not come up")


@pytest.mark.vllm
def test_an_exported_model_says_the_same_in_transformers_in_vllm_and_through_its_server(
    trained, asked, tmp_path
):
    out = tmp_path / "exported"
    assert sirl("export", trained, "--out", out)[0] == 0
    before = LocalTarget(load_lm(trained / "model"), GREEDY).reply(asked, 0)
    after = LocalTarget(load_lm(out), GREEDY).reply(asked, 0)
    assert [c.token_ids for c in after] == [c.token_ids for c in before]
    by_vllm = open_vllm(out, "exported", ModelConfig(memory=0.15), GREEDY)
    assert [c.token_ids for c in by_vllm.reply(asked, 0)] == [c.token_ids for c in before]
    del by_vllm

    path = tmp_path / "mine.jsonl"
    prompts = evaluation_prompts({"harmful": 12, "benign": 8}, 0)
    path.write_text("".join(json.dumps({"id": p.id, "prompt": p.text, "kind": p.kind}) + "\n" for p in prompts))
    words = (
        "--prompts",
        path,
        "--attacks",
        "direct,past_tense_rules,ica_harmless",
        "--set",
        "evaluate.max_reply_tokens=48",
    )
    assert sirl("evaluate", out, "--out", tmp_path / "here", *words)[0] in (0, 3)
    with served(out) as address:
        code, _, err = sirl("evaluate", address, "--out", tmp_path / "there", *words)
    assert code in (0, 3), err
    runs = [read_run(tmp_path / name) for name in ("here", "there")]
    texts = [{r.attempt.key: r.completion.text.strip() for r in run.records()} for run in runs]
    assert texts[0] == texts[1]
    ours, theirs = (json.loads((run.path / "summary.json").read_text())["dsr"] for run in runs)
    assert ours["low"] <= theirs["mean"] <= ours["high"]


def test_vllm_is_an_extra_and_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    words = ("evaluate", "organism:llama", "--out", "nowhere", "--set", "model.engine=vllm")
    code, _, err = sirl(*words)
    assert code == 2
    assert "vllm cannot be imported" in err
    assert "pip install 'sirl[vllm]'" in err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ("train.method=sirl", "train.gate.kind=none"),
            "train.method = 'sirl' and train.gate.kind = 'none'; expected a run",
        ),
        (("train.method=sft",), "train.method = 'sft'"),
    ],
)
def test_vllm_draws_for_training_where_the_start_is_asked_and_nowhere_else(tmp_path, changes, said):
    words = [word for change in ("model.engine=vllm", *changes) for word in ("--set", change)]
    code, _, err = sirl("train", "organism:llama", "--recipe", "paper", "--out", tmp_path / "run", *words)
    assert code == 2
    assert f"model.engine = 'vllm' with {said}" in err
    assert not (tmp_path / "run").exists()


def test_several_processes_and_vllm_do_not_go_together(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = sirl("train", "organism:llama", "--out", tmp_path / "run", "--set", "model.engine=vllm")
    assert code == 2
    assert "with 2 processes; expected one process" in err


def test_what_needs_weights_says_so_before_vllm_starts(tmp_path):
    code, _, err = sirl("gap", "organism:llama", "--out", tmp_path / "run", "--set", "model.engine=vllm")
    assert code == 2
    assert "organism:llama, which gives replies but neither weights nor entropies" in err
    assert not (tmp_path / "run").exists()


def test_attackers_and_surrogates_stay_with_transformers():
    opened, _ = open_target("organism:llama", ModelConfig(engine="vllm"), GREEDY)
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
