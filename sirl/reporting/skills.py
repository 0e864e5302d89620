"""Skills runs -> scores by task, their paired changes, and how much of a change is refusals or cut replies."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from sirl import charts, metrics
from sirl.charts import Caption
from sirl.metrics import Graded
from sirl.reporting.story import Side, Story
from sirl.reporting.wording import MISSING, UNKNOWN, change_text, dot_row, left_out, number, percent, share
from sirl.rundir import SCORES

_WAYS = {
    "right": "right",
    "refused": "refused",
    "cut off": "cut off at the length limit",
    "answered": "answered wrongly",
    "by likelihood": "wrong, by likelihood",
}


def skills_section(story: Story) -> dict[str, Any]:
    """Return the rows of both tables, the chart, and what was left out and why."""
    rows = [side.run.rows(SCORES) for side in story.skills]
    graded = [[Graded(r["key"], r["asked"], r["score"], r["went"]) for r in some] for some in rows]
    tables = [{name: metrics.skill(mine) for name, mine in metrics.by_task(some).items()} for some in graded]
    changes = metrics.skill_changes(*graded) if len(graded) > 1 else {}
    measures = {row["asked"]: row["measure"] for some in rows for row in some if row["measure"]}
    names = list(dict.fromkeys(name for table in tables for name in table))
    values = {name: [table.get(name, UNKNOWN | {"audit": {}}) for table in tables] for name in names}
    shares = {
        name: all(0 <= g.score <= 1 for some in graded for g in some if g.task == name and g.score)
        for name in names
    }
    drawn = [dot_row(name, values[name]) for name in names if shares[name]]
    told = "; ".join(f"{row.label}: {row.text}" for row in drawn)
    styles = [side.style for side in story.skills]
    return {
        "harness": ", ".join(dict.fromkeys(map(_harness, story.skills))),
        "rows": [
            _row(name, measures.get(name, ""), values[name], changes.get(name), shares[name]) for name in names
        ],
        "audit": [row for name in names for row in _audit(name, values[name], changes.get(name), shares[name])],
        "drawing": Markup(charts.dot_rows(Caption("Mean score", told), drawn, styles)),
        "left_out": list(dict.fromkeys(told for side in story.skills for told in _left_out(side))),
    }


def _row(
    name: str, measure: str, values: list[dict[str, Any]], change: dict[str, Any] | None, is_share: bool
) -> dict[str, Any]:
    told = share if is_share else _plain
    return {
        "name": name,
        "measure": measure.replace(",", ", "),
        "sides": [(told(value), value["n"], left_out(value)) for value in values],
        "change": _changed(change, is_share) if change else None,
        "lost": change["lost"] if change else "",
        "gained": change["gained"] if change else "",
    }


def _audit(
    name: str, values: list[dict[str, Any]], change: dict[str, Any] | None, is_share: bool
) -> list[dict[str, Any]]:
    """Return a row a way of replying that occurs on a side."""
    parts = change["audit"] if change else {}
    return [
        {
            "name": name,
            "way": told,
            "shares": [percent(value["audit"].get(way, 0.0) if value["n"] else None) for value in values],
            "part": _changed({"difference": parts[way], "low": None}, is_share)[0].partition(",")[0]
            if way in parts
            else "–",
        }
        for way, told in _WAYS.items()
        if way in parts or any(value["audit"].get(way) for value in values)
    ]


def _changed(change: dict[str, Any], is_share: bool) -> tuple[str, str]:
    """Write a change; of scores that are no shares in their own unit."""
    told, notes = change_text(change)
    if not is_share and change["difference"] is not None:
        told = f"{number(change['difference'], '+.2f')}{_ends(change)}"
    return told, notes


def _plain(value: dict[str, Any]) -> str:
    """Write a score that is no share in its own unit."""
    return MISSING if value["rate"] is None else f"{number(value['rate'])}{_ends(value)}"


def _ends(row: dict[str, Any]) -> str:
    return ", no interval" if row["low"] is None else f" [{number(row['low'])}, {number(row['high'])}]"


def _harness(side: Side) -> str:
    return str((side.run.environment.get("hashes") or {}).get("task harness", "a version that is not known"))


def _left_out(side: Side) -> list[str]:
    return [f"{name}: {why}" for name, why in (side.run.summary().get("left_out") or {}).items()]
