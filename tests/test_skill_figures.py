"""Scores of tasks as figures and on the page, from rows alone: no harness is needed."""

from __future__ import annotations

import re

import pytest

from sirl import metrics
from sirl.metrics import Graded
from sirl.reporting import render
from sirl.rundir import SCORES, locked, open_run


def side(scores, went, task="sums"):
    return [Graded(f"{task}/{i}", task, s, w) for i, (s, w) in enumerate(zip(scores, went, strict=True))]


BEFORE = side([1, 1, 1, 1, 0, 0], ["answered"] * 5 + ["refused"])
AFTER = side([0, 0, 0, 1, 0, 1], ["refused", "refused", "cut off", "refused", "answered", "answered"])


def test_a_change_is_told_apart_by_how_replies_went_and_the_parts_add_up():
    found = metrics.skill_change(BEFORE, AFTER)
    assert found["audit"] == pytest.approx(
        {"refused": -1 / 6, "cut off": -1 / 6}
    )  # two refused anew, one no longer
    assert sum(found["audit"].values()) == pytest.approx(found["difference"])
    assert (found["lost"], found["gained"], found["n"]) == (3, 1, 6)
    assert found["p_value"] == pytest.approx(0.625)  # McNemar, 3 against 1: 2 (1 + 4) / 16


def test_one_side_counts_a_right_answer_as_right_and_what_has_no_score_as_unscored():
    found = metrics.skill(
        [*AFTER, Graded("sums/6", "sums", None, "no reply"), Graded("sums/7", "sums", None, "blocked")]
    )
    assert (found["rate"], found["n"], found["unscored"], found["blocked"]) == (pytest.approx(2 / 6), 6, 1, 1)
    assert found["audit"] == pytest.approx(
        {"right": 2 / 6, "refused": 2 / 6, "cut off": 1 / 6, "answered": 1 / 6}
    )
    assert (found["low"], found["high"]) == metrics.wilson(2, 6)


def test_scores_that_are_no_yes_or_no_get_a_t_interval_and_no_p():
    old, new = side([20.0, 35.5, 50.0], ["answered"] * 3), side([18.0, 30.0, 49.0], ["answered"] * 3)
    found = metrics.skill_change(old, new)
    assert found["p_value"] is None
    assert found["difference"] == pytest.approx(-8.5 / 3)
    assert (found["low"], found["high"]) == pytest.approx((-8.71, 3.05), abs=0.1)  # mean ± t(2) s / √3
    assert metrics.skill(old)["high"] > 50


def test_the_page_shows_the_pair_and_keeps_hostile_names_inert(tmp_path):
    runs = []
    for name, graded in (("before", BEFORE), ("after", AFTER)):
        run = open_run(
            tmp_path / name, "skills", {"model": name, "seed": 0}, {"task harness": "lm-eval 0.4.13"}
        )
        rows = [
            {
                "key": g.key,
                "task": g.task,
                "asked": f"<b>{g.task}",
                "score": g.score,
                "went": g.went,
                "measure": "acc,none",
            }
            for g in (*graded, *side([20.5, 30.5], ["answered"] * 2, "bleu"))
        ]
        with locked(run):
            run.append(SCORES, rows)
        run.write_summary({"left_out": {"code": "it runs code"}})
        runs.append(run)
    page = render(runs[::-1])  # the order of the words does not matter where the folders say it
    section = page[page.index('id="skills"') : page.index('id="measured"')]
    told = re.sub(r"<[^>]+>|\s+", " ", section)
    assert "<b>sums" not in page
    for text in (
        "66.7",
        "33.3",
        "−33.3 points",
        "p = 0.625",
        "cut off at the length limit",
        "code: it runs code",
    ):
        assert text in told, text
    assert "25.50 [−38.03, 89.03]" in told  # no share: in its own unit, mean ± t(1) s / √2
