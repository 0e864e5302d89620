"""The cells of a study -> one table a model and step, all figures of it.

Each figure is the mean over seeds, with its 95 % interval over seeds; beside it stands the difference to the
reference method, paired by model and seed. What failed or is missing is counted beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean
from typing import Any

from sirl.config.study import makes_another_model
from sirl.metrics import DIRECT, EXPOSURES, SHARE, difference_over_seeds, lowest_share, over_seeds
from sirl.metrics.estimates import Interval
from sirl.reporting.wording import MISSING, number

START = "start"  # the row of the starting model
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: a share (shown in percent), a count of attacks, or an entropy in nats."""

    name: str
    title: str
    unit: str = "share"

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of its scale."""
        return SHARE if self.unit == "share" else (0.0, inf)

    def figure(self, row: Row, signed: bool = False) -> str:
        """Write a mean, or a difference, with its interval if it has one."""
        value = row["difference" if signed else "mean"]
        if value is None:
            return MISSING
        scale, form = {"share": (100, ".1f"), "count": (1, ".1f"), "nats": (1, ".3f")}[self.unit]
        told = number(value * scale, ("+" if signed else "") + form)
        if row["low"] is None:
            return told
        over = "†" if row.get("over") == "prompts" else ""
        return f"{told} [{number(row['low'] * scale, form)}, {number(row['high'] * scale, form)}]{over}"


COLUMNS = (
    Column("dsr", "DSR, mean"),
    Column("seen", "of attacks seen in training"),
    Column("unseen", "of those unseen"),
    Column("held_out", "of families held out"),
    Column("worst", "DSR, lowest of the attacks"),
    Column("refused", "attacks refused in words"),
    Column("below", "attacks below the floor", "count"),
    Column("benign", "benign refused"),
    Column("borderline", "borderline refused"),
    Column("math", "math"),
    Column("code", "code"),
    Column("chat", "chat"),
    Column("distinct", "distinct replies"),
    Column("entropy", "entropy, nats", "nats"),
)


def tabulate(study: Row, cells: Sequence[Row]) -> dict[str, Any]:
    """Return all numbers of a study: its settings, its cells, and a table for each model and step.

    `study` are the settings of a `config.study.StudyConfig`; a cell has model, method, seed, state, failed and
    `rows`, one a step, as `sirl study` measures them.
    """
    steps = sorted(study["steps"])
    tables = [_table(study, cells, model, step) for model in study["models"] for step in steps]
    return {"study": study, "cells": list(cells), "tables": tables}


def measured_columns(table: Row) -> list[Column]:
    """Return the columns that have a figure anywhere in a study: not every study asks everything."""
    rows = [row for one in table["tables"] for row in one["rows"]]
    return [c for c in COLUMNS if any(row["columns"][c.name]["mean"] is not None for row in rows)]


def _table(study: Row, cells: Sequence[Row], model: str, step: int) -> dict[str, Any]:
    mine = [cell for cell in cells if cell["model"] == model]
    methods = dict.fromkeys(cell["method"] for cell in mine)
    shown = [name for name in methods if step or not trains(study, name)]
    found = {name: _Found.of(study, [cell for cell in mine if cell["method"] == name], step) for name in shown}
    start, reference = found.get(START), found.get(study["reference"])
    rows = []
    for name, one in found.items():
        rows.append(
            {
                "method": name,
                "trained": trains(study, name),
                "seeds": len(one.rows),
                "failed": one.failed,
                "missing": one.missing,
                "columns": {c.name: one.figure(c) for c in COLUMNS},
                "attacks": one.attacks(),
                "differences": one.against(reference),
                "changes": one.against(start),
                "successes": one.successes(),
                "judges": one.judges(),
                "defence": one.defence(),
                "undecided": sum(row["unscored"]["no_verdict"] for row in one.rows.values()),
                "records": sum(row["unscored"]["n"] for row in one.rows.values()),
                "of_steps": sorted({row["of_step"] for row in one.rows.values()}),
            }
        )
    return {"model": model, "step": step, "rows": rows}


def trains(study: Row, method: str) -> bool:
    """Say whether a method makes another model, as `config.study.StudyConfig.trains` does."""
    return method != START and makes_another_model(study["methods"][method])


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known of one method on one model at one step: rows by seed, and how many seeds have none."""

    floor: float
    rows: Mapping[int, Row]
    failed: int
    missing: int

    @classmethod
    def of(cls, study: Row, cells: Sequence[Row], step: int) -> _Found:
        rows, failed = {}, 0
        for cell in cells:
            wanted = step if trains(study, cell["method"]) else 0
            row = next((row for row in cell["rows"] if row["step"] == wanted), None)
            if row:
                rows[cell["seed"]] = row
            failed += row is None and cell["state"] == "failed"
        return cls(study["floor"], rows, failed, len(cells) - len(rows) - failed)

    def values(self, column: Column) -> dict[int, float | None]:
        return {seed: _value(row, column.name, self.floor) for seed, row in self.rows.items()}

    def figure(self, column: Column) -> dict[str, Any]:
        """Return a column's mean over the seeds with its interval; `worst` is the lowest mean of an attack."""
        if column.name == "worst":
            return self.worst()
        return over_seeds(self.values(column), column.ends, self._within(column))

    def _within(self, column: Column) -> dict[int, Interval]:
        """Return each seed's interval over the prompts of its run."""
        return {seed: _interval(row, column.name) for seed, row in self.rows.items()}

    def against(self, other: _Found | None) -> dict[str, dict[str, Any]]:
        """Return the paired difference of each column to another method, none to itself.

        The lowest of many attacks has none: which attack that is differs from one model to the next.
        """
        if other is None or other is self:
            return {}
        compared = [c for c in COLUMNS if c.name != "worst"]
        return {
            c.name: difference_over_seeds(self.values(c), other.values(c), self._apart(other, c))
            for c in compared
        }

    def _apart(self, other: _Found, column: Column) -> dict[int, tuple[Interval, Interval]]:
        ours, theirs = self._within(column), other._within(column)
        return {seed: (ours[seed], theirs[seed]) for seed in ours.keys() & theirs.keys()}

    def attacks(self) -> dict[str, dict[str, Any]]:
        """Return the DSR under each attack over the seeds, the plain request's too."""
        found: dict[str, dict[int, Row]] = {}
        for seed, row in self.rows.items():
            for name, one in row["dsr"]["per_attack"].items():
                found.setdefault(name, {})[seed] = one
        return {
            name: over_seeds(
                {seed: one["rate"] for seed, one in own.items()},
                SHARE,
                {seed: (one["low"], one["high"]) for seed, one in own.items()},
            )
            for name, own in sorted(found.items())
        }

    def worst(self) -> dict[str, Any]:
        """Return the lowest of the attacks' means over seeds, its name, and the interval of the lowest.

        Its interval allows for its being the lowest of so many, and is over prompts: each attack counts as one
        run, for all seeds are asked the same requests.
        """
        rates: dict[str, list[tuple[float, int]]] = {}
        for row in self.rows.values():
            for name, rate in _attacks(row).items():
                if rate is not None:
                    rates.setdefault(name, []).append((rate, row["dsr"]["per_attack"][name]["n"]))
        found = lowest_share(
            {name: (fmean(r for r, _ in own), float(min(n for _, n in own))) for name, own in rates.items()}
        )
        told = {"mean": found["rate"], "low": found["low"], "high": found["high"], "attack": found["attack"]}
        return told | {
            "over": None,
            "n": len(self.rows),
            "unknown": sum(not _attacks(r) for r in self.rows.values()),
        }

    def judges(self) -> dict[str, list[str]]:
        """Name who judged, by question: one of each, if every run was judged alike."""
        named: dict[str, set[str]] = {}
        for row in self.rows.values():
            for question, told in row.get("judges", {}).items():
                named.setdefault(question, set()).add(told)
        return {question: sorted(told) for question, told in sorted(named.items())}

    def defence(self) -> dict[str, Any] | None:
        """Return what a defence cost, the mean over seeds of each figure; None where none stood there."""
        found = [row["defence"] for row in self.rows.values() if row.get("defence")]
        if not found:
            return None
        known = [one["tokens"]["mean"] for one in found if one["tokens"]["mean"] is not None]
        return {
            "calls": fmean(one["calls"]["mean"] for one in found),
            "tokens": fmean(known) if len(known) == len(found) else None,
            "own": fmean(one["own"]["rate"] for one in found),
        }

    def successes(self) -> dict[str, int]:
        """Return how many attempts under attack succeeded, of how many scored, over all seeds."""
        scored = [
            row["dsr"]["per_attack"][name]
            for row in self.rows.values()
            for name, rate in _attacks(row).items()
            if rate is not None
        ]
        hits = sum(round((1 - one["rate"]) * one["n"]) for one in scored)
        return {"hits": hits, "n": sum(one["n"] for one in scored)}


