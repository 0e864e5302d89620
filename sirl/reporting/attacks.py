"""Evaluate runs -> the section on attacks: DSR per attack as dots with intervals, and the exact table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sirl import charts, metrics
from sirl.charts import Caption
from sirl.records import Attempt, Record
from sirl.reporting.story import Side, Story
from sirl.reporting.trust import judged_by
from sirl.reporting.wording import UNKNOWN, change_text, dot_row, left_out, share

_COLUMNS = 3  # of charts, on a wide screen
HELD_OUT = "Of families held out of training, the model’s making and the trials of settings"


def attack_section(story: Story) -> dict[str, Any]:
    """Return DSR per attack: charts by whether training used the attack, and the exact table."""
    tables = [metrics.dsr_table(side.records, story.seen, story.held_out) for side in story.sides]
    names = sorted({name for table in tables for name in table["per_attack"]})
    names.sort(key=lambda name: tables[0]["per_attack"].get(name, UNKNOWN)["rate"] or 0.0)
    attacks = [name for name in names if name != metrics.DIRECT]
    changes = {}
    if len(story.sides) > 1:
        changes = metrics.paired_by_attack(*(side.records for side in story.sides))
    titles = {
        None: "All attacks",
        "held_out": HELD_OUT,
        "unseen": "Never used in training",
        "seen": "Used in training",
    }
    groups = [(title, [n for n in attacks if story.exposure(n) == kind]) for kind, title in titles.items()]
    groups.append(("Plain request, no attack", [n for n in names if n == metrics.DIRECT]))
    return {
        "groups": [(title, _charts(title, group, tables, story.sides)) for title, group in groups if group],
        "rows": [_row(name, story, changes) for name in names],
        "parts": _parts(tables),
        "mean": [(share(table), table["n"], left_out(table)) for table in tables],
        "worst": [_lowest(table["worst_detail"]) for table in tables],
        "union": [(share(row), row["n"], left_out(row)) for row in (table["union_detail"] for table in tables)],
        "change": _change(story),
        "judged": list(
            dict.fromkeys(judged_by(side.run.config, side.records, "harmful") for side in story.sides)
        ),
    }


_SEEN = {None: "not recorded", "seen": "yes", "unseen": "no", "held_out": "no, held out"}
_MEANS = {
    "seen": "Mean over those used in training",
    "unseen": "Mean over those never used",
    "held_out": "Mean over those held out",
}


def _parts(tables: Sequence[dict[str, Any]]) -> list[tuple[str, list[tuple[str, int, str]]]]:
    """Return the mean of each side over the attacks of one exposure; nothing where all are of one."""
    found = [name for name in _MEANS if any(name in table["by_exposure"] for table in tables)]
    rows = [(name, [table["by_exposure"].get(name, UNKNOWN) for table in tables]) for name in found]
    shown = rows if len(found) > 1 else []
    return [(_MEANS[name], [(share(r), r["n"], left_out(r)) for r in row]) for name, row in shown]


def _lowest(row: Mapping[str, Any]) -> tuple[str, str]:
    """Write the lowest share of many attacks with its interval, and whose it is."""
    return share(row), row["attack"] or ""


def attack_kind(records: Sequence[Record], system: str = "") -> str:
    """Say by what means an attack works, as its attempts show it; `system` is the run's own system prompt."""
    attempts = [record.attempt for record in records]
    if any(a.attack == metrics.DIRECT for a in attempts):
        return "plain request"
    surrogates = sorted({a.search.surrogate for a in attempts if a.search.surrogate})
    kinds = {
        f"adaptive, {_queries(attempts)}": any(a.search.queries for a in attempts),
        f"transferred from {', '.join(surrogates)}": bool(surrogates),
        "begins the reply": any(a.prefill for a in attempts),
        "system message": any(m.role == "system" and m.content != system for a in attempts for m in a.messages),
        "several turns": any(m.role == "assistant" for a in attempts for m in a.messages),
    }
    return ", ".join(kind for kind, holds in kinds.items() if holds) or "rewrites the request"


def _queries(attempts: Sequence[Attempt]) -> str:
    """Say under how many queries a prompt a search was measured, and how many it spent in the mean."""
    granted = max((attempt.search.budget for attempt in attempts), default=0)
    spent = sum(attempt.search.queries for attempt in attempts) / max(1, len(attempts))
    return f"at {granted} queries a prompt, {spent:.0f} spent" if granted else f"{spent:.0f} queries a prompt"


def _charts(
    title: str, names: Sequence[str], tables: Sequence[dict[str, Any]], sides: Sequence[Side]
) -> list[Markup]:
    """Draw the attacks in charts of even length, one a column of the grid."""
    size = max(4, math.ceil(len(names) / _COLUMNS))
    drawn = []
    for start in range(0, len(names), size):
        part = names[start : start + size]
        rows = [dot_row(name, [table["per_attack"].get(name, UNKNOWN) for table in tables]) for name in part]
        told = "; ".join(f"{row.label}: {row.text}" for row in rows)
        caption = Caption(f"Attacks withstood. {title}", told)
        drawn.append(Markup(charts.dot_rows(caption, rows, [side.style for side in sides])))
    return drawn


def _row(name: str, story: Story, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found = [metrics.select(metrics.contested(side.records), attack=name) for side in story.sides]
    rows = [metrics.as_row(metrics.dsr(records)) for records in found]
    settings = story.sides[0].run.config.get("settings") or {}
    return {
        "name": name,
        "kind": attack_kind(next((records for records in found if records), []), settings.get("system", "")),
        "seen": _SEEN[story.exposure(name)],
        "sides": [(share(row), row["n"], left_out(row)) for row in rows],
        "change": change_text(changes[name]) if name in changes else None,
    }


def _change(story: Story) -> tuple[str, str] | None:
    """Word the paired difference over all attacks; None if there is but one side."""
    if len(story.sides) < 2:
        return None
    before, after = (metrics.attacked(side.records) for side in story.sides)
    return change_text(metrics.paired_difference(before, after, metrics.withstood))
