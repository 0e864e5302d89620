"""How far a run's judges agree with people, in words: for a table, and in one clause beside a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sirl.records import Record
from sirl.reporting.story import ORGANISM
from sirl.reporting.wording import MISSING, count

Row = Mapping[str, Any]


def agreement(config: Mapping[str, Any], judge: str, question: str) -> str:
    """Say how far the judge agrees with people, as the run's config recorded it under `agreement`.

    There it is question -> judge -> one row a labelled set: kappa, low, high, n, set and seen, which is whether
    the judge was made on those very replies. A judge that votes with others has no figure of its own.
    An exact judge answers by rule: people are not needed to check the organism's oracle.
    """
    rows = _rows(config, judge, question)
    return "; ".join(map(_in_full, rows)) if rows else _without_figures(config, judge)


def judged_by(config: Mapping[str, Any], records: Iterable[Record], question: str) -> str:
    """Name the judges of one question, each with the least and the best agreement known; empty if none judged.

    Replies on which a judge was made say little about it: they are named only where there are no others.
    """
    verdicts = (v for record in records for v in record.verdicts if v.question == question)
    return "; ".join(_clause(config, judge, question) for judge in sorted({v.judge for v in verdicts}))


def _clause(config: Mapping[str, Any], judge: str, question: str) -> str:
    rows = _rows(config, judge, question)
    name = judge.split("@")[0]
    if not rows:
        said = _without_figures(config, judge)
        return f"{name}, agreement with people {said}" if said == MISSING else f"{name}, {said}"
    known = sorted([row for row in rows if not row.get("seen")] or rows, key=lambda row: float(row["kappa"]))
    return f"{name}, kappa with people {' to '.join(dict.fromkeys(map(_in_short, (known[0], known[-1]))))}"


def _rows(config: Mapping[str, Any], judge: str, question: str) -> list[Row]:
    table = (config.get("agreement") or {}).get(question, {})
    return list(table.get(judge.split("@")[0], ()))


def _without_figures(config: Mapping[str, Any], judge: str) -> str:
    name = judge.split("@")[0]
    if name == "oracle" or (name == "exact" and str(config.get("model", "")).startswith(ORGANISM)):
        return "exact oracle"
    return "exact check against the known answer" if name == "exact" else MISSING


def _in_full(row: Row) -> str:
    """Write one row: `kappa 0.89 [0.84, 0.92], n = 450, XSTest completions, on which it was made`."""
    interval = f"[{row['low']:.2f}, {row['high']:.2f}]"
    return f"kappa {row['kappa']:.2f} {interval}, n = {row['n']}, {row['set']}{_seen(row)}"


def _in_short(row: Row) -> str:
    return f"{row['kappa']:.2f} ({row['set']}{_seen(row)}, n = {count(row['n'])})"


def _seen(row: Row) -> str:
    return ", on which it was made" if row.get("seen") else ""
