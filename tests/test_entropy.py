import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sirl.entropy import divergence, token_entropy, token_logprob


def test_uniform_logits_have_entropy_log_v():
    assert token_entropy(torch.zeros(3, 50)).tolist() == pytest.approx([math.log(50)] * 3, abs=1e-6)


def test_one_hot_has_entropy_zero():
    logits_V = torch.full((7,), -1e4)
    logits_V[2] = 1e4
    assert token_entropy(logits_V).item() == 0.0


def test_impossible_tokens_add_nothing():
    logits_V = torch.tensor([0.0, 0.0, -torch.inf, -torch.inf])
    assert token_entropy(logits_V).item() == pytest.approx(math.log(2))
    logits_V = torch.tensor([5.0, -torch.inf, -torch.inf])
    assert token_entropy(logits_V).item() == 0.0


def test_by_hand():
    # p = (1/2, 1/4, 1/4): H = 1/2 log 2 + 1/2 log 4
    logits_V = torch.log(torch.tensor([0.5, 0.25, 0.25])) + 3.0
    assert token_entropy(logits_V).item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(4))
    assert token_logprob(logits_V[None], torch.tensor([1])).tolist() == pytest.approx([math.log(0.25)])


def test_bfloat16_is_computed_in_float32():
    logits_V = torch.linspace(-3, 3, 1000).bfloat16()
    assert token_entropy(logits_V).item() == pytest.approx(token_entropy(logits_V.double()).item(), abs=1e-5)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20), st.floats(-100, 100))
def test_entropy_is_bounded_and_ignores_a_shift(logits, shift):
    logits_V = torch.tensor(logits)
    entropy = token_entropy(logits_V).item()
    assert -1e-4 <= entropy <= math.log(len(logits)) + 1e-4
    assert token_entropy(logits_V + shift).item() == pytest.approx(entropy, abs=1e-3)


def test_divergence_by_hand():
    p, q = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.25, 0.5, 0.25]])
    assert divergence(p.log(), q.log()).item() == pytest.approx(0.5 * math.log(2))
    assert divergence(q.log() + 3.0, q.log()).item() == pytest.approx(0, abs=1e-6)  # logits, not log-probs
    assert divergence(q.log(), p.log()).item() == float("inf")  # q deems impossible what p does not
    assert divergence(p.log(), q.log()).dtype == torch.float32
