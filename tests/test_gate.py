"""The gate: the base model's conduct on the plain request decides what its disguises are rewarded for."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
from small_training import CONFIG, PROMPTS, changed, refuses, rows, same, toy_lm, train, weights

from sirl.attacks import get_attacks
from sirl.errors import AttackError, ConfigError
from sirl.generation import generate
from sirl.records import Attempt, Completion, Message, Prompt, Verdict
from sirl.rewards import Consistency, divided_by_side, gated_reward, sides_by_propensity
from sirl.rundir import open_run
from sirl.training import Hooks, disguise, harden, instincts, plainly, rewarding, rollout
from sirl.training.instincts import INSTINCTS, Asking, BaseReplies, Reply, read_instincts

GATED = changed(CONFIG, gate={"kind": "start", "samples": 3}, reward={"anchors": 1}, steps=2)
SURE = (0.1, 0.1)


def instinct(*refused: bool | None) -> BaseReplies:
    return BaseReplies(tuple(Reply((5, 6), SURE, (-0.1, -0.2), True, True, answer) for answer in refused))


def test_gated_reward_by_hand():
    rewards = [-0.1, -0.4, -0.2, -0.3, -0.5, -0.6, -0.7]
    sides = ["refuse", "refuse", "answer", "answer", "answer", "split", "answer"]
    refused = [True, False, False, True, None, True, False]
    anchored = [True, False, False, False, False, False, True]
    # certainty where the start refuses; where it answers, a refusal or gibberish costs and an answer does not
    made = gated_reward(rewards, sides, refused, anchored, Consistency(penalty=0.5, bonus=0.3))
    assert made == [-0.1, -0.4, 0.0, -0.5, -0.5, 0.0, 0.3]


@pytest.mark.parametrize(
    ("refused", "side"),
    [
        ((True, True, True), "refuse"),
        ((False, False, False), "answer"),
        ((True, False, False), "split"),  # a request that it ever refuses is never rewarded for an answer
        ((True, True, None), "split"),
        ((False, False, None), "split"),  # it may have refused
        ((None, None), "split"),
    ],
)
def test_the_side_is_what_the_start_does_every_time(refused, side):
    assert instinct(*refused).conduct == side


def test_requests_are_parted_by_how_likely_a_refusal_begins():
    conducts = ["refuse", "split", "answer", "answer", "split", "answer", "refuse"]
    found = sides_by_propensity([0.9, 0.6, 0.5, 0.001, 0.001, 0.1, 0.0], conducts)
    # the third was never refused when asked and is as likely to be as the second; the last was, every time
    assert found == ["refuse", "refuse", "refuse", "answer", "split", "answer", "refuse"]
    # where none is likely to be refused, the likelier half is not on the side of refusing for all that
    assert sides_by_propensity([0.02, 0.03, 0.0, 0.0], ["answer"] * 4) == ["answer"] * 4
    assert sides_by_propensity([0.8, 0.8], ["split", "split"]) == ["refuse", "refuse"]
    assert sides_by_propensity([], []) == []


def test_own_draws_are_counted_by_side_and_anchors_are_not():
    sides = ["refuse", "refuse", "refuse", "answer", "answer", "split"]
    refused, anchored = [True, True, False, None, True, True], [True, False, False, False, False, False]
    assert rewarding.refusal_shares(sides, refused, anchored) == {"refuse": 0.5, "answer": 0.5}
    assert rewarding.refusal_shares(["split"], [True], [False]) == {}


def test_an_anchor_is_the_first_reply_of_a_group():
    prompt = Prompt("p", "how?")
    worn = Attempt(prompt, "aim", (Message("user", "play: how?"),))
    assert rollout.is_anchor(worn, GATED)
    assert rollout.is_anchor(replace(worn, sample=4), GATED)  # first row of the second group
    assert not rollout.is_anchor(replace(worn, sample=1), GATED)
    assert not rollout.is_anchor(worn, CONFIG)  # no anchors are asked for
    assert rollout.is_anchor(plainly(prompt), GATED)  # so that a plain refusal is never lost


def by_length(completions):
    """Judge a reply of an even number of letters to refuse; a very short one cannot be judged."""
    verdicts = []
    for c in completions:
        answer = None if len(c.text) < 2 else len(c.text) % 2 == 0
        verdicts.append(Verdict("refused", answer, "", "by length"))
    return verdicts


def test_instincts_are_counted_by_hand_and_kept(tmp_path):
    said, lm = [], toy_lm()

    def judge(completions):
        said.extend(completions)
        return by_length(completions)

    run = open_run(tmp_path / "run", "train", {}, {})
    texts = [p.text for p in PROMPTS]
    found = read_instincts(Asking(partial(generate, lm), judge, GATED, 0), texts, run)
    assert list(found) == texts
    for number, text in enumerate(texts):
        own = said[3 * number : 3 * number + 3]
        assert [c.attempt.messages[-1].content for c in own] == [text] * 3
        answers = [v.answer for v in by_length(own)]
        assert [reply.refused for reply in found[text].replies] == answers
        assert (found[text].refusals, found[text].judged) == (answers.count(True), 3 - answers.count(None))
        assert [reply.token_ids for reply in found[text].replies] == [c.token_ids for c in own]
    count = len(said)
    assert read_instincts(Asking(partial(generate, lm), judge, GATED, 0), texts[::-1], run) == found
    assert len(said) == count  # nothing was drawn again
    lines = (run.path / INSTINCTS).read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == texts


def said(*replies):
    """Return what draws these replies: text, mean entropy, tokens, whether it came to its end."""

    def draw(attempts, decoding, seed):
        made = zip(attempts, replies, strict=True)
        return [Completion(a, t, ids, (), done, (m,), (0.0,)) for a, (t, m, ids, done) in made]

    return draw


LOOP = (1, 2, 3, 4) * 20
LATE = (*range(300), *(7, 8, 9) * 40)  # goes round in circles at its end only


@pytest.mark.parametrize(
    ("replies", "kept"),
    [
        ([("refuse", 0.5, (1,), True), ("comply", 0.01, (2,), True), ("refuse", 0.3, (3,), True)], (3,)),
        ([("refuse", 0.5, (1,), True), ("refuse", 0.1, (2,), False), ("refuse", 0.3, (3,), True)], (3,)),
        ([("refuse", 0.5, (1,), True), ("refuse", 0.0, LOOP, True), ("refuse", 0.3, LATE, True)], (1,)),
        ([("refuse", 0.5, (1,), False), ("refuse", 0.1, LOOP, False), ("refuse", 0.3, (3,), False)], (3,)),
        ([("refuse", 0.5, LOOP, True), ("refuse", 0.1, LATE, True), ("comply", 0.3, (3,), True)], ()),
        ([(" ", 0.1, (1,), True), ("", 0.1, (2,), True), ("\n", 0.3, (3,), True)], ()),
    ],
    ids=["usual", "cut off", "loops", "all cut off", "usual ones loop", "empty"],
)
def test_the_reply_kept_is_the_surest_that_can_stand_for_what_most_do(tmp_path, replies, kept):
    judge = lambda cs: [Verdict("refused", c.text == "refuse", "", "j") for c in cs]  # noqa: E731
    found = read_instincts(
        Asking(said(*replies), judge, GATED, 0), ["x"], open_run(tmp_path / "r", "train", {}, {})
    )
    standing = found["x"].standing
    assert (standing.token_ids if standing else ()) == kept


def test_prompts_without_a_reply_to_teach_are_left_out_and_counted(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="sirl")
    monkeypatch.setattr(instincts, "loops", lambda ids: sum(ids) % 3 == 0)
    config = changed(CONFIG, method="distill", gate={"samples": 1}, steps=2)
    train(tmp_path / "run", config)
    kept = [json.loads(line) for line in (tmp_path / "run" / INSTINCTS).read_text().splitlines()]
    without = sum(not row["replies"][0]["sound"] for row in kept)
    assert 0 < without < len(kept)
    assert {row["no_teacher"] for row in rows(tmp_path / "run")} == {without}
    assert f"{without} are left out for lack of a usable reply of the base model" in caplog.text


def test_an_anchor_that_would_loop_is_drawn_in_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(instincts, "loops", lambda ids: True)
    train(tmp_path / "run", GATED, hooks=Hooks(refused=refuses))
    assert len(rows(tmp_path / "run")) == 2


def drilled(folder, **hooks):
    attempts = [Attempt(p, "aim", (Message("user", f"play: {p.text}"),)) for p in PROMPTS]
    run = open_run(folder, "train", {}, {})
    config = changed(GATED, gate={"samples": 1})
    return harden(toy_lm(), attempts, config, run, 0, Hooks(refused=by_length, **hooks))


def test_a_gated_run_rewards_by_side_sends_anchors_and_says_how_many_refuse(tmp_path, monkeypatch):
    seen = []
    real = rewarding.gated_reward

    def spy(rewards, sides, *rest):
        made = real(rewards, sides, *rest)
        seen.append((sides, made))
        return made

    monkeypatch.setattr(rewarding, "gated_reward", spy)
    drilled(tmp_path / "run")
    told = rows(tmp_path / "run")
    assert len(seen) == len(told) == 2
    for (sides, made), row in zip(seen, told, strict=True):
        assert row["reward"] == pytest.approx(sum(made) / len(made), abs=1e-5)
        assert ("refused_where_answered" in row) == ("answer" in sides)
    assert any("answer" in sides for sides, _ in seen)


def test_a_gated_run_that_was_stopped_ends_as_an_unbroken_one(tmp_path):
    whole = weights(drilled(tmp_path / "whole"))

    class Stop(Exception):  # noqa: N818
        pass

    def stop(row):
        if row["step"] == 1:
            raise Stop

    with pytest.raises(Stop):
        drilled(tmp_path / "cut", on_step=stop)
    assert same(weights(drilled(tmp_path / "cut")), whole)


def test_labels_do_not_reach_a_gated_run(tmp_path):
    one = train(tmp_path / "one", GATED, hooks=Hooks(refused=by_length))
    poison = [replace(p, kind="benign", category="x", answer="y", target="z", source="w") for p in PROMPTS]
    other = train(tmp_path / "other", GATED, prompts=poison, hooks=Hooks(refused=by_length))
    assert same(weights(one), weights(other))


def test_a_gate_needs_a_judge(tmp_path):
    with pytest.raises(ConfigError, match="no judge of refusals; expected Hooks"):
        train(tmp_path / "run", GATED)


def test_disguises_are_worn_by_about_the_share_and_keep_the_plain_text():
    prompts = [Prompt(f"p{i}", f"how {i}?") for i in range(400)]
    worn = get_attacks(["aim", "rot13"])
    attempts = disguise(prompts, worn, 0.5, 0)
    assert [a.prompt for a in attempts] == prompts
    names = [a.attack for a in attempts]
    assert set(names) == {"direct", "aim", "rot13"}
    assert 160 < names.count("direct") < 240
    assert all(a.messages[0].content == a.prompt.text for a in attempts if a.attack == "direct")
    assert all("how" in a.messages[0].content for a in attempts if a.attack == "aim")
    assert disguise(prompts[::-1], worn, 0.5, 0) == attempts[::-1]
    assert disguise(prompts, worn, 0.5, 1) != attempts
    assert {a.attack for a in disguise(prompts, {}, 0.5, 0)} == {"direct"}


def test_only_static_attacks_are_worn():
    with pytest.raises(AttackError, match="random_search' is adaptive; expected static attacks"):
        disguise(PROMPTS, get_attacks(["random_search"]), 0.5, 0)


def test_what_a_step_tells_of_its_replies():
    told = {}
    config = replace(GATED, group=2, micro_batch=4)
    entropies = [0.5, 0.9, 0.6, 0.61, 0.7, 0.8, 0.01, 0.6]
    ids = [list(range(8)) for _ in entropies]
    finished = [True] * 8
    finished[5] = False
    recorded = {
        "reply_logprobs": [[0.0]] * 8,
        "reply_certainties": [()] * 8,
        "reply_entropies": [[e] for e in entropies],
        "reply_seeds": [0] * 8,
        "reply_keys": ["k"] * 8,
        "reply_finished": finished,
        "reply_texts": ["even"] * 8,
        "reply_sides": ["refuse"] * 8,
        "reply_anchored": [False] * 8,
    }
    made = rewarding.make_reward(config, by_length)(ids, told.__setitem__, **recorded)
    assert made == [-e for e in entropies]
    by_side = rewarding.make_reward(changed(config, grpo={"scale_rewards": "side"}), by_length)
    assert by_side(ids, told.__setitem__, **recorded) == divided_by_side(made, ["refuse"] * 8, 2)
    assert told["reply/truncated"] == 1 / 8
    assert told["reply/distinct"] == 1 / 8
    assert told["reply/entropy"] == pytest.approx(sum(entropies) / 8)
    assert told["refused/refuse"] == 1.0
