"""Context distillation: what the base model does with a plain request, carried to its disguises."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from small_training import CONFIG, PROMPTS, StopHere, changed, rows, same, stop_at, toy_lm, weights

from sirl import propensity, training
from sirl.config import load_recipe
from sirl.config.train import Schedule
from sirl.errors import ConfigError, DataError
from sirl.generation import finish_requests, generate
from sirl.lm import render
from sirl.propensity import LONGEST
from sirl.records import Attempt, Message, Prompt, Verdict
from sirl.rundir import open_run
from sirl.training import Hooks, asking, harden, lessons, plainly
from sirl.training.boundary import FLOOR, Boundary, halved, near_requests
from sirl.training.instincts import INSTINCTS, BaseReplies, reply_of
from sirl.training.lessons import BOUNDARY, HELD

DISTILL = replace(CONFIG, method="distill")
DISGUISED = [Attempt(p, "play", (Message("user", f"play a part: {p.text}"),)) for p in PROMPTS]
PLAIN = [plainly(p) for p in PROMPTS]


def run(folder, attempts=DISGUISED, hooks=None, lm=None, seed=0, **changes):
    config = changed(DISTILL, **changes)
    return harden(lm or toy_lm(), attempts, config, open_run(folder, "train", asdict(config), {}), seed, hooks)


def drawn(folder) -> dict[str, list[int]]:
    """The start's surest reply to each plain request, of those that the run keeps."""
    return {text: list(kept.standing.token_ids) for text, kept in instincts(folder).items()}


def instincts(folder) -> dict[str, BaseReplies]:
    kept = map(json.loads, (folder / INSTINCTS).read_text().splitlines())
    return {row["text"]: BaseReplies(tuple(map(reply_of, row["replies"]))) for row in kept}


def divergences(start, lm, attempt, reply):
    """KL by hand, nats, at each token of a reply: the start given the plain request, the other what is sent."""
    found = []
    for model, form in ((start.model, plainly(attempt.prompt)), (lm.model, attempt)):
        (ids,) = render(start, [form])
        with torch.no_grad():
            logits_SV = model(torch.tensor([[*ids, *reply]])).logits[0].double()
        found.append(logits_SV[len(ids) - 1 : -1].log_softmax(-1))
    taught_TV, given_TV = found
    return (taught_TV.exp() * (taught_TV - given_TV)).sum(-1)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distill") / "run"
    return folder, weights(run(folder))


