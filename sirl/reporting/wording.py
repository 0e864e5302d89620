"""Numbers -> the words of the page. Fractions become percent with one decimal; None is "not measured"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sirl.charts import Dot, DotRow

MISSING = "not measured"
UNKNOWN: dict[str, Any] = {"rate": None, "low": None, "high": None, "n": 0, "unscored": 0, "blocked": 0}


def percent(value: float | None) -> str:
    """Write a fraction as percent; 0.943 is 94.3 %."""
    return MISSING if value is None else f"{_signed(value * 100, '.1f')}\u00a0%"


def interval(row: Mapping[str, Any]) -> str:
    """Write the 95 % interval of a share in percent, without the sign."""
    if row["low"] is None or row["high"] is None:
        return "no interval"
    return f"[{_signed(row['low'] * 100, '.1f')}, {_signed(row['high'] * 100, '.1f')}]"


def share(row: Mapping[str, Any]) -> str:
    """Write a share and its interval; a row's value is under `rate` or `mean`."""
    value = row["rate"] if "rate" in row else row["mean"]
    return MISSING if value is None else f"{percent(value)} {interval(row)}"


def points(row: Mapping[str, Any]) -> str:
    """Write a paired difference of shares in percentage points, with its interval."""
    if row["difference"] is None:
        return MISSING
    value = f"{_signed(row['difference'] * 100, '+.1f')} points"
    return f"{value} {interval(row)}" if row["low"] is not None else f"{value}, no interval"


def nats(value: float | None) -> str:
    """Write an entropy in nats a token."""
    return MISSING if value is None else f"{_signed(value, '.3f')}"


def nats_interval(row: Mapping[str, Any]) -> str:
    """Write an interval in nats."""
    return "no interval" if row["low"] is None else f"[{nats(row['low'])}, {nats(row['high'])}]"


def p_value(value: float | None) -> str:
    """Write a p-value; below a thousandth it is only said to be so."""
    if value is None:
        return MISSING
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def number(value: float | None, form: str = ".2f") -> str:
    """Write a plain number."""
    return MISSING if value is None or not math.isfinite(value) else _signed(value, form)


def times_fewer(found: Mapping[str, Any]) -> str:
    """Write how many times fewer successes there are, with its interval, or that too few are left to say."""
    if found["times_fewer"] is None:
        return "too few prompts with a success on either side for a ratio"
    value, low, high = (number(found[name], ".1f") for name in ("times_fewer", "low", "high"))
    return f"{value}× fewer [{low}, {high}]"


def count(value: int) -> str:
    """Write a count with thin groups of thousands."""
    return f"{value:,}".replace(",", "\u202f")


def plural(value: int, noun: str) -> str:
    """Write a count with its noun."""
    return f"{count(value)} {noun}" if value == 1 else f"{count(value)} {noun}s"


def change_text(row: Mapping[str, Any]) -> tuple[str, str]:
    """Write a paired difference, and beside it p where a test was made and how many pairs it leaves out."""
    notes = []
    if row["difference"] is not None and row.get("p_value") is not None:
        holm = f", Holm {p_value(row['p_holm'])}" if row.get("p_holm") is not None else ""
        notes.append(f"{p_value(row['p_value'])}{holm}")
    left_out = row.get("unscored", 0) + row.get("unmatched", 0)
    notes += [f"{plural(left_out, 'attempt')} without a scored pair"] if left_out else []
    return points(row), "; ".join(notes)


def left_out(row: Mapping[str, Any]) -> str:
    """Write what a share leaves out: what nobody could score, and what the provider's filter blocked."""
    counts = {"unscored": row["unscored"], "blocked": row.get("blocked", 0)}
    return ", ".join(f"{count(value)} {name}" for name, value in counts.items() if value)


def dot_row(label: str, rows: Sequence[Mapping[str, Any]]) -> DotRow:
    """Return a chart's row: the label, the figures as text, one dot a side."""
    text = " → ".join("–" if row["rate"] is None else percent(row["rate"]) for row in rows)
    return DotRow(label, text, tuple(Dot(row["rate"], row["low"], row["high"]) for row in rows))


def _signed(value: float, form: str) -> str:
    shown = format(value, form)
    if float(shown) == 0:  # no "-0.0"
        shown = shown.replace("-", "+" if "+" in form else "")
    return shown.replace("-", "−")
