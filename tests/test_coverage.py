"""95 % intervals cover 93 to 97 % where replies to a prompt go together: simulation with fixed seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sirl.metrics.estimates import difference_interval, share_interval

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
