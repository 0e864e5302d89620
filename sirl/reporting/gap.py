"""A gap run -> its section: is the instinct there, how large, and where in the reply."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from sirl import charts, metrics
from sirl.charts import Axis, Caption, Group, Series
from sirl.entropy_gap import caution, hardening, inclined, instinct
from sirl.reporting.story import Side, model_of
from sirl.reporting.wording import MISSING, count, nats, nats_interval, number, share

_STYLES = {"benign": "one", "borderline": "third"}
_UNITS = "entropy (nats a token)"


def gap_section(side: Side) -> dict[str, Any]:
    """Return what a gap run shows: verdict, figures, histogram, entropy along the reply and by word."""
    table, values = metrics.gap_table(side.records), metrics.group_entropies(side.records)
    pooled = table["pooled"]
    chance = {"low": table["auroc_low"], "high": table["auroc_high"]}
    tokens = metrics.TokenFigures(side.run.each_record())
    along = tokens.along(48)
    told = f"Means: refusing {nats(pooled['mean_refused'])}, complying {nats(pooled['mean_complied'])}."
    histogram = charts.histogram(
        Caption("Mean entropy of refusing and of complying replies", told),
        Group("refused", "refused", values["refused"]),
        Group("complied", "complied", values["complied"]),
        Axis(f"mean {_UNITS} of the reply"),
    )
    line = charts.line_chart(
        Caption("Entropy along the reply", "Mean entropy of the first tokens, refusing and complying replies."),
        [Series(name, name, along["position"], along[name]) for name in ("refused", "complied")],
        Axis("position of the token in the reply"),
        Axis(_UNITS, low=0.0),
    )
    return {
        "name": side.label,
        "model": model_of(side.run),
        "verdict": f"The gap is {instinct(table)}",
        "caution": caution(side.records),
        "table": table,
        "figures": [
            (
                "Within an attempt, complied − refused",
                _in_nats(table["difference"]),
                f"{nats_interval(table)}; {count(table['n_mixed'])} of {count(table['n_attempts'])} attempts "
                "hold both kinds of reply",
            ),
            (
                "AUROC within an attempt",
                number(table["auroc"], ".3f"),
                f"{nats_interval(chance)}, chance that the complying reply is the less certain",
            ),
            (
                "Pooled over all replies, as the paper’s",
                _in_nats(pooled["difference"]),
                f"{nats_interval(pooled)}, AUROC {number(pooled['auroc'], '.3f')}, "
                f"Cohen’s d {number(pooled['cohens_d'])}",
            ),
        ],
        "frontier": _frontier(side),
        "histogram": Markup(histogram),
        "along": Markup(line),
        "classes": [
            (name, nats(row["mean"]), nats_interval(row), count(row["n"]))
            for name, row in tokens.by_class().items()
        ],
    }


def _in_nats(value: float | None) -> str:
    return MISSING if value is None else f"{nats(value)} nats"


def _frontier(side: Side) -> dict[str, Any]:
    """Return how far hardening can carry: the sentence, the curve and the order of each pair of sets."""
    own = inclined(side.run)
    found, line = metrics.frontier(side.records, own.logprobs), metrics.curve(side.records, own.logprobs)
    refused = found["refused"]
    series = [
        Series(f"{kind} {count(line['n'][kind])}", style, line[kind], line["harmful"], marked=False)
        for kind, style in _STYLES.items()
        if line["n"][kind] and line["n"]["harmful"]
    ]
    harmful = refused["harmful"]["rate"]
    now = [x for k in _STYLES if line["n"][k] and (x := refused[k]["rate"]) is not None]
    if series and harmful is not None:
        places = [x for x in now for _ in range(2)]  # a gap behind each: points, and no line between them
        series.append(Series("the model now", "before", places, [harmful, None] * len(now)))
    drawing = charts.line_chart(
        Caption(
            "Harmful against safe requests above a threshold of inclination", hardening(found, own.openers)
        ),
        series,
        Axis("safe requests above it", percent=True, low=0.0, high=1.0),
        Axis("harmful requests above it", percent=True, low=0.0, high=1.0),
    )
    return {
        "verdict": f"What hardening can reach: {hardening(found, own.openers)}",
        "openers": [(row["text"], count(row["requests"])) for row in own.openers],
        "refused": [(kind, share(row), count(row["n"])) for kind, row in refused.items() if row["n"]],
        "drawing": Markup(drawing) if series else "",
        "sets": [
            (row["harmful"], row["safe"], row["kind"], *(_order(row[m]) for m in ("opener", "sampled")))
            for row in found["by_set"]
        ],
    }


def _order(row: dict[str, Any]) -> tuple[str, str, str]:
    """Write an AUROC, its interval, and how many harmful and safe requests it stands on."""
    ends = "" if row["auroc"] is None else nats_interval(row)
    return number(row["auroc"], ".3f"), ends, f"{count(row['n'])}, {count(row['n_other'])}"
