"""sirl skills: the tasks that words stand for, opened and measured, and the summary."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from time import monotonic
from typing import Any

from sirl.config import EvaluateConfig, system_text
from sirl.errors import ConfigError, DataError
from sirl.evidence import Instructed
from sirl.harness import Ready, Skills, aggregates, find_tasks, graded, measure, named, prepare, prompts_task
from sirl.judges import judge_name
from sirl.metrics import by_task, skill
from sirl.organism import oracle
from sirl.organism.corpus import evaluation_prompts
from sirl.phases import phase
from sirl.records import Decoding, Target
from sirl.rundir import RunDir, open_run
from sirl.workflows.defences import defended
from sirl.workflows.judges import JudgeLoader, open_judges
from sirl.workflows.measure import SIZES
from sirl.workflows.models import Model
from sirl.workflows.request import Request
from sirl.workflows.summaries import finish

LOG = logging.getLogger("sirl")
OWN = ("organism_math", "organism_code", "organism_chat")  # the organism's own tasks; in every suite of it


@dataclass(frozen=True, slots=True)
class SkillsRequest(Request):
    """Skills as asked for. `longest`: tokens of a reply at most; 0: each task's own bound.

    The limit of the prompts bounds the documents of each task.
    """

    tasks: tuple[str, ...] = ("offline",)
    folders: tuple[Path, ...] = ()
    allow_code: bool = False
    longest: int = 0
    judges: tuple[str, ...] = ()


def measure_skills(asked: SkillsRequest) -> RunDir:
    """Measure the skills; return the finished run. Raises DataError if none of the tasks can be measured."""
    recipe = asked.read(*asked.judges)
    config = recipe.evaluate
    loader = JudgeLoader(recipe.model, asked.seed, recipe.judge)
    model = asked.open(recipe)
    decoding = Decoding(config.temperature, max_new_tokens=config.max_reply_tokens)
    target, around = _standing(model.drawing(decoding, config.batch), config, loader)
    with phase("load the tasks"):
        ready, left_out = _prepare(asked, model, target, config.max_reply_tokens)
    for name, why in left_out.items():
        LOG.warning("skipped: %s: %s", name, why)
    if not ready:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise DataError(f"no task can be measured ({reasons})", "at least one task", "name others with --tasks")
    refused = open_judges(model, asked.judges, True, loader)["refused"]
    settings = {
        "tasks": list(asked.tasks),
        "limit": asked.prompts.limit,
        "batch": config.batch,
        "longest": asked.longest,
        **({"defence": config.defence} if config.defence else {}),
    }
    told = {"model": model.name, "seed": asked.seed, "dtype": model.dtype, "settings": settings}
    hashes = {f"task {one.name}": one.fingerprint for one in ready}
    hashes |= {"judge refused": judge_name(refused), "task harness": f"lm-eval {metadata.version('lm-eval')}"}
    run = open_run(asked.out, "skills", told, {**model.fingerprint(decoding), **hashes, **around})
    start = monotonic()
    plan = Skills(tuple(ready), target, refused, asked.seed, config.batch, asked.longest)
    with phase("skills") as on_progress:
        rows = measure(plan, run, on_progress)
    finish(run, _numbers(told, ready, rows, left_out, config), {"skills": monotonic() - start})
    return run


def _standing(target: Target, config: EvaluateConfig, loader: JudgeLoader) -> tuple[Target, dict[str, str]]:
    """Return the target as it is asked, behind the defence and under the system prompt, with their hashes.

    Raises ConfigError on a setting that has no meaning for a task, which says itself how it is drawn.
    """
    if config.best_of > 1:
        found = f"evaluate.best_of = {config.best_of} for tasks, which are drawn once and mostly greedily"
        raise ConfigError(found, "evaluate.best_of = 1", "leave it out")
    around = {}
    if config.defence:
        behind = defended(config.defence, target, loader, ())
        target, around["defence"] = behind, behind.info.identity
    if system := system_text(config.system):
        target, around["system"] = Instructed(target, system), sha256(system.encode()).hexdigest()[:12]
    return target, around


def _prepare(
    asked: SkillsRequest, model: Model, target: Target, longest: int
) -> tuple[list[Ready], dict[str, str]]:
    """Return the tasks with their requests, and those that are left out with the reason.

    `longest` bounds a reply to the organism's own tasks, in tokens.
    """
    names = named([name for name in asked.tasks if name not in OWN])
    found: dict[str, list[Any] | str] = dict(find_tasks(names, asked.folders)) if names else {}
    own = OWN if set(named(asked.tasks)) != set(asked.tasks) else [n for n in OWN if n in asked.tasks]
    for name in own if model.is_organism else ():
        category = name.removeprefix("organism_")
        prompts = evaluation_prompts({category: SIZES[category]}, asked.seed)
        found[name] = [prompts_task(name, prompts, oracle.correct, longest)]
    ready, left_out = [], {}
    for name, tasks in found.items():
        for task in [tasks] if isinstance(tasks, str) else tasks:
            made = (
                task
                if isinstance(task, str)
                else prepare(name, task, target, asked.prompts.limit, asked.seed, asked.allow_code)
            )
            if isinstance(made, str):
                left_out[name if isinstance(task, str) else str(task.task_name)] = made
            else:
                ready.append(made)
    return ready, left_out


def _numbers(
    told: dict[str, Any],
    ready: Sequence[Ready],
    rows: Sequence[dict[str, Any]],
    left_out: dict[str, str],
    config: EvaluateConfig,
) -> dict[str, Any]:
    """Return the summary: the score of each name asked for, every figure of each task, what is missing."""
    scores = {name: skill(mine) for name, mine in by_task(graded(rows)).items()}
    missing = sum(row["unscored"] for row in scores.values())
    share = missing / len(rows) if rows else None
    return {
        "model": told["model"],
        "seed": told["seed"],
        "skills": scores,
        "figures": {one.name: aggregates(one, rows) for one in ready},
        "measures": {
            one.name: next((r["measure"] for r in rows if r["task"] == one.name), "") for one in ready
        },
        "left_out": left_out,
        "unscored": {
            "n": len(rows),
            "no_verdict": missing,
            "no_reply": sum(row["went"] == "no reply" for row in rows),
            "blocked": sum(row["blocked"] for row in scores.values()),
            "share": share,
        },
        "incomplete": (share or 0.0) > config.max_unscored,
    }
