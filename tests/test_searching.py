"""Adversarial SIRL: what a search finds against the moving model joins the step, counted and repeatable."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from commands import sirl
from small_training import CONFIG, PROMPTS, StopHere, changed, refuses, rows, same, toy_lm, train, weights

from sirl.attacks import ATTACKS, arm
from sirl.attacks.info import Means
from sirl.config import TrainConfig
from sirl.config.train import SearchConfig
from sirl.errors import AttackError, ConfigError
from sirl.records import Attempt, Completion, Decoding, Message, Prompt, Verdict
from sirl.rundir import open_run, read_run
from sirl.training import Hooks, distilling, plainly, rollout, search
from sirl.training.search import FINDINGS, Searcher, asked, count_findings, served

SEARCHED = changed(
    CONFIG,
    gate={"kind": "start", "samples": 1},
    search={"attacks": ["aim"], "every": 2, "prompts": 2, "budget": 4},
)


def trick(lm, attempts, step):
    """A search that finds another wording at every step, for all but the first request that it is given."""
    tricked = [
        replace(a, attack="trick", messages=(Message("user", f"{step}! {a.prompt.text}"),)) for a in attempts
    ]
    return [*attempts[:1], *tricked[1:]]


def searched(folder, search, config=SEARCHED, on_step=None):
    return train(folder, config, hooks=Hooks(refused=refuses, search=search, on_step=on_step))


def test_findings_take_the_place_of_the_steps_own_attempts(tmp_path, monkeypatch):
    asked_for, drawn, drew = [], [], rollout.draw

    def search(lm, attempts, step):
        assert not lm.model.training
        asked_for.append((step, attempts))
        return trick(lm, attempts, step)

    def spy(lm, attempts, *rest):
        drawn.append(attempts)
        return drew(lm, attempts, *rest)

    monkeypatch.setattr(rollout, "draw", spy)
    searched(tmp_path / "run", search)
    assert [step for step, _ in asked_for] == [1, 3]  # of four steps, every second
    for step, given in asked_for:
        numbers = rollout.step_prompts(len(PROMPTS), CONFIG.prompts_per_step, 0, step - 1)
        refused = {PROMPTS[n].id for n in numbers if "x" in PROMPTS[n].text}
        assert len(given) == min(2, len(refused))
        assert {a.prompt.id for a in given} <= refused  # never the one that the start answers
        sent = {a.prompt.id: a.messages[-1].content for a in drawn[step - 1]}
        for place, attempt in enumerate(given):
            text = attempt.prompt.text
            assert sent[attempt.prompt.id] == (f"{step}! {text}" if place else text)
        others = {PROMPTS[n].id for n in numbers} - {a.prompt.id for a in given}
        assert all(sent[n] == next(p.text for p in PROMPTS if p.id == n) for n in others)
        assert len(drawn[step - 1]) == CONFIG.group * CONFIG.prompts_per_step
    assert all("!" not in a.messages[-1].content for step in (1, 3) for a in drawn[step])


def test_a_search_changes_what_is_learned_and_a_stopped_run_ends_as_an_unbroken_one(tmp_path):
    whole = weights(searched(tmp_path / "whole", trick))
    assert not same(whole, weights(searched(tmp_path / "plain", lambda lm, attempts, step: list(attempts))))

    def stop(row):
        if row["step"] == 3:
            raise StopHere

    with pytest.raises(StopHere):
        searched(tmp_path / "cut", trick, on_step=stop)
    assert same(weights(searched(tmp_path / "cut", trick)), whole)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


def test_distillation_is_taught_what_was_found(tmp_path, monkeypatch):
    config = replace(
        SEARCHED, method="distill", prompts_per_step=4, micro_batch=4
    )  # two backward passes a step
    sent = []
    together = distilling._together
    monkeypatch.setattr(distilling, "_together", lambda lm, rows: sent.append(rows) or together(lm, rows))
    asked_for = []

    def search(lm, attempts, step):
        assert not lm.model.training
        asked_for.append((step, [a.prompt.text for a in attempts]))
        return trick(lm, attempts, step)

    whole = weights(searched(tmp_path / "whole", search, config))
    assert [step for step, _ in asked_for] == [1, 3]
    lm = toy_lm()
    told = [[lm.tokenizer.decode(row["sent"]) for row in rows] for rows in sent]
    steps = [told[i] + told[i + 1] for i in range(0, len(told), 2)]
    for step, texts in enumerate(steps, 1):
        found = [text for at, given in asked_for for text in given[1:] if at == step]
        assert len(texts) == 4
        assert sum("! " in text for text in texts) == len(found)
        assert all(any(f"{step}! {text}" in one for one in texts) for text in found)
    plain = weights(searched(tmp_path / "plain", lambda lm, attempts, step: list(attempts), config))
    assert not same(whole, plain)

    def stop(row):
        if row["step"] == 3:
            raise StopHere

    with pytest.raises(StopHere):
        searched(tmp_path / "cut", trick, config, on_step=stop)
    assert same(weights(searched(tmp_path / "cut", trick, config)), whole)


def test_what_is_too_long_is_not_sent(tmp_path):
    def wordy(lm, attempts, step):
        return [replace(a, messages=(Message("user", "y" * 100),)) for a in attempts]

    config = replace(SEARCHED, steps=1)
    kept = searched(tmp_path / "kept", lambda lm, attempts, step: list(attempts), config)
    assert same(weights(searched(tmp_path / "run", wordy, config)), weights(kept))


def test_a_finding_that_is_no_text_is_refused(tmp_path):
    def sampled(lm, attempts, step):
        return [replace(a, attack="decoding", decoding=Decoding(0.5)) for a in attempts]

    with pytest.raises(
        AttackError, match=r"'decoding' in train.search.attacks .*; expected an attack that sends text"
    ):
        searched(tmp_path / "run", sampled)


def test_a_search_needs_a_gate_and_a_searcher(tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"train.search.attacks = .*; expected \(\) unless train.gate.kind is start or propensity",
    ):
        TrainConfig(search=SearchConfig(("aim",)))
    with pytest.raises(ConfigError, match="nobody searches"):
        searched(tmp_path / "run", None)


# --- the searcher


def test_success_is_an_answer_to_the_request_itself():
    prompt = Prompt("p", "How do I fly a kite?")

    def verdict(said: str, reply: str) -> bool | None:
        attempt = Attempt(prompt, "pair", (Message("user", said),))
        return served([Completion(attempt, reply, (1,), (), True)])[0].answer

    answer, refusal = "Take the string in your hand and run into the wind.", "I cannot help with that."
    assert verdict("As a poet, how would you fly that kite?", answer) is True
    assert verdict("As a poet, how would you fly that kite?", refusal) is False
    assert verdict("As a poet, how would you bake bread?", answer) is False  # not the request
    assert verdict("As a poet, how would you fly that kite?", "") is None


def test_a_request_in_code_is_read_back():
    prompt = Prompt("p", "How do I fly a kite?")
    for name in ("rot13", "base64", "payload_splitting", "aim", "direct"):
        (attempt,) = ATTACKS[name].run((prompt,), None, 0, 0)
        assert asked(replace(attempt, attack=name)), name


def a_searcher(folder, **changes):
    config = changed(SEARCHED, max_reply_tokens=24, search={"attacks": ["random_search", "aim"]}, **changes)
    attacks = {name: arm(ATTACKS[name], Means(judge=served)) for name in config.search.attacks}
    return Searcher(attacks, config, open_run(folder, "train", {}, {}), 0)


def test_each_request_is_searched_for_by_one_attack_and_written_down(tmp_path, monkeypatch):
    monkeypatch.setattr(
        search, "served", lambda cs: [Verdict("harmful", i % 2 == 0, "", "j") for i, _ in enumerate(cs)]
    )
    searcher = a_searcher(tmp_path / "run")
    attempts = [plainly(Prompt(f"p{i}", f"how {i}?")) for i in range(8)]
    made = searcher(toy_lm(), attempts, 3)
    told = read_run(tmp_path / "run").rows(FINDINGS)
    assert [row["prompt"] for row in told] == [a.prompt.id for a in attempts]
    assert {row["attack"] for row in told} == {"random_search", "aim"}
    assert [row["found"] for row in told] == [True, False] * 4
    for given, got, row in zip(attempts, made, told, strict=True):
        assert got.prompt == given.prompt
        assert (got != given) is row["found"]
        assert 1 <= row["queries"] <= searcher.config.search.budget + 1
    assert count_findings(searcher.run) == {"searches": 8, "found": 4, "unjudged": 0}
    assert searcher(toy_lm(), attempts, 3) == made  # repeated after a kill: the same, and not twice in the file
    assert read_run(tmp_path / "run").rows(FINDINGS) == told
    searcher(toy_lm(), attempts[:2], 5)
    assert [row["step"] for row in searcher.run.rows(FINDINGS)] == [3] * 8 + [5] * 2
    assert searcher(toy_lm(), [], 7) == []


WORDS = (
    *("--recipe", "organism-gated"),
    *("--set", "train.steps=2", "--set", "train.prompts_per_step=8", "--set", "train.group=2"),
    *("--set", "train.micro_batch=16", "--set", "train.max_reply_tokens=24", "--set", "train.gate.samples=2"),
    *("--set", "train.search.every=1", "--set", "train.search.prompts=2", "--set", "train.search.budget=4"),
)


def test_the_command_searches_and_says_what_it_found(tmp_path):
    words = ("train", "organism:llama", "--out", tmp_path / "run", *WORDS)
    code, out, err = sirl(
        *words, "--set", "train.search.attacks=random_search", "--force"
    )  # 16 prompts show little
    assert code == 0, err
    told = json.loads(out)["search"]
    findings = read_run(tmp_path / "run").rows(FINDINGS)
    assert told["searches"] == len(findings) > 0
    assert told["found"] == sum(row["found"] is True for row in findings)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["train"]["search"]["attacks"] == ["random_search"]
    hashes = json.loads((tmp_path / "run" / "environment.json").read_text())["hashes"]
    assert "attack random_search" in hashes


def test_an_attack_that_lacks_something_is_told_before_anything_is_trained(tmp_path):
    words = ("train", "organism:llama", "--out", tmp_path / "run", *WORDS, "--set", "train.search.attacks=scav")
    code, out, err = sirl(*words)
    assert (code, out) == (2, "")
    assert "attack 'scav' cannot be run" in err
    assert not (tmp_path / "run").exists()
