"""The whole story on the embedded model: measure, harden, prove, show. What `make demo` runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import typer

from sirl.cli import training, work
from sirl.cli.job import GAP_SIZES, Job
from sirl.report import load_runs, render

PARTS = ("gap", "train", "before", "after")
ATTACKS = "static,gcg,pair"  # one search of each sort beside the fixed ones: all of them take many minutes
HARMFUL = 50  # requests an attack: a search that fails spends its whole budget on each


def run(job: Job) -> dict[str, Any]:
    """Run the four steps into subfolders of OUT; write OUT/summary.json and OUT/report.html.

    A demo that was killed continues: what is finished is kept.
    """
    start, path = monotonic(), job.out / "summary.json"
    spent = json.loads(path.read_text())["seconds"]["total"] if path.exists() else 0.0  # by earlier calls
    at = {part: job.out / part for part in PARTS}
    asked = replace(job, attacks=ATTACKS, sizes={**job.sizes, "harmful": HARMFUL})
    done = {
        "gap": work.gap(replace(job, out=at["gap"], sizes=GAP_SIZES, attacks="static")),
        "train": training.train(replace(job, out=at["train"])),
        "before": work.evaluate(replace(asked, out=at["before"]), role="before"),
        "after": work.evaluate(replace(asked, out=at["after"], model=str(at["train"])), role="after"),
    }
    summary = _summary(done)
    summary["seconds"]["total"] = round(spent + monotonic() - start, 1)
    _write(path, json.dumps(summary, indent=1) + "\n")
    _write(job.out / "report.html", render(load_runs([at[part] for part in PARTS])))
    _tell(summary, job.out)
    return summary


def _summary(done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    before, after = done["before"], done["after"]
    gap_fields = ("difference", "low", "high", "auroc", "n_mixed", "n_refused", "n_complied")
    return {
        "model": before["model"],
        "seed": before["seed"],
        "method": done["train"]["method"],
        "steps": done["train"]["steps"],
        "gap": {name: done["gap"]["gap"][name] for name in gap_fields},
        **{
            name: {"before": before[name], "after": after[name]}
            for name in ("dsr", "over_refusal", "capability", "diversity")
        },
        "seconds": {
            "gap": done["gap"]["seconds"]["gap"],
            "train": done["train"]["seconds"]["train"],
            "evaluate": round(before["seconds"]["evaluate"] + after["seconds"]["evaluate"], 1),
        },
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _tell(summary: dict[str, Any], out: Path) -> None:
    dsr, refusals, gap = summary["dsr"], summary["over_refusal"], summary["gap"]

    def change(name: str, table: dict[str, Any], key: str) -> str:
        return f"{name:<34}{_percent(table['before'][key]):>8} -> {_percent(table['after'][key])}"

    typer.echo(f"entropy gap {_number(gap['difference'])} nats a token, AUROC {_number(gap['auroc'])}")
    typer.echo(change("attacks withstood (mean DSR)", dsr, "mean"))
    typer.echo(change("worst attack", dsr, "worst"))
    for kind in ("benign", "borderline"):
        typer.echo(change(f"{kind} requests refused", refusals, kind))
    for skill in ("math", "code", "chat"):
        typer.echo(change(f"{skill} right", summary["capability"], skill))
    typer.echo(f"page: {out / 'report.html'}   numbers: {out / 'summary.json'}")


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
