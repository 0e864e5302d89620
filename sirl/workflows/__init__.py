"""The verbs of `sirl`: each opens what was named, calls the domain packages and returns a finished run.

The command line and Python call the same functions. Nothing is printed: what a user should know goes to the
logger `sirl`, and how far a run is to `progress`, a callable as `sirl.phases.Phases`. A verb imports what it
needs when it is called, so that `import sirl` is quick and `sirl.report` works where torch is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirl.config import Changes
from sirl.phases import Phases, showing

if TYPE_CHECKING:
    from sirl.planning.table import Estimate
    from sirl.prompts import PromptSet
    from sirl.workflows.attack_tools import AttackTools
    from sirl.workflows.models import Model
    from sirl.workflows.runs import (
        EvaluationSummary,
        GapSummary,
        Run,
        SkillsSummary,
        StudySummary,
        TrainingSummary,
    )
    from sirl.workflows.sources import Prompts

Names = str | Sequence[str]


def load(model: str, **settings: Any) -> Model:
    """Load a model: a folder, a hub id, a training run, an organism, or an endpoint.

    `settings` are those of the section [model], as dtype="bfloat16". Raises ConfigError, DataError or
    TemplateError.
    """
    from sirl.config import load_recipe
    from sirl.workflows.models import open_model

    changes = {f"model.{name}": value for name, value in settings.items()}
    return open_model(str(model), load_recipe("default", changes).model)


def load_prompts(
    source: str | Path,
    *,
    kind: str | None = None,
    column: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> PromptSet:
    """Read prompts from a file, or a published set by its name; `limit` samples so many by `seed`.

    `kind` is that of a file's rows that state none: harmful, benign, borderline or task. Raises DataError.
    """
    from sirl.workflows.sources import load_source

    return load_source(str(source), kind=kind, column=column, limit=limit, seed=seed)


def gap(
    model: Model | str,
    prompts: Prompts = None,
    *,
    out: str | Path,
    attacks: Names = (),
    judges: Names = (),
    tools: AttackTools | None = None,
    recipe: str = "",
    settings: Changes = (),
    seed: int = 0,
    shard: str = "",
    quick: bool = False,
    progress: Phases | None = None,
) -> Run[GapSummary]:
    """Measure whether the model is surer when it refuses than when it complies, which SIRL needs.

    Without prompts an organism has its own. A run that was stopped continues. Raises a `SirlError` that says
    what to do about it.
    """
    from sirl.workflows import measure
    from sirl.workflows.runs import finished

    asked = measure.asked_for(
        model, prompts, out, (attacks, judges, tools), (recipe, settings, seed), (shard, quick)
    )
    with showing(progress):
        return finished(measure.gap(asked))


def evaluate(
    model: Model | str,
    prompts: Prompts = None,
    *,
    out: str | Path,
    attacks: Names = (),
    judges: Names = (),
    tools: AttackTools | None = None,
    recipe: str = "",
    settings: Changes = (),
    seed: int = 0,
    shard: str = "",
    quick: bool = False,
    progress: Phases | None = None,
) -> Run[EvaluationSummary]:
    """Measure defence against each attack, over-refusal of safe prompts, and capability. Raises as `gap`."""
    from sirl.workflows import measure
    from sirl.workflows.runs import finished

    asked = measure.asked_for(
        model, prompts, out, (attacks, judges, tools), (recipe, settings, seed), (shard, quick)
    )
    with showing(progress):
        return finished(measure.evaluate(asked))


def skills(
    model: Model | str,
    tasks: Names = "offline",
    *,
    out: str | Path,
    include_path: str | Path | Sequence[str | Path] = (),
    limit: int | None = None,
    allow_code: bool = False,
    max_tokens: int = 0,
    judges: Names = (),
    recipe: str = "",
    settings: Changes = (),
    seed: int = 0,
    progress: Phases | None = None,
) -> Run[SkillsSummary]:
    """Measure skills by suites, tasks and groups of lm-evaluation-harness; needs the extra skills.

    `include_path` names folders of your own tasks, `limit` bounds the documents of each task, drawn by `seed`,
    `max_tokens` every reply (0: as each task says). Code that the model writes is run only if `allow_code`.
    A task that cannot be measured is in `summary.left_out`, with the reason. Raises as `gap`.
    """
    from sirl.plugins import load_extra
    from sirl.workflows.request import names
    from sirl.workflows.runs import finished
    from sirl.workflows.sources import PromptSources

    load_extra("lm_eval", "skills")
    from sirl.workflows.harness import SkillsRequest, measure_skills

    folders = [include_path] if isinstance(include_path, str | Path) else include_path
    words = (names(tasks), tuple(map(Path, folders)))
    how = (PromptSources(limit=limit), recipe, settings, seed)
    asked = SkillsRequest(model, Path(out), *how, *words, allow_code, max_tokens, names(judges))
    with showing(progress):
        return finished(measure_skills(asked))


def train(
    model: Model | str,
    prompts: Prompts = None,
    *,
    out: str | Path,
    held_out: Prompts = None,
    method: str = "",
    recipe: str = "",
    settings: Changes = (),
    seed: int = 0,
    force: bool = False,
    progress: Phases | None = None,
) -> Run[TrainingSummary]:
    """Harden a model on unlabelled prompts, or by a baseline that reads labels; the run has `.model`.

    What `held_out` sets ask is not trained on. `force` trains a model although it lacks what the method needs.
    Raises as `gap`.
    """
    from dataclasses import replace

    from sirl.config import with_change
    from sirl.workflows.request import Request
    from sirl.workflows.runs import finished
    from sirl.workflows.sources import PromptSources
    from sirl.workflows.training import train as harden

    sources = PromptSources.of(prompts)
    sources = replace(sources, held_out=(*sources.held_out, *PromptSources.of(held_out).sources))
    settings = with_change(settings, "train.method", method) if method else settings
    with showing(progress):
        asked = Request(model, Path(out), sources, recipe, settings, seed)
        run = harden(asked, force)
        return finished(run, asked.read().model)


def judge(
    run: Run[Any] | str | Path,
    judges: Names,
    *,
    out: str | Path,
    settings: Changes = (),
    seed: int = 0,
    progress: Phases | None = None,
) -> Run[Any]:
    """Judge the replies of a run again, without drawing them again, into a new run folder."""
    from sirl.workflows.judges import judge_run, loader_with
    from sirl.workflows.request import names
    from sirl.workflows.runs import finished

    given = names(judges)
    with showing(progress):
        return finished(judge_run(_folders([run])[0], given, Path(out), loader_with(settings, seed, given)))


def merge(shards: Sequence[Run[Any] | str | Path], *, out: str | Path) -> Run[Any]:
    """Put the shards of one run together: the same records and figures as one process would give."""
    from sirl.workflows import measure
    from sirl.workflows.runs import finished

    return finished(measure.merge(_folders(shards), Path(out)))


def study(
    recipe: str, *, out: str | Path, only: str = "", render: bool = False, progress: Phases | None = None
) -> Run[StudySummary]:
    """Run a table of methods, models and seeds and write it: study.json, study.md, study.html.

    `only` runs the cells whose path MODEL/METHOD/seed-N holds it; `render` runs nothing.
    """
    from sirl.workflows.runs import Run, StudySummary
    from sirl.workflows.studies import study as run_study

    with showing(progress):
        states = run_study(recipe, Path(out), only, render)
    return Run(Path(out), "study", StudySummary(states))


def report(
    *runs: Run[Any] | str | Path,
    out: str | Path = "report.html",
    allow_different_protocol: bool = False,
    transcripts: str = "redacted",
) -> Path:
    """Write one self-contained HTML page from runs, or folders of run folders; return its path.

    Two evaluate runs are compared. `transcripts` says what is written of prompts and replies: none; redacted,
    without what is harmful, undecided or written by an attack; or all. Raises RunError.
    """
    from sirl.errors import RunError
    from sirl.records import transcripts_of
    from sirl.reporting import load_runs
    from sirl.reporting import render as page

    quoted, out = transcripts_of(transcripts), Path(out)
    text = page(load_runs(_folders(runs)), allow_different_protocol, quoted)
    if out.is_dir():
        raise RunError(f"{out} is a folder", "the name of the page to write", "add a file name to --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    return out


def plan(
    model: str | Path,
    *,
    recipe: str = "",
    gpus: int = 1,
    device: str = "h100",
    memory: float = 0.0,
    prompt_tokens: int = 0,
    reply_tokens: int = 0,
    utilisation: float = 0.35,
    streaming: float = 0.5,
    settings: Changes = (),
) -> Estimate:
    """Estimate memory and time of training a model, with the arithmetic shown. Reads its config.json alone.

    `model` is a folder, a config.json or a hub id; `memory` is GiB of each GPU, 0 for the device's own; token
    counts 0 are the limits.
    """
    from sirl.planning import Assumed, find_device
    from sirl.planning.table import estimate
    from sirl.workflows.request import Request
    from sirl.workflows.shapes import read_shape

    asked = Request(str(model), Path(), recipe=recipe, settings=settings)
    assumed = Assumed(find_device(device, memory), gpus, prompt_tokens, reply_tokens, utilisation, streaming)
    title = f"{model} by the recipe {asked.recipe_name}"
    return estimate(title, asked.read(), read_shape(str(model)), assumed)


def export(
    model: Run[Any] | str | Path,
    *,
    out: str | Path,
    evaluations: Sequence[Run[Any] | str | Path] = (),
    trust_remote_code: bool = False,
    progress: Phases | None = None,
) -> Path:
    """Write a model as an ordinary Hugging Face folder, with a card of what was measured; return its path."""
    from sirl.workflows.exporting import export as publish

    spec = str(model if isinstance(model, str | Path) else model.path)
    with showing(progress):
        return publish(spec, Path(out), _folders(evaluations), trust_remote_code)


def _folders(runs: Sequence[Run[Any] | str | Path]) -> list[Path]:
    return [Path(run) if isinstance(run, str | Path) else run.path for run in runs]
