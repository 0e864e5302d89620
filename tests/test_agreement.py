"""Agreement of two raters and of several, by hand."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.metrics import agreement, fleiss_kappa, kappa

ANSWERS = st.lists(
    st.tuples(st.sampled_from([True, False, None]), st.sampled_from([True, False, None])), max_size=30
)


@pytest.mark.parametrize(
    ("first", "second", "want"),
    [
        ([True, False], [True, False], 1.0),
        ([True, False], [False, True], -1.0),
        ([True, True, False, False], [True, False, True, False], 0.0),
        # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agree 0.7, by chance 0.5
        ([True] * 25 + [False] * 25, [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15, 0.4),
        ([True, False, None, True], [True, False, True, None], 1.0),
        ([True, True], [True, True], None),
        ([None], [True], None),
        ([], [], None),
    ],
)
def test_kappa_by_hand(first, second, want):
    assert kappa(first, second) == (want if want is None else pytest.approx(want))


def test_agreement_by_hand():
    labels = [True] * 25 + [False] * 25 + [True, None]
    verdicts = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15 + [None, True]
    found = agreement(labels, verdicts)
    assert found["confusion"] == {
        "true_positive": 20,
        "false_positive": 10,
        "false_negative": 5,
        "true_negative": 15,
    }
    assert (found["n"], found["unscored"]) == (50, 2)
    assert (found["accuracy"], found["recall"]) == (0.7, 0.8)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(8 / 11)
    assert found["kappa"] == pytest.approx(0.4)
    # The large-sample standard error is sqrt(0.7 * 0.3 / 50) / 0.5 = 0.13.
    assert found["kappa_low"] == pytest.approx(0.4 - 1.96 * 0.13, abs=0.03)
    assert found["kappa_high"] == pytest.approx(0.4 + 1.96 * 0.13, abs=0.03)


def test_copies_of_a_request_add_no_certainty():
    labels, verdicts = [True, True, False, False, True, False], [True, False, False, True, True, False]
    names = list("abcdef")
    one = agreement(labels, verdicts, names)
    nine = agreement(labels * 9, verdicts * 9, names * 9)
    assert (one["kappa"], one["kappa_low"], one["kappa_high"]) == pytest.approx(
        (nine["kappa"], nine["kappa_low"], nine["kappa_high"])
    )
    alone = agreement(labels * 9, verdicts * 9)
    assert alone["kappa_high"] - alone["kappa_low"] < (nine["kappa_high"] - nine["kappa_low"]) / 2


@given(ANSWERS)
def test_order_changes_nothing_and_sides_are_equal(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    shuffled = random.Random(0).sample(list(zip(pairs, map(str, range(len(pairs))), strict=True)), len(pairs))
    again = agreement([p[0] for p, _ in shuffled], [p[1] for p, _ in shuffled], [name for _, name in shuffled])
    assert again["kappa"] == kappa(first, second)
    assert kappa(first, second) == pytest.approx(kappa(second, first))
    assert again["n"] + again["unscored"] == len(pairs)


def test_nothing_to_count_is_none():
    found = agreement([None], [True])
    assert {
        found[name] for name in ("accuracy", "precision", "recall", "f1", "kappa", "kappa_low", "kappa_high")
    } == {None}


def test_fleiss_by_hand():
    # Four items, three raters: yes counts 3, 2, 0, 1. Agreement (1 + 1/3 + 1 + 1/3) / 4 = 2/3; chance 1/2.
    ratings = [[True, True, False, False], [True, True, False, False], [True, False, False, True]]
    assert fleiss_kappa(ratings) == pytest.approx(1 / 3)
    assert fleiss_kappa([[*row, None] for row in ratings]) == pytest.approx(1 / 3)
    assert fleiss_kappa(ratings[:1]) is None
    assert fleiss_kappa([[True], [True]]) is None
    assert fleiss_kappa([[None], [True]]) is None
