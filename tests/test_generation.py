from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import attempts, random_lm
from hypothesis import given
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer

from sirl.entropy import token_entropy
from sirl.errors import DataError
from sirl.generation import draw, generate, pick
from sirl.lm import passes, render
from sirl.lm.beginnings import beginnings
from sirl.lm.growing_cache import GrowingLayer
from sirl.records import Attempt, Decoding, Message, Prompt
from sirl.scoring import log_likelihood, teacher_forced

TEXTS = ["a", "how are you today?", "x" * 90, "zürich 日本", "", "tell me"]
SAMPLED = Decoding(temperature=1.0, max_new_tokens=24)


def test_recorded_entropy_is_teacher_forced_entropy(lm):
    """Left-padded mixed lengths, and one by one: the two rooms must agree token for token."""
    completions = generate(lm, attempts(TEXTS), SAMPLED, seed=1)
    prompts = render(lm, [c.attempt for c in completions])
    for batch in (1, 4, 64):
        found = teacher_forced(lm, prompts, [c.token_ids for c in completions], batch)
        for completion, (entropy_T, logprob_T) in zip(completions, found, strict=True):
            assert np.abs(np.array(completion.entropies) - entropy_T.numpy()).max() < 1e-3
            assert np.abs(np.array(completion.logprobs) - logprob_T.numpy()).max() < 1e-3


def test_batched_equals_one_by_one(lm):
    together = generate(lm, attempts(TEXTS), SAMPLED, seed=3)
    alone = [generate(lm, [attempt], SAMPLED, seed=3)[0] for attempt in attempts(TEXTS)]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]
    for a, b in zip(together, alone, strict=True):
        assert a.entropies == pytest.approx(b.entropies, abs=1e-4)


def test_order_does_not_change_what_is_drawn(lm):
    forward = generate(lm, attempts(TEXTS), SAMPLED, seed=5, batch=2)
    backward = generate(lm, attempts(TEXTS)[::-1], SAMPLED, seed=5, batch=3)
    assert [c.text for c in forward] == [c.text for c in backward[::-1]]
    assert [c.attempt.prompt.id for c in forward] == [f"p{i}" for i in range(len(TEXTS))]


def test_greedy_agrees_with_the_library(lm):
    ours = generate(lm, attempts(TEXTS[:3]), Decoding(max_new_tokens=12), seed=0)
    for completion, ids in zip(ours, render(lm, attempts(TEXTS[:3])), strict=True):
        theirs = lm.model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), do_sample=False, max_new_tokens=12
        )
        assert list(completion.token_ids) == theirs[0, len(ids) :].tolist()


def test_seed_and_sample_number_change_the_draw(lm):
    base = attempts(["hello"])[0]
    second = Attempt(base.prompt, base.attack, base.messages, sample=1)
    a, b = generate(lm, [base, second], SAMPLED, seed=0)
    (c,) = generate(lm, [base], SAMPLED, seed=1)
    assert len({a.token_ids, b.token_ids, c.token_ids}) == 3


def test_an_attempts_own_decoding_wins(lm):
    own = Decoding(temperature=0.0, max_new_tokens=3)
    base = attempts(["hello"])[0]
    mine = Attempt(base.prompt, base.attack, base.messages, decoding=own)
    short, long = generate(lm, [mine, attempts(["a", "b"])[1]], SAMPLED, seed=0)
    assert len(short.token_ids) <= 3 < len(long.token_ids)


def test_prefill_is_continued_and_left_out_of_the_text():
    lm = random_lm("llama")
    (plain,) = render(lm, attempts(["hi"]))
    (begun,) = render(lm, attempts(["hi"], prefill="Sure"))
    assert begun[: len(plain)] == plain
    assert len(begun) == len(plain) + 4
    (completion,) = generate(lm, attempts(["hi"], prefill="Sure"), SAMPLED, seed=0)
    assert not completion.text.startswith("Sure")
    assert len(completion.pieces) == len(completion.token_ids) == len(completion.entropies)


def test_finished_means_the_model_stopped_itself():
    lm = random_lm("llama")
    completions = generate(lm, attempts([f"t{i}" for i in range(40)]), Decoding(1.0, max_new_tokens=40), seed=0)
    for completion in completions:
        assert completion.finished == (completion.token_ids[-1] in lm.stop_ids)
        assert all(token not in lm.stop_ids for token in completion.token_ids[:-1])
        assert completion.finished or len(completion.token_ids) == 40
    assert {c.finished for c in completions} == {True, False}


