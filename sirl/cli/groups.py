"""The commands that come in groups, and sirl skills, which needs an extra."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import sirl
from sirl.cli.endings import conclude, show
from sirl.cli.options import (
    AllowCode,
    Arch,
    Changes,
    Columns,
    Judges,
    Kinds,
    Limit,
    LongestReply,
    Model,
    Out,
    Prompts,
    RecipeName,
    RequestsOfReplies,
    Role,
    Seed,
    TaskFolders,
    TaskLimit,
    Tasks,
    Transcripts,
)

NARROW = 110  # columns of a terminal; in fewer, what an attack does is left out, so that each takes one line
attacks = typer.Typer()
organism = typer.Typer(no_args_is_help=True, help="The embedded make-believe model.")
judge = typer.Typer(no_args_is_help=True, help="Judges: how well they agree with people; judge a run again.")
defences = typer.Typer()
config = typer.Typer(no_args_is_help=True, help="Settings: what they are, and a schema of them.")


@attacks.callback(invoke_without_command=True)
def list_attacks(context: typer.Context) -> None:
    """List the attacks, check one of your own, or export what one sent."""
    if context.invoked_subcommand is None:
        _show()


@attacks.command()
def check(
    names: Annotated[list[str], typer.Argument(help="my_pkg.mine:attack, or names as of --attacks.")],
) -> None:
    """Check attacks, your own above all, against everything that an attack promises."""
    from sirl.attacks import check_attack, get_attacks

    for name, info in get_attacks(names).items():
        promises = check_attack(info)
        typer.echo(f"{name} keeps {len(promises)} promises: {'; '.join(promises)}")


@attacks.command()
def export(
    run: Annotated[Path, typer.Argument(help="The folder of a gap or evaluate run.")],
    attack: Annotated[str, typer.Option(help="The attack whose prompts are written.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    wide: Annotated[bool, typer.Option(help="A CSV with the attack as a column, for --columns.")] = False,
    transcripts: Transcripts = "redacted",
) -> None:
    """Write what an attack sent in a run as a JailbreakBench artefact, or as a CSV; harmful where it was.

    The prompts are written whatever --transcripts says: it is of the replies in an artefact.
    """
    from sirl.attacks.exports import export_run

    typer.echo(export_run(run, attack, out, wide, transcripts))


@attacks.command()
def demonstrate(
    model: Annotated[str, typer.Argument(help="The model that writes, as of --attacker.")],
    prompts: Prompts = None,
    out: Annotated[Path, typer.Option(help="The file to write, or to go on with: JSONL.")] = Path(
        "demonstrations.jsonl"
    ),
    count: Annotated[int, typer.Option(help="How many to ask for; many_shot shows up to 256.", min=1)] = 256,
    columns: Columns = None,
    kinds: Kinds = None,
    limit: Limit = None,
    seed: Seed = 0,
    changes: Changes = None,
) -> None:
    """Have a model write what ica, many_shot and the ciphers show: requests like yours, and answers."""
    from sirl.workflows.demonstrations import write

    write(model, sources(prompts, columns, kinds, limit), out, count, seed, changes or ())


@config.command("show")
def show_config(
    model: Annotated[str, typer.Argument(help="As MODEL of sirl train; none: settings for any model.")] = "",
    recipe: RecipeName = "",
    changes: Changes = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print every setting: its value, where that comes from, and what it does."""
    from sirl.config.described import shown
    from sirl.workflows.settings import settings_for

    settings = settings_for(model, recipe, changes or ())
    if as_json:
        show([asdict(one) for one in settings])
        return
    table = Table("setting", "value", "from", "what it does")
    for one in settings:
        table.add_row(one.name, escape(shown(one.value)), escape(one.origin), escape(one.does))
    Console().print(table)


@config.command("schema")
def show_schema() -> None:
    """Print a JSON schema of recipes, for editors to complete and check them by."""
    from sirl.config.described import schema

    show(schema())


@organism.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder to write the model to.")],
    arch: Arch = "llama",
    seed: Seed = 0,
    role: Role = "target",
) -> None:
    """Train an organism from nothing (minutes on two cores), measure it, and write its model card."""
    from sirl.workflows.organism import build_organism

    build_organism(arch, out, seed, role)
    typer.echo(f"wrote {out}")


