"""The command line: thin. Each command names what it needs and calls one function of `cli.work`.

A room is imported only when its command runs, so `sirl --help` is quick and `sirl report` works where torch
is not installed. A `SirlError` becomes one sentence and exit code 2; anything else keeps its traceback. A run
that finished but left too much unscored has written its summary and ends with exit code 3; a training that made
the model less safe, with exit code 4; a `sirl check` that fails, with exit code 1.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sirl.cli import progress
from sirl.cli.endings import conclude, conclude_training, end_demo, end_study
from sirl.cli.groups import attacks, defences, judge, organism, skills
from sirl.cli.options import (
    AnyProtocol,
    Arch,
    AttackColumns,
    Attacker,
    AttackPrompts,
    Attacks,
    Changes,
    Columns,
    Defence,
    DemonstrationsFile,
    DemoRecipe,
    EvaluationPrompts,
    Force,
    HeldOut,
    Judges,
    Kinds,
    Limit,
    Method,
    Model,
    Out,
    OwnModel,
    PhraseBookFile,
    Prompts,
    Quick,
    RecipeName,
    RequestColumn,
    Scorer,
    Seed,
    Shard,
    Surrogate,
    TrainPrompts,
    Transcripts,
)
from sirl.cli.results import results
from sirl.config.requests import without_logins
from sirl.errors import ConfigError, RunError, SirlError
from sirl.ranks import count, is_first, rank

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(organism, name="organism")
app.add_typer(attacks, name="attacks")
app.add_typer(judge, name="judge")
app.command()(skills)
app.add_typer(defences, name="defences")
app.add_typer(results)


@app.callback()
def sirl(
    called: typer.Context,
    every: Annotated[
        float, typer.Option(help="Seconds between lines on progress where there is no terminal.", min=0.1)
    ] = progress.EVERY,
) -> None:
    """Measure, harden, prove and show: chat models that refuse jailbreaks, without labels."""
    progress.EVERY = every
    progress.speak()
    if count() > 1 and called.invoked_subcommand != "train":
        found = f"sirl {called.invoked_subcommand} on {count()} processes"
        raise ConfigError(found, "one process: only sirl train shares its work", "launch it alone")


@app.command()
def demo(
    out: Out,
    model: OwnModel = "",
    prompts: EvaluationPrompts = None,
    kinds: Kinds = None,
    limit: Limit = None,
    train_prompts: TrainPrompts = None,
    judge: Judges = None,
    quick: Quick = False,
    force: Force = False,
    arch: Arch = "llama",
    seed: Seed = 0,
    recipe: DemoRecipe = "",
    changes: Changes = None,
) -> None:
    """Measure, harden, prove and show one model, yours or the embedded one: report.html and summary.json."""
    from sirl.cli import showcase
    from sirl.cli.asked import Asked
    from sirl.cli.job import Job

    asked = Asked(tuple(prompts or ()), (), tuple(kinds or ()), limit)
    job = Job(model or f"organism:{arch}", out, seed, recipe, tuple(changes or ()), asked)
    job = replace(job, judges=tuple(judge or ()), quick=quick, force=force)
    end_demo(showcase.run(job, tuple(train_prompts or ())))


@app.command()
def gap(
    model: Model,
    out: Out,
    prompts: Prompts = None,
    columns: Columns = None,
    kinds: Kinds = None,
    limit: Limit = None,
    attacks: Attacks = "",
    judge: Judges = None,
    attacker: Attacker = "",
    surrogate: Surrogate = "",
    scorer: Scorer = "",
    phrase_book: PhraseBookFile = None,
    demonstrations: DemonstrationsFile = None,
    attack_prompts: AttackPrompts = None,
    attack_columns: AttackColumns = "",
    request_column: RequestColumn = "",
    shard: Shard = "",
    quick: Quick = False,
    seed: Seed = 0,
    recipe: RecipeName = "",
    changes: Changes = None,
) -> None:
    """Measure whether the instinct is there: the entropy gap between refusing and complying replies."""
    from sirl.cli import work
    from sirl.cli.arms import Arms
    from sirl.cli.asked import Asked
    from sirl.cli.job import Job

    asked = Asked(tuple(prompts or ()), tuple(columns or ()), tuple(kinds or ()), limit)
    own = (phrase_book, demonstrations)
    arms = Arms(attacker, surrogate, scorer, *own, attack_prompts, attack_columns, request_column)
    settings = (recipe, tuple(changes or ()), asked, attacks, tuple(judge or ()))
    conclude(work.gap(Job(model, out, seed, *settings, arms, shard, quick)))


@app.command()
def train(
    model: Model,
    out: Out,
    method: Method = "",
    prompts: Prompts = None,
    columns: Columns = None,
    kinds: Kinds = None,
    limit: Limit = None,
    held_out: HeldOut = None,
    force: Force = False,
    seed: Seed = 0,
    recipe: RecipeName = "",
    changes: Changes = None,
) -> None:
    """Harden a model on unlabelled prompts, or by a baseline; the result is in OUT/model."""
    from sirl.cli import training
    from sirl.cli.asked import Asked
    from sirl.cli.job import Job

    asked = Asked(tuple(prompts or ()), tuple(columns or ()), tuple(kinds or ()), limit, tuple(held_out or ()))
    settings = (*(changes or ()), *([f"train.method={method}"] if method else []))
    conclude_training(training.train(Job(model, out, seed, recipe, settings, asked, force=force)))


@app.command()
def evaluate(
    model: Model,
    out: Out,
    prompts: Prompts = None,
    columns: Columns = None,
    kinds: Kinds = None,
    limit: Limit = None,
    attacks: Attacks = "",
    judge: Judges = None,
    attacker: Attacker = "",
    surrogate: Surrogate = "",
    scorer: Scorer = "",
    phrase_book: PhraseBookFile = None,
    demonstrations: DemonstrationsFile = None,
    attack_prompts: AttackPrompts = None,
    attack_columns: AttackColumns = "",
    request_column: RequestColumn = "",
    shard: Shard = "",
    defence: Defence = "",
    quick: Quick = False,
    seed: Seed = 0,
    recipe: RecipeName = "",
    changes: Changes = None,
) -> None:
    """Measure defence against every attack, over-refusal and capability."""
    from sirl.cli import work
    from sirl.cli.arms import Arms
    from sirl.cli.asked import Asked
    from sirl.cli.job import Job

    asked = Asked(tuple(prompts or ()), tuple(columns or ()), tuple(kinds or ()), limit)
    own = (phrase_book, demonstrations)
    arms = Arms(attacker, surrogate, scorer, *own, attack_prompts, attack_columns, request_column)
    chosen = (*(changes or ()), *([f"evaluate.defence={defence}"] if defence else []))
    settings = (recipe, chosen, asked, attacks, tuple(judge or ()))
    conclude(work.evaluate(Job(model, out, seed, *settings, arms, shard, quick)))


@app.command()
def merge(
    shards: Annotated[list[Path], typer.Argument(help="The folders of all shards of one run.")],
    out: Annotated[Path, typer.Option(help="Run folder to write: new.")],
) -> None:
    """Put the shards of one run together: the same records and numbers as one process would give."""
    from sirl.cli.merge import merge as merge_shards

    conclude(merge_shards(shards, out))


@app.command()
def study(
    recipe: Annotated[str, typer.Argument(help="A shipped study, as study-method, or a TOML file.")],
    out: Annotated[Path, typer.Option(help="Folder of the study: new, or to be continued.")],
    only: Annotated[str, typer.Option(help="Run the cells whose path MODEL/METHOD/seed-N holds this.")] = "",
    render: Annotated[bool, typer.Option("--render", help="Run nothing; write what is known so far.")] = False,
) -> None:
    """Run a table of methods, models and seeds, and write it: study.json, study.md, study.html."""
    from sirl.cli import studies

    end_study(studies.study(recipe, out, only, render))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    allow_different_protocol: AnyProtocol = False,
    transcripts: Transcripts = "redacted",
) -> None:
    """Write one self-contained HTML page from run folders; two evaluate runs are compared."""
    from sirl.records import notice, transcripts_of
    from sirl.report import load_runs, render

    quoted = transcripts_of(transcripts)
    page = render(load_runs(runs), allow_different_protocol, quoted)
    if out.is_dir():
        raise RunError(f"{out} is a folder", "the name of the page to write", "add a file name to --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    typer.echo(f"wrote {out}: {notice(quoted)}")


@app.command()
def plan(
    recipe: Annotated[str, typer.Argument(help="A recipe that tells a model's shape, as llama-3.1-8b.")],
    gpus: Annotated[int, typer.Option(help="GPUs, one process each.", min=1)] = 1,
    device: Annotated[str, typer.Option(help="a100, h100 or h200.")] = "h100",
    memory: Annotated[float, typer.Option(help="GiB of each GPU; 0: the device's own.", min=0)] = 0.0,
    prompt_tokens: Annotated[int, typer.Option(help="Of a prompt, for the time; 0: the limit.", min=0)] = 0,
    reply_tokens: Annotated[int, typer.Option(help="Of a reply, for the time; 0: the limit.", min=0)] = 0,
    utilisation: Annotated[float, typer.Option(help="Share of the TFLOP/s reached.", min=0.01, max=1)] = 0.35,
    streaming: Annotated[float, typer.Option(help="Share of the bandwidth reached.", min=0.01, max=1)] = 0.5,
    changes: Changes = None,
) -> None:
    """Estimate memory and time of training by a recipe, with the arithmetic shown. Opens no model."""
    from sirl.cli import planning
    from sirl.plan import Assumed, find_device

    assumed = Assumed(find_device(device, memory), gpus, prompt_tokens, reply_tokens, utilisation, streaming)
    typer.echo(planning.plan(recipe, changes or (), assumed))


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A training run, its snapshots/STEP, or a model folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the model to publish: new or empty.")],
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(help="An evaluate run for the model card. Twice: before, after."),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = False,
) -> None:
    """Write a model as an ordinary Hugging Face folder, with a model card of what was done and measured."""
    from sirl.cli import exporting

    typer.echo(f"wrote {exporting.export(model, out, evaluation or (), trust_remote_code)}")


@app.command("export-inspect")
def export_inspect(
    run: Annotated[Path, typer.Argument(help="A run folder of gap or evaluate.")],
    out: Annotated[Path, typer.Option(help="Folder of logs, as `inspect view --log-dir` takes it.")],
    transcripts: Transcripts = "redacted",
) -> None:
    """Write a run as a log of Inspect AI. Needs the extra inspect."""
    from sirl.plugins import load_extra
    from sirl.records import notice, transcripts_of

    quoted = transcripts_of(transcripts)
    load_extra("inspect_ai", "inspect")
    from sirl.inspect.log import export

    typer.echo(f"wrote {export(run, out, quoted)}")
    typer.echo(notice(quoted), err=True)


def main() -> None:
    """Run the command line. Exit code 2 on a user's error, told in one sentence."""
    try:
        app()
    except SirlError as error:
        told = without_logins(str(error))
        typer.echo(f"error: {told}" if is_first() else f"error on process {rank()}: {told}", err=True)
        raise SystemExit(2) from None
