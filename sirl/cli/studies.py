"""The work of `sirl study`: every cell of a table of methods x models x seeds, and the table itself.

Two processes may share a study: each takes a cell that nobody holds. Whatever is there can be told at any time.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from sirl.cli.cells import Cell, cells_of, outcome, work_on
from sirl.config.requests import without_logins
from sirl.config.study import load_study
from sirl.errors import ConfigError
from sirl.report.study import tabulate
from sirl.report.study_page import markdown, render


def study(recipe: str, out: Path, only: str = "", render_only: bool = False) -> dict[str, int]:
    """Run what is missing of a study, or of the cells whose path holds `only`; write study.json, .md and .html.

    Returns how many cells are in each state; `held` are those that another process is at. Raises ConfigError
    on a slip in the recipe before anything runs, RunError if the folder holds a study of other settings.
    """
    cells = cells_of(load_study(recipe))
    chosen = [cell for cell in cells if only in cell.path.as_posix()]
    if not chosen:
        raise ConfigError(f"--only {only!r}", "a part of a cell's path", f"one is {cells[0].path.as_posix()}")
    held = 0
    if not render_only:
        for cell in chosen:
            cell.protocol()  # a slip in the settings costs no run
        held = _run(chosen, out)
    table = known(recipe, out)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "study.json", json.dumps(table, indent=1, ensure_ascii=False) + "\n")
    _write(out / "study.md", markdown(table))
    _write(out / "study.html", render(table))
    return {**Counter(cell["state"] for cell in table["cells"]), "held": held}


def known(recipe: str, out: Path) -> dict[str, Any]:
    """Return all numbers that a study's folder holds so far, as study.json has them; run and write nothing."""
    config = load_study(recipe)
    outcomes = [outcome(cell, out) for cell in cells_of(config)]
    return tabulate(without_logins(json.loads(json.dumps(asdict(config)))), outcomes)


def _run(cells: Sequence[Cell], out: Path) -> int:
    """Work on the cells in order; return how many another process held."""
    held = 0
    for number, cell in enumerate(cells, 1):
        typer.echo(f"{number}/{len(cells)} {cell.path.as_posix()}", err=True)
        if not work_on(cell, out):
            held += 1
            typer.echo("  held by another process: left to it", err=True)
        elif failed := outcome(cell, out)["failed"]:
            typer.echo(f"  failed: {failed}", err=True)
    return held


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # another process may be writing its own
    part.write_text(text, encoding="utf-8")
    part.replace(path)