@judge.command("check")
def judge_check(
    labels: Annotated[Path, typer.Argument(help="A file of labelled replies, as of --prompts.")],
    out: Annotated[Path, typer.Option(help="Folder for the summary, the confusion table, the disagreements.")],
    response_column: Annotated[str, typer.Option(help="Column of the replies.")],
    label_column: Annotated[str, typer.Option(help="Column of people's labels; several, with commas, vote.")],
    positive: Annotated[str, typer.Option(help="Label values that mean yes, with commas.")],
    question: Annotated[str, typer.Option(help="refused or harmful.")],
    negative: Annotated[
        str, typer.Option(help="Label values that mean no, with commas; then any other is an error.")
    ] = "",
    request_column: RequestsOfReplies = "",
    judges: Judges = None,
    changes: Changes = None,
    seed: Seed = 0,
) -> None:
    """Measure how far a judge agrees with people's labels."""
    from sirl.judges.labels import Columns, write_check
    from sirl.workflows.judges import asked_question, check_judge, loader_with

    lists = (label_column, positive, negative)
    values = [tuple(part.strip() for part in text.split(",") if part.strip()) for text in lists]
    columns = Columns(response_column, values[0], values[1], request_column, values[2])
    loader = loader_with(changes or (), seed, judges or ())
    checked = check_judge(labels, columns, judges or (), asked_question(question), loader)
    write_check(out, checked)
    show(checked.summary)


@judge.command("run")
def judge_run(
    run: Annotated[Path, typer.Argument(help="A run folder of gap or evaluate; it is not changed.")],
    out: Out,
    judges: Judges = None,
    changes: Changes = None,
    seed: Seed = 0,
) -> None:
    """Judge an existing run again, without generating again, into a new run folder."""
    show(sirl.judge(run, judges or (), out=out, settings=changes or (), seed=seed).summary.json)


def skills(
    model: Model,
    out: Out,
    tasks: Tasks = "offline",
    include_path: TaskFolders = None,
    limit: TaskLimit = None,
    allow_code: AllowCode = False,
    max_tokens: LongestReply = 0,
    judge: Judges = None,
    seed: Seed = 0,
    recipe: RecipeName = "",
    changes: Changes = None,
) -> None:
    """Measure skills by lm-evaluation-harness, and how much of a fall is refusals. Needs the extra skills."""
    run = sirl.skills(
        model,
        tasks,
        out=out,
        include_path=include_path or (),
        limit=limit,
        allow_code=allow_code,
        max_tokens=max_tokens,
        judges=judge or (),
        recipe=recipe,
        settings=changes or (),
        seed=seed,
    )
    conclude(run.summary.json)


@defences.callback(invoke_without_command=True)
def list_defences(context: typer.Context) -> None:
    """List the defences without training, or check one of your own."""
    if context.invoked_subcommand is None:
        from sirl.workflows import defences as defending

        for name, mechanism, calls, source, summary in defending.listed():
            typer.echo(f"{name}: {summary} [{mechanism}; {calls} calls; {source}]")


@defences.command("check")
def check_defences(
    names: Annotated[list[str], typer.Argument(help="my_pkg.mine:defence, or names of the list.")],
) -> None:
    """Check defences, your own above all, against everything that a defence promises."""
    from sirl.workflows import defences as defending

    for name, promises in defending.check(names).items():
        typer.echo(f"{name} keeps {len(promises)} promises: {'; '.join(promises)}")


def sources(prompts: Prompts, columns: Columns, kinds: Kinds, limit: Limit) -> sirl.PromptSources:
    """Return the prompts that the words of a command name."""
    return sirl.PromptSources(tuple(prompts or ()), tuple(columns or ()), tuple(kinds or ()), limit)


def _show() -> None:
    """List the attacks; kind, access and source always, the rest where the terminal is wide enough."""
    from sirl.attacks import ATTACKS, VARIANTS

    console = Console()
    wide = console.width >= NARROW
    table = Table("attack", "kind", "access", "source", *(["mechanism", "what it does"] if wide else []))
    table.columns[0].no_wrap = True
    for info in ATTACKS.values():
        rest = [info.mechanism, info.summary] if wide else []
        table.add_row(info.name, info.kind, info.access, info.source, *rest)
    console.print(table)
    for name, runs in VARIANTS.items():
        console.print(f"{name}/VARIANT, or {name}/* for each: {', '.join(runs)}", markup=False, highlight=False)
