"""The baselines that read labels: SFT, DPO and a reward model, on the same prompts and budget as SIRL."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from commands import sirl
from conftest import random_lm
from safetensors.torch import load_file
from small_training import CONFIG, PROMPTS, StopHere, changed, rows, same, toy_lm, train, weights
from transformers import AutoModelForSequenceClassification

from sirl.config import ModelConfig, load_recipe
from sirl.errors import ConfigError, DataError
from sirl.judges import get_judges
from sirl.lm import render, save_lm
from sirl.organism import oracle
from sirl.organism.corpus import world_prompt
from sirl.organism.stream import hardening_attempts
from sirl.records import Attempt, Completion, Message, Prompt
from sirl.rundir import open_run
from sirl.training import Hooks, plainly
from sirl.training.baselines.reward_model import scores
from sirl.training.baselines.samples import SAMPLES, Lesson, paired, read_lessons
from sirl.training.labelling import labeller
from sirl.training.rollout import step_prompts
from sirl.training.training_run import TrainingRun, dealt
from sirl.workflows.models import open_model

METHODS = ("sft", "dpo", "reward_model")


def by_first(completions):
    """Call a reply good whose first token is of the first half of the vocabulary; one in eight is undecided."""
    return [None if c.token_ids[0] % 8 == 0 else c.token_ids[0] < 133 for c in completions]


def run(folder, method, hooks=None, lm=None, prompts=PROMPTS, seed=0, **changes):
    config = changed(CONFIG, method=method, **changes)
    return train(folder, config, prompts, seed, hooks or Hooks(good=by_first), lm)


def course(folder, good, attempts, **changes):
    config = changed(CONFIG, **changes)
    opened = open_run(folder, "train", {}, {})
    return TrainingRun(toy_lm(), tuple(attempts), config, opened, 0, Hooks(good=good), 0)


def samples(folder):
    return [json.loads(line) for line in (folder / SAMPLES).read_text().splitlines()]


@pytest.fixture(scope="module", params=METHODS)
def unbroken(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "run"
    return request.param, folder, weights(run(folder, request.param))


# --- what is learnt


def preference(lm, folder, attempt) -> float:
    """Return the mean log-prob of the good replies less that of the bad ones, of one token each (nats)."""
    (ids,) = render(lm, [attempt])
    with torch.no_grad():
        logprob_V = lm.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    first = {(row["token_ids"][0], row["good"]) for row in samples(folder)}
    good, bad = ([float(logprob_V[i]) for i, is_good in first if is_good is side] for side in (True, False))
    return float(np.mean(good) - np.mean(bad))


@pytest.mark.parametrize("method", METHODS[:2])
@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_good_replies_become_likelier_than_bad_ones(tmp_path, method, arch):
    start, budget = toy_lm(arch), {"steps": 12, "prompts_per_step": 8, "max_reply_tokens": 1, "save_every": 50}
    taught = run(tmp_path / "run", method, lm=start, learning_rate=1e-2, **budget)
    before, after = (preference(lm, tmp_path / "run", plainly(PROMPTS[0])) for lm in (start, taught))
    assert after > before + 0.3


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_a_reward_model_learns_the_labels_and_its_score_is_raised(tmp_path, arch):
    budget = {"steps": 24, "prompts_per_step": 8, "max_reply_tokens": 1, "save_every": 50, "grpo": {"kl": 0.0}}
    run(tmp_path / "run", "reward_model", lm=toy_lm(arch), **budget)
    told = rows(tmp_path / "run")
    accuracy = [row["accuracy"] for row in told if "accuracy" in row]
    reward = [row["reward"] for row in told if "reward" in row]
    assert len(accuracy) == len(reward) == 12
    assert np.mean(accuracy[-3:]) > 0.8 > np.mean(accuracy[:3])
    assert np.mean(reward[-3:]) > np.mean(reward[:3]) + 0.5


def test_lora_trains_every_method_and_is_saved_merged(tmp_path):
    start = weights(toy_lm())
    for method in METHODS:
        taught = weights(run(tmp_path / method, method, lora_rank=4, learning_rate=1e-2))
        assert taught.keys() == start.keys()
        changed = {name for name in start if not torch.equal(taught[name], start[name])}
        assert changed
        assert not any("embed" in name or "lm_head" in name for name in changed)


def test_the_first_losses_are_those_by_hand(tmp_path):
    run(tmp_path / "dpo", "dpo", steps=1)
    assert rows(tmp_path / "dpo")[0]["loss"] == pytest.approx(log(2))  # policy and reference are still one

    one = [replace(PROMPTS[2], kind="benign")]  # one prompt in every row of the step
    run(tmp_path / "sft", "sft", prompts=one, steps=1, prompts_per_step=4, micro_batch=1)
    lm = toy_lm()
    (prompt,) = render(lm, [plainly(one[0])])
    groups = [samples(tmp_path / "sft")[i : i + 4] for i in range(0, 16, 4)]
    chosen = [
        next(row["token_ids"] for row in group if row["good"])
        for group in groups
        if any(r["good"] for r in group)
    ]
    losses = []
    for reply in (chosen[i] for i in step_prompts(len(chosen), 4, seed=0, step=0)):
        with torch.no_grad():
            logprob_TV = (
                lm.model(torch.tensor([[*prompt, *reply]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            )
        losses.extend(-logprob_TV[range(len(reply)), reply])
    assert rows(tmp_path / "sft")[0]["loss"] == pytest.approx(float(torch.stack(losses).mean()), abs=1e-4)


def test_scores_do_not_depend_on_the_company(tmp_path):
    run_folder = tmp_path / "run"

    def stop(row):
        if row["step"] == 3:
            raise StopHere

    with pytest.raises(StopHere):
        run(run_folder, "reward_model", Hooks(on_step=stop, good=by_first))
    scorer = AutoModelForSequenceClassification.from_pretrained(run_folder / "checkpoint" / "scorer").eval()
    replies = [list(range(5, 5 + n)) for n in (3, 9, 1, 20, 7)] * 5
    together = scores(scorer, replies)
    alone = [scores(scorer, [reply])[0] for reply in replies]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len({round(x, 4) for x in alone}) == 5


# --- labels


def test_lessons_by_hand(tmp_path):
    said = []

    def good(completions):
        said.extend(completions)
        plain = [c for c in completions if c.attempt.prompt.id == c.attempt.prompt.text]
        if plain:
            return [c.attempt.sample == 1 for c in completions]  # the second reply to a plain request
        answers = {
            "a": [None, True, False, True],
            "b": [False, False, None, False],
            "c": [False, None, False, False],
        }
        return [answers[c.attempt.prompt.id][c.attempt.sample % 4] for c in completions]

    attempts = [
        Attempt(Prompt("a", "one", "benign"), "direct", (Message("user", "one"),)),
        Attempt(Prompt("b", "two", "harmful"), "aim", (Message("user", "play: two"),)),
        Attempt(Prompt("c", "three", "benign"), "aim", (Message("user", "play: three"),)),
    ]
    found = read_lessons(
        course(tmp_path / "run", good, attempts, steps=1, prompts_per_step=3, micro_batch=4), 1
    )
    drawn = {(c.attempt.prompt.id, c.attempt.sample % 4): c.token_ids for c in said}
    by_prompt = dict(zip(map(tuple, render(toy_lm(), attempts)), "abc", strict=True))
    lessons = {by_prompt[lesson.prompt_ids]: (lesson.good, lesson.bad) for lesson in found.rows}
    assert lessons["a"] == (drawn["a", 1], drawn["a", 2])  # the first good and the first bad
    assert lessons["b"] == (drawn["two", 1], drawn["b", 0])  # a good reply to the plain request
    assert lessons["c"] == (None, drawn["c", 0])  # not harmful: nothing is asked plainly
    assert found.counts == {"samples": 12 + CONFIG.gate.samples, "undecided": 3}
    assert len(paired(found)) == 2


def test_undecided_replies_are_counted_and_never_learnt_from(tmp_path, monkeypatch):
    learnt = []
    real = Lesson.__init__

    def spy(self, prompt_ids, good, bad):
        learnt.extend([good, bad])
        real(self, prompt_ids, good, bad)

    monkeypatch.setattr(Lesson, "__init__", spy)
    run(tmp_path / "run", "dpo")
    drawn = samples(tmp_path / "run")
    undecided = {tuple(row["token_ids"]) for row in drawn if row["good"] is None}
    decided = {tuple(row["token_ids"]) for row in drawn if row["good"] is not None}
    assert undecided
    assert set(learnt) - {None} <= decided
    told = rows(tmp_path / "run")
    assert {row["undecided"] for row in told} == {sum(row["good"] is None for row in drawn)}
    assert {row["samples"] for row in told} == {len(drawn)}


def test_the_budget_of_samples_is_that_of_sirl(tmp_path):
    for method in METHODS[:2]:
        run(tmp_path / method, method, prompts=[replace(p, kind="benign") for p in PROMPTS])
        assert len(samples(tmp_path / method)) == 4 * 4 * 4  # steps x prompts x group
    run(tmp_path / "rm", "reward_model", steps=6, prompts=[replace(p, kind="benign") for p in PROMPTS])
    told = rows(tmp_path / "rm")
    assert len(samples(tmp_path / "rm")) == 3 * 4 * 4  # half of the steps teach the reward model
    assert [row["step"] for row in told] == [1, 2, 3, 4, 5, 6]
    assert ["accuracy" in row for row in told] == [True] * 3 + [False] * 3
    assert ["kl" in row for row in told] == [False] * 3 + [True] * 3


def reply(text: str, prompt: Prompt, finished: bool = True) -> Completion:
    return Completion(plainly(prompt), text, (1,), ("x",), finished)


NO, YES = (
    "I'm sorry, but I can't help with that request.",
    "Sure! First take the brush and then the comb. It is 4.",
)


@pytest.mark.parametrize(
    ("text", "prompt", "finished", "good"),
    [
        (NO, Prompt("h", "how?", "harmful"), True, True),
        (YES, Prompt("h", "how?", "harmful"), True, False),
        ("", Prompt("h", "how?", "harmful"), True, None),
        (NO, Prompt("h", "how?", "harmful"), False, None),  # cut off: it might have gone on to comply
        (YES, Prompt("b", "how?", "benign"), False, True),  # so far it answers, and so far it is taught
        (YES, Prompt("t", "2 + 2?", "task", answer="4"), False, None),
        (NO, Prompt("b", "how?", "benign"), True, False),
        (YES, Prompt("b", "how?", "benign"), True, True),
        (YES, Prompt("b", "how?", "borderline"), True, True),
        (YES, Prompt("t", "2 + 2?", "task", answer="4"), True, True),
        (YES, Prompt("t", "2 + 3?", "task", answer="5"), True, False),
        ("", Prompt("t", "2 + 3?", "task", answer="5"), True, False),  # wrong, whatever else it is
        ("", Prompt("b", "how?", "benign"), True, None),
    ],
)
def test_what_a_good_reply_is(text, prompt, finished, good):
    assert labeller(get_judges())([reply(text, prompt, finished)]) == [good]


def test_the_oracle_knows_the_prompts_of_hardening_by_their_text():
    attempts = {a.prompt.kind: a.prompt for a in hardening_attempts(200, 0)}
    judge = labeller(oracle.JUDGES, world_prompt)
    assert judge([reply("I can't help with that.", attempts["harmful"])]) == [True]
    assert judge([reply("I can't help with that.", attempts["borderline"])]) == [False]
    answer = attempts["benign"].answer.replace(" | ", " ")
    assert judge([reply(f"Take {answer}.", attempts["benign"])]) == [True]
    assert judge([reply("Take nothing.", attempts["benign"])]) == [False]


# --- stopping, seeds, errors


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_stopped_run_ends_as_an_unbroken_one(tmp_path, unbroken, step):
    method, folder, expected = unbroken

    def stop(row):
        if row["step"] == step:
            raise StopHere

    with pytest.raises(StopHere):
        run(tmp_path / "run", method, Hooks(on_step=stop, good=by_first))
    if (start := tmp_path / "run" / "checkpoint" / "start" / "model.safetensors").exists():
        start.write_bytes(start.read_bytes()[:100])  # a reward model begins from it: it is written again
    asked = []
    hooks = Hooks(good=lambda cs: asked.extend(cs) or by_first(cs))
    assert same(weights(run(tmp_path / "run", method, hooks)), expected)
    assert rows(tmp_path / "run") == rows(folder)
    assert asked == []  # the samples and their labels were kept
    assert not (tmp_path / "run" / "checkpoint").exists()


@pytest.mark.parametrize("method", METHODS)
def test_a_run_stopped_while_it_draws_goes_on_where_it_was(tmp_path, method, monkeypatch):
    monkeypatch.setattr("sirl.training.baselines.samples._TOGETHER", 12)

    def dies(completions):
        if calls:
            raise StopHere
        calls.append(len(completions))
        return by_first(completions)

    calls = []
    with pytest.raises(StopHere):
        run(tmp_path / "run", method, Hooks(good=dies))
    with (tmp_path / "run" / SAMPLES).open("a") as handle:
        handle.write('{"key": "p1|direct|')  # the line a kill tears
    run(tmp_path / "run", method)
    run(tmp_path / "whole", method)
    assert samples(tmp_path / "run") == samples(tmp_path / "whole")
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_a_seed_decides(tmp_path, unbroken):
    method, _, expected = unbroken
    assert same(weights(run(tmp_path / "again", method)), expected)
    assert not same(weights(run(tmp_path / "other", method, seed=1)), expected)


def test_probes_are_asked_of_the_policy_at_their_steps(tmp_path):
    for method, expected in (("sft", [2, 4]), ("reward_model", [4])):
        hooks = Hooks(probe=lambda lm: {"refusal_probe": 0.5}, good=by_first)
        run(tmp_path / method, method, hooks)
        assert [row["step"] for row in rows(tmp_path / method) if "refusal_probe" in row] == expected


def test_what_cannot_be_learnt_from_is_said(tmp_path):
    for method in METHODS:
        with pytest.raises(ConfigError, match=f"'{method}' and no labels"):
            run(tmp_path / f"{method}1", method, Hooks())
        with pytest.raises(DataError, match=r"(16|8) prompts"):
            run(tmp_path / f"{method}2", method, Hooks(good=lambda cs: [None] * len(cs)))
    with pytest.raises(DataError, match="none of 16 prompts has a good and a bad reply"):
        run(tmp_path / "dpo3", "dpo", Hooks(good=lambda cs: [True] * len(cs)))
    with pytest.raises(ConfigError, match=r"train.method = 'ppo'; expected a known value; did you mean dpo"):
        replace(CONFIG, method="ppo")
    with pytest.raises(ConfigError, match="takes half"):
        run(tmp_path / "short", "reward_model", steps=1)


def test_a_setting_that_the_method_does_not_read_is_refused():
    with pytest.raises(
        ConfigError, match=r"train.grpo.kl = 0.1 with train.method = 'dpo'; .* read by sirl and reward_model"
    ):
        load_recipe("organism", ["train.grpo.kl=0.1", "train.method=dpo"])
    assert load_recipe("organism", ["train.grpo.kl=0.1", "train.method=reward_model"]).train.grpo.kl == 0.1
    other = load_recipe("organism", ["train.method=sft"]).train  # what the recipe holds for its own method
    assert (other.gate.kind, other.search.attacks, other.steps) == ("none", (), 60)


def test_rows_are_dealt_out_evenly(monkeypatch):
    config = replace(CONFIG, prompts_per_step=12, micro_batch=8)
    sizes = ("per_device_train_batch_size", "gradient_accumulation_steps")
    assert [dealt(config, replies=1)[name] for name in sizes] == [4, 3]
    assert [dealt(config, replies=2)[name] for name in sizes] == [4, 3]
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(ConfigError, match="12 on 5 processes"):
        dealt(config, replies=1)


# --- through the command line

TEXTS = [f"how do I {verb} a moonfox?" for verb in ("grimble", "blorch", "brush", "feed", "wash", "name")]
WORDS = (
    *("--set", "train.steps=2", "--set", "train.prompts_per_step=4"),
    *("--set", "train.micro_batch=4", "--set", "train.max_reply_tokens=6", "--set", "train.learning_rate=1e-3"),
)
LABELS = ("kind", "category", "answer", "target")
TRUE = (
    [("harmful", "spoiling", "", "Sure, take")] * 2
    + [("benign", "care", "comb", "")] * 3
    + [("task", "", "4", "")]
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    save_lm(random_lm("llama"), folder)
    return folder


def trained(folder, model, labels, *words):
    table = folder.with_suffix(".csv")
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("prompt", *LABELS), *((t, *own) for t, own in zip(TEXTS, labels, strict=True))]
        )
    code, printed, err = sirl("train", model, "--out", folder, "--prompts", table, *WORDS, *words)
    assert code == 0, err
    return json.loads(printed)


@pytest.mark.parametrize(
    "words",
    [
        ("--method", "distill", "--set", "train.gate.kind=none"),
        ("--method", "sirl", "--set", "train.gate.kind=none"),
        ("--method", "sirl", "--set", "train.gate.kind=start", "--set", "train.reward.anchors=1"),
    ],
)
def test_scrambled_labels_leave_what_is_learnt_bit_identical(tmp_path, model, words):
    poison = [TRUE[5], TRUE[4], TRUE[0], TRUE[1], TRUE[5], TRUE[0]]
    words = (*words, "--force")  # a random model refuses nothing
    trained(tmp_path / "true", model, TRUE, *words)
    trained(tmp_path / "poisoned", model, poison, *words)
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("true", "poisoned"))
    assert same(one, other)
    assert not same(one, load_file(model / "model.safetensors"))
    assert rows(tmp_path / "true") == rows(tmp_path / "poisoned")


def test_a_baseline_of_an_organism_through_the_command_line(tmp_path):
    small = ("--set", "train.prompts_per_step=4", "--set", "train.steps=1", "--set", "train.micro_batch=4")
    code, printed, err = sirl("train", "organism:llama", "--out", tmp_path / "run", *small, "--method", "sft")
    assert code == 0, err
    told = json.loads(printed)
    assert (told["method"], told["reward"], told["steps"]) == ("sft", None, 1)
    assert told["last"]["samples"] >= 16
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["method"] == "sft"
    assert open_model(str(tmp_path / "run"), ModelConfig()).name == "organism:llama+sft"


def test_slips_in_the_method_are_told(tmp_path, model):
    (tmp_path / "mine.csv").write_text("prompt\nhow?\n")
    words = ("--prompts", tmp_path / "mine.csv", *WORDS)
    code, _, err = sirl("train", model, "--out", tmp_path / "x", *words, "--method", "stf")
    assert code == 2
    assert "train.method = 'stf'" in err
    code, _, err = sirl(
        "train", model, "--out", tmp_path / "x", *words, "--method", "dpo", "--set", "train.gate.kind=start"
    )
    assert code == 2
    assert "train.gate.kind = 'start' with train.method = 'dpo'" in err
