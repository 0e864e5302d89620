"""Evaluate runs -> DSR broken down: tables by category and source, and a chart of spending for each search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sirl import charts, metrics
from sirl.charts import Axis, Caption, Series
from sirl.records import Record
from sirl.reporting.story import Side, Story
from sirl.reporting.wording import UNKNOWN, change_text, count, left_out, percent, plural, share


def category_section(story: Story) -> list[dict[str, Any]]:
    """Return one row a category of harmful prompts; empty where none states one."""
    return _rows(story, metrics.dsr_by_category, lambda r: r.prompt.category)


def source_section(story: Story) -> list[dict[str, Any]]:
    """Return one row a source of harmful prompts; empty where there is but one."""
    rows = _rows(story, metrics.dsr_by_source, lambda r: r.prompt.source)
    return rows if len(rows) > 1 else []


def _rows(
    story: Story,
    table_of: Callable[[Sequence[Record]], Mapping[str, Mapping[str, Any]]],
    of: Callable[[Record], str],
) -> list[dict[str, Any]]:
    tables = [table_of(side.records) for side in story.sides]
    names = sorted({name for table in tables for name in table})
    rows = []
    for name in names:
        found = [{**UNKNOWN, "prompts": 0, "attacks": 0, **table.get(name, {})} for table in tables]
        rows.append(
            {
                "name": name or "none stated",
                "prompts": max(row["prompts"] for row in found),
                "attacks": max(row["attacks"] for row in found),
                "sides": [(share(row), row["n"], left_out(row)) for row in found],
                "change": _change(story, of, name),
            }
        )
    return rows


def budget_section(story: Story) -> list[dict[str, Any]]:
    """Return for each attack that searched: its curves as charts, and the figures at the full budget."""
    tables = [metrics.dsr_by_budget(side.records) for side in story.sides]
    names = sorted({name for table in tables for name in table})
    return [_budget(name, story, [table.get(name) for table in tables]) for name in names]


def _budget(name: str, story: Story, curves: list[dict[str, Any] | None]) -> dict[str, Any]:
    sides = list(zip(story.sides, curves, strict=True))
    told = "; ".join(_end(side, curve, len(sides) > 1) for side, curve in sides)
    units = (("queries", "queries a prompt"), ("passes", "sequences through the model a prompt"))
    return {
        "name": name,
        "told": told,
        "charts": [Markup(_chart(name, told, sides, cost, unit)) for cost, unit in units],
    }


def _chart(name: str, told: str, sides: list[tuple[Side, dict[str, Any] | None]], cost: str, unit: str) -> str:
    series = [_steps(side, curve[cost]) for side, curve in sides if curve is not None]
    caption = Caption(f"{name}: attacks withstood against {unit}", told)
    return charts.line_chart(caption, series, Axis(unit, low=0.0), Axis("", percent=True, low=0.0, high=1.0))


def _steps(side: Side, curve: Mapping[str, Any]) -> Series:
    """Return a curve as a line of steps: a rate holds until the next budget."""
    xs, ys, lows, highs = [], [], [], []
    columns = [curve[part] for part in ("budget", "rate", "low", "high")]
    for i, (budget, rate, low, high) in enumerate(zip(*columns, strict=True)):
        if i:  # the former rate up to here
            xs.append(float(budget))
            ys.append(curve["rate"][i - 1])
            lows.append(curve["low"][i - 1])
            highs.append(curve["high"][i - 1])
        xs.append(float(budget))
        ys.append(rate)
        lows.append(low)
        highs.append(high)
    return Series(side.label.lower(), side.style, xs, ys, band=(lows, highs), marked=False)


def _end(side: Side, curve: dict[str, Any] | None, named: bool) -> str:
    """Say how much is withstood at the end of the curve."""
    label = f"{side.label.lower()} " if named else ""
    if curve is None:
        return f"{label}not measured"
    last = {part: curve["queries"][part][-1] for part in ("budget", "rate", "low", "high")}
    at = f"at {plural(last['budget'], 'query').replace('querys', 'queries')}"
    scored = f"n = {count(curve['n'])}, of a search given {count(curve['of_budget'])}"
    own = (
        f", {percent(curve['by_search']['rate'])} by the search's own judge" if curve["by_search"]["n"] else ""
    )
    return f"{label}{percent(last['rate']) if last['rate'] is None else share(last)} {at}, {scored}{own}"


def _change(story: Story, of: Callable[[Record], str], name: str) -> tuple[str, str] | None:
    if len(story.sides) < 2:
        return None
    before, after = (metrics.attacked([r for r in side.records if of(r) == name]) for side in story.sides)
    return change_text(metrics.paired_difference(before, after, metrics.withstood))
