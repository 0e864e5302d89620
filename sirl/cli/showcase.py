"""The whole story on one model: measure, harden, prove, show. What `make demo` runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import typer

from sirl.cli import training, work
from sirl.cli.asked import Asked
from sirl.cli.job import GAP_SIZES, Job
from sirl.cli.sources import ORGANISM
from sirl.errors import ConfigError, DataError
from sirl.report import load_runs, render, tell, verdict

PARTS = ("gap", "train", "before", "after")
ATTACKS = (
    "static,gcg,pair"  # of an organism: one search of each sort beside the fixed ones: all take many minutes
)
HARMFUL = 50  # requests an attack: a search that fails spends its whole budget on each
OWN_RECIPE = "organism-demo"  # of an organism
RECIPE = "laptop"  # of any other model
QUICK_PROMPTS = 48  # of each set to train on, under --quick
PUBLIC = (
    "name published sets, as --prompts jailbreakbench --prompts jailbreakbench-benign --prompts xstest, with "
    "--train-prompts pku-saferlhf, or files of yours; --kind says what a file without a column kind holds"
)


@dataclass(frozen=True, slots=True)
class Demo:
    """A job for each part of the story. Each writes into its own subfolder of `out`."""

    out: Path
    gap: Job
    train: Job
    evaluate: Job


def _embedded(job: Job, train_prompts: tuple[str, ...]) -> Demo:
    """Return the story of an organism, on its own prompts. Raises ConfigError if others are named."""
    if job.asked.sources or train_prompts or job.quick:
        found = f"--prompts, --train-prompts or --quick with {job.model}"
        raise ConfigError(
            found, "them with --model MODEL: the embedded model has its own prompts", "leave them out"
        )
    job = replace(job, recipe=job.recipe or OWN_RECIPE)
    return Demo(
        job.out,
        replace(job, sizes=GAP_SIZES, attacks="static"),
        job,
        replace(job, attacks=ATTACKS, sizes={**job.sizes, "harmful": HARMFUL}),
    )


def _of_yours(job: Job, train_prompts: tuple[str, ...]) -> Demo:
    """Return the story of any other model, on the job's prompts; what these ask is not trained on.

    Without `train_prompts` the recipe names them. Raises ConfigError if no prompts are named, DataError if none
    of them is harmful: both before the model is opened.
    """
    if not job.asked.sources:
        found = f"no prompts for {job.model}, and nothing harmful comes with this package"
        raise ConfigError(found, "harmful and safe requests to evaluate on", PUBLIC)
    job = replace(job, recipe=job.recipe or RECIPE)
    job.settings(subject_is_organism=False)  # a slip in them is told first
    kinds = {prompt.kind for one in job.asked.load(job.seed, "harmful") for prompt in one.prompts}
    if "harmful" not in kinds:
        found = f"only {' and '.join(sorted(kinds))} requests in --prompts"
        raise DataError(found, "harmful ones too, to attack the model with", PUBLIC)
    limit = min(job.asked.limit or QUICK_PROMPTS, QUICK_PROMPTS) if job.quick else None
    trained = Asked(train_prompts, limit=limit, held_out=job.asked.sources)
    return Demo(job.out, job, replace(job, asked=trained), job)


def run(job: Job, train_prompts: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run the parts; write OUT/summary.json and OUT/report.html.

    Training is first: it refuses a model without a chat template, or without an instinct, before minutes are
    spent. A demo that was killed continues: what is finished is kept. Raises as the parts do, and as
    `_of_yours`.
    """
    story = _embedded if job.model.startswith(ORGANISM) else _of_yours
    demo = story(job, train_prompts)
    start, path = monotonic(), demo.out / "summary.json"
    spent = json.loads(path.read_text())["seconds"]["total"] if path.exists() else 0.0  # by earlier calls
    at = {part: demo.out / part for part in PARTS}
    done = {
        "train": training.train(replace(demo.train, out=at["train"])),
        "gap": work.gap(replace(demo.gap, out=at["gap"])),
        "before": work.evaluate(replace(demo.evaluate, out=at["before"]), role="before"),
        "after": work.evaluate(replace(demo.evaluate, out=at["after"], model=str(at["train"])), role="after"),
    }
    runs = load_runs([at[part] for part in PARTS])
    judged = verdict(tell(runs))
    summary = {"verdict": judged.sentence if judged else "", **_summary(done)}
    summary["seconds"]["total"] = round(spent + monotonic() - start, 1)
    _write(path, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    invented = job.model.startswith(ORGANISM)  # its world is, so nothing in it harms
    _write(demo.out / "report.html", render(runs, transcripts="all" if invented else "redacted"))
    _tell(summary, demo.out)
    return summary


def _summary(done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    before, after = done["before"], done["after"]
    gap_fields = ("difference", "low", "high", "auroc", "n_mixed", "n_refused", "n_complied")
    return {
        "model": before["model"],
        "seed": before["seed"],
        "method": done["train"]["method"],
        "steps": done["train"]["steps"],
        "less_safe": done["train"]["less_safe"],
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
    typer.echo(summary["verdict"])
    typer.echo(f"page: {out / 'report.html'}   numbers: {out / 'summary.json'}")


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
