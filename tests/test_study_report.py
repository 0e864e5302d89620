"""The tables of a study, by hand: two seeds, four methods, one of which failed."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from scipy import stats

from sirl.reporting.study import measured_columns, tabulate
from sirl.reporting.study_page import markdown, render

T1 = 12.706205  # Student's quantile with one degree of freedom
STUDY = {
    "models": ["organism:llama"],
    "seeds": [0, 1],
    "steps": [0, 30, 100],
    "reference": "sirl",
    "methods": {"plain": {}, "sirl": {}, "bad": {}, "best_of_4": {"best_of": 4}},
    "floor": 0.89,
    "tuned": {"the rate": ["aim", "ica"]},
}


def share(rate: float | None, n: int = 10) -> dict:
    return {"rate": rate, "low": None, "high": None, "n": n, "unscored": 0}


def row(step: int, aim: float, ica: float, borderline: float = 0.0, of_step: int | None = None) -> dict:
    rates = {"direct": (0.0, "seen"), "aim": (aim, "seen"), "ica": (ica, "held_out")}
    attacks = {name: share(rate) | {"exposure": past} for name, (rate, past) in rates.items()}
    return {
        "step": step,
        "of_step": step if of_step is None else of_step,
        "dsr": {
            "mean": (aim + ica) / 2,
            "worst": min(aim, ica),
            "per_attack": attacks,
            "refused": share(aim / 2),
        },
        "over_refusal_detail": {"benign": share(0.0), "borderline": share(borderline)},
        "capability_detail": {
            "math": share(0.9) | {"low": 0.7, "high": 0.97},
            "code": share(0.8),
            "chat": share(None, 0),
        },
        "diversity_detail": share(0.7),
        "entropy": {"attacked": {"mean": 0.25, "n": 20, "unscored": 0}},
        "unscored": {"n": 60, "no_verdict": 3},
    }


def cell(method: str, seed: int, rows: list[dict], state: str = "done", failed: str = "") -> dict:
    path = f"organism-llama/{method}/seed-{seed}"
    told = {"path": path, "model": "organism:llama", "method": method, "seed": seed}
    return {**told, "state": state, "failed": failed, "rows": rows}


CELLS = [
    cell("start", 0, [row(0, 0.4, 0.6)]),
    cell("plain", 0, [row(30, 0.9, 0.8, 0.2), row(100, 1.0, 0.9, 0.4)]),
    cell("sirl", 0, [row(30, 0.8, 0.8), row(100, 1.0, 0.8, of_step=60)]),
    cell("bad", 0, [row(30, 0.5, 0.5)], "failed", "the loss is <nan>; expected | a number; lower it."),
    cell("best_of_4", 0, [row(0, 0.5, 0.6)]),
    cell("start", 1, [row(0, 0.4, 0.6)]),
    cell("plain", 1, [row(30, 0.9, 1.0, 0.3), row(100, 1.0, 1.0, 0.6)]),
    cell("sirl", 1, [row(30, 0.9, 0.8)], "partly"),
    cell("bad", 1, [], "missing"),
    cell("best_of_4", 1, [row(0, 0.5, 0.6)]),
]


@pytest.fixture(scope="module")
def table() -> dict:
    return tabulate(STUDY, CELLS)


def at(table: dict, step: int, method: str) -> dict:
    (rows,) = (one["rows"] for one in table["tables"] if one["step"] == step)
    return next(row for row in rows if row["method"] == method)


def test_means_and_intervals_over_seeds(table):
    found = at(table, 30, "plain")["columns"]
    # DSR .85 and .95; both attacks at .9; below .89: one attack, none; the plain request is no attack
    assert found["dsr"]["mean"] == pytest.approx(0.9)
    assert found["dsr"]["low"] == pytest.approx(0.9 - T1 * 0.05)
    assert found["dsr"]["high"] == 1.0
    assert found["below"]["mean"] == 0.5
    assert [found[name]["mean"] for name in ("seen", "unseen", "held_out")] == pytest.approx([0.9, None, 0.9])
    exact = stats.binomtest(9, 10).proportion_ci(1 - 0.05 / 2, method="exact")  # over two attacks at once
    worst = [found["worst"][name] for name in ("mean", "low", "high")]
    assert worst == pytest.approx([0.9, exact.low, exact.high])
    assert found["borderline"]["mean"] == pytest.approx(0.25)
    assert found["math"]["mean"] == pytest.approx(0.9)
    assert (found["chat"]["mean"], found["chat"]["unknown"]) == (None, 2)
    assert found["entropy"]["mean"] == 0.25


def test_differences_to_the_reference_are_paired(table):
    # at 30: .85 - .80 and .95 - .85; at 100 only seed 0 has both: .95 - .90
    paired = at(table, 30, "plain")["differences"]["dsr"]
    assert paired["difference"] == pytest.approx(0.075)
    assert (paired["low"], paired["n"]) == (pytest.approx(0.075 - T1 * 0.025), 2)
    later = at(table, 100, "plain")["differences"]["dsr"]
    assert (later["difference"], later["n"], later["unmatched"]) == (pytest.approx(0.05), 1, 1)
    assert at(table, 30, "sirl")["differences"] == {}
    assert at(table, 0, "best_of_4")["differences"] == {}  # before training there is no reference


def test_changes_are_from_the_start_of_the_same_seed(table):
    # borderline at 30: .2 and .3 where the start refuses none; DSR .85 and .95 where it has .5
    found = at(table, 30, "plain")["changes"]
    assert found["borderline"]["difference"] == pytest.approx(0.25)
    assert found["borderline"]["low"] == pytest.approx(0.25 - T1 * 0.05)
    assert found["dsr"]["difference"] == pytest.approx(0.4)
    assert at(table, 30, "sirl")["changes"]["dsr"]["n"] == 2
    assert at(table, 30, "start")["changes"] == {}


def test_each_attack_has_its_mean(table):
    found = at(table, 30, "plain")["attacks"]
    assert {name: row["mean"] for name, row in found.items()} == pytest.approx(
        {"direct": 0.0, "aim": 0.9, "ica": 0.9}
    )
    assert (found["ica"]["low"], found["ica"]["high"]) == (0.0, 1.0)  # .8 and 1: .9 -+ 12.7 * .1
    assert found["aim"]["low"] is None


def test_who_does_not_train_stands_in_each_table_as_it_is(table):
    for step in (0, 30, 100):
        assert at(table, step, "best_of_4")["columns"]["dsr"]["mean"] == pytest.approx(0.55)
    methods = [[row["method"] for row in one["rows"]] for one in table["tables"]]
    assert methods[0] == ["start", "best_of_4"]
    assert methods[1] == ["start", "plain", "sirl", "bad", "best_of_4"]


def test_failed_and_missing_are_states_of_their_own(table):
    assert [at(table, 30, "bad")[name] for name in ("seeds", "failed", "missing")] == [1, 0, 1]
    assert [at(table, 100, "bad")[name] for name in ("seeds", "failed", "missing")] == [0, 1, 1]
    assert [at(table, 100, "sirl")[name] for name in ("seeds", "failed", "missing")] == [1, 0, 1]
    assert at(table, 100, "bad")["columns"]["dsr"]["mean"] is None


def test_equal_seeds_have_the_interval_of_one_run_and_are_marked(table):
    found = at(table, 30, "plain")["columns"]
    assert (found["math"]["low"], found["math"]["high"], found["math"]["over"]) == (0.7, 0.97, "prompts")
    assert "| 90.0 [70.0, 97.0]† |" in markdown(table)


def test_successes_are_counted_over_all_seeds(table):
    # start: 6 + 4 of 20 in each seed; plain at 30: 1 + 2 and 1 + 0
    assert at(table, 30, "plain")["successes"] == {"hits": 4, "n": 40}
    assert at(table, 30, "start")["successes"] == {"hits": 20, "n": 40}


def test_the_lowest_attack_is_not_compared(table):
    """Which attack is the lowest differs from one model to the next: a difference would be of noise."""
    assert "worst" not in at(table, 30, "plain")["differences"]
    assert "worst" not in at(table, 30, "plain")["changes"]


def test_a_table_says_who_judged_its_runs():
    told = {"harmful": "oracle, exact", "refused": "refusal, kappa 0.9"}
    rows = [row(30, 0.9, 0.8) | {"judges": told}, row(30, 0.9, 0.8) | {"judges": {"harmful": "harm"}}]
    found = tabulate(STUDY, [cell("plain", seed, [one]) for seed, one in enumerate(rows)])
    said = "Judged: harmful? by harm or oracle, exact; refused? by refusal, kappa 0.9."
    assert markdown(found).count(said) == 1
    assert said in render(found)


def test_the_worst_attack_has_a_name_and_what_is_undecided_a_count(table):
    assert at(table, 30, "plain")["columns"]["worst"]["attack"] == "aim"
    assert (at(table, 30, "plain")["undecided"], at(table, 30, "plain")["records"]) == (6, 120)


def test_markdown_has_a_table_a_step_and_says_what_failed(table):
    text = markdown(table)
    assert text.count("\n## organism:llama") == 3
    assert text.count("Difference to `sirl`, paired by seed:") == text.count("Change from the start") == 2
    assert "| 90.0 [26.5, 100.0] | 90.0 | 90.0 [0.0, 100.0] | 90.0 [50.9, 99.9] (aim) |" in text
    assert "| plain | +7.5 [−24.3, 39.3] |" in text
    assert "sirl (ended at 60)" in text
    assert "| 4 of 40 | 2 | 0, 0 | 6 of 120 |" in text
    assert "- `organism-llama/bad/seed-0`: the loss is <nan>" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| plain")}
    columns = [column.name for column in measured_columns(table)]
    assert {"refused", "math"} < {*columns}
    assert not {"unseen", "chat"} & {*columns}  # nothing of them was measured
    assert widths == {len(columns) + 1, len(columns) + 6}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_well_formed_and_escaped(table):
    page = render(table)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert not re.search(r"<script|https?://|<link|<img", page)
    assert "the loss is &lt;nan&gt;" in page
    assert "<strong>This is the embedded model organism,</strong>" in page
    assert page.count('class="chart"') == 3  # plain, sirl, bad: a curve for each method that trains
    assert "+7.5 [−24.3, 39.3]" in page
    assert page == render(table)


def test_curves_begin_at_the_start_and_hold_the_means(table):
    page = render(table)
    figure = page[page.index("<h3>plain</h3>") :].partition("</figure>")[0]
    assert "At step 100: DSR 97.5&nbsp;%" in figure or "At step 100: DSR 97.5\u00a0%" in figure
    curve = re.search(r'<g class="after"><path class="curve" d="M([\d.]+) ([\d.]+)L', figure)
    assert curve is not None
    assert float(curve[1]) == 48.0  # step 0 at the left end
    assert float(curve[2]) == pytest.approx(30 + (160 - 30) * 0.5)  # DSR .5: half way up


def test_a_study_without_numbers_is_still_a_page():
    nothing = tabulate(STUDY, [cell("plain", 0, [], "missing"), cell("sirl", 0, [], "missing")])
    assert markdown(nothing).count("Not measured yet: plain, sirl.") == 2
    assert "2 missing" in render(nothing)


def test_attacks_are_named_by_what_met_them_and_what_was_tuned_against_them(table):
    told = "Tuned by looking at these attacks. the rate: aim, ica."
    for page in (markdown(table), render(table)):
        assert "Seen in training, they or their kind: aim." in page
        assert re.search("Held out, .* did not score: ica", page)
        assert told in page
    assert "Tuned" not in markdown(tabulate(STUDY | {"tuned": {}}, CELLS))
