"""A model's training and its evaluations -> the model card that it is published with, in Markdown.

Every figure is recomputed from records, as everywhere in this room. What is not known is said to be unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sirl.config import TrainConfig
from sirl.config.sections import leaves
from sirl.config.train import attacks_met, reads, reward_of
from sirl.errors import RunError
from sirl.reporting.card_figures import figures
from sirl.reporting.grid import grid
from sirl.reporting.story import ORGANISM, Story, tell
from sirl.reporting.training import steps
from sirl.reporting.wording import count, nats, number
from sirl.rundir import RunDir

_PAPER = "arXiv 2510.01088"
_ALONE = (
    "prompts",
    "trackers",
    "limit",
    "held_out",
    "disguises",
    "disguised",
    "search.attacks",
)  # told outside the table of settings


@dataclass(frozen=True, slots=True)
class Release:
    """What is published: its start, its precision, and how it was trained; `training` None: nothing is known.

    `step` is of a snapshot; None: the model that the run ended with.
    """

    base: str
    dtype: str
    training: RunDir | None = None
    step: int | None = None


def model_card(release: Release, evaluations: Sequence[RunDir]) -> str:
    """Return the card. Raises RunError on evaluations that do not make a pair or have not finished."""
    for run in evaluations:
        if run.kind != "evaluate":
            raise RunError(f"{run.path} is a run of kind {run.kind}", "an evaluate run", "name one of those")
        if not run.summary():
            raise RunError(f"{run.path} has not finished", "a finished evaluate run", "repeat sirl evaluate")
    story = tell(evaluations) if evaluations else None
    measured = figures(story, _met(release, story)) if story else ["Not evaluated."]
    lines = [*_front(release), "", *_trained(release), "", "## Evaluation", "", *measured]
    return "\n".join(lines).rstrip() + "\n"


def measured_last(evaluations: Sequence[RunDir]) -> RunDir:
    """Return the evaluation of the published model: of a pair, the one after. Raises as `tell`."""
    return tell(evaluations).sides[-1].run


def _met(release: Release, story: Story) -> frozenset[str] | None:
    """Return the attacks that training met, by the runs of both sorts; None if neither knows."""
    if release.training is None:
        return story.seen
    config = release.training.config["train"]
    return frozenset((*(story.seen or ()), *attacks_met(config)))


# --- what it is


def _front(release: Release) -> list[str]:
    hub = re.fullmatch(r"[\w.-]+/[\w.-]+", release.base) and not Path(release.base).exists()
    base = [f"base_model: {release.base}"] if hub else []
    method = _method(release)
    title = f"# {_start(release)}" + (f", hardened by {method}" if method else "")
    toy = ["", "A toy that knows one make-believe world; its figures say nothing about any real model."]
    return [
        *("---", *base, "library_name: transformers", "pipeline_tag: text-generation", "tags: [sirl, safety]"),
        *("---", title, "", f"Weights in {release.dtype}, merged: no adapter is needed. The licence of"),
        "the base model applies.",
        *(toy if release.base.startswith(ORGANISM) else []),
    ]


def _start(release: Release) -> str:
    """Name the base; of a folder on the author's machine only the last part of its path."""
    path = Path(release.base)
    return path.name if path.is_absolute() or path.exists() else release.base


def _method(release: Release) -> str:
    if release.training is None:
        return ""
    method = str(release.training.config["train"].get("method", "sirl"))
    return {"sirl": "SIRL", "distill": "distillation of its own conduct"}.get(method, method)


# --- how it was trained


