"""The commands that come in groups, and sirl skills, which needs an extra. Thin, and a door, as `cli` is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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

attacks = typer.Typer()
organism = typer.Typer(no_args_is_help=True, help="The embedded make-believe model.")
judge = typer.Typer(no_args_is_help=True, help="Judges: how well they agree with people; judge a run again.")
defences = typer.Typer()


@attacks.callback(invoke_without_command=True)
def list_attacks(context: typer.Context) -> None:
    """List the attacks, check one of your own, or export what one sent."""
    if context.invoked_subcommand is None:
        from sirl.cli import suite

        suite.show()


@attacks.command()
def check(
    names: Annotated[list[str], typer.Argument(help="my_pkg.mine:attack, or names as of --attacks.")],
) -> None:
    """Check attacks, your own above all, against everything that an attack promises."""
    from sirl.cli import suite

    suite.check(names)


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
    from sirl.cli import suite

    suite.export(run, attack, out, wide, transcripts)


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
    from sirl.cli import demonstrating
    from sirl.cli.asked import Asked

    asked = Asked(tuple(prompts or ()), tuple(columns or ()), tuple(kinds or ()), limit)
    demonstrating.write(model, asked, out, count, seed, tuple(changes or ()))


@organism.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder to write the model to.")],
    arch: Arch = "llama",
    seed: Seed = 0,
    role: Role = "target",
) -> None:
    """Train an organism from nothing (minutes on two cores), measure it, and write its model card."""
    from sirl.cli import birth

    birth.build_organism(arch, out, seed, role)


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
    from sirl.cli import judging
    from sirl.judges.labels import Columns, write_check

    lists = (label_column, positive, negative)
    values = [tuple(part.strip() for part in text.split(",") if part.strip()) for text in lists]
    columns = Columns(response_column, values[0], values[1], request_column, values[2])
    asked = judging.asked_question(question)
    checked = judging.check_judge(
        labels, columns, judges or (), asked, judging.opening_with(changes or (), seed, judges or ())
    )
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
    from sirl.cli import judging

    show(judging.judge_run(run, judges or (), out, judging.opening_with(changes or (), seed, judges or ())))


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
    from sirl.cli.asked import Asked
    from sirl.cli.job import Job
    from sirl.plugins import load_extra

    load_extra("lm_eval", "skills")
    from sirl.cli import skilling

    names = tuple(name.strip() for name in tasks.split(",") if name.strip())
    wanted = skilling.Wanted(names, tuple(include_path or ()), allow_code, max_tokens)
    job = Job(model, out, seed, recipe, tuple(changes or ()), Asked(limit=limit), judges=tuple(judge or ()))
    conclude(skilling.skills(job, wanted))


@defences.callback(invoke_without_command=True)
def list_defences(context: typer.Context) -> None:
    """List the defences without training, or check one of your own."""
    if context.invoked_subcommand is None:
        from sirl.cli import defending

        for name, mechanism, calls, source, summary in defending.listed():
            typer.echo(f"{name}: {summary} [{mechanism}; {calls} calls; {source}]")


@defences.command("check")
def check_defences(
    names: Annotated[list[str], typer.Argument(help="my_pkg.mine:defence, or names of the list.")],
) -> None:
    """Check defences, your own above all, against everything that a defence promises."""
    from sirl.cli import defending

    for name, promises in defending.check(names).items():
        typer.echo(f"{name} keeps {len(promises)} promises: {'; '.join(promises)}")
