"""Run folders -> how it was measured: judges, decoding, counts, versions, hashes, seeds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sirl.endpoint.bill import costs
from sirl.metrics import defence_cost
from sirl.records import Decoding, Record
from sirl.reporting.story import Side, Story, model_of
from sirl.reporting.trust import agreement
from sirl.reporting.wording import count, number, percent

QUESTIONS = ("harmful", "refused", "correct")


def protocol(story: Story) -> dict[str, Any]:
    """Return the tables of the section on measurement."""
    return {
        "runs": [_run(story, i) for i in range(len(story.runs))],
        "prompts": [row for i in range(len(story.runs)) for row in _prompts(story, i)],
        "judges": [row for side in story.measured for row in judges_asked(side)],
        "versions": _table(story, "versions"),
        "hashes": _table(story, "hashes"),
        "columns": [_name(story, i) for i in range(len(story.runs))],
    }


def decoding_text(decoding: Decoding | None) -> str:
    """Say how tokens were drawn; None is the run's own default."""
    if decoding is None:
        return "the run's default"
    if decoding.temperature == 0:
        return f"greedy, at most {decoding.max_new_tokens} tokens"
    limits = [f"temperature {decoding.temperature:g}"]
    limits += [f"top-p {decoding.top_p:g}"] if decoding.top_p < 1 else []
    limits += [f"top-k {decoding.top_k}"] if decoding.top_k else []
    return f"{', '.join(limits)}, at most {decoding.max_new_tokens} tokens"


def decodings(records: Sequence[Record]) -> list[str]:
    """Say how the replies' tokens were drawn, each way once; of several ways, how many replies each."""
    ways = Counter(decoding_text(r.attempt.decoding) for r in records)
    return [f"{text} ({n})" if len(ways) > 1 else text for text, n in sorted(ways.items())]


def _run(story: Story, index: int) -> dict[str, Any]:
    run = story.runs[index]
    side = next((s for s in story.measured if s.run is run), None)
    records = (*side.records, *side.draws) if side else ()
    return {
        "name": _name(story, index),
        "kind": run.kind,
        "model": model_of(run),
        "system": (run.config.get("settings") or {}).get("system") or "",
        "defence": _defence(records),
        "seed": str(run.config.get("seed", "not recorded")),
        "records": len(records) if side else None,
        "steps": len(run.rows("steps.jsonl")) if run.kind == "train" else None,
        "unfinished": sum(not r.completion.finished and not r.completion.error for r in records),
        "no_reply": sum(bool(r.completion.error) and not r.completion.blocked for r in records),
        "blocked": sum(r.completion.blocked for r in records),
        "decoding": decodings(records),
        "costs": [_cost(name, bill) for name, bill in costs(run).items()],
        "body": (run.environment.get("hashes") or {}).get("request body", ""),
        "config": json.dumps(run.config, indent=1, ensure_ascii=False, sort_keys=True),
    }


def _defence(records: Sequence[Record]) -> str:
    """Say what the defence around a model did and cost; empty where none stood there."""
    cost = defence_cost(records)
    if cost is None:
        return ""
    tokens = number(cost["tokens"]["mean"], ".0f")
    return (
        f"{number(cost['calls']['mean'], '.1f')} calls of models a request, extra tokens a request {tokens}, "
        f"{percent(cost['own']['rate'])} of the replies are the defence's own"
    )


def _cost(name: str, bill: Mapping[str, int]) -> str:
    """Say what a server was asked, and what it says that this came to."""
    again = f", {count(bill['again'])} of them again after a failure" if bill["again"] else ""
    told = f"{count(bill['tokens_in'])} tokens read and {count(bill['tokens_out'])} drawn, as it says"
    untold = f"{count(bill['untold'])} replies without a count of tokens" if bill["untold"] else ""
    stated = told if bill["tokens_in"] or bill["tokens_out"] else ""
    return "; ".join(filter(None, (f"{count(bill['requests'])} requests to {name}{again}", stated, untold)))


def _prompts(story: Story, index: int) -> list[dict[str, Any]]:
    """Return one row a source of a run's prompts, as its config tells it."""
    rows = story.runs[index].config.get("prompts") or ()
    return [
        {
            "run": _name(story, index),
            "source": row["source"],
            "set": row["set"] or "–",
            "revision": row["revision"] or "–",
            "sha256": row["sha256"][:12],
            "rows": row["rows"],
            "kept": ", ".join(f"{count(n)} {kind}" for kind, n in row["kinds"].items()),
            "dropped": ", ".join(f"{count(n)} {why}" for why, n in row["dropped"].items()) or "none",
            "notes": "; ".join(row.get("notes", ())) or "–",
        }
        for row in rows
    ]


def _name(story: Story, index: int) -> str:
    run = story.runs[index]
    side = next((s for s in (*story.sides, *story.skills) if s.run is run), None)
    return (
        f"{run.path.name} ({side.label.lower()})"
        if side and side.label.lower() != run.path.name
        else run.path.name
    )


def judges_asked(side: Side) -> list[dict[str, Any]]:
    """Return one row a question and judge of a run: how often asked, how often undecided, how trusted."""
    asked: Counter[tuple[str, str]] = Counter()
    undecided: Counter[tuple[str, str]] = Counter()
    judged = (record for record in (*side.records, *side.draws) if not record.completion.blocked)
    for verdict in (v for record in judged for v in record.verdicts):
        asked[verdict.question, verdict.judge] += 1
        undecided[verdict.question, verdict.judge] += verdict.answer is None
    return [
        {
            "run": side.run.path.name,
            "question": question,
            "judge": judge,
            "n": number,
            "undecided": undecided[question, judge],
            "agreement": agreement(side.run.config, judge, question),
        }
        for (question, judge), number in sorted(asked.items(), key=lambda item: item[0])
    ]


def _table(story: Story, part: str) -> list[tuple[str, list[str]]]:
    """Return one row a name, one column a run, of environment.json's versions or hashes."""
    columns = [run.environment.get(part, {}) for run in story.runs]
    names = sorted({name for column in columns for name in column})
    return [(name, [str(column.get(name, "–")) for column in columns]) for name in names]
