"""How a command ends: its summary on stdout, and an exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import typer

from sirl.ranks import is_first

INCOMPLETE = 3  # exit code


def show(summary: object) -> None:
    """Print a summary as JSON: once, whatever the number of processes."""
    if is_first():
        typer.echo(json.dumps(summary, indent=1, ensure_ascii=False))


def conclude(summary: Mapping[str, Any]) -> None:
    """Print the summary; exit with code 3 if more of the run went unscored than its settings allow."""
    show(summary)
    if summary["incomplete"]:
        missing = "{no_verdict} of {n} records have no verdict, {no_reply} of them for want of a reply"
        typer.echo(f"incomplete: {missing.format_map(summary['unscored'])}", err=True)
        raise typer.Exit(INCOMPLETE)
