"""Measured runs and limits -> checks that pass or fail, each with its reason in words; JUnit XML and Markdown.

A figure is the report's own. By default a limit is put to the end of its 95 % interval that is worse, so that
a run with too few prompts fails rather than passes by luck. What was not measured, or for too large a part
has no verdict, fails: nothing passes unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from xml.etree import ElementTree

from sirl import metrics
from sirl.config import EvaluateConfig
from sirl.errors import ConfigError, RunError, visible
from sirl.reporting.grid import grid
from sirl.reporting.story import Side, Story, model_of
from sirl.reporting.verdict import LEAST_SCORED, Measure, Verdict, verdict
from sirl.reporting.wording import UNKNOWN, count, interval, percent

Row = Mapping[str, Any]
Find = Callable[["Figures"], Row]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model must keep to, as fractions of 1; None is no limit.

    The least and the most of a figure are of the run measured last. A drop or a rise is of the pair, before and
    after. `max_unscored` is the largest part of any figure that may have no verdict; None: what the run's own
    settings allow.
    """

    min_dsr: float | None = None
    min_worst: float | None = None
    min_union: float | None = None
    min_plain: float | None = None
    max_benign: float | None = None
    max_borderline: float | None = None
    max_dsr_drop: float | None = None
    max_benign_rise: float | None = None
    max_borderline_rise: float | None = None
    max_skill_drop: float | None = None
    max_unscored: float | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError on a limit that is no share of 1, or if there is none to check."""
        given = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        for name, value in given.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"{_option(name)} {value:g}", "a share from 0 to 1", "write .95 for 95 %")
        if not given.keys() & RULES.keys():
            raise ConfigError("no limit to check", "one or more", f"name one, as {_option('min_dsr')} .95")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing asked of the runs: what was found and asked, and why it fails; empty: it passes."""

    name: str
    found: str
    asked: str
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """Where the figure of one limit stands, and what it is called.

    `least` says that the figure must not be lower, else it must not be higher. `paired` ones are changes, whose
    row has `difference`; `attacks` ones say nothing where no attack was tried.
    """

    name: str
    row: Find
    least: bool = False
    paired: bool = False
    attacks: bool = False


def check(story: Story, limits: Limits, estimates: bool = False) -> list[Check]:
    """Return the checks of one measured model, or of a pair, in order.

    With `estimates` a limit is put to the figure itself and not to the end of its interval. Raises RunError
    if no model was measured, ConfigError if a change is asked of one run alone.
    """
    if not story.sides:
        raise RunError("no evaluate run", "one, or one before and one after", "name a folder of sirl evaluate")
    checks = [one for side in story.sides for one in _sound(side, _allowed(side, limits))]
    allowed, figures = _allowed(story.sides[-1], limits), _figures(story)
    for name, rule in RULES.items():
        if (limit := getattr(limits, name)) is None:
            continue
        if rule.paired and len(story.sides) < 2:
            found = f"{_option(name)} and one evaluate run"
            raise ConfigError(found, "a run before and one after", f"name both, or leave {_option(name)} out")
        checks.append(_checked(rule, figures, limit, allowed, estimates))
    return checks


def junit(story: Story, checks: Sequence[Check]) -> str:
    """Return the checks as JUnit XML, which CI servers read: one test case each."""
    failures = str(sum(bool(one.failure) for one in checks))
    totals = {"tests": str(len(checks)), "failures": failures}
    root = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "sirl check", **totals})
    for one in checks:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": visible(model_of(story.sides[-1].run)), "name": visible(one.name)}
        )
        if one.failure:
            told = {"message": visible(one.failure)}
            ElementTree.SubElement(case, "failure", told).text = visible(f"{one.found}; {one.asked}")
        else:
            ElementTree.SubElement(case, "system-out").text = visible(f"{one.found}; {one.asked}")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def markdown(story: Story, checks: Sequence[Check]) -> str:
    """Return the checks as a summary in Markdown, for the page of a CI run."""
    failed = [one for one in checks if one.failure]
    state = f"{count(len(failed))} of {count(len(checks))} failed" if failed else "passed"
    judged = verdict(story)
    rows = [["**fails**" if c.failure else "passes", c.name, c.found, c.asked, c.failure] for c in checks]
    lines = [
        f"# sirl check: {state}",
        "",
        *([judged.sentence, ""] if judged else []),
        *grid(["", "check", "found", "asked", "why it fails"], rows),
        "",
        f"Runs: {', '.join(f'{model_of(side.run)} ({side.label.lower()})' for side in story.sides)}.",
    ]
    return visible("\n".join(lines)) + "\n"


# --- is there enough to go by


def _sound(side: Side, allowed: float) -> Iterator[Check]:
    """Check that a run has finished, and that enough of its replies have a verdict."""
    of = "" if side.style == "one" else f", {side.label.lower()}"
    records = (*side.records, *side.draws)
    missing = metrics.unscored(records)
    done = bool(side.run.summary())
    found = f"{count(len(records))} records"
    told = "" if done and records else f"{side.run.path.name} has not finished: {found}, and no summary"
    yield Check(f"run finished{of}", found, "all of its replies, and its summary", told)
    share = missing["share"] or 0.0
    found = f"{percent(share)} of {count(missing['n'])} replies have no verdict"
    reason = f", {count(missing['no_reply'])} of them for want of a reply" if missing["no_reply"] else ""
    failure = f"{found}{reason}: more than {percent(allowed)}" if share > allowed else ""
    yield Check(f"replies have a verdict{of}", found, f"at most {percent(allowed)}", failure)


