"""Gradients at a slot against finite differences and a plain one-hot autograd; batches against one by one."""

import numpy as np
import pytest
import torch
from conftest import random_lm

from sirl.gradients import slot_energies, slot_gradients, slot_substitutes, slot_vectors
from sirl.lm import encode, load_lm, slots_of
from sirl.lm.token_budget import TokenBudget
from sirl.organism import WEIGHTS
from sirl.records import SLOT, Attempt, Message, Prompt
from sirl.scoring import hidden_states, mean_logprobs, next_tokens, slot_likelihood

TEXTS = ["a", "how are you?", "x" * 40]
BEGINNINGS = ["Sure, yes", "ok", "Sure"]
FIT = TokenBudget(4096)


def asked(texts=TEXTS):
    return [Attempt(Prompt(f"p{i}", t), "x", (Message("user", f"{t}{SLOT} z"),)) for i, t in enumerate(texts)]


@pytest.fixture(params=["llama", "qwen2", "tied"])
def model(request):
    return random_lm("llama", tie_word_embeddings=True) if request.param == "tied" else random_lm(request.param)


def rows(model, length=5):
    return np.random.default_rng(1).choice(model.usable_ids, (len(TEXTS), length)).tolist()


def plain(model, attempt, ids, beginning):
    """The likelihood of a beginning from one unpadded forward pass over one-hot rows, and its gradient."""
    [slot] = slots_of(model, [attempt])
    [reply] = encode(model, [beginning])
    table = model.model.get_input_embeddings().weight.detach()
    hot = torch.nn.functional.one_hot(
        torch.tensor([*slot.before, *ids, *slot.after, *reply]), len(table)
    ).float()
    hot.requires_grad_()
    logits = model.model(inputs_embeds=(hot @ table).unsqueeze(0)).logits[0, -len(reply) - 1 : -1]
    value = logits.log_softmax(-1)[range(len(reply)), reply].mean()
    value.backward()
    start = len(slot.before)
    return float(value.detach()), hot.grad[start : start + len(ids)]


def test_likelihoods_and_substitutes_are_those_of_one_hot_rows(model):
    ids = rows(model)
    values = slot_likelihood(model, asked(), ids, BEGINNINGS, FIT)
    tops = slot_substitutes(model, asked(), ids, BEGINNINGS, 7, FIT)
    usable = torch.tensor(model.usable_ids)
    for attempt, row, beginning, value, top in zip(asked(), ids, BEGINNINGS, values, tops, strict=True):
        expected, gradient = plain(model, attempt, row, beginning)
        assert value == pytest.approx(expected, abs=1e-4)
        order = usable[gradient[:, usable].topk(7, dim=-1).indices]
        assert top.tolist() == order.tolist()


def test_weights_get_no_gradients(model):
    slot_substitutes(model, asked(), rows(model), BEGINNINGS, 3, FIT)
    assert all(p.grad is None for p in model.model.parameters())


def test_gradients_are_finite_differences(model):
    vectors = slot_vectors(model, rows(model))
    rng = np.random.default_rng(2)
    ways = [rng.standard_normal(v.shape).astype(np.float32) for v in vectors]
    found = slot_gradients(model, asked(), vectors, BEGINNINGS, FIT)
    step = 2e-3
    up, down = (
        slot_gradients(model, asked(), [v + s * w for v, w in zip(vectors, ways, strict=True)], BEGINNINGS, FIT)
        for s in (step, -step)
    )
    for (_, gradient), way, (high, _), (low, _) in zip(found, ways, up, down, strict=True):
        assert (gradient * way).sum() == pytest.approx((high - low) / (2 * step), rel=0.05, abs=2e-2)
    values = slot_likelihood(model, asked(), rows(model), BEGINNINGS, FIT)
    assert [value for value, _ in found] == pytest.approx(values, abs=1e-4)


@pytest.mark.parametrize("fluency", [0.0, 0.5])
def test_energies_are_finite_differences(model, fluency):
    rng = np.random.default_rng(3)
    logits = [rng.standard_normal((4, len(model.usable_ids))).astype(np.float32) for _ in TEXTS]
    ways = [rng.standard_normal(x.shape).astype(np.float32) for x in logits]
    found = slot_energies(model, asked(), logits, BEGINNINGS, fluency, FIT)
    step = 2e-3
    up, down = (
        slot_energies(
            model, asked(), [x + s * w for x, w in zip(logits, ways, strict=True)], BEGINNINGS, fluency, FIT
        )
        for s in (step, -step)
    )
    for (_, gradient), way, (high, _), (low, _) in zip(found, ways, up, down, strict=True):
        assert (gradient * way).sum() == pytest.approx((high - low) / (2 * step), rel=0.05, abs=2e-2)


def test_a_peaked_soft_text_is_the_hard_text(model):
    """Logits that leave one token a place: likelihood plus fluency times the text's own mean log-prob."""
    ids, fluency = rows(model), 0.3
    place = {token: i for i, token in enumerate(model.usable_ids)}
    logits = [np.zeros((5, len(place)), np.float32) for _ in ids]
    for array, row in zip(logits, ids, strict=True):
        array[range(5), [place[i] for i in row]] = 100.0
    found = slot_energies(model, asked(), logits, BEGINNINGS, fluency, FIT)
    values = slot_likelihood(model, asked(), ids, BEGINNINGS, FIT)
    slots = slots_of(model, asked())
    fluent = mean_logprobs(model, [s.before for s in slots], ids, ["a", "b", "c"], FIT)
    expected = [v + fluency * f for v, f in zip(values, fluent, strict=True)]
    assert [value for value, _ in found] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("tokens", [1, 60, 10_000])
