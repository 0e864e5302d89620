"""The table of a study -> Markdown, and a self-contained page with a curve over the steps for each method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from sirl import charts
from sirl.charts import Axis, Caption, Series
from sirl.metrics import DIRECT, EXPOSURES
from sirl.reporting.grid import grid
from sirl.reporting.pages import fill
from sirl.reporting.story import ORGANISM
from sirl.reporting.study import START, Column, Row, measured_columns, trains
from sirl.reporting.wording import MISSING, count, number, percent

EXPOSED = {
    "seen": "Seen in training, they or their kind",
    "unseen": "Unseen in training",
    "held_out": "Held out, whole families that training did not meet and the trials of settings did not score",
}
CURVES = (("dsr", "DSR", "after"), ("borderline", "borderline", "before"), ("distinct", "distinct", "third"))


def markdown(table: Row) -> str:
    """Return the tables of a study as Markdown."""
    study, columns = table["study"], measured_columns(table)
    lines = ["# Study", "", _preface(study), "", *(line for told in exposures(table) for line in (told, ""))]
    for one in table["tables"]:
        lines += [f"## {one['model']}, {_after(one['step'])}", ""]
        if figures := _figures(one, columns):
            lines += [*figures, ""]
        if costs := defence_costs(one):
            lines += ["What the defences did and cost, over all requests:", "", *grid(*costs), ""]
        if judges := judged(one):
            lines += [judges, ""]
        if missing := [row["method"] for row in one["rows"] if not _is_known(row)]:
            lines += [f"Not measured yet: {', '.join(missing)}.", ""]
        if differences := _differences(one, "differences", columns):
            lines += [f"Difference to `{study['reference']}`, paired by seed:", "", *differences, ""]
        if one["step"] and (changes := _differences(one, "changes", columns)):
            lines += ["Change from the start, paired by seed:", "", *changes, ""]
    failures = [cell for cell in table["cells"] if cell["failed"]]
    lines += ["## Failed", ""] * bool(failures)
    lines += [f"- `{cell['path']}`: {' '.join(cell['failed'].split())}" for cell in failures]
    return "\n".join(lines).rstrip() + "\n"


def _preface(study: Row) -> str:
    seeds = ", ".join(map(str, study["seeds"]))
    means = f"Seed {seeds} alone."
    if len(study["seeds"]) > 1:
        means = f"Means over seeds {seeds} with 95 % intervals over seeds (Student's t)."
    floor = number(100 * study["floor"], ".0f")
    return (
        f"{means} A † marks an interval over the prompts of one run, the widest, where there is one seed or "
        f"all are alike. Shares are in percent; the floor of an attack's DSR is {floor} %. The lowest of the "
        "attacks is that of the means over seeds; its interval is over prompts and allows for its being the "
        "lowest of so many. *Succeeded* counts attempts under attack over all seeds. *Entropy* is the mean "
        "token entropy of replies under attack. *Refused in words* is the mean over attacks of the share of "
        "replies that refuse: a confused reply harms nobody and refuses nothing. *Undecided* are replies "
        "without a verdict, of all; *failed* "
        "and *missing* are cells without numbers."
    )


def exposures(table: Row) -> list[str]:
    """Name the attacks by how far the making of the models met them, and what was tuned against which."""
    found: dict[str, set[str]] = {}
    for row in (row for cell in table["cells"] for row in cell["rows"]):
        for attack, one in row["dsr"]["per_attack"].items():
            if attack != DIRECT and one["exposure"]:
                found.setdefault(one["exposure"], set()).add(attack)
    told = [f"{EXPOSED[name]}: {', '.join(sorted(found[name]))}." for name in EXPOSURES if name in found]
    tuned = [f"{what}: {', '.join(names)}" for what, names in table["study"]["tuned"].items()]
    return [*told, *([f"Tuned by looking at these attacks. {'; '.join(tuned)}."] if tuned else [])]


def _figures(one: Row, columns: Sequence[Column]) -> list[str]:
    heads = ["method", *(c.title for c in columns), "succeeded", "seeds", "failed, missing", "undecided"]
    rows = [
        [
            name(row, one["step"]),
            *(_with_names(row, c) for c in columns),
            succeeded(row),
            str(row["seeds"]),
            f"{row['failed']}, {row['missing']}",
            f"{row['undecided']} of {row['records']}",
        ]
        for row in one["rows"]
        if _is_known(row)
    ]
    return grid(heads, rows) if rows else []


def _is_known(row: Row) -> bool:
    """Say whether anything can be said of a method: it has numbers, or it has failed."""
    return bool(row["seeds"] or row["failed"])


def _differences(one: Row, to: str, columns: Sequence[Column]) -> list[str]:
    """Return the rows of methods that share a seed with what they are compared to; none, no table."""
    known = [row for row in one["rows"] if row[to] and any(pair["n"] for pair in row[to].values())]
    compared = [c for c in columns if known and c.name in known[0][to]]
    rows = [[row["method"], *(c.figure(row[to][c.name], signed=True) for c in compared)] for row in known]
    return grid(["method", *(c.title for c in compared)], rows) if rows else []


def _with_names(row: Row, column: Column) -> str:
    found = row["columns"][column.name]
    figure = column.figure(found)
    return f"{figure} ({found['attack']})" if found.get("attack") else figure


def name(row: Row, step: int) -> str:
    """Name a method; say so if its model is of another step than the table's."""
    other = [of for of in row["of_steps"] if row["trained"] and of != step]
    return f"{row['method']} (ended at {', '.join(map(str, other))})" if other else str(row["method"])