def test_nothing_to_do_is_nothing_done(lm):
    assert generate(lm, [], SAMPLED, seed=0) == []
    assert draw(lm, [], SAMPLED, seed=0) == []
    assert log_likelihood(lm, [], []) == []


def test_pick_follows_the_distribution():
    """20,000 draws from p = (.1, .2, .7), within 4 standard errors."""
    logits_BV = torch.log(torch.tensor([0.1, 0.2, 0.7])).expand(20_000, 3)
    uniform_B = torch.from_numpy(np.random.default_rng(0).random(20_000)).float()
    share = torch.bincount(pick(logits_BV, Decoding(temperature=1.0), uniform_B), minlength=3) / 20_000
    assert share.tolist() == pytest.approx([0.1, 0.2, 0.7], abs=4 * 0.0033)


def test_pick_follows_a_flat_distribution_over_a_large_vocabulary():
    """The share of [0, 1) that each of 128k equal tokens gets, found by its left edge, is 1 / V."""
    vocabulary = 128_256
    places = torch.tensor([1, 1000, 64_128, 100_000, vocabulary - 1])
    edges_B = places.double() / vocabulary
    logits_BV = torch.zeros(len(places), vocabulary)
    just = 1e-3 / vocabulary
    assert pick(logits_BV, Decoding(1.0), edges_B + just).tolist() == places.tolist()
    assert pick(logits_BV, Decoding(1.0), edges_B - just).tolist() == (places - 1).tolist()


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0])
def test_pick_never_chooses_the_impossible(uniform):
    logits_BV = torch.tensor([[-torch.inf, 1.0, 2.0, -torch.inf]])
    chosen = pick(logits_BV, Decoding(temperature=0.7), torch.tensor([uniform])).item()
    assert chosen in (1, 2)


def test_truncated_sampling_keeps_the_likely_tokens():
    logits_BV = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).expand(500, 4)
    uniform_B = torch.linspace(0, 0.999, 500)
    assert set(pick(logits_BV, Decoding(1.0, top_k=2), uniform_B).tolist()) == {0, 1}
    assert set(pick(logits_BV, Decoding(1.0, top_p=0.9), uniform_B).tolist()) == {0, 1, 2}
    assert set(pick(logits_BV, Decoding(1.0, top_p=1e-6), uniform_B).tolist()) == {0}


def read_again(lm, completions):
    return teacher_forced(lm, render(lm, [c.attempt for c in completions]), [c.token_ids for c in completions])


def test_a_reply_without_tokens_cannot_be_scored(lm):
    with pytest.raises(ValueError, match="without tokens"):
        log_likelihood(lm, attempts(["a"]), [""])


def test_log_likelihood_prefers_what_the_model_says(lm):
    asked = [Attempt(Prompt("q", "hello"), "direct", (Message("user", "hello"),))] * 2
    said = generate(lm, asked[:1], Decoding(max_new_tokens=8), seed=0)[0].text
    likely, unlikely = log_likelihood(lm, asked, [said or "?", "~~~~~~"])
    assert likely > unlikely


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_half_precision_gives_the_entropy_of_a_head_in_float32(how):
    lm = random_lm("llama", seed=1)
    if how == "weights":
        lm.model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        completions = generate(lm, attempts(TEXTS[:1]), SAMPLED, seed=0)
        [row], ids = render(lm, attempts(TEXTS[:1])), completions[0].token_ids
        [(entropy_T, _)] = teacher_forced(lm, [row], [ids])
        with torch.no_grad():
            states_SD = lm.model.model(input_ids=torch.tensor([[*row, *ids]])).last_hidden_state[0].float()
            rounded_SV = lm.model(input_ids=torch.tensor([[*row, *ids]])).logits[0]
    exact_SV = states_SD @ lm.model.lm_head.weight.detach().float().T
    exact, rounded = (token_entropy(x[len(row) - 1 : -1]) for x in (exact_SV, rounded_SV))
    assert rounded_SV.dtype == torch.bfloat16  # the head is as it was
    assert entropy_T.tolist() == pytest.approx(exact.tolist(), abs=1e-5)
    assert float((rounded - exact).abs().max()) > 1e-3


def test_draws_that_say_the_same_are_read_once_and_are_those_drawn_alone(lm, monkeypatch):
    read = []
    real = passes.left_pad
    monkeypatch.setattr(passes, "left_pad", lambda lm, rows: read.append(len(rows)) or real(lm, rows))
    asked = [replace(a, sample=n) for n in range(3) for a in attempts(["b", "a", "how?"])]
    together = generate(lm, asked, SAMPLED, seed=3)
    assert max(read) == 3
    alone = [generate(lm, [attempt], SAMPLED, seed=3)[0] for attempt in asked]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]
    for a, b in zip(together, alone, strict=True):
        assert a.entropies == pytest.approx(b.entropies, abs=1e-4)