def test_what_variants_share_goes_through_once_and_changes_nothing(model, tokens):
    """Variants that differ at one place, of three prompts: with the cache of what they share, and without."""
    rng = np.random.default_rng(4)
    variants, ids, beginnings = [], [], []
    for attempt, row, beginning in zip(asked(), rows(model), BEGINNINGS, strict=True):
        for _ in range(9):
            changed = list(row)
            changed[int(rng.integers(len(row)))] = int(rng.choice(model.usable_ids))
            variants.append(attempt), ids.append(changed), beginnings.append(beginning)
    order = rng.permutation(len(ids))
    variants, ids, beginnings = ([x[i] for i in order] for x in (variants, ids, beginnings))
    shared = slot_likelihood(model, variants, ids, beginnings, TokenBudget(tokens))
    alone = [plain(model, a, row, b)[0] for a, row, b in zip(variants, ids, beginnings, strict=True)]
    assert shared == pytest.approx(alone, abs=1e-4)


def test_variants_may_differ_in_length(model):
    prompts = [[7, 8, 9, 10, 20], [7, 8, 9, 10, 11, 12, 13], [7, 8, 9, 10, 20], [30, 31], [7, 8, 9, 10]]
    replies = [[40], [41, 42], [40, 41, 42], [43], [44]]
    owners = ["a", "a", "a", "b", "a"]
    together = mean_logprobs(model, prompts, replies, owners, FIT)
    alone = [mean_logprobs(model, [p], [r], ["x"], FIT)[0] for p, r in zip(prompts, replies, strict=True)]
    assert together == pytest.approx(alone, abs=1e-4)
    assert together[0] != pytest.approx(together[2], abs=1e-3)


def test_sliding_windows_share_nothing_and_score_alike():
    model = random_lm("qwen2", sliding_window=4, use_sliding_window=True, max_window_layers=1)
    prompts, replies = [[7, 8, 9, 10, 11, 12, x] for x in range(20, 26)], [[40, 41]] * 6
    together = mean_logprobs(model, prompts, replies, ["a"] * 6, FIT)
    alone = [mean_logprobs(model, [p], [r], ["x"], FIT)[0] for p, r in zip(prompts, replies, strict=True)]
    assert together == pytest.approx(alone, abs=1e-4)


def test_memory_that_runs_out_halves_the_pass_for_good(model, monkeypatch):
    forward, sizes = model.model.forward, []

    def small(*args, **kwargs):
        sizes.append(kwargs["input_ids"].shape)
        if kwargs["input_ids"].numel() > 60:
            raise torch.OutOfMemoryError("no more")
        return forward(*args, **kwargs)

    prompts, replies = [[7 + i, 8, 9, 10, 11, 12, 13] for i in range(30)], [[40, 41]] * 30
    expected = mean_logprobs(model, prompts, replies, ["a"] * 30, FIT)
    monkeypatch.setattr(type(model), "keeps_last_logits", True)
    monkeypatch.setattr(model.model, "forward", small)
    fit = TokenBudget(10_000)
    assert mean_logprobs(model, prompts, replies, ["a"] * 30, fit) == pytest.approx(expected, abs=1e-4)
    assert fit.tokens < 100
    with pytest.raises(torch.OutOfMemoryError):
        mean_logprobs(model, [[7] * 99], [[8]], ["a"], fit)


def test_next_tokens_and_hidden_states_are_the_models_own(model):
    ids = rows(model)
    for attempt, row, (tokens, logprobs) in zip(
        asked(), ids, next_tokens(model, asked(), ids, 5, FIT), strict=True
    ):
        [slot] = slots_of(model, [attempt])
        found = model.model(input_ids=torch.tensor([[*slot.before, *row]])).logits[0, -1].log_softmax(-1)
        usable = torch.tensor(model.usable_ids)
        best = found[usable].topk(5)
        assert tokens.tolist() == usable[best.indices].tolist()
        assert logprobs == pytest.approx(best.values.detach().numpy(), abs=1e-4)
    texts = [Attempt(a.prompt, "x", (Message("user", a.prompt.text),)) for a in asked()]
    together, alone = hidden_states(model, texts, FIT), hidden_states(model, texts[:1], FIT)
    assert together.shape == (3, 2, 32)
    assert together[:1] == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_the_shipped_organisms_are_differentiated(name):
    model = load_lm(WEIGHTS / name)
    [ids] = encode(model, [" please tell me"])
    attempt = Attempt(Prompt("p", "How do I brush a moonfox?"), "x", (Message("user", f"Hello.{SLOT}"),))
    [value] = slot_likelihood(model, [attempt], [ids], ["Sure"], FIT)
    expected, gradient = plain(model, attempt, ids, "Sure")
    assert value == pytest.approx(expected, abs=1e-4)
    [top] = slot_substitutes(model, [attempt], [ids], ["Sure"], 3, FIT)
    usable = torch.tensor(model.usable_ids)
    assert top.tolist() == usable[gradient[:, usable].topk(3, dim=-1).indices].tolist()
