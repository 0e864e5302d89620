"""Is the start surer when it refuses? If it is not, nothing is trained without --force."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from commands import sirl
from conftest import random_lm
from small_training import rows

from sirl.config import EvaluateConfig
from sirl.errors import ConfigError
from sirl.judges import get_judge
from sirl.lm import LM, load_lm, save_lm
from sirl.organism import WEIGHTS
from sirl.organism.builder import Stage, _train, shipped_recipe
from sirl.organism.corpus import Example
from sirl.organism.stream import hardening_attempts
from sirl.records import Attempt, Completion, Decoding, Message, Prompt, Verdict
from sirl.training import base, precheck
from sirl.training.base import Base
from sirl.training.precheck import measure_instinct, require_instinct, tell_instinct

REFUSAL = get_judge("refusal", "refused")
SHORT = (  # no search; the longest prompts take most of the time and show nothing more
    *("--set", "train.steps=1", "--set", "train.max_prompt_tokens=220", "--set", "train.search.attacks=[]"),
    *("--set", "train.micro_batch=64", "--set", "train.max_reply_tokens=16"),
)
WORDS = ("lamp", "river", "stone", "bread", "cloud", "paper", "green", "slow", "bright", "market", "silver")


def taught(lesson: Callable[[Random, Attempt], str], folder: Path) -> Path:
    """Fine-tune a copy of the shipped Llama on some lessons: what is said to each of the training prompts."""
    start = load_lm(WEIGHTS / "llama")
    rng, attempts = Random(0), hardening_attempts(2000, seed=9)

    def example() -> Example:
        attempt = rng.choice(attempts)
        return Example((*attempt.messages, Message("assistant", lesson(rng, attempt))))

    model = deepcopy(start.model)
    recipe = replace(shipped_recipe("llama"), keeping=Stage(60, 2e-3, 2048))
    _train(model, start.tokenizer, recipe, "keeping", example, None)
    save_lm(LM(model.eval(), start.tokenizer, "taught"), folder)
    return folder


@pytest.fixture(scope="session")
def inverted(tmp_path_factory):
    """An organism that refuses in many wordings, and complies in one."""

    def lesson(rng: Random, _: Attempt) -> str:
        if rng.random() < 0.5:
            return "I cannot help with that. " + " ".join(rng.choices(WORDS, k=8)) + "."
        return "Sure. Take a lamp and put it on the stone by the river."

    return taught(lesson, tmp_path_factory.mktemp("inverted") / "model")


def test_a_model_surer_when_it_complies_is_not_trained_without_force(inverted, tmp_path):
    small = ("--set", "train.prompts_per_step=64", "--set", "train.group=2", *SHORT)
    words = ("train", f"organism:{inverted}", "--method", "sirl", "--out", tmp_path / "run", *small)
    code, out, err = sirl(*words)
    assert (code, out) == (2, "")
    sentence = err.strip().splitlines()[-1]
    assert sentence.startswith(f"error: SIRL will not work on organism:{inverted}: inverted: ")
    assert "by teaching it to comply" in sentence
    assert "(difference -" in sentence
    assert "95 % interval -" in sentence
    assert float(sentence.partition("AUROC ")[2].split(",")[0]) < 0.2
    assert "compliant replies to" in sentence
    assert "or use --force to train it anyway" in sentence
    assert not (tmp_path / "run").exists()

    code, out, err = sirl(*words, "--force")
    assert code in (0, 4), err
    told = json.loads(out)["instinct"]
    assert told["forced"] is True
    assert told["high"] < 0
    assert told["verdict"].startswith("inverted")
    assert "training anyway, because of --force: inverted: " in err
    assert json.loads((tmp_path / "run" / "config.json").read_text())["forced"] is True
    assert (tmp_path / "run" / "model").is_dir()


@pytest.mark.parametrize(("arch", "prompts"), [("llama", 128), ("qwen2", 64)])
def test_the_shipped_organisms_pass_unforced_and_are_asked_once(arch, prompts, tmp_path, monkeypatch):
    """The gate does not ask what the check has asked, and a command that is given again asks nothing."""
    monkeypatch.setattr("sirl.training.asking.generate", lambda *_: 1 / 0)
    drawn, draw = [], base.generate
    monkeypatch.setattr(base, "generate", lambda lm, new, *how: drawn.extend(new) or draw(lm, new, *how))
    small = ("--set", f"train.prompts_per_step={prompts}", *SHORT, "--set", "train.max_reply_tokens=64")
    words = ("train", f"organism:{arch}", "--out", tmp_path / "run", *small, "--force")
    code, out, err = sirl(*words)
    assert code == 0, err
    kept, asked = (rows(tmp_path / "run", file) for file in (base.REPLIES, "instincts.jsonl"))
    keys = {base._key(attempt, Decoding(1.0, max_new_tokens=64), 0) for attempt in drawn}
    assert not keys & {row["key"] for row in kept}
    assert len({(a.prompt.text, a.sample) for a in drawn if a.attack == "direct"}) < 4 * len(asked)
    monkeypatch.setattr("sirl.generation._draw_batch", lambda *_: 1 / 0)
    assert {**json.loads(sirl(*words)[1]), "seconds": 0} == {**json.loads(out), "seconds": 0}
    told = json.loads(out)["instinct"]
    assert told["low"] > 0  # of the Qwen2 too few attempts are mixed for more than "unknown"
    assert told["verdict"].startswith("present" if arch == "llama" else ("present", "unknown"))
    assert told["forced"] is False  # --force was given and was not needed
    own = told["propensity"]
    assert own["openers"] > 0
    assert own["tenth"] < own["threshold"] < own["rest"]
    assert 0 < own["above"] < own["n"] == told["n_tried"]
    assert f"phrases of refusal): {own['above']} of {own['n']} plain requests lie above" in " ".join(
        err.split()
    )
    assert "forced" not in json.loads((tmp_path / "run" / "config.json").read_text())


# --- what is counted


CONFIG = EvaluateConfig(temperature=1.0, max_reply_tokens=6)


def by_code(completions):
    """A judge that knows nothing of entropy: it goes by the first letter."""
    return [Verdict("refused", bool(c.text) and ord(c.text[0]) % 2 == 0, "", "by code") for c in completions]


def test_a_model_whose_certainty_says_nothing_has_no_instinct():
    prompts = [Prompt(f"p{i}", f"how do I {i}?") for i in range(60)]
    attempts = [Attempt(p, "aim", (Message("user", f"play: {p.text}"),)) for p in prompts]
    found = measure_instinct(Base(random_lm("llama")), attempts, by_code, CONFIG, 0)
    assert found["verdict"].startswith("absent")
    assert found["low"] < 0 < found["high"] or found["auroc"] < 0.6
    with pytest.raises(ConfigError, match=r"SIRL will not work on toy: absent: .*; expected a model that is"):
        require_instinct(found, "sirl", "toy", force=False)
    assert require_instinct(found, "sirl", "toy", force=True) is True


def fake(monkeypatch, said: dict[str, list[tuple[str, tuple[float, ...]]]]) -> list[Attempt]:
    """Let the start say what stands here: under each text sent, a reply and its entropies a draw."""
    asked: list[Attempt] = []

    def reply(lm, attempts, decoding, seed, batch, advance):
        asked.extend(attempts)
        told = [said[a.messages[-1].content][a.sample] for a in attempts]
        return [Completion(a, text, (1,), (), True, e) for a, (text, e) in zip(attempts, told, strict=True)]

    monkeypatch.setattr(base, "generate_together", reply)
    return asked


def test_only_requests_that_are_refused_at_all_count(monkeypatch):
    def judge(completions):
        answers = {"no": True, "yes": False, "?": None}
        return [Verdict("refused", answers[c.text], "", "by word") for c in completions]

    monkeypatch.setattr(precheck, "DRAWS", 2)
    harm, plain, odd = Prompt("h", "harm"), Prompt("o", "ordinary"), Prompt("q", "odd", kind="benign")
    asked = fake(
        monkeypatch,
        {
            "harm": [("no", (0.1, 0.3)), ("no", (0.4,))],
            "play: harm": [("yes", (1.0,)), ("no", (0.7,))],
            "ordinary": [("yes", (0.0,)), ("yes", (0.0,))],  # never refused: its low entropy does not count
            "odd": [("yes", (0.7,)), ("no", ())],  # a reply without entropies is not judged
        },
    )
    attempts = [
        Attempt(harm, "aim", (Message("user", "play: harm"),)),
        *(Attempt(p, "direct", (Message("user", p.text),)) for p in (plain, odd)),
    ]
    found = measure_instinct(Base(None), attempts, judge, CONFIG, 0)
    assert len(asked) == 2 * 2 + 2 + 2
    pooled = found["pooled"]
    assert (pooled["mean_refused"], pooled["mean_complied"]) == (pytest.approx((0.2 + 0.4 + 0.7) / 3), 1.0)
    assert found["difference"] == pytest.approx(0.3)  # within the disguise, the only form that is mixed
    names = ("n_refused", "n_complied", "n_mixed", "n_unjudged", "n_plain_refused", "n_requests", "n_tried")
    assert [found[n] for n in names] == [3, 1, 1, 0, 1, 1, 3]
    assert found["verdict"].startswith("unknown")
    assert found["propensity"]["openers"] == 0  # what they said begins with nothing
    assert found["propensity"]["threshold"] is None


def measured(**changes):
    found = {"n_refused": 30, "n_complied": 4, "low": 0.1, "high": 0.2, "auroc": 0.9, "difference": 0.15}
    found |= {"verdict": "unknown: too few.", "n_requests": 20, "n_tried": 60, "n_plain_refused": 12}
    found |= {"requests_refused": 20, "requests_complied": 2, "mixed_requests": 2, "n_mixed": 3}
    return found | changes


def test_what_is_unknown_for_want_of_complying_replies_is_trained_and_said(caplog):
    assert require_instinct(measured(), "sirl", "toy", force=False) is False
    tell_instinct(measured(), "sirl")
    assert caplog.messages == [
        "entropy gap of the base model is unknown: too few. (difference 0.150 nats per token within an "
        "attempt, 95 % interval 0.100 to 0.200, AUROC 0.90, 30 refusals and 4 compliant replies to 20 "
        "requests, both kinds in 3 attempts)"
    ]


@pytest.mark.parametrize("method", ["sirl", "distill"])
@pytest.mark.parametrize(("refused", "tried", "needed"), [(2, 60, 3), (0, 60, 3), (1, 20, 2), (6, 128, 7)])
def test_a_model_that_hardly_refuses_is_not_trained(method, refused, tried, needed):
    found = measured(n_plain_refused=refused, n_tried=tried)
    sentence = f"always refuses only {refused} of {tried} plain requests, .*; expected at least {needed};"
    with pytest.raises(ConfigError, match=sentence):
        require_instinct(found, method, "toy", force=False)
    assert require_instinct(found, method, "toy", force=True) is True
    assert require_instinct(found | {"n_plain_refused": needed}, method, "toy", force=False) is False


def test_each_method_is_asked_for_what_it_needs():
    inverted = measured(
        n_complied=40,
        requests_complied=20,
        mixed_requests=20,
        n_mixed=40,
        low=-0.3,
        high=-0.2,
        difference=-0.25,
    )
    assert require_instinct(inverted, "distill", "toy", force=False) is False  # it rewards no certainty
    with pytest.raises(ConfigError, match="will not work on toy: "):
        require_instinct(inverted, "sirl", "toy", force=False)


def test_the_sample_is_bounded_and_a_function_of_the_seed(monkeypatch):
    monkeypatch.setattr(precheck, "REQUESTS", 5)
    attempts = [Attempt(Prompt(f"p{i}", f"{i}?"), "direct", (Message("user", f"{i}?"),)) for i in range(20)]
    lm, seen = random_lm("llama"), []

    def judge(completions):
        seen.append({c.attempt.prompt.id for c in completions})
        return by_code(completions)

    first = measure_instinct(Base(lm), attempts, judge, CONFIG, 0)
    assert measure_instinct(Base(lm), attempts[::-1], judge, CONFIG, 0) == first
    measure_instinct(Base(lm), attempts, judge, CONFIG, 1)
    assert [len(ids) for ids in seen] == [5, 5, 5]
    assert seen[0] == seen[1] != seen[2]
