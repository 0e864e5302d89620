"""Formulas in the precision that we use against the same in float64, written out anew here."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from sirl.entropy import divergence, self_certainty, token_entropy, token_logprob
from sirl.metrics.estimates import Z95, auroc, cohens_d, wilson
from sirl.rewards.gate import Consistency, cut_between, gated_reward, propensity_cut
from sirl.rewards.scaling import divided_by_side
from sirl.rewards.signals import REWARDS, Scored

SCALES = (1e-3, 1.0, 30.0, 300.0)  # from nearly uniform to one token that takes all


def logits(scale: float, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """Return rows of 32,000 logits around an offset, as a model's are, some of them impossible."""
    rng = np.random.default_rng(seed)
    values_NV = torch.tensor(rng.normal(17.0, scale, (4, 32_000))).to(dtype)
    values_NV[1, ::7] = -torch.inf
    return values_NV


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", SCALES)
def test_formulas_of_logits_in_float32_are_those_in_float64(scale, dtype):
    given_NV, other_NV = logits(scale, dtype), logits(scale, dtype, 1)
    exact_NV, else_NV = given_NV.double().numpy(), other_NV.double().numpy()
    p_NV, q_NV = log_softmax(exact_NV, -1), log_softmax(else_NV, -1)
    with np.errstate(invalid="ignore"):
        entropy_N = -np.nansum(np.exp(p_NV) * p_NV, -1)
        kl_N = np.nansum(np.exp(p_NV) * (p_NV - q_NV), -1)
    possible_NV = np.isfinite(exact_NV)
    mean_N = np.where(possible_NV, exact_NV, 0).sum(-1) / possible_NV.sum(-1)
    assert token_entropy(given_NV).numpy() == pytest.approx(entropy_N, abs=2e-4, rel=2e-5)
    assert self_certainty(given_NV).numpy() == pytest.approx(
        logsumexp(exact_NV, -1) - mean_N, rel=1e-4, abs=1e-3
    )
    rows = [0, 2, 3]  # of the other, what is impossible in one is possible in none
    assert divergence(given_NV[rows], other_NV[rows]).numpy() == pytest.approx(kl_N[rows], abs=1e-4, rel=1e-4)
    ids_N = torch.tensor([5, 5, 31_999, 0])
    chosen_N = p_NV[np.arange(4), ids_N.numpy()]
    assert token_logprob(given_NV, ids_N).numpy() == pytest.approx(chosen_N, abs=1e-3, rel=1e-5)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 400), st.sampled_from([1e-6, 1.0, 12.0]))
def test_rewards_of_float32_scores_are_those_of_float64(seed, tokens, scale):
    rng = np.random.default_rng(seed)
    exact = [rng.random(tokens) * scale for _ in range(3)]
    single = [[float(np.float32(x)) for x in row] for row in exact]
    for name in ("sirl", "inverted", "min_perplexity", "sum_entropy", "self_certainty"):
        one, two = (REWARDS[name].of(Scored(rows, rows, rows, range(3))) for rows in (single, exact))
        assert one == pytest.approx(two, rel=1e-6)
    order = np.argsort([row.mean() for row in exact])
    assert list(np.argsort([-r for r in REWARDS["sirl"].of(Scored(single, (), (), range(3)))])) == list(order)


@settings(max_examples=60)
@given(st.lists(st.floats(0, 12, width=32), min_size=2, max_size=60))
def test_the_cut_of_a_gate_is_that_of_exact_arithmetic(values):
    """By every cut tried in rational arithmetic; near ties any of the best will do."""
    found = cut_between(values)
    ordered = sorted(map(Fraction, values))
    if ordered[0] == ordered[-1]:
        assert found is None
        return

    def between(n):
        low, high = ordered[:n], ordered[n:]
        return n * len(high) * (sum(low) / n - sum(high) / len(high)) ** 2

    best = max(between(n) for n in range(1, len(ordered)))
    place = sum(value <= Fraction(found) for value in ordered)
    assert 0 < place < len(ordered)
    assert float(between(place)) == pytest.approx(float(best), rel=1e-9)
    assert propensity_cut([value / 12 for value in values]) >= 0.1


def test_what_a_gate_pays_is_exact_for_numbers_of_any_size():
    sides = ["refuse", "answer", "answer", "answer", "split"]
    paid = gated_reward(
        [-1e-9, 7, 7, 7, 7], sides, [None, True, False, None, True], [False] * 5, Consistency(1, 0.3)
    )
    assert paid == [-1e-9, -1, 0.0, -1, 0.0]
    for size in (1e-150, 1.0, 1e150):
        scaled = divided_by_side([size, 3 * size, 5 * size, 5 * size], ["a", "a", "a", "a"], 2)
        assert scaled == pytest.approx([2**0.5, 3 * 2**0.5, 5 * 2**0.5, 5 * 2**0.5])


@settings(max_examples=100)
@given(st.integers(1, 10**7), st.floats(0, 1))
def test_intervals_in_float64_are_those_of_fifty_digits(total, share):
    hits = round(total * share)
    with localcontext() as context:
        context.prec = 50
        n, p, z = Decimal(total), Decimal(hits) / total, Decimal(Z95)
        centre, spread = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)).sqrt()
        exact = [float((centre + sign * spread) / (1 + z * z / n)) for sign in (-1, 1)]
    assert wilson(hits, total) == pytest.approx(exact, rel=1e-9, abs=1e-12)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 40))
def test_a_curve_of_float32_entropies_is_that_of_float64(seed, n):
    """AUROC and the effect size, as of entropies recorded to six places."""
    rng = np.random.default_rng(seed)
    first, second = rng.gamma(2.0, 0.4, n), rng.gamma(2.5, 0.4, n + 3)
    rounded = [[round(float(np.float32(x)), 6) for x in some] for some in (first, second)]
    pairs = [(a > b) + 0.5 * (a == b) for a in first for b in second]
    assert auroc(*rounded) == pytest.approx(np.mean(pairs), abs=2 / len(pairs))
    assert cohens_d(*rounded) == pytest.approx(cohens_d(first, second), rel=1e-4, abs=1e-4)
