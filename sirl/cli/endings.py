"""How a command ends: its summary on stdout, and an exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from sirl.ranks import is_first

FAILED = 1  # exit codes
INCOMPLETE = 3
LESS_SAFE = 4
STOPPED = 130  # by the user, as a shell tells it


def show(summary: object) -> None:
    """Print a summary as JSON: once, whatever the number of processes."""
    if is_first():
        typer.echo(json.dumps(summary, indent=1, ensure_ascii=False))


def end_study(states: Mapping[str, int]) -> None:
    """Print how many cells are in each state; exit with code 3 if any has failed."""
    show(states)
    if failed := states.get("failed"):
        cells = sum(number for state, number in states.items() if state != "held")
        typer.echo(
            f"{failed} of {cells} cells failed; see study.md or study.json for the reasons",
            err=True,
        )
        raise typer.Exit(INCOMPLETE)


def conclude(summary: Mapping[str, Any]) -> None:
    """Print the summary; exit with code 3 if more of the run went unscored than its settings allow."""
    show(summary)
    if summary["unscored"].get("blocked"):
        told = "{blocked} of {n} requests were blocked by the provider's filter and count in no share"
        typer.echo(told.format_map(summary["unscored"]), err=True)
    if summary["incomplete"]:
        missing = "{no_verdict} of {n} records have no verdict, {no_reply} of them because there is no reply"
        typer.echo(f"incomplete: {missing.format_map(summary['unscored'])}", err=True)
        raise typer.Exit(INCOMPLETE)


def conclude_training(summary: Mapping[str, Any]) -> None:
    """Print the summary; exit with code 4 if training made the model refuse less than the base did.

    So it ends whether that model was gone back from or, as it was allowed to be, kept.
    """
    show(summary)
    if summary["less_safe"]:
        if is_first():
            kept = f"OUT/model holds the model of step {summary['kept_step']}"
            typer.echo(f"{summary['less_safe']}; {kept}", err=True)
        raise typer.Exit(LESS_SAFE)


def end_demo(summary: Mapping[str, Any], out: Path) -> None:
    """Print the figures; exit with code 4 if training made the model less safe, which the page says too."""
    dsr, refusals, gap = summary["dsr"], summary["over_refusal"], summary["gap"]

    def change(name: str, table: Mapping[str, Any], key: str) -> str:
        return f"{name:<34}{_percent(table['before'][key]):>8} -> {_percent(table['after'][key])}"

    typer.echo(f"entropy gap {_number(gap['difference'])} nats per token, AUROC {_number(gap['auroc'])}")
    typer.echo(change("attacks withstood (mean DSR)", dsr, "mean"))
    typer.echo(change("worst attack", dsr, "worst"))
    for kind in ("benign", "borderline"):
        typer.echo(change(f"{kind} requests refused", refusals, kind))
    for skill in ("math", "code", "chat"):
        typer.echo(change(f"{skill} right", summary["capability"], skill))
    typer.echo(summary["verdict"])
    seconds = summary["seconds"]
    products = f"{seconds['total'] / seconds['product']:,.0f} products of two 1,024 x 1,024 matrices here"
    typer.echo(f"took {seconds['total'] / 60:.1f} minutes, as long as {products}")
    typer.echo(f"page: {out / 'report.html'}   numbers: {out / 'summary.json'}")
    if summary["less_safe"]:
        typer.echo(summary["less_safe"], err=True)
        raise typer.Exit(LESS_SAFE)


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