def test_logits_that_are_no_numbers_stop_whatever_reads_them():
    """From the first token on, and where only what is drawn after a few tokens overflows."""
    damaged = random_lm("llama")
    drawn = generate(random_lm("llama"), attempts(["a"]), SAMPLED, seed=1)
    damaged.base.get_output_embeddings().weight.data[5] = float("nan")
    with pytest.raises(DataError, match="NaN or infinite"):
        generate(damaged, attempts(["a"]), SAMPLED, seed=1)
    with pytest.raises(DataError, match="NaN or infinite"):
        list(read_again(damaged, drawn))
    later, seen = random_lm("llama"), []
    generate(later, attempts(["a"]), SAMPLED, seed=1)  # what it can do has been found out

    def overflow(module, given, logits):
        seen.append(logits)
        return logits * float("inf") if len(seen) > 3 else logits

    later.base.get_output_embeddings().register_forward_hook(overflow)
    for greedy in (Decoding(max_new_tokens=8), SAMPLED):
        seen.clear()
        with pytest.raises(DataError, match="NaN or infinite"):
            generate(later, attempts(["a"]), greedy, seed=1)


def test_what_rows_begin_with_alike_is_read_once_and_changes_no_draw(lm, monkeypatch):
    head, other = (
        "a long story that many requests share, word by word: ",
        "another beginning, as long as that one, ",
    )
    sent = attempts([head + text for text in TEXTS] + [other + text for text in TEXTS[::-1]] + ["short"])
    read = []
    forward = lm.model.forward
    monkeypatch.setattr(
        lm.model, "forward", lambda **given: read.append(given["input_ids"].numel()) or forward(**given)
    )
    shared = generate(lm, sent, SAMPLED, seed=3)
    together, read[:] = sum(n for n in read if n > len(sent)), []
    monkeypatch.setattr("sirl.lm.passes.beginnings", lambda rows: [])
    alone = generate(lm, sent, SAMPLED, seed=3)
    assert together < 0.8 * sum(n for n in read if n > len(sent))
    assert [c.token_ids for c in shared] == [c.token_ids for c in alone]
    for a, b in zip(shared, alone, strict=True):
        assert a.entropies == pytest.approx(b.entropies, abs=1e-4)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=7))
def test_beginnings_are_shared_and_leave_each_row_a_token(rows):
    groups = beginnings(rows)
    if not groups:
        return
    assert sorted(i for group in groups for i in group.rows) == list(range(len(rows)))
    for group in groups:
        heads = {tuple(rows[i][: group.length]) for i in group.rows}
        assert len(heads) == 1
        assert all(len(rows[i]) > group.length for i in group.rows)


def test_beginnings_spare_what_can_be_spared():
    aim, dan = list(range(50)), list(range(100, 170))
    rows = [[*aim, 1, 2], [*dan, 3], [*aim, 4], [*dan, 5, 6], [*dan, 7]]
    assert {(group.rows, group.length) for group in beginnings(rows)} == {((0, 2), 50), ((1, 3, 4), 70)}
    assert beginnings([[1, 2, 3], [4, 5, 6]]) == []  # nothing alike: nothing to spare
    assert beginnings([aim]) == []


def test_a_growing_cache_holds_what_the_librarys_own_holds():
    ours, theirs = GrowingLayer(), DynamicLayer()
    generator = torch.Generator().manual_seed(0)
    for tokens, rows in ((5, 3), (1, 3), (70, 3), (1, 2), (1, 4), (200, 4)):
        if ours.is_initialized and len(ours.keys) != rows:  # a row leaves; two go on twice
            chosen = torch.tensor([0, 2] if rows == 2 else [0, 0, 1, 1])
            for layer in (ours, theirs):
                layer.reorder_cache(chosen)
        new = [torch.randn(rows, 2, tokens, 4, generator=generator) for _ in range(2)]
        for found, true in zip(ours.update(*new), theirs.update(*new), strict=True):
            assert torch.equal(found, true)
    for layer in (ours, theirs):
        layer.crop(-150)
    new = [torch.randn(4, 2, 3, 4, generator=generator) for _ in range(2)]
    for found, true in zip(ours.update(*new), theirs.update(*new), strict=True):
        assert torch.equal(found, true)
