"""The command line: thin. Each command names what it needs and calls one function of `cli.work`.

A room is imported only when its command runs, so `sirl --help` is quick and `sirl report` works where torch
is not installed. A `SirlError` becomes one sentence and exit code 2; anything else keeps its traceback.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sirl.errors import RunError, SirlError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
organism = typer.Typer(no_args_is_help=True, help="The embedded make-believe model.")
app.add_typer(organism, name="organism")
attacks_app = typer.Typer()
app.add_typer(attacks_app, name="attacks")

Model = Annotated[
    str,
    typer.Argument(
        help="organism:llama, organism:qwen2, a model folder, the folder of a training run, or a hub id."
    ),
]
Out = Annotated[Path, typer.Option(help="Run folder: new, or to be continued.")]
Seed = Annotated[int, typer.Option(help="Same seed, same machine: same records.", min=0)]
Prompts = Annotated[
    list[Path] | None,
    typer.Option(
        help="CSV, JSON, JSONL or Parquet with a column prompt or text. Repeatable. Default: the organism's."
    ),
]
Attacks = Annotated[
    str,
    typer.Option(
        help="Names, all, paper, static, adaptive, transfer, NAME@transfer or my_pkg.mine:attack, with commas. "
        "Default: the recipe's."
    ),
]
Judges = Annotated[
    list[str] | None, typer.Option("--judge", help="refusal, exact, or question=my_pkg.mine:judge. Repeatable.")
]
Attacker = Annotated[
    str,
    typer.Option(help="A model that writes attacks: as MODEL. Default: an organism's is organism:attacker."),
]
Surrogate = Annotated[str, typer.Option(help="A model that NAME@transfer attacks search on: as MODEL.")]
Scorer = Annotated[
    str, typer.Option(help="A judge that tells attacks when they succeed. Default: the run's judge of harm.")
]
PhraseBookFile = Annotated[
    Path | None, typer.Option(help="What low_resource translates by: two phrases a line, a tab between.")
]
AttackPrompts = Annotated[
    Path | None,
    typer.Option(
        help="Prompts found elsewhere, to replay: a JailbreakBench artefact, or one column an attack."
    ),
]
Columns = Annotated[str, typer.Option(help="The columns of --attack-prompts that hold attacks, with commas.")]
RequestColumn = Annotated[
    str, typer.Option(help="Its column of requests. Default: the first of prompt, text, goal ...")
]
RecipeName = Annotated[
    str, typer.Option(help="A shipped recipe or a TOML file. Default: organism for an organism, else default.")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting: train.steps=60. Repeatable.")
]
Arch = Annotated[str, typer.Option(help="llama or qwen2.")]


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
    attacks: Attacks = "",
    judge: Judges = None,
    attacker: Attacker = "",
    surrogate: Surrogate = "",
    scorer: Scorer = "",
    phrase_book: PhraseBookFile = None,
    attack_prompts: AttackPrompts = None,
    columns: Columns = "",
    request_column: RequestColumn = "",
    seed: Seed = 0,
    recipe: RecipeName = "",
    changes: Changes = None,
) -> None:
    """Measure whether the instinct is there: the entropy gap between refusing and complying replies."""
    from sirl.cli import work
    from sirl.cli.job import Job

    settings = (recipe, tuple(changes or ()), tuple(prompts or ()), attacks, tuple(judge or ()))
    found = (phrase_book, attack_prompts, columns, request_column)
    job = Job(model, out, seed, *settings, attacker, surrogate, scorer, *found)
    _print(work.gap(job))


@app.command()
def train(
    model: Model,
    out: Out,
    prompts: Prompts = None,
    seed: Seed = 0,
    recipe: RecipeName = "",
    changes: Changes = None,
) -> None:
    """Harden a model by SIRL on unlabelled prompts; the result is in OUT/model."""
    from sirl.cli import work
    from sirl.cli.job import Job

    _print(work.train(Job(model, out, seed, recipe, tuple(changes or ()), tuple(prompts or ()))))


@app.command()
def evaluate(
    model: Model,
    out: Out,
    prompts: Prompts = None,
    attacks: Attacks = "",
    judge: Judges = None,
    attacker: Attacker = "",
    surrogate: Surrogate = "",
    scorer: Scorer = "",
    phrase_book: PhraseBookFile = None,
    attack_prompts: AttackPrompts = None,
    columns: Columns = "",
    request_column: RequestColumn = "",
    seed: Seed = 0,
    recipe: RecipeName = "",
    changes: Changes = None,
) -> None:
    """Measure defence against every attack, over-refusal and capability."""
    from sirl.cli import work
    from sirl.cli.job import Job

    settings = (recipe, tuple(changes or ()), tuple(prompts or ()), attacks, tuple(judge or ()))
    found = (phrase_book, attack_prompts, columns, request_column)
    job = Job(model, out, seed, *settings, attacker, surrogate, scorer, *found)
    _print(work.evaluate(job))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
) -> None:
    """Write one self-contained HTML page from run folders."""
    from sirl.report import load_runs, render

    page = render(load_runs(runs))
    if out.is_dir():
        raise RunError(f"{out} is a folder", "the name of the page to write", "add a file name to --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    typer.echo(f"wrote {out}")


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
    role: Annotated[
        str, typer.Option(help="target (to attack and harden) or attacker (writes attacks).")
    ] = "target",
) -> None:
    """Train an organism from nothing (minutes on two cores), measure it, and write its model card."""
    from sirl.cli import birth

    birth.build_organism(arch, out, seed, role)


def main() -> None:
    """Run the command line. Exit code 2 on a user's error, told in one sentence."""
    sys.path.insert(0, str(Path.cwd()))  # so that my_pkg.mine:attack is found where the user stands
    try:
        app()
    except SirlError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None


def _print(summary: object) -> None:
    typer.echo(json.dumps(summary, indent=1, ensure_ascii=False))