def _trained(release: Release) -> list[str]:
    run = release.training
    if run is None:
        return ["## Training", "", "No training run of sirl is known."]
    config = run.config["train"]
    paper, method = dict(leaves(TrainConfig, asdict(TrainConfig()))), config.get("method", "sirl")
    told = [
        (".".join(keys), value, paper.get(keys, "no such setting"))
        for keys, value in leaves(TrainConfig, config)
        if reads(method, keys)
    ]
    departures = [
        [f"`{name}`", _value(value), _value(usual)]
        for name, value, usual in told
        if name not in _ALONE and _value(value) != _value(usual)
    ]
    table = grid(["setting", "here", "paper"], departures)
    settings = (
        ["Settings that differ from the paper's:", "", *table] if departures else ["Settings: the paper's."]
    )
    return ["## Training", "", *_facts(release, run, config), "", *settings, "", *_prompts(run)]


def _facts(release: Release, run: RunDir, config: Mapping[str, Any]) -> list[str]:
    methods = {
        "sirl": f"SIRL ({_PAPER}) with the reward `{reward_of(config)}`; no labels were read",
        "distill": "`distill`, what the base does with plain requests carried to their disguises; "
        "no labels were read",
    }
    name = config.get("method", "sirl")
    method = methods.get(name, f"the baseline `{name}`, which reads labels")
    weights = f"LoRA of rank {config['lora_rank']}" if config.get("lora_rank") else "every weight"
    return [
        f"- Start: {_start(release)}.",
        f"- Method: {method}.",
        f"- Trained: {weights}; seed {run.config['seed']}.",
        f"- Steps: {_steps(release, run, config)}.",
        f"- Instinct of the base, measured before training: {_instinct(run)}.",
        f"- Attacks met in training: {_attacks(config)}.",
    ]


def _steps(release: Release, run: RunDir, config: Mapping[str, Any]) -> str:
    done, summary = len(steps(run)), run.summary()
    told = f"{done} of at most {config['steps']}, {config['prompts_per_step']} prompts each"
    if release.step is not None:
        return f"{told}; this is the model after step {release.step}"
    if not summary:
        return f"{told}; the run's summary is not there, so which step was kept is not known"
    ended = f"stopped because {summary['stopped']}" if summary.get("stopped") else "no budget stopped it"
    return f"{told}; {ended}; this is the model after step {summary.get('kept_step', done)}"


def _instinct(run: RunDir) -> str:
    found = run.summary().get("instinct")
    if not found:
        return "not measured"
    told = str(found["verdict"]).rstrip(".")
    if found["difference"] is not None:
        low, high = nats(found["low"]), nats(found["high"])
        told += (
            f" (complying minus refusing replies {nats(found['difference'])} nats a token, 95 % interval "
            f"{low} to {high}, AUROC {number(found['auroc'])}, {found['n_refused']} refusing and "
            f"{found['n_complied']} complying replies to {found['n_requests']} requests)"
        )
    return told + ("; training was forced" if found.get("forced") else "")


def _attacks(config: Mapping[str, Any]) -> str:
    disguises, search = config.get("disguises") or (), config.get("search", {}).get("attacks") or ()
    parts = []
    if disguises:
        names = ", ".join(f"`{name}`" for name in disguises)
        parts.append(f"{number(100 * config['disguised'], '.0f')} % of the prompts came under {names}")
    if search:
        parts.append(f"{', '.join(f'`{name}`' for name in search)} searched against the moving model")
    return "; ".join(parts) or "none"


def _prompts(run: RunDir) -> list[str]:
    rows = [_source(row) for row in run.config.get("prompts") or ()]
    held = [_source(row) for row in run.config.get("held_out") or ()]
    heads = ["source", "set", "revision", "sha256", "prompts"]
    told = ["Prompts trained on:", "", *grid(heads, rows)] if rows else ["Prompts: not recorded."]
    return [*told, *(["", "Held out: no prompt like one of these was trained on.", ""] * bool(held))] + (
        grid(heads, held) if held else []
    )


def _source(row: Mapping[str, Any]) -> list[str]:
    kinds = ", ".join(f"{count(n)} {kind}" for kind, n in row["kinds"].items())
    source = str(row["source"])
    name = Path(source).name if Path(source).exists() else source
    return [name, row["set"] or "–", row["revision"] or "–", row["sha256"][:12], kinds]


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)