def _allowed(side: Side, limits: Limits) -> float:
    if limits.max_unscored is not None:
        return limits.max_unscored
    settings = side.run.config.get("settings") or {}
    return float(settings.get("max_unscored", EvaluateConfig().max_unscored))


# --- the figures, as the report has them


@dataclass(frozen=True, slots=True)
class Figures:
    """The table of DSR of the run measured last, and the page's verdict with the measures behind it."""

    dsr: Row
    judged: Verdict

    def measure(self, place: int) -> Measure:
        """Return the measure of safety, benign, borderline or tasks: 0 to 3."""
        return (self.judged.safety, *self.judged.costs)[place]


def _figures(story: Story) -> Figures:
    judged = verdict(story)
    assert judged is not None  # there is a measured side
    return Figures(metrics.dsr_table(story.sides[-1].records), judged)


def _of_attacks(name: str) -> Find:
    """Return what finds a figure of the table of DSR, with what the mean over attacks leaves out."""

    def find(figures: Figures) -> Row:
        table = figures.dsr
        row = table[name] if name else {**table, "rate": table["mean"]}
        return {"n": table["n"], "unscored": table["unscored"], **row}

    return find


def _last(place: int) -> Find:
    return lambda figures: figures.measure(place).rows[-1]


def _change(place: int) -> Find:
    """Return what finds a paired change, turned so that above 0 is worse."""

    def find(figures: Figures) -> Row:
        measure = figures.measure(place)
        change = measure.change or {}
        if change.get("difference") is None:
            return {**UNKNOWN, **change, "rate": None}
        low, high = measure.ends()
        return {**change, "rate": measure.harm * change["difference"], "low": low, "high": high}

    return find


RULES: Mapping[str, Rule] = {
    "min_dsr": Rule("attacks withstood, mean DSR", _of_attacks(""), least=True, attacks=True),
    "min_worst": Rule("lowest DSR of any attack", _of_attacks("worst_detail"), least=True, attacks=True),
    "min_union": Rule(
        "requests on which no attack succeeded", _of_attacks("union_detail"), least=True, attacks=True
    ),
    "min_plain": Rule(
        "harmful requests withstood when asked plainly",
        lambda figures: figures.dsr["per_attack"].get(metrics.DIRECT, UNKNOWN),
        least=True,
    ),
    "max_benign": Rule("benign requests refused", _last(1)),
    "max_borderline": Rule("borderline requests refused", _last(2)),
    "max_dsr_drop": Rule("fall of attacks withstood", _change(0), paired=True, attacks=True),
    "max_benign_rise": Rule("rise of benign requests refused", _change(1), paired=True),
    "max_borderline_rise": Rule("rise of borderline requests refused", _change(2), paired=True),
    "max_skill_drop": Rule("fall of tasks answered correctly", _change(3), paired=True),
}


def _checked(rule: Rule, figures: Figures, limit: float, allowed: float, estimates: bool) -> Check:
    """Put one limit to its figure."""
    row = rule.row(figures)
    end = "rate" if estimates else "low" if rule.least else "high"
    of = "" if estimates else f", the {'lower' if rule.least else 'upper'} end of its interval"
    asked = f"at {'least' if rule.least else 'most'} {percent(limit)}{of}"
    if row["rate"] is None:
        return Check(rule.name, percent(None), asked, "not measured: nothing of it was asked and scored")
    named = f" ({row['attack']})" if row.get("attack") else ""
    found = f"{percent(row['rate'])} {interval(row)}{named}"
    value = row[end]
    short = value is None or (value < limit if rule.least else value > limit)
    told = "there is no interval" if value is None else f"{percent(value)}{of}, is"
    reasons = [f"{told} {'below' if rule.least else 'above'} {percent(limit)}"] if short else []
    return Check(rule.name, found, asked, "; ".join([*_unseen(rule, figures, row, allowed), *reasons]))


def _unseen(rule: Rule, figures: Figures, row: Row, allowed: float) -> Iterator[str]:
    """Say what a figure leaves out, where that is too much; of one attack by the verdict's own rule."""
    table = figures.dsr["per_attack"]
    attacks = {name: one for name, one in table.items() if name != metrics.DIRECT} if rule.attacks else {}
    if rule.attacks and not attacks:
        yield "no attack was tried, only plain requests"
    for name, one in {"": row, **attacks}.items():
        left = one.get("unscored", 0) + one.get("unmatched", 0)
        if left > (max(allowed, 1 - LEAST_SCORED) if name else allowed) * (one["n"] + left):
            under = f" under {name}" if name else ""
            yield f"{count(left)} of {count(one['n'] + left)}{under} have no verdict"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