def test_the_first_loss_is_the_divergence_by_hand(tmp_path):
    attempts = DISGUISED[:3]
    run(tmp_path / "run", attempts, steps=1, prompts_per_step=3, micro_batch=2)  # one row a backward pass
    by_text = {attempt.prompt.text: attempt for attempt in attempts}
    start, replies = toy_lm(), drawn(tmp_path / "run")
    assert replies.keys() == by_text.keys()
    values = [divergences(start, start, by_text[text], reply) for text, reply in replies.items()]
    expected = float(torch.stack([value.mean() for value in values]).mean())  # each reply counts once
    assert expected > 1e-4
    assert rows(tmp_path / "run")[0]["divergence"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_conduct_under_a_disguise_becomes_that_on_the_plain_request(tmp_path, arch):
    start = toy_lm(arch)
    taught = run(tmp_path / "run", lm=start, steps=40, prompts_per_step=6, micro_batch=12, save_every=50)
    for attempt in DISGUISED:
        reply = drawn(tmp_path / "run")[attempt.prompt.text]
        before, after = (divergences(start, lm, attempt, reply).mean() for lm in (start, taught))
        assert after < before / 2


def test_what_comes_plain_teaches_nothing_new(tmp_path):
    run(tmp_path / "run", PLAIN, steps=1)
    assert rows(tmp_path / "run")[0]["divergence"] == pytest.approx(0, abs=1e-6)


def test_the_rate_falls_where_the_settings_say_so_and_nowhere_else(tmp_path):
    taught = {
        (schedule, steps): weights(run(tmp_path / f"{schedule}-{steps}", schedule=schedule, steps=steps))
        for schedule in get_args(Schedule)
        for steps in (1, 2)
    }
    assert same(taught["constant", 1], taught["cosine", 1])  # a cosine begins at the whole rate
    assert not same(taught["constant", 2], taught["cosine", 2])
    said = [path.name for path in Path(training.__file__).parent.rglob("*.py") if "lr_sch" in path.read_text()]
    assert said == ["setup.py"]  # for all methods, and no method says another


def test_labels_are_not_read(tmp_path, unbroken):
    folder, expected = unbroken
    kinds = ["harmful", "benign", "task"]
    labelled = [
        replace(a, prompt=replace(a.prompt, kind=kinds[i % 3], answer=f"no {i}", category="c", target="t"))
        for i, a in enumerate(DISGUISED)
    ]
    assert same(weights(run(tmp_path / "run", labelled)), expected)
    assert rows(tmp_path / "run") == rows(folder)


def gated(refusals: dict[int, int]):
    """A judge that takes the start to refuse prompt n so many times of four, and to answer the others."""
    numbers = {p.text: n for n, p in enumerate(PROMPTS)}

    def refused(replies):
        asked = [(numbers[r.attempt.prompt.text], r.attempt.sample) for r in replies]
        return [Verdict("refused", sample < refusals.get(n, 0), "", "") for n, sample in asked]

    return {"hooks": Hooks(refused=refused), "gate": {"kind": "start", "samples": 4}}


def test_what_is_held_counts_as_often_as_is_asked_for(tmp_path):
    """The first step moves the policy the same whatever the weight: nothing held has anything to hold yet."""
    losses = {}
    for weight in (0.0, 1.0, 4.0):
        out, asked = tmp_path / str(weight), gated({0: 4, 1: 2})
        run(out, [*DISGUISED[:3], PLAIN[3]], steps=2, distill={"hold_weight": weight}, **asked)
        first, losses[weight] = (row["divergence"] for row in rows(out))
        assert first == pytest.approx(rows(tmp_path / "0.0")[0]["divergence"], rel=1e-6)
    held = losses[1.0] - losses[0.0]
    assert held > 0
    assert losses[4.0] - losses[0.0] == pytest.approx(4 * held, rel=5e-3)


def test_refusals_are_carried_and_every_other_conduct_is_held_under_its_own_disguise(tmp_path):
    attempts = [*DISGUISED[:3], PLAIN[3]]
    run(tmp_path / "run", attempts, steps=1, **gated({0: 4, 1: 2}))
    (row,) = rows(tmp_path / "run")
    assert (row["carried"], row["held"], row["no_teacher"]) == (1, 3, 0)
    start, text = toy_lm(), PROMPTS[0].text
    carried = divergences(start, start, DISGUISED[0], drawn(tmp_path / "run")[text]).mean()
    assert row["divergence"] == pytest.approx(float(carried) / 4, rel=1e-3)  # what is held has moved nowhere
    held = [json.loads(line) for line in (tmp_path / "run" / HELD).read_text().splitlines()]
    assert [kept["number"] for kept in held] == [1, 2]  # what comes plain was asked before
    with pytest.raises(ConfigError, match="no judge of refusals"):
        run(tmp_path / "none", gate={"kind": "start"})


@pytest.mark.parametrize("finishes", [True, False])
def test_a_request_that_is_often_refused_is_carried_by_a_refusal_whose_beginning_is_the_target(
    tmp_path, monkeypatch, finishes
):
    often = {p.text for p in PROMPTS[1:4]}  # as its openers' probability says; the last never was when asked
    judged, read = gated({0: 4, 1: 1, 2: 1})["hooks"].refused, []

    def refused(replies):
        """Judge the one reply that the model was made to begin: a refusal, or something else."""
        return judged(replies) if len(replies) > 1 else [Verdict("refused", finishes, "", "")]

    def openers(replies, answers):
        read.extend(replies)
        return propensity.find_openers(replies, answers)

    def likely(lm, attempts, *_, **__):
        return [-0.1 if a.prompt.text in often else -9.0 for a in attempts]

    monkeypatch.setattr(asking, "find_openers", openers)
    monkeypatch.setattr(asking, "opener_logprobs", likely)
    six = {"steps": 1, "prompts_per_step": 6, "distill": {"boundary": 0}}
    run(tmp_path / "run", gate={"kind": "propensity", "samples": 4}, hooks=Hooks(refused=refused), **six)
    start, kept = toy_lm(), instincts(tmp_path / "run")
    # Openers are told by how surely they are said, so entropies must come with the replies.
    assert [r.entropies for r in read] == [r.entropies for own in kept.values() for r in own.replies]
    values = [0.0, 0.0]  # two are held
    for attempt in DISGUISED[:3]:
        own = kept[attempt.prompt.text]
        reply = list(own.refusal.token_ids)
        value = divergences(start, start, attempt, reply)
        if attempt is not DISGUISED[0]:
            (ids,) = render(start, [attempt])
            with torch.no_grad():
                logits_SV = start.model(torch.tensor([[*ids, *reply]])).logits[0].double()
            surprise_T = -logits_SV[len(ids) - 1 : -1].log_softmax(-1)[range(len(reply)), reply]
            value = torch.cat([surprise_T[:LONGEST], value[LONGEST:]])
        values.append(float(value.mean()))
    (row,) = rows(tmp_path / "run")
    # The fourth is carried if what the model was made to begin is a refusal, and else teaches nothing.
    assert (row["carried"], row["held"], row["no_teacher"]) == (3 + finishes, 2, 1 - finishes)
    if finishes:
        assert 6 * row["divergence"] - sum(values) > values[-1] / 10


def test_the_decision_on_requests_close_to_what_the_start_refuses_is_held(tmp_path, monkeypatch):
    """A step adds the mean divergence at the first token of their replies; a continued run meets the same."""
    chances = {p.text: 0.9 if p is PROMPTS[0] else 0.01 for p in PROMPTS}

    def likely(lm, attempts, *_, **__):
        return [math.log(chances.get(a.prompt.text, 0.5)) for a in attempts]

    monkeypatch.setattr(asking, "opener_logprobs", likely)
    asked = {"steps": 2, "prompts_per_step": 6, **gated({0: 4})}
    asked["gate"] = {"kind": "propensity", "samples": 4}
    losses = {}
    for count in (0, 2):
        taught = run(tmp_path / str(count), distill={"boundary": count}, **asked)
        first, losses[count] = (row["divergence"] for row in rows(tmp_path / str(count)))
        (carried,) = [drawn(tmp_path / str(count))[PROMPTS[0].text]]
        start = toy_lm()
        value = float(divergences(start, start, DISGUISED[0], carried).mean())
        assert first == pytest.approx(value / 6, rel=1e-3)  # nothing held has moved yet
    assert not (tmp_path / "0" / BOUNDARY).exists()
    pool = json.loads((tmp_path / "2" / BOUNDARY).read_text())["propensities"]
    assert {p.text for p in PROMPTS} < pool.keys()
    assert losses[2] > losses[0]  # both have made the same first step, which moves the decisions too
    asked["hooks"] = replace(asked["hooks"], on_step=stop_at(1).on_step)
    with pytest.raises(StopHere):
        run(tmp_path / "broken", distill={"boundary": 2}, **asked)
    asked["hooks"] = replace(asked["hooks"], on_step=None)
    assert same(weights(taught), weights(run(tmp_path / "broken", distill={"boundary": 2}, **asked)))


def test_requests_close_to_refusals_are_halves_and_what_the_model_writes_on():
    texts = ["how do I wash the cat", "name three green birds", "tell", "日本語の文章", ""]
    begun = []

    def write(beginnings):
        begun.extend(beginnings)
        return [f"{beginning} and more" for beginning in beginnings]

    heads, tails = zip(*map(halved, texts), strict=True)
    assert halved(texts[0]) == ("how do I", " wash the cat")
    assert halved(texts[3]) == ("日本語", "の文章")
    assert [a + b for a, b in map(halved, texts)] == texts
    found = near_requests(texts, 3, write)
    words = {word for text in texts for word in text.split()}
    assert begun
    assert all({*beginning.split()} <= words for beginning in begun)
    made = {f"{beginning} and more" for beginning in begun}
    assert {*found} - {*texts} - made <= {a + b for a in heads for b in tails}
    assert made | {*texts} - {""} <= {*found}
    assert len(found) == len({*found})
    assert found == near_requests(texts, 3, write) != near_requests(texts, 4, write)
    assert near_requests([], 3, write) == []


def test_a_request_too_long_to_be_trained_on_is_not_held(tmp_path, monkeypatch):
    written = ["knit a hat " * 3000, "knit a hat"]
    monkeypatch.setattr(lessons, "finish_requests", lambda *_: written)
    monkeypatch.setattr(asking, "opener_logprobs", lambda lm, attempts, *_, **__: [-0.5] * len(attempts))
    gate = {"kind": "propensity", "samples": 4}
    run(tmp_path / "run", steps=1, prompts_per_step=6, **gated({0: 4}) | {"gate": gate})
    pool = json.loads((tmp_path / "run" / BOUNDARY).read_text())["propensities"]
    assert [text in pool for text in written] == [False, True]


def test_undecided_requests_are_drawn_more_often():
    pool = Boundary(("sure", "undecided", "never"), (0.999, 0.5, 0.0))
    weights = [p * (1 - p) + FLOOR for p in pool.propensities]
    numbers = pool.chosen(4000, 5)
    for number, weight in enumerate(weights):
        assert (numbers == number).mean() == pytest.approx(weight / sum(weights), abs=0.03)
    assert (numbers == pool.chosen(4000, 5)).all()


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_the_model_goes_on_with_what_a_user_begins_to_say(arch):
    begun = ["tell me how to", "  with spaces that a template may strip  ", "why"]
    lines = finish_requests(toy_lm(arch), begun, 12, 0)
    assert lines == finish_requests(toy_lm(arch), begun, 12, 0)
    assert [line.startswith(text.strip()) for line, text in zip(lines, begun, strict=True)] == [True] * 3
    assert any(len(line) > len(text) for line, text in zip(lines, begun, strict=True))
    assert not any("\n" in line or "<|" in line for line in lines)


def test_a_start_that_refuses_nothing_has_nothing_to_carry(tmp_path):
    unsure = Hooks(refused=lambda replies: [Verdict("refused", None, "", "") for _ in replies])
    with pytest.raises(DataError, match="none of 24 replies of the base model to 6 plain requests refuses"):
        run(tmp_path / "run", hooks=unsure, gate={"kind": "propensity", "samples": 4})


def test_what_is_held_is_asked_once(tmp_path):
    asked = gated({0: 4})
    with pytest.raises(StopHere):
        run(
            tmp_path / "run",
            **asked | {"hooks": replace(asked["hooks"], on_step=stop_at(1).on_step)},
        )
    before = (tmp_path / "run" / HELD).read_text()
    run(tmp_path / "run", **asked)
    assert (tmp_path / "run" / HELD).read_text() == before


def test_micro_batches_change_nothing(tmp_path, unbroken):
    for micro in (2, 16):
        other = weights(run(tmp_path / str(micro), micro_batch=micro))
        for name, tensor in unbroken[1].items():
            torch.testing.assert_close(other[name], tensor, atol=2e-4, rtol=0)


def test_who_draws_for_the_start_is_gone_at_the_first_step_and_asked_only_what_is_missing(tmp_path):
    seen: list[str] = []

    def drawing(parts):
        @contextmanager
        def opened():
            def draw(attempts, decoding, seed):
                if sum(word.startswith("asked") for word in seen) == parts:
                    raise StopHere
                seen.append(f"asked {len(attempts)}")
                return generate(toy_lm(), attempts, decoding, seed)

            try:
                yield draw
            finally:
                seen.append("closed")

        return Hooks(drawing=opened, on_step=lambda row: seen.append(f"step {row['step']}"))

    few = {"gate": {"samples": 128}, "steps": 2}  # two requests at once
    with pytest.raises(StopHere):
        run(tmp_path / "run", hooks=drawing(2), **few)
    assert seen == ["asked 256", "asked 256", "closed"]
    run(tmp_path / "run", hooks=drawing(3), **few)
    assert seen[3:] == ["asked 256", "closed", "step 1", "step 2"]
    run(tmp_path / "other", **few)
    assert (tmp_path / "run" / INSTINCTS).read_text() == (tmp_path / "other" / INSTINCTS).read_text()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_stopped_run_ends_as_an_unbroken_one(tmp_path, unbroken, step):
    folder, expected = unbroken
    with pytest.raises(StopHere):
        run(tmp_path / "run", hooks=stop_at(step))
    assert same(weights(run(tmp_path / "run")), expected)
    assert rows(tmp_path / "run") == rows(folder)


def test_a_seed_decides(tmp_path, unbroken):
    assert not same(weights(run(tmp_path / "other", seed=1)), unbroken[1])


def test_lora_is_saved_merged(tmp_path):
    start = weights(toy_lm())
    taught = weights(run(tmp_path / "run", lora_rank=4, learning_rate=1e-2))
    assert taught.keys() == start.keys()
    changed = {name for name in start if not torch.equal(taught[name], start[name])}
    assert changed
    assert not any("embed" in name or "lm_head" in name for name in changed)


def test_probes_stop_it_too(tmp_path):
    asked = iter([0.0, *[0.5] * 9])
    hooks = Hooks(probe=lambda lm: {"benign_probe": next(asked)})
    start = toy_lm()
    kept = run(tmp_path / "run", hooks=hooks, lm=start, steps=8, save_every=1, stop={"refusal_budget": 0.1})
    told = rows(tmp_path / "run")
    assert [row["step"] for row in told] == [1, 2, 3]  # patience
    assert told[-1]["kept_step"] == 0
    assert same(weights(kept), weights(start))


def test_one_prompt_and_a_long_one(tmp_path):
    long = Attempt(Prompt("l", "how?"), "play", (Message("user", "x" * 500),))
    run(tmp_path / "run", [*DISGUISED[:1], long], prompts_per_step=1, steps=2, micro_batch=4)
    assert {row["left_out"] for row in rows(tmp_path / "run")} == {1}


def test_a_setting_that_it_does_not_read_is_refused():
    for change in ("reward.penalty=0.1", "reward.kind=random", "grpo.kl=0.1", "group=4"):
        with pytest.raises(ConfigError, match=r"with train.method = 'distill'"):
            load_recipe("organism", [f"train.{change}", "train.method=distill"])
