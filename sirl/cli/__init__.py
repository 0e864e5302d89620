"""The command line: thin. Each command names what it needs and calls one function of `cli.work`.

A room is imported only when its command runs, so `sirl --help` is quick and `sirl report` works where torch
is not installed. A `SirlError` becomes one sentence and exit code 2; anything else keeps its traceback. A run
that finished but left too much unscored has written its summary and ends with exit code 3.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sirl.cli.endings import conclude, show
from sirl.cli.options import (
    AnyProtocol,
    Arch,
    AttackColumns,
    Attacker,
    AttackPrompts,
    Attacks,
    Changes,
    Columns,
    Force,
    HeldOut,
    Judges,
    Kinds,
    Limit,
    Method,
    Model,
    Out,
    PhraseBookFile,
    Prompts,
    Quick,
    RecipeName,
    RequestColumn,
    RequestsOfReplies,
    Role,
    Scorer,
    Seed,
    Shard,
    Surrogate,
)
from sirl.errors import RunError, SirlError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
organism = typer.Typer(no_args_is_help=True, help="The embedded make-believe model.")
app.add_typer(organism, name="organism")
attacks_app = typer.Typer()
app.add_typer(attacks_app, name="attacks")
judge = typer.Typer(no_args_is_help=True, help="Judges: how well they agree with people; judge a run again.")
app.add_typer(judge, name="judge")


@app.callback()
def sirl() -> None:
    """Measure, harden, prove and show: chat models that refuse jailbreaks, without labels."""


@app.command()
def demo(
    out: Out, arch: Arch = "llama", seed: Seed = 0, recipe: RecipeName = "organism", changes: Changes = None
) -> None:
    """Measure, harden, prove and show the embedded model; writes report.html and summary.json."""
    from sirl.cli import showcase
    from sirl.cli.job import Job

    showcase.run(Job(f"organism:{arch}", out, seed, recipe, tuple(changes or ())))


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
    arms = Arms(attacker, surrogate, scorer, phrase_book, attack_prompts, attack_columns, request_column)
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
    """Harden a model by SIRL on unlabelled prompts, or by a baseline; the result is in OUT/model."""
    from sirl.cli import training
    from sirl.cli.asked import Asked
    from sirl.cli.job import Job

    asked = Asked(tuple(prompts or ()), tuple(columns or ()), tuple(kinds or ()), limit, tuple(held_out or ()))
    settings = (*(changes or ()), *([f"train.method={method}"] if method else []))
    show(training.train(Job(model, out, seed, recipe, settings, asked, force=force)))


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
    attack_prompts: AttackPrompts = None,
    attack_columns: AttackColumns = "",
    request_column: RequestColumn = "",
    shard: Shard = "",
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
    arms = Arms(attacker, surrogate, scorer, phrase_book, attack_prompts, attack_columns, request_column)
    settings = (recipe, tuple(changes or ()), asked, attacks, tuple(judge or ()))
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

    show(studies.study(recipe, out, only, render))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    allow_different_protocol: AnyProtocol = False,
) -> None:
    """Write one self-contained HTML page from run folders; two evaluate runs are compared."""
    from sirl.report import load_runs, render

    page = render(load_runs(runs), allow_different_protocol)
    if out.is_dir():
        raise RunError(f"{out} is a folder", "the name of the page to write", "add a file name to --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    typer.echo(f"wrote {out}")


@app.command("export-inspect")
def export_inspect(
    run: Annotated[Path, typer.Argument(help="A run folder of gap or evaluate.")],
    out: Annotated[Path, typer.Option(help="Folder of logs, as `inspect view --log-dir` takes it.")],
) -> None:
    """Write a run as a log of Inspect AI. Needs the extra inspect."""
    from sirl.plugins import load_extra

    load_extra("inspect_ai", "inspect")
    from sirl.inspect.log import export

    typer.echo(f"wrote {export(run, out)}")


@attacks_app.callback(invoke_without_command=True)
def list_attacks(context: typer.Context) -> None:
    """List the attacks, check one of your own, or export what one sent."""
    if context.invoked_subcommand is None:
        from sirl.cli import suite

        suite.show()


@attacks_app.command()
def check(
    names: Annotated[list[str], typer.Argument(help="my_pkg.mine:attack, or names as of --attacks.")],
) -> None:
    """Check attacks, your own above all, against everything that an attack promises."""
    from sirl.cli import suite

    suite.check(names)


@attacks_app.command()
def export(
    run: Annotated[Path, typer.Argument(help="The folder of a gap or evaluate run.")],
    attack: Annotated[str, typer.Option(help="The attack whose prompts are written.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    wide: Annotated[bool, typer.Option(help="A CSV with the attack as a column, for --columns.")] = False,
) -> None:
    """Write what an attack sent in a run as a JailbreakBench artefact, or as a CSV; harmful where it was."""
    from sirl.cli import suite

    suite.export(run, attack, out, wide)


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
    labels: Annotated[Path, typer.Argument(help="CSV (UTF-8 or latin-1), JSON or JSONL of labelled replies.")],
    out: Annotated[Path, typer.Option(help="Folder for the summary, the confusion table, the disagreements.")],
    response_column: Annotated[str, typer.Option(help="Column of the replies.")],
    label_column: Annotated[str, typer.Option(help="Column of people's labels; several, with commas, vote.")],
    positive: Annotated[str, typer.Option(help="Label values that mean yes, with commas.")],
    question: Annotated[str, typer.Option(help="refused or harmful.")],
    request_column: RequestsOfReplies = "",
    judges: Judges = None,
    seed: Seed = 0,
) -> None:
    """Measure how far a judge agrees with people's labels."""
    from sirl.cli import judging
    from sirl.cli.labels import Columns, write_check

    values = [tuple(part.strip() for part in text.split(",")) for text in (label_column, positive)]
    columns = Columns(response_column, values[0], values[1], request_column)
    asked = judging.asked_question(question)
    checked = judging.check_judge(labels, columns, judges or (), asked, judging.Opening(seed=seed))
    write_check(out, checked)
    show(checked.summary)


@judge.command("run")
def judge_run(
    run: Annotated[Path, typer.Argument(help="A run folder of gap or evaluate; it is not changed.")],
    out: Out,
    judges: Judges = None,
    seed: Seed = 0,
) -> None:
    """Judge an existing run again, without generating again, into a new run folder."""
    from sirl.cli import judging

    show(judging.judge_run(run, judges or (), out, judging.Opening(seed=seed)))


def main() -> None:
    """Run the command line. Exit code 2 on a user's error, told in one sentence."""
    sys.path.insert(0, str(Path.cwd()))  # so that my_pkg.mine:attack is found where the user stands
    try:
        app()
    except SirlError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None
