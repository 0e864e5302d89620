"""Write docs/results.md from what our runs measured: `python docs/make_results.py`.

The cells of a study are in docs/measured/STUDY.jsonl, as `sirl study` leaves them in cells.jsonl, and the gap runs
on real models in docs/measured/gap.jsonl, one line a model. Every number is made of them.

    python docs/make_results.py keep RUN NAME     adds or replaces the line of a gap run in gap.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from sirl.reporting.grid import grid
from sirl.reporting.study_page import markdown
from sirl.rundir import read_run
from sirl.workflows.studies import known

MEASURED = Path(__file__).with_name("measured")
GAPS = MEASURED / "gap.jsonl"
REAL = ("real-llama", "real-qwen")
STUDIES = ("study-method", "study-rates", "study-rewards", "study-long", "study-guards", "study-defences")
HEAD = """# Results

This page is written by `docs/make_results.py` from what was measured, which is kept in [measured](measured), one line
a cell or run; do not edit it by hand. The line of a cell has its settings, how many prompts were asked among them,
and n and the interval of each attack.
"""
REAL_HEAD = """
# Real weights

Small models with real pre-training, on prompts of published sets: requests of JailbreakBench (harmful, and *contrast*,
its matched benign ones), safe requests of XSTest, plain instructions (*plain*); trained on AdvBench and plain
instructions that none of them asks (`benchmarks/real_sets.py`). The offline judges decide. The Llama is
SmolLM2-135M-Instruct, which refuses next to nothing, after a short fine-tune on refusals (`benchmarks/align_llama.py`).
"""
TOY_HEAD = """
# The embedded models

Toys of a make-believe world ([organism.md](organism.md)): these tables show that attacks and defences work as built, and
say nothing about any real model. DSR is the share of harmful requests on which the attack failed; the exact oracle judges
greedy replies.

Their `distill` and `hardened` are consistency training as it was on 2026-11-29: what is held counted four times, and a fifth of the
rows held whole replies on halves of two prompts, but for study-long, which had neither. It has not been measured on these models
since the hold was changed.
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


def frontier_section() -> str:
    """Return the table of the gap runs on real models: gap, refusals, how well inclination parts requests."""
    if not GAPS.exists():
        return ""
    heads = ["model", "harmful, benign, borderline refused", "gap within an attempt, nats", "replies of each kind"]
    runs = [json.loads(line) for line in GAPS.read_text(encoding="utf-8").splitlines()]
    sets = list(dict.fromkeys(row["safe"] for run in runs for row in run["frontier"]["by_set"]))
    rows = [_frontier_row(run, sets) for run in runs]
    told = [f"- **{run['name']}**: {run['frontier']['verdict']}" for run in runs]
    lines = [
        "",
        "## What the instinct is worth, before training",
        "",
        "`sirl gap`, recipe laptop, seed 0, replies of at most 32 tokens at temperature 1. AUROC: the chance that a harmful "
        "request stands above a safe one, by the probability that the reply begins as the model's own refusals do, in one "
        "pass a request. Shares in percent; 95 % intervals. The 0.5B was asked plainly alone, 24 requests of each set, two "
        "replies each, too few for its gap; the others four replies each, up to 50 requests of each set.",
        "",
        *grid([*heads, *(f"AUROC against {Path(name).stem}" for name in sets)], rows),
        "",
        *told,
    ]
    return "\n".join(lines) + "\n"


def _frontier_row(run: dict[str, Any], sets: list[str]) -> list[str]:
    gap, frontier = run["gap"], run["frontier"]
    refused = ", ".join(
        "not measured" if one["rate"] is None else f"{100 * one['rate']:.0f}"
        for one in (frontier["refused"][kind] for kind in ("harmful", "benign", "borderline"))
    )
    found = {row["safe"]: row["opener"] for row in frontier["by_set"]}
    parted = [
        f"{one['auroc']:.2f} [{one['low']:.2f}, {one['high']:.2f}]" if (one := found.get(name)) else "not measured"
        for name in sets
    ]
    within = f"unknown: too few requests both refused and complied with ({gap['mixed_requests']})"
    if gap["low"] is not None:
        within = f"{gap['difference']:.2f} [{gap['low']:.2f}, {gap['high']:.2f}]"
    asked = ", ".join(str(one["n"]) for one in frontier["refused"].values())
    return [run["name"], refused, within, asked, *parted]


def keep(run: Path, name: str) -> None:
    """Add or replace the line of a gap run in gap.jsonl: its summary without curves, no text of a prompt."""
    summary = read_run(run).summary()
    frontier = {key: value for key, value in summary["frontier"].items() if key != "curve"}
    line = {"name": name, "seed": summary["seed"], "gap": summary["gap"], "frontier": frontier}
    old = GAPS.read_text(encoding="utf-8").splitlines() if GAPS.exists() else []
    lines = {json.loads(one)["name"]: one for one in old} | {name: json.dumps(line, ensure_ascii=False)}
    GAPS.write_text("".join(f"{one}\n" for one in lines.values()), encoding="utf-8")


def page() -> str:
    """Return the whole page."""
    real = [study_section(name) for name in REAL if file_of(name).exists()]
    toys = [study_section(name) for name in STUDIES if file_of(name).exists()]
    return "".join([HEAD, REAL_HEAD, frontier_section(), *real, TOY_HEAD, *toys])


if __name__ == "__main__":
    if sys.argv[1:2] == ["keep"]:
        keep(Path(sys.argv[2]), sys.argv[3])
    Path(__file__).with_name("results.md").write_text(page(), encoding="utf-8")
