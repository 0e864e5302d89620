"""95 % intervals cover 93 to 97 % where replies to a prompt go together: simulation with fixed seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sirl.entropy_gap import FEWEST_MIXED
from sirl.metrics import compare_entropies, compare_order
from sirl.metrics.estimates import difference_interval, lowest_share, ratio_of_totals, share_interval

pytestmark = pytest.mark.slow

TRIALS = 1000  # the standard error of a coverage of 95 % is then 0.7 points
ICC = 0.3  # how much replies to one prompt go together
RATES = (0.5, 0.8, 0.95)


def chances(rng, rate, shape):
    """Draw each prompt's own chance: beta with this mean, and this correlation of two replies to a prompt."""
    scale = (1 - ICC) / ICC
    return rng.beta(rate * scale, (1 - rate) * scale, size=shape)


def covers(intervals, truth):
    return float(np.mean([low is not None and low <= truth <= high for low, high in intervals]))


def share_coverage(prompts, replies, rate, trials=TRIALS, seed=0):
    """A share over prompts with `replies` each, or from 1 to so many where it is a range."""
    rng = np.random.default_rng([seed, prompts, np.max(replies), round(100 * rate)])
    sizes = np.resize(replies, prompts)
    hits = rng.binomial(sizes, chances(rng, rate, (trials, prompts)))
    counts = sizes[:, None].astype(float)
    return covers([share_interval(row[:, None].astype(float), counts) for row in hits], rate)


def mean_coverage(prompts, rates, trials=TRIALS, seed=0):
    """A mean over attacks of different strength; a prompt that is hard for one is hard for all."""
    rng = np.random.default_rng([seed, prompts, len(rates)])
    places = rng.random((trials, prompts, 1))
    scale = (1 - ICC) / ICC
    mine = np.array(rates)
    chance = stats.beta.ppf(places, mine * scale, (1 - mine) * scale)
    hits = rng.random((trials, prompts, len(rates))) < chance
    counts = np.ones((prompts, len(rates)))
    return covers([share_interval(row.astype(float), counts) for row in hits], float(mine.mean()))


def difference_coverage(prompts, replies, before, after, trials=TRIALS, seed=0):
    """A paired difference; half of the prompts keep their place in the order of difficulty."""
    rng = np.random.default_rng([seed, prompts, replies, round(100 * before), round(100 * after)])
    scale = (1 - ICC) / ICC
    place = rng.random((trials, prompts))
    moved = np.where(rng.random((trials, prompts)) < 0.5, place, rng.random((trials, prompts)))
    was = rng.binomial(replies, stats.beta.ppf(place, before * scale, (1 - before) * scale))
    now = rng.binomial(replies, stats.beta.ppf(moved, after * scale, (1 - after) * scale))
    counts = np.full((prompts, 1), float(replies))
    changes = (now - was).astype(float)
    return covers([difference_interval(row[:, None], counts) for row in changes], after - before)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("prompts", "replies"), [(60, 3), (100, 10), (200, 20), (120, range(1, 9))])
def test_the_interval_of_a_clustered_share_covers(prompts, replies, rate):
    assert 0.93 <= share_coverage(prompts, replies, rate) <= 0.97


@pytest.mark.parametrize("prompts", [60, 200])
@pytest.mark.parametrize("rates", [(0.5, 0.4, 0.6), (0.9, 0.7, 0.8, 0.8), (0.99, 0.95, 0.9, 0.96)])
def test_the_interval_of_a_mean_over_attacks_covers(prompts, rates):
    assert 0.93 <= mean_coverage(prompts, rates) <= 0.97


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.5), (0.5, 0.8), (0.8, 0.95), (0.5, 0.95)])
@pytest.mark.parametrize(("prompts", "replies"), [(50, 1), (50, 4), (200, 4)])
def test_the_interval_of_a_paired_difference_covers(prompts, replies, before, after):
    assert 0.93 <= difference_coverage(prompts, replies, before, after) <= 0.97


# --- few clusters: what `sirl gap`, the ratio of successes and the lowest of many attacks stand on


def gap_coverage(requests, trials=TRIALS, seed=0, attempts=6, draws=4, truth=0.3):
    """The gap within an attempt and the pooled one: requests and attempts have entropies of their own.

    How often a request is refused is its own (beta .8, .8); entropies are skewed; one request in eight has ten
    times the attempts, as where attacks cover some prompts only.
    """
    rng = np.random.default_rng([seed, requests])
    within, pooled = [], []
    for _ in range(trials):
        refused, complied = [], []
        chance, own = rng.beta(0.8, 0.8, requests), rng.normal(0, 0.3, requests)
        for request in range(requests):
            for attempt in range(attempts * (10 if request % 8 == 7 else 1)):
                base = own[request] + rng.exponential(0.3)
                refuses = rng.random(draws) < chance[request]
                values = base + rng.exponential(0.4, draws) + np.where(refuses, 0, truth)
                rows = [(f"{request:03}", str(attempt), float(v)) for v in values]
                refused += [row for row, no in zip(rows, refuses, strict=True) if no]
                complied += [row for row, no in zip(rows, refuses, strict=True) if not no]
        table = compare_entropies(refused, complied)
        if table["mixed_requests"] >= FEWEST_MIXED:
            within.append((table["low"], table["high"]))
            pooled.append((table["pooled"]["low"], table["pooled"]["high"]))
    return covers(within, truth), covers(pooled, truth)


