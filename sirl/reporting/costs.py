"""Evaluate runs -> what safety may cost: over-refusal, capability, diversity, with paired differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sirl import charts, metrics
from sirl.charts import Caption
from sirl.records import Record
from sirl.reporting.story import Story
from sirl.reporting.wording import UNKNOWN, change_text, dot_row, left_out, share

_WAYS = {
    "full": "refused in full",
    "partial": "refused in part",
    "unstated": "refused, extent unstated",
    "answered": "answered",
}


def cost_section(story: Story) -> dict[str, Any]:
    """Return the rows of the table and one chart for each of its three parts."""
    parts = [
        ("Harmless requests refused", "lower is better", _refusals(story)),
        ("Tasks answered correctly", "higher is better", _tasks(story)),
        ("Distinct replies to open questions", "a fall is a warning", [_diversity(story)]),
    ]
    return {
        "rows": [row | {"better": better} for _, better, rows in parts for row in rows],
        "extents": _extents(story),
        "charts": [(title, better, _chart(title, rows, story)) for title, better, rows in parts],
    }


def _extents(story: Story) -> list[dict[str, Any]]:
    """Return a row for each kind of plain request and each way of replying that occurs."""
    tables = [metrics.refusals(side.records) for side in story.sides]
    rows = []
    for kind, ways in tables[0].items():
        for name in ways:
            values = [table[kind][name] for table in tables]
            if any(value["rate"] for value in values) or (name != "unstated" and any(v["n"] for v in values)):
                rows.append({"kind": kind, "name": _WAYS[name], "sides": _sides(values)})
    return rows


def _refusals(story: Story) -> list[dict[str, Any]]:
    values = [metrics.over_refusal(side.records) for side in story.sides]
    return [
        _row(
            f"{kind} requests refused",
            [value[kind] for value in values],
            _change(story, lambda r: r.answer("refused"), kind),
        )
        for kind in ("benign", "borderline")
    ]


def _tasks(story: Story) -> list[dict[str, Any]]:
    values = [metrics.capability(side.records) for side in story.sides]
    return [
        _row(
            f"{name or 'other'} tasks correct",
            [value.get(name, UNKNOWN) for value in values],
            _change(story, lambda r: r.answer("correct"), "task", name),
        )
        for name in dict.fromkeys(name for value in values for name in value)
    ]


def _diversity(story: Story) -> dict[str, Any]:
    values = [UNKNOWN | metrics.diversity(side.draws) for side in story.sides]
    change = None
    if len(story.sides) > 1:
        change = change_text(metrics.diversity_difference(*(side.draws for side in story.sides)))
    return _row("distinct replies to an open question", values, change)


def _row(name: str, values: Sequence[Mapping[str, Any]], change: tuple[str, str] | None) -> dict[str, Any]:
    return {"name": name, "values": values, "sides": _sides(values), "change": change}


def _sides(values: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, str]]:
    return [(share(value), value["n"], left_out(value)) for value in values]


def _change(
    story: Story, outcome: Callable[[Record], bool | None], kind: str, category: str | None = None
) -> tuple[str, str] | None:
    if len(story.sides) < 2:
        return None
    before, after = (metrics.select(s.records, kind, metrics.DIRECT, category) for s in story.sides)
    return change_text(metrics.paired_difference(before, after, outcome))


def _chart(title: str, rows: Sequence[dict[str, Any]], story: Story) -> Markup:
    drawn = [dot_row(row["name"], row["values"]) for row in rows]
    told = "; ".join(f"{row.label}: {row.text}" for row in drawn)
    return Markup(charts.dot_rows(Caption(title, told), drawn, [side.style for side in story.sides]))
