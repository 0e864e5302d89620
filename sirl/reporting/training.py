"""Train runs -> small multiples of what was logged at each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sirl import charts
from sirl.charts import Axis, Caption, Series
from sirl.config.train import LABEL_FREE, reward_of
from sirl.reporting.story import model_of
from sirl.reporting.wording import number, percent
from sirl.rundir import STEPS, RunDir

_LARGEST = 1e100  # beyond it the span of a scale may be no number
_SHARES = ("refusal_probe", "benign_probe", "distinct_probe", "distinct", "repeated", "truncated", "accuracy")
CURVES = {  # name in steps.jsonl -> title, what it means
    "reward": ("Reward", "training maximises it; for SIRL, minus the mean entropy of the replies"),
    "divergence": (
        "Unlike the base model",
        "KL divergence from the base model's reply to the plain request, nats per token",
    ),
    "accuracy": (
        "Pairs told apart",
        "share of pairs in which the good reply scores above the bad one (baseline)",
    ),
    "entropy": ("Entropy of the replies", "nats per token; the reward favours low entropy"),
    "refusal_probe": ("Probes still refused", "share of the held-out requests that the base model refuses"),
    "benign_probe": ("Probes newly refused", "share of those that the base model answers; lower is better"),
    "distinct_probe": (
        "Distinct replies to probes",
        "share of replies that differ; a fall warns of collapse",
    ),
    "drift_probe": (
        "Drift on probes",
        "how much less likely the base's own answers have become, nats per token",
    ),
    "kl": ("Distance from the base", "KL divergence to the model before training, nats per token"),
    "distinct": ("Distinct replies", "share of replies that differ; a fall warns of collapse"),
    "repeated": ("Repeated phrases", "share of a reply's 4-grams that repeat; a rise warns of collapse"),
    "reply_tokens": ("Length of a reply", "tokens; a fall to almost nothing warns of collapse"),
    "truncated": ("Cut off at the length limit", "share of replies; a rise warns of rambling"),
    "loss": ("Loss", "of the policy update; near zero by design, so its size means little"),
}


def training_section(run: RunDir) -> dict[str, Any]:
    """Return the curves of a train run and a sentence about it."""
    rows = steps(run)
    seconds = sum(row["seconds"] for row in rows if _known(row.get("seconds")) is not None)
    return {
        "name": run.path.name,
        "model": model_of(run),
        "steps": len(rows),
        "minutes": number(seconds / 60, ".1f") if seconds else None,
        "method": _method(run.config.get("train") or {}),
        "curves": curves(rows),
    }


def curves(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, Markup]]:
    """Return what was logged: title, what it means, its first and last value in words, the drawing."""
    known = [name for name in CURVES if _has(rows, name)]
    return [(*CURVES[name], *_curve(rows, name, CURVES[name][0])) for name in known]


def setback(run: RunDir) -> str:
    """Say that training made the model less safe, and which model was kept; empty if it did not."""
    summary = run.summary()
    if not summary.get("less_safe"):
        return ""
    return f"{summary['less_safe']}; the model of step {summary['kept_step']} is kept"


def _method(settings: Mapping[str, Any]) -> str:
    """Name what trained: SIRL by its reward, the others by their method."""
    method = str(settings.get("method", "sirl"))
    if method not in LABEL_FREE:
        return f"the baseline “{method}”, which reads labels"
    if method == "distill":
        return "consistency training on the base model's replies to plain requests"
    return f"SIRL with the reward “{reward_of(settings)}”"


def steps(run: RunDir) -> list[dict[str, Any]]:
    """Return one row a step, in order; where a resumed run repeated a step the last line counts."""
    numbered = {row["step"]: row for row in run.rows(STEPS) if _known(row.get("step")) is not None}
    return [row for _, row in sorted(numbered.items())]


def ends(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[float, float] | None:
    """Return the first and the last value of a curve; None if it was never logged."""
    values = [v for row in rows if (v := _known(row.get(name))) is not None]
    return (values[0], values[-1]) if values else None


def show(name: str, value: float) -> str:
    """Write a logged value in its own unit."""
    if name in _SHARES:
        return percent(value)
    return number(value, ".3g" if abs(value) < 1000 else ".0f")


def _curve(rows: Sequence[Mapping[str, Any]], name: str, title: str) -> tuple[str, Markup]:
    first, last = ends(rows, name) or (0.0, 0.0)
    told = f"{show(name, first)} → {show(name, last)}"
    series = Series(
        title, "one", [row["step"] for row in rows], [_known(r.get(name)) for r in rows], joined=True
    )
    axis = Axis("", percent=True, low=0.0, high=1.0) if name in _SHARES else Axis("")
    return told, Markup(
        charts.line_chart(Caption(title, f"{told} over training."), [series], Axis("step"), axis)
    )


def _has(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return ends(rows, name) is not None


def _known(value: Any) -> float | None:
    """Return a number that can be drawn; None if it is none."""
    return float(value) if isinstance(value, int | float) and abs(value) < _LARGEST else None