@pytest.mark.parametrize("requests", [6, 10, 15])
def test_the_intervals_of_the_gap_cover_from_few_requests_on(requests):
    within, pooled = gap_coverage(requests, 200)  # the standard error of a coverage is then 1.5 points
    assert within >= 0.9
    assert pooled >= 0.9


@pytest.mark.parametrize("prompts", [5, 8, 10, 15])
def test_the_interval_of_a_share_covers_from_few_prompts_on(prompts):
    for rate in RATES:
        assert share_coverage(prompts, 4, rate) >= 0.93


@pytest.mark.parametrize("prompts", [5, 8, 15])
@pytest.mark.parametrize(("before", "after"), [(0.5, 0.8), (0.8, 0.95), (0.95, 0.95)])
def test_the_interval_of_a_paired_difference_covers_from_few_prompts_on(prompts, before, after):
    assert difference_coverage(prompts, 1, before, after) >= 0.92


def ratio_coverage(prompts, attacks, before, after, trials=TRIALS, seed=0):
    """Return how often the ratio of successes is shown, and how often its interval then holds the truth."""
    rng = np.random.default_rng([seed, prompts, attacks, round(1000 * after)])
    scale = (1 - 0.2) / 0.2
    place = rng.random((trials, prompts))
    moved = np.where(rng.random((trials, prompts)) < 0.7, place, rng.random((trials, prompts)))
    was = rng.binomial(attacks, stats.beta.ppf(place, before * scale, (1 - before) * scale))
    now = rng.binomial(attacks, stats.beta.ppf(moved, after * scale, (1 - after) * scale))
    found = [ratio_of_totals(list(a), list(b)) for a, b in zip(was, now, strict=True)]
    shown = [(row["low"], row["high"]) for row in found if row["times_fewer"] is not None]
    return len(shown) / trials, covers(shown, before / after)


@pytest.mark.parametrize(("prompts", "attacks"), [(30, 10), (50, 24), (100, 24)])
@pytest.mark.parametrize(("before", "after"), [(0.3, 0.15), (0.2, 0.05), (0.2, 0.02)])
def test_the_ratio_of_successes_covers_where_it_is_shown(prompts, attacks, before, after):
    _, covered = ratio_coverage(prompts, attacks, before, after)
    assert covered >= 0.92


def lowest_coverage(prompts, rates, trials=TRIALS, seed=0):
    """Return how often the interval of the lowest holds the lowest true rate, and how far off the lowest is."""
    rng = np.random.default_rng([seed, prompts, len(rates)])
    hits = rng.binomial(prompts, rates, size=(trials, len(rates)))
    found = [lowest_share({str(k): (h / prompts, float(prompts)) for k, h in enumerate(row)}) for row in hits]
    bias = float(np.mean([row["rate"] for row in found])) - min(rates)
    return covers([(row["low"], row["high"]) for row in found], min(rates)), bias


@pytest.mark.parametrize("prompts", [25, 50, 100])
@pytest.mark.parametrize("rates", [(0.95,) * 24, (0.7, *(0.95,) * 23), tuple(np.linspace(0.8, 0.99, 24))])
def test_the_interval_of_the_lowest_of_many_attacks_covers(prompts, rates):
    covered, bias = lowest_coverage(prompts, rates)
    assert covered >= 0.95
    assert bias < 0.005  # the lowest observed is low by luck


@pytest.mark.parametrize(("sizes", "truth", "spread"), [((20, 20), 0.85, 1.0), ((50, 200), 0.99, 2.0)])
def test_the_interval_of_an_order_of_two_groups_covers(sizes, truth, spread):
    rng = np.random.default_rng([*sizes, round(100 * truth)])
    shift = stats.norm.ppf(truth) * np.hypot(1, spread)
    groups = ((rng.normal(shift, spread, sizes[0]), rng.normal(0, 1, sizes[1])) for _ in range(400))
    found = [compare_order(*pair) for pair in groups]
    assert covers([(row["low"], row["high"]) for row in found], truth) > 0.94
    assert np.mean([row["high"] - row["low"] for row in found]) < 0.3
    assert compare_order([1, 2], [0, 1, 1.5])["auroc"] == 4.5 / 6  # pairs in order, a tie counting half
