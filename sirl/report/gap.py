"""A gap run -> its section: is the instinct there, how large, and where in the reply."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from sirl import charts, metrics
from sirl.charts import Axis, Caption, Group, Series
from sirl.gap import caution, instinct
from sirl.report.story import Side, model_of
from sirl.report.wording import MISSING, count, nats, nats_interval, number

_UNITS = "entropy (nats a token)"


def gap_section(side: Side) -> dict[str, Any]:
    """Return what a gap run shows: verdict, figures, histogram, entropy along the reply and by word."""
    table, values = metrics.gap_table(side.records), metrics.group_entropies(side.records)
    pooled = table["pooled"]
    chance = {"low": table["auroc_low"], "high": table["auroc_high"]}
    along = metrics.entropy_along(side.records, 48)
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
        "histogram": Markup(histogram),
        "along": Markup(line),
        "classes": [
            (name, nats(row["mean"]), nats_interval(row), count(row["n"]))
            for name, row in metrics.entropy_by_class(side.records).items()
        ],
    }


def _in_nats(value: float | None) -> str:
    return MISSING if value is None else f"{nats(value)} nats"
