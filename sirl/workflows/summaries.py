"""The summary of a run: its numbers, from its config and its records alone, and the time that it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sirl.endpoint.bill import costs
from sirl.entropy_gap import inclined, summarise_gap
from sirl.evaluation import summarise
from sirl.judges import votes
from sirl.judges.labels import votes_kappa
from sirl.metrics import TokenFigures, unscored
from sirl.records import Record
from sirl.reporting.trust import judged_by
from sirl.rundir import RunDir


def numbers(run: RunDir, records: Sequence[Record]) -> dict[str, Any]:
    """Return the summary of a gap or an evaluate run; of a gap the tokens are read from disk.

    It is incomplete if a greater share of the records than the settings allow has no verdict on its own
    question.
    """
    config, missing = run.config, unscored(records)
    told = {name: config[name] for name in ("model", "seed", "shard") if name in config}
    if run.kind == "gap":
        told |= summarise_gap(records, inclined(run), TokenFigures(run.each_record()))
    else:
        seen, held_out = config["seen_in_training"], config.get("held_out_attacks", ())
        told |= summarise(records, seen, config["settings"]["samples"], held_out)
    asked = {verdict.question for record in records for verdict in record.verdicts}
    told["judges"] = {question: judged_by(config, records, question) for question in sorted(asked)}
    if kappas := panel_kappas(records):
        told["judges_kappa"] = kappas
    allowed = config["settings"]["max_unscored"]
    return told | {"unscored": missing, "incomplete": (missing["share"] or 0.0) > allowed}


def panel_kappas(records: Sequence[Record]) -> dict[str, float | None]:
    """Return, for each question that a panel answered, Fleiss' kappa among its judges."""
    cast: dict[str, list[dict[str, bool | None]]] = {}
    for verdict in (v for record in records for v in record.verdicts):
        if given := votes(verdict):
            cast.setdefault(verdict.question, []).append(given)
    return {question: votes_kappa(given) for question, given in cast.items()}


def finish(run: RunDir, summary: dict[str, Any], seconds: Mapping[str, float]) -> None:
    """Write the summary; its seconds add up over the calls that a run took, and so do its costs."""
    if asked := costs(run):
        summary["costs"] = asked
    spent = run.summary().get("seconds", {})
    summary["seconds"] = {name: round(spent.get(name, 0.0) + value, 1) for name, value in seconds.items()}
    run.write_summary(summary)