def _interval(row: Row, name: str) -> Interval:
    """Return a figure's interval over the prompts of one run; (None, None) where it has none."""
    attacked = {"dsr": row["dsr"], "refused": row["dsr"].get("refused", {})}
    details = {**attacked, "distinct": row["diversity_detail"]}
    found = ({**details, **row["over_refusal_detail"], **row["capability_detail"]}).get(name, {})
    return found.get("low"), found.get("high")


def _value(row: Row, name: str, floor: float) -> float | None:
    """Return one figure of a measured row; None if nothing of it could be scored."""
    if name == "below":
        known = [rate for rate in _attacks(row).values() if rate is not None]
        return float(sum(rate < floor for rate in known)) if known else None
    figures: dict[str, float | None] = {
        "dsr": row["dsr"]["mean"],
        "refused": row["dsr"].get("refused", {}).get("rate"),  # not measured by earlier versions
        **{name: _mean_of(row, name) for name in EXPOSURES},
        **{kind: one["rate"] for kind, one in row["over_refusal_detail"].items()},
        **{skill: one["rate"] for skill, one in row["capability_detail"].items()},
        "distinct": row["diversity_detail"]["rate"],
        "entropy": row["entropy"]["attacked"]["mean"],
    }
    return figures[name]


def _mean_of(row: Row, exposure: str) -> float | None:
    """Return the mean DSR of the attacks of one exposure; None if there is none, or none was scored."""
    of = {name: one["exposure"] for name, one in row["dsr"]["per_attack"].items()}
    known = [rate for name, rate in _attacks(row).items() if rate is not None and of[name] == exposure]
    return fmean(known) if known else None


def _attacks(row: Row) -> dict[str, float | None]:
    """Return the DSR under each attack; the plain request only where there is nothing else."""
    rates = {name: one["rate"] for name, one in row["dsr"]["per_attack"].items()}
    return {name: rate for name, rate in rates.items() if name != DIRECT} or rates
