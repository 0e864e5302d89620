"""The command line: it reads words, calls the verbs of `sirl`, prints, and picks an exit code.

What a verb needs is imported when its command runs, so `sirl --help` is quick and `sirl report` works where
torch is not installed. A `SirlError` becomes one sentence and exit code 2; anything else keeps its traceback. A
run that finished but left too much unscored has written its summary and ends with exit code 3; a training that
made the model less safe, with exit code 4; a `sirl check` that fails, with exit code 1.
"""

from __future__ import annotations

from importlib.metadata import version
from os import environ
from pathlib import Path
from typing import Annotated

import typer

import sirl
from sirl.cli import progress
from sirl.cli.endings import conclude, conclude_training, end_demo, end_study
from sirl.cli.groups import attacks, config, defences, judge, organism, skills, sources
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
from sirl.errors import ConfigError, SirlError
from sirl.phases import showing
from sirl.ranks import count, is_first, rank
from sirl.records import notice, transcripts_of

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(organism, name="organism")
app.add_typer(attacks, name="attacks")
app.add_typer(judge, name="judge")
app.add_typer(defences, name="defences")
app.add_typer(config, name="config")
app.add_typer(results)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sirl {version('sirl')}")
        raise typer.Exit


@app.callback()
def begin(
    called: typer.Context,
    _: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_tell_version, is_eager=True),
    ] = False,
    every: Annotated[
        float, typer.Option(help="Seconds between progress lines where there is no terminal.", min=0.1)
    ] = progress.EVERY,
) -> None:
    """Make an open-weight chat model refuse jailbreaks without labels, and measure what it gains and costs."""
    progress.EVERY = every
    progress.speak()
    called.with_resource(showing(progress.phase))
    environ.setdefault(
        "HF_HUB_DISABLE_PROGRESS_BARS", "1"
    )  # there are bars of our own, and stdout is the summary's
    environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    if count() > 1 and called.invoked_subcommand != "train":
        found = f"sirl {called.invoked_subcommand} on {count()} processes"
        raise ConfigError(
            found, "one process: only sirl train runs on several", "start it without the launcher"
        )


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
    """Harden one model and measure it before and after: writes report.html and summary.json."""
    from sirl.workflows.demo import run
    from sirl.workflows.measure import Measurement

    how = (sources(prompts, None, kinds, limit), recipe, changes or (), seed)
    asked = Measurement(model or f"organism:{arch}", out, *how, judges=tuple(judge or ()), quick=quick)
    end_demo(run(asked, tuple(train_prompts or ()), force), out)


def measuring(verb: str, told: str) -> None:
    """Add a command that measures a model: gap and evaluate take the same words."""

    def command(
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
        files = (phrase_book, demonstrations, attack_prompts, attack_columns, request_column)
        run = getattr(sirl, verb)(
            model,
            sources(prompts, columns, kinds, limit),
            out=out,
            attacks=attacks or (),
            judges=judge or (),
            tools=sirl.AttackTools(attacker, surrogate, scorer, *files),
            recipe=recipe,
            settings=(*(changes or ()), *([f"{verb}.defence={defence}"] if defence else [])),
            seed=seed,
            shard=shard,
            quick=quick,
        )
        conclude(run.summary.json)

    app.command(verb, help=told)(command)


measuring("gap", "Measure whether a model is surer when it refuses than when it complies (the entropy gap).")


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
    """Harden a model on unlabelled prompts, or by a baseline that reads labels. Writes OUT/model."""
    run = sirl.train(
        model,
        sources(prompts, columns, kinds, limit),
        out=out,
        held_out=held_out,
        method=method,
        recipe=recipe,
        settings=changes or (),
        seed=seed,
        force=force,
    )
    conclude_training(run.summary.json)


measuring("evaluate", "Measure defence against attacks, over-refusal and skills of a model.")


app.command()(skills)


@app.command()
def merge(
    shards: Annotated[list[Path], typer.Argument(help="The folders of all shards of one run.")],
    out: Annotated[Path, typer.Option(help="Run folder to write; it must be new.")],
) -> None:
    """Join the shards of one run: the same records and numbers as one process gives."""
    conclude(sirl.merge(shards, out=out).summary.json)


@app.command()
def study(
    recipe: Annotated[str, typer.Argument(help="A shipped study, for example study-method, or a TOML file.")],
    out: Annotated[Path, typer.Option(help="Folder of the study: a new one, or one to continue.")],
    only: Annotated[
        str, typer.Option(help="Run only the cells whose path MODEL/METHOD/seed-N contains this.")
    ] = "",
    render: Annotated[
        bool, typer.Option("--render", help="Run nothing; write the tables of what is measured so far.")
    ] = False,
) -> None:
    """Run a study: methods x models x seeds. Writes study.json, study.md and study.html."""
    end_study(sirl.study(recipe, out=out, only=only, render=render).summary.json)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    allow_different_protocol: AnyProtocol = False,
    transcripts: Transcripts = "redacted",
) -> None:
    """Write one self-contained HTML page from run folders. Two evaluate runs are compared."""
    quoted = transcripts_of(transcripts)
    page = sirl.report(
        *runs, out=out, allow_different_protocol=allow_different_protocol, transcripts=transcripts
    )
    typer.echo(f"wrote {page}: {notice(quoted)}")


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="A folder, a config.json or a hub id.")],
    recipe: RecipeName = "",
    gpus: Annotated[int, typer.Option(help="GPUs, one process each.", min=1)] = 1,
    device: Annotated[str, typer.Option(help="a100, h100 or h200.")] = "h100",
    memory: Annotated[float, typer.Option(help="GiB of each GPU; 0: the device's own.", min=0)] = 0.0,
    prompt_tokens: Annotated[
        int, typer.Option(help="Tokens of a prompt, for the time. 0: the limit.", min=0)
    ] = 0,
    reply_tokens: Annotated[
        int, typer.Option(help="Tokens of a reply, for the time. 0: the limit.", min=0)
    ] = 0,
    utilisation: Annotated[
        float, typer.Option(help="Share of the device's TFLOP/s that is reached.", min=0.01, max=1)
    ] = 0.35,
    streaming: Annotated[
        float, typer.Option(help="Share of the device's bandwidth that is reached.", min=0.01, max=1)
    ] = 0.5,
    changes: Changes = None,
) -> None:
    """Estimate memory and time of training, with the arithmetic. Opens no model."""
    found = sirl.plan(
        model,
        recipe=recipe,
        gpus=gpus,
        device=device,
        memory=memory,
        prompt_tokens=prompt_tokens,
        reply_tokens=reply_tokens,
        utilisation=utilisation,
        streaming=streaming,
        settings=changes or (),
    )
    typer.echo(found.text)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A training run, its snapshots/STEP, or a model folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write the model into; new or empty.")],
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(help="An evaluate run for the model card. Give it twice for before and after."),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = False,
) -> None:
    """Write a model as an ordinary Hugging Face folder, with a model card."""
    folder = sirl.export(model, out=out, evaluations=evaluation or (), trust_remote_code=trust_remote_code)
    typer.echo(f"wrote {folder}")


def main() -> None:
    """Run the command line. Exit code 2 on a user's error, told in one sentence."""
    try:
        app()
    except SirlError as error:
        told = without_logins(str(error))
        typer.echo(f"error: {told}" if is_first() else f"error on process {rank()}: {told}", err=True)
        raise SystemExit(2) from None
