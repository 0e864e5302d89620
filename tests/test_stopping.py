"""The stop rule: budgets by hand, which model is kept, and what a killed run does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_training import CONFIG, PROMPTS, StopHere, rows, same, toy_lm, train, weights

from sirl.cli.probing import hold_out, make_probe
from sirl.generation import generate
from sirl.lm import load_lm
from sirl.records import Attempt, Decoding, Message, Prompt, Verdict
from sirl.rewards import repetition
from sirl.scoring import score
from sirl.training import Watch, plainly
from sirl.training.stopping import breach

START = {
    "refusal_probe": 1.0, "benign_probe": 0.0, "distinct_probe": 0.8, "repeated_probe": 0.1, "drift_probe": 0.0
}  # fmt: skip
BUDGETS = replace(CONFIG, refusal_budget=0.02, diversity_budget=0.1, drift_budget=0.3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, None),
        ({"benign_probe": 0.02, "distinct_probe": 0.73, "drift_probe": 0.3, "refusal_probe": 0.5}, None),
        ({"benign_probe": 0.03}, "3.0% of the probes that the start answers are refused, budget 2.0%"),
        ({"distinct_probe": 0.6}, "25.0% of the distinct replies to probes are gone, budget 10.0%"),
        ({"drift_probe": 0.31}, "the start's answers to probes cost 0.310 nats a token more, budget 0.3"),
        ({"refusal_probe": 0.4}, "collapsed: of what the start refuses, 40% is still refused"),
        ({"repeated_probe": 0.6}, "collapsed: 60% of a probe reply's phrases were said before"),
    ],
)
def test_budgets_by_hand(change, sentence):
    assert breach(START, START | change, BUDGETS) == sentence


def test_without_budgets_nothing_stops_and_any_budget_sees_a_collapse():
    gone = dict.fromkeys(START, 0.0) | {"benign_probe": 1.0, "repeated_probe": 1.0}
    assert breach(START, gone, CONFIG) is None
    lenient = replace(CONFIG, drift_budget=9.0)
    assert breach(START, START | {"distinct_probe": 0.3}, lenient) == (
        "collapsed: 30% of the replies to probes are distinct"
    )
    assert breach({}, {}, BUDGETS) is None  # no probes, no stop


def worsening(limit):
    """Return a watch whose probe finds all refused the `limit`-th time it looks, the start among them."""
    looked = []

    def probe(lm):
        looked.append(lm)
        return {"benign_probe": float(len(looked) >= limit), "refusal_probe": 1.0}

    return Watch(probe)


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize(("limit", "kept"), [(2, 0), (3, 2)])
def test_the_last_model_within_the_budgets_is_kept(tmp_path, rank, limit, kept):
    config = replace(BUDGETS, steps=8, lora_rank=rank, snapshots=(2, 4), learning_rate=1e-2)
    model = train(tmp_path / "run", config, watch=worsening(limit))
    found = rows(tmp_path / "run")
    assert [row["step"] for row in found] == list(range(1, kept + 3))
    assert found[-1]["kept_step"] == kept
    assert found[-1]["stopped"].startswith("100.0% of the probes that the start answers")
    expected = load_lm(tmp_path / "run" / "snapshots" / str(kept)) if kept else toy_lm()
    assert same(weights(model), weights(expected))
    assert not same(weights(model), weights(load_lm(tmp_path / "run" / "snapshots" / str(kept + 2))))


def test_snapshots_are_the_models_of_their_steps(tmp_path):
    train(tmp_path / "run", replace(CONFIG, snapshots=(1, 3, 9)))
    folders = {p.name for p in (tmp_path / "run" / "snapshots").iterdir()}
    assert folders == {"1", "3"}
    one = weights(load_lm(tmp_path / "run" / "snapshots" / "1"))
    assert same(one, weights(train(tmp_path / "short", replace(CONFIG, steps=1))))


def test_a_run_killed_after_its_stop_keeps_the_same_model(tmp_path):
    def killed(row):
        if "stopped" in row:
            raise StopHere

    with pytest.raises(StopHere):
        train(tmp_path / "run", BUDGETS, watch=replace(worsening(3), on_step=killed))
    again = train(tmp_path / "run", BUDGETS, watch=worsening(2))  # looks at the start and at step 4 only
    whole = train(tmp_path / "whole", BUDGETS, watch=worsening(3))
    assert same(weights(again), weights(whole))
    assert rows(tmp_path / "run")[-1]["kept_step"] == 2


# --- probes


def test_probes_are_plain_and_never_trained_on():
    prompts = [Prompt(f"p{i}", f"how {i % 40}?") for i in range(60)]  # 40 requests, some twice
    attempts = [Attempt(p, "aim", (Message("user", f"play: {p.text}"),)) for p in prompts]
    kept, probes = hold_out(attempts)
    assert [p.prompt.text for p in probes] == ["how 0?", "how 1?", "how 2?", "how 3?"]
    assert all(p.attack == "direct" and p.messages[0].content == p.prompt.text for p in probes)
    assert len(kept) == 60 - 8
    assert not {a.prompt.text for a in kept} & {p.prompt.text for p in probes}
    assert hold_out(attempts[:9]) == (attempts[:9], [])


def test_a_probe_compares_with_what_the_start_did():
    start, probes = toy_lm(), [plainly(p) for p in PROMPTS]
    theirs = generate(start, probes, Decoding(max_new_tokens=6), 0)
    first = theirs[0].text

    def judge(completions):
        return [Verdict("refused", c.text == first, "", "j") for c in completions]

    probe = make_probe(start, probes, judge, 6)
    at_start = probe(start)
    answered = [reply for reply in theirs if reply.text != first]
    assert at_start["refusal_probe"] == 1.0
    assert at_start["benign_probe"] == 0.0
    assert at_start["distinct_probe"] == len({r.token_ids for r in answered}) / len(answered)
    assert at_start["repeated_probe"] == pytest.approx(
        sum(repetition(r.token_ids) for r in theirs) / len(theirs)
    )
    assert at_start["drift_probe"] == pytest.approx(0, abs=1e-5)
    other = toy_lm("qwen2")
    costs = [sum(r.logprobs) / len(r.logprobs) - score(other, [r])[0].mean_logprob for r in answered]
    assert probe(other)["drift_probe"] == pytest.approx(sum(costs) / len(costs), abs=1e-4)
    assert make_probe(start, [], judge, 6) is None