def judged(one: Row) -> str:
    """Say in a sentence who judged the runs of a table; empty where no run tells."""
    named: dict[str, set[str]] = {}
    for row in one["rows"]:
        for question, told in row["judges"].items():
            named.setdefault(question, set()).update(told)
    said = "; ".join(f"{question}? by {' or '.join(sorted(told))}" for question, told in sorted(named.items()))
    return f"Judged: {said}." if said else ""


def defence_costs(one: Row) -> tuple[list[str], list[list[str]]] | None:
    """Return heads and rows of a table of what defences did and cost; None where no method has one."""
    rows = [
        [name(row, one["step"]), number(d["calls"], ".1f"), number(d["tokens"], ".0f"), percent(d["own"])]
        for row in one["rows"]
        if (d := row["defence"])
    ]
    heads = ["method", "calls a request", "extra tokens a request", "replies that are the defence's own"]
    return (heads, rows) if rows else None


def succeeded(row: Row) -> str:
    """Write how many attempts under attack succeeded, of how many scored."""
    found = row["successes"]
    return f"{count(found['hits'])} of {count(found['n'])}" if found["n"] else MISSING


def _after(step: int) -> str:
    return f"step {step}" if step else "start"


def render(table: Row) -> str:
    """Return the page of a study: curves and tables, self-contained, for light and dark."""
    study, columns = table["study"], measured_columns(table)
    models = [
        {
            "name": model,
            "curves": _curves(table, model),
            "tables": [_shown(one, columns) for one in table["tables"] if one["model"] == model],
        }
        for model in study["models"]
    ]
    return fill(
        "study.html.j2",
        study=study,
        models=models,
        organism=any(model.startswith(ORGANISM) for model in study["models"]),
        preface=_preface(study).replace("*", ""),
        exposures=exposures(table),
        columns=columns,
        failures=[cell for cell in table["cells"] if cell["failed"]],
        states=sorted(Counter(cell["state"] for cell in table["cells"]).items()),
        count=count,
    )


def _shown(one: Row, columns: Sequence[Column]) -> dict[str, Any]:
    """Return a table as the page's template reads it."""
    rows = [
        {
            "name": name(row, one["step"]),
            "cells": [
                (
                    _with_names(row, c),
                    c.figure(row["differences"][c.name], signed=True) if c.name in row["differences"] else "",
                )
                for c in columns
            ],
            "succeeded": succeeded(row),
            **{key: row[key] for key in ("seeds", "failed", "missing", "undecided", "records")},
        }
        for row in one["rows"]
    ]
    told = {"title": _after(one["step"]), "step": one["step"], "rows": rows, "judged": judged(one)}
    return told | {"costs": defence_costs(one)}


def _curves(table: Row, model: str) -> list[tuple[str, str, Markup]]:
    """Return for each method that trains its name, its last figures in words, and its curves over the steps."""
    tables = [one for one in table["tables"] if one["model"] == model]
    drawn = []
    for method in table["study"]["methods"]:
        points = [
            (one["step"], row) for one in tables for row in one["rows"] if _is_at(row, method, one["step"])
        ]
        if trains(table["study"], method) and any(step and row["seeds"] for step, row in points):
            title = f"{method} on {model}"
            last = points[-1][1]["columns"]
            figures = ", ".join(f"{word} {percent(last[column]['mean'])}" for column, word, _ in CURVES)
            told = f"At step {points[-1][0]}: {figures}."
            lines = [_series(points, *curve) for curve in CURVES]
            axes = Axis("step"), Axis("", percent=True, low=0.0, high=1.0)
            caption = Caption(title, told)
            drawn.append((method, told, Markup(charts.line_chart(caption, lines, *axes))))
    return drawn


def _is_at(row: Row, method: str, step: int) -> bool:
    return bool(row["method"] == (method if step else START))


def _series(points: Sequence[tuple[int, Row]], column: str, title: str, style: str) -> Series:
    found = [row["columns"][column] for _, row in points]
    ends = tuple([one[end] for one in found] for end in ("low", "high"))
    steps = [step for step, _ in points]
    return Series(title, style, steps, [one["mean"] for one in found], band=(ends[0], ends[1]))
