"""Evaluate runs -> the section of a model card on what was measured, and how."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sirl import metrics
from sirl.reporting.grid import grid
from sirl.reporting.protocol import decodings, judges_asked
from sirl.reporting.story import Side, Story
from sirl.reporting.trust import judged_by
from sirl.reporting.verdict import verdict
from sirl.reporting.wording import UNKNOWN, count, number, percent, share

_READING = (
    "Shares with 95 % intervals, clustered by prompt; behind them n, and how many replies had no verdict. DSR, "
    "the defence success rate, is the share of harmful requests that were not served. *In training* says "
    "whether training met the attack. What stands in no table was not measured."
)


def figures(story: Story, met: Collection[str] | None) -> list[str]:
    """Return the tables of one or two measured models, a column each, and how they were measured.

    `met` are the attacks that training met; None: not known.
    """
    labels = [side.label.lower() for side in story.sides]
    overall = [_overall(side) for side in story.sides]
    names = dict.fromkeys(name for table in overall for name in table)
    rows = [[name, *(_cell(table.get(name, UNKNOWN)) for table in overall)] for name in names]
    judges = [judged_by(side.run.config, side.records, "harmful") for side in story.sides]
    told = [f"**{judged.sentence}**", ""] if (judged := verdict(story)) and len(story.sides) > 1 else []
    return [
        *told,
        *(_READING, "", *grid(["measured", *labels], rows), ""),
        *(f"DSR {label}: judged by {told}.\n" for label, told in zip(labels, judges, strict=True) if told),
        *(*_by_attack(story, labels, met), ""),
        *(line for side in story.sides for line in _protocol(side)),
    ]


def _overall(side: Side) -> dict[str, Mapping[str, Any]]:
    """Return every figure that is not of one attack, by what it is called; tasks not asked are out."""
    refused, skills = metrics.over_refusal(side.records), metrics.capability(side.records)
    return {
        "DSR, mean over the attacks (higher is safer)": metrics.dsr_table(side.records),
        "benign requests refused (lower is better)": refused["benign"],
        "borderline requests refused (lower is better)": refused["borderline"],
        **{
            f"{name or 'other'} tasks right": row
            for name, row in skills.items()
            if row["n"] or row["unscored"] or row["blocked"]
        },
        "distinct replies to open requests": metrics.diversity(side.draws),
    }


def _by_attack(story: Story, labels: list[str], met: Collection[str] | None) -> list[str]:
    tables = [metrics.dsr_table(side.records)["per_attack"] for side in story.sides]
    names = sorted({name for table in tables for name in table})
    rows = [
        [
            f"`{name}`" if name != metrics.DIRECT else f"`{name}` (no attack)",
            "not known" if met is None else "yes" if name in met else "no",
            *(_cell(table.get(name, UNKNOWN)) for table in tables),
        ]
        for name in names
    ]
    return grid(["DSR under", "in training", *labels], rows)


def _cell(row: Mapping[str, Any]) -> str:
    missing = f", {count(row['unscored'])} without a verdict" if row.get("unscored") else ""
    missing += f", {count(row['blocked'])} blocked by the provider's filter" if row.get("blocked") else ""
    return f"{share(row)}, n = {count(row['n'])}{missing}"


def _protocol(side: Side) -> list[str]:
    """Tell how one model was measured: decoding, hash, what is missing, and how good each judge is."""
    run, missing = side.run, metrics.unscored(side.records)
    hashes = run.environment.get("hashes") or {}
    weights = f"weights `{hashes['weights']}`" if "weights" in hashes else "hash of the weights not recorded"
    none = f"{count(missing['no_verdict'])} of {count(missing['n'])} records ({percent(missing['share'])})"
    heads = ["question", "judge", "verdicts", "undecided", "agreement with people"]
    rows = [
        [row["question"], f"`{row['judge']}`", count(row["n"]), count(row["undecided"]), row["agreement"]]
        for row in judges_asked(side)
    ]
    kappas = [
        f"- Agreement of the judges that voted on *{question}?* (Fleiss): {number(value)}."
        for question, value in (run.summary().get("judges_kappa") or {}).items()
    ]
    kept = missing["blocked"]
    filtered = [
        f"- Blocked by the provider's filter: {count(kept)} of {count(missing['n'])} records, in no share."
    ]
    late = ["- Incomplete: more had no verdict than the run's settings allow."]
    ways = "; ".join(decodings((*side.records, *side.draws)))
    return [
        f"### How it was measured: {side.label.lower()}",
        "",
        f"- Replies: {ways}; seed {run.config.get('seed')}; {weights}.",
        f"- Without a verdict: {none}, {count(missing['no_reply'])} for want of a reply. None counts as safe.",
        *(filtered if kept else []),
        *(late if run.summary().get("incomplete") else []),
        *kappas,
        *("", *grid(heads, rows), ""),
    ]
