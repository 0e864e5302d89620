"""Numbers of several seeds, by hand: t(1) = 12.7062, t(2) = 4.302653 are Student's quantiles."""

from __future__ import annotations

import math

import pytest

from sirl.metrics import SHARE, difference_over_seeds, over_seeds, t_interval

T1, T2 = 12.706205, 4.302653


def test_the_interval_of_a_mean_by_hand():
    # mean 2, standard deviation 1, three values: 2 -+ t(2) / sqrt(3)
    assert t_interval([3.0, 1.0, 2.0]) == pytest.approx((2 - T2 / math.sqrt(3), 2 + T2 / math.sqrt(3)))


def test_the_order_of_the_seeds_changes_nothing():
    values = {0: 0.1, 1: 0.7, 2: 0.3}
    assert over_seeds(values) == over_seeds(dict(reversed(values.items())))


def test_a_share_stays_on_its_scale():
    # mean .9, standard deviation .1 * sqrt(2): .9 -+ t(1) * .1
    row = over_seeds({0: 0.8, 1: 1.0}, SHARE)
    assert (row["mean"], row["low"], row["high"]) == (pytest.approx(0.9), 0.0, 1.0)
    wide = over_seeds({0: 0.8, 1: 1.0})
    assert (wide["low"], wide["high"]) == pytest.approx((0.9 - 0.1 * T1, 0.9 + 0.1 * T1))


@pytest.mark.parametrize("values", [{0: 0.5}, {0: 0.5, 1: 0.5, 2: 0.5}, {0: 0.5, 1: None}])
def test_without_variation_there_is_no_interval(values):
    row = over_seeds(values)
    assert (row["mean"], row["low"], row["high"]) == (0.5, None, None)


def test_equal_seeds_have_the_widest_interval_over_the_prompts_of_a_run():
    within = {0: (0.4, 0.7), 1: (0.3, 0.6), 2: (None, None)}
    row = over_seeds({0: 0.5, 1: 0.5, 2: 0.5}, SHARE, within)
    assert (row["low"], row["high"], row["over"]) == (0.3, 0.7, "prompts")
    vary = over_seeds({0: 0.5, 1: 0.6, 2: 0.5}, SHARE, within)
    assert vary["over"] == "seeds"
    assert (vary["low"], vary["high"]) == t_interval([0.5, 0.6, 0.5])


def test_what_is_not_known_is_counted_and_not_guessed():
    assert over_seeds({0: None, 1: 0.5, 2: None}) == {
        "mean": 0.5,
        "low": None,
        "high": None,
        "over": None,
        "n": 1,
        "unknown": 2,
    }
    assert over_seeds({0: None})["mean"] is None
    assert over_seeds({})["n"] == 0


def test_differences_are_of_the_same_seed():
    # seeds 0, 1: differences .1 and .3; seed 2 has no partner, seed 3 no value
    row = difference_over_seeds({0: 0.9, 1: 0.8, 2: 0.1, 3: None}, {1: 0.5, 0: 0.8, 3: 0.4})
    assert row["difference"] == pytest.approx(0.2)
    assert (row["low"], row["high"]) == pytest.approx((0.2 - T1 * 0.1, 0.2 + T1 * 0.1))
    assert (row["n"], row["unmatched"]) == (2, 2)


def test_pairing_removes_what_the_seeds_share():
    paired = difference_over_seeds({0: 0.2, 1: 0.9}, {0: 0.1, 1: 0.8})
    assert paired["difference"] == pytest.approx(0.1)
    assert (paired["low"], paired["high"]) == (None, None)  # the same in each seed


def test_equal_differences_get_the_widest_interval_that_the_runs_prompts_leave_open():
    within = {0: ((0.1, 0.3), (0.05, 0.2)), 1: ((0.8, 1.0), (0.7, 0.9)), 2: ((0.0, 1.0), (None, None))}
    row = difference_over_seeds({0: 0.2, 1: 0.9}, {0: 0.1, 1: 0.8}, within)
    assert (row["low"], row["high"], row["over"]) == (pytest.approx(-0.1), pytest.approx(0.3), "prompts")
    vary = difference_over_seeds({0: 0.2, 1: 0.9}, {0: 0.1, 1: 0.7}, within)
    assert vary["over"] == "seeds"
    assert difference_over_seeds({1: 0.2}, {1: 0.1}, within)["low"] == pytest.approx(-0.1)
    assert difference_over_seeds({2: 0.2}, {2: 0.1}, within)["over"] is None


def test_nothing_to_pair_is_no_difference():
    row = difference_over_seeds({0: 0.2}, {1: 0.3})
    assert (row["difference"], row["n"], row["unmatched"]) == (None, 0, 2)
