"""Run a study: every cell of a table of methods x models x seeds, and the table itself.

Two processes may share a study: each takes a cell that nobody holds. Whatever is there can be told at any time.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sirl.config.before import now_named
from sirl.config.requests import without_logins
from sirl.config.study import load_study
from sirl.errors import ConfigError, DataError
from sirl.reporting.study import tabulate
from sirl.reporting.study_page import markdown, render
from sirl.rundir import read_run
from sirl.workflows.cells import KIND, WHOLE, Cell, cells_of, missing, outcome, work_on

LOG = logging.getLogger("sirl")
CELLS = "cells.jsonl"  # every cell that has an outcome: all that the tables are made of, in one file


def study(recipe: str, out: Path, only: str = "", render_only: bool = False) -> dict[str, int]:
    """Run what is missing of a study, or of the cells whose path holds `only`; write tables and cells.jsonl.

    Returns how many cells are in each state; `held` are those that another process is at. Raises ConfigError
    on a slip in the recipe before anything runs, RunError if the folder holds a study of other settings.
    """
    cells = cells_of(load_study(recipe))
    chosen = [cell for cell in cells if only in cell.path.as_posix()]
    if not chosen:
        raise ConfigError(
            f"no cell matches --only {only!r}",
            "part of a cell's path",
            f"a path is, for example, {cells[0].path.as_posix()}",
        )
    held = 0
    if not render_only:
        for cell in chosen:
            cell.protocol()  # a slip in the settings costs no run
        held = _run(chosen, out)
    outcomes = [outcome(cell, out) for cell in cells]
    table = _told(recipe, outcomes)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / CELLS, "".join(_line(one, out) for one in outcomes if one["state"] != "missing"))
    _write(out / "study.json", json.dumps(table, indent=1, ensure_ascii=False) + "\n")
    _write(out / "study.md", markdown(table))
    _write(out / "study.html", render(table))
    return {**Counter(cell["state"] for cell in table["cells"]), "held": held}


def known(recipe: str, path: Path) -> dict[str, Any]:
    """Return all numbers of a study from its cells.jsonl, as study.json has them.

    Raises DataError on a cell that the study does not ask for or that was made under other settings.
    """
    kept = {one["path"]: one for one in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    outcomes = []
    for cell in cells_of(load_study(recipe)):
        one = kept.pop(cell.path.as_posix(), None)
        asked = _as_kept({"kind": KIND, **cell.protocol()})
        if one and WHOLE not in one["config"]:  # kept by an earlier version: its defaults are not known
            del asked[WHOLE]
        if one and now_named(one["config"]) != asked:
            raise DataError(f"{cell.path} in {path} was made with other settings", recipe, "measure it again")
        outcomes.append(one or missing(cell))
    if kept:
        raise DataError(f"{next(iter(kept))} in {path}", f"a cell of {recipe}", "delete its line")
    return _told(recipe, outcomes)


def _told(recipe: str, outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return tabulate(_as_kept(asdict(load_study(recipe))), outcomes)


def _as_kept(settings: Mapping[str, Any]) -> Any:
    """Return settings as a run's config.json holds them."""
    return without_logins(json.loads(json.dumps(settings)))


def _line(one: Mapping[str, Any], out: Path) -> str:
    run = read_run(out / one["path"])
    told = {**one, "config": run.config, "versions": run.environment["versions"]}
    return json.dumps(told, ensure_ascii=False) + "\n"


def _run(cells: Sequence[Cell], out: Path) -> int:
    """Work on the cells in order; return how many another process held."""
    held = 0
    for number, cell in enumerate(cells, 1):
        LOG.warning("%d/%d %s", number, len(cells), cell.path.as_posix())
        if not work_on(cell, out):
            held += 1
            LOG.warning("  skipped: another process is working on it")
        elif failed := outcome(cell, out)["failed"]:
            LOG.warning("  failed: %s", failed)
    return held


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # another process may be writing its own
    part.write_text(text, encoding="utf-8")
    part.replace(path)
