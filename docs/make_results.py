"""Write docs/results.md from what the cells of our studies measured: `python docs/make_results.py`.

The cells are in docs/measured/STUDY.jsonl, as `sirl study` leaves them in cells.jsonl, and every number is made of
them.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from sirl.workflows.studies import known
from sirl.reporting.study_page import markdown

MEASURED = Path(__file__).with_name("measured")
STUDIES = ("study-method", "study-rates", "study-rewards", "study-long", "study-guards", "study-defences")
HEAD = """# Results

This page is written by `docs/make_results.py` from what the cells of each study measured, which is kept in
[measured](measured), one line a cell; do not edit it by hand. The models are toys of a make-believe world
([organism.md](organism.md)): the page shows that attacks and defence work as built, and says nothing about any
real model.

DSR is the share of harmful requests on which the attack failed; the exact oracle judges greedy replies. The
line of a cell has its settings, how many prompts were asked among them, and n and the interval of each attack.
"""
TRIALS = "study-rates"
BALANCE = {"dsr": 1, "benign": -1, "borderline": -1, "math": 1}  # the rule by which a rate is chosen


def file_of(name: str) -> Path:
    """Return where the cells of a study are kept."""
    return MEASURED / f"{name}.jsonl"


def study_section(name: str) -> str:
    """Return the tables of a study, a level lower than on its own page."""
    table = known(name, file_of(name))
    lines = markdown(table).splitlines()
    lower = [f"#{line}" if line.startswith("#") else line for line in lines[1:]]
    chosen = choice_section(table) if name == TRIALS else []
    return "\n".join([f"\n## sirl study {name}", *lower, *chosen]) + "\n"


def balances(table: dict[str, Any]) -> dict[str, float]:
    """Return the balance of each method after the last step, the mean over the models, if it is known."""
    last = max(one["step"] for one in table["tables"])
    found: dict[str, list[float]] = {}
    for row in (row for one in table["tables"] if one["step"] == last for row in one["rows"]):
        figures = {name: row["columns"][name]["mean"] for name in BALANCE}
        if None not in figures.values():
            found.setdefault(row["method"], []).append(sum(BALANCE[n] * v for n, v in figures.items()))
    return {name: fmean(values) for name, values in found.items()}


def choices(table: dict[str, Any]) -> dict[str, float]:
    """Return the rate of the highest balance for each method all of whose trials are there."""
    found, methods = balances(table), table["study"]["methods"]
    names: dict[str, list[str]] = {}
    for trial in methods:
        names.setdefault(trial.rpartition("-")[0], []).append(trial)
    whole = {name: trials for name, trials in names.items() if found.keys() >= {*trials}}
    best = {name: max(trials, key=lambda trial: found[trial]) for name, trials in whole.items()}
    return {name: methods[trial]["learning_rate"] for name, trial in best.items()}


def choice_section(table: dict[str, Any]) -> list[str]:
    """Return the balance of every trial and the rates that are chosen by it, as Markdown."""
    found, chosen = balances(table), choices(table)
    rule = "DSR − benign refused − borderline refused + arithmetic right, in points"
    lines = [
        "",
        "### The rates chosen",
        "",
        f"Balance: {rule}.",
        "",
        "| method | rate | balance | |",
        "|---|---|---|---|",
    ]
    for trial, settings in table["study"]["methods"].items():
        name, rate = trial.rpartition("-")[0], settings["learning_rate"]
        told = f"{100 * found[trial]:.1f}" if trial in found else "not measured yet"
        lines.append(f"| {name} | {rate:g} | {told} | {'chosen' if chosen.get(name) == rate else ''} |")
    return lines


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(study_section(name) for name in STUDIES if file_of(name).exists())


if __name__ == "__main__":
    Path(__file__).with_name("results.md").write_text(page(), encoding="utf-8")
