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

Model = Annotated[
    str,
    typer.Argument(
        help="organism:llama, organism:qwen2, a model folder, the folder of a training run, or a hub id."
    ),
]
Out = Annotated[Path, typer.Option(help="Run folder: new, or to be continued.")]
Seed = Annotated[int, typer.Option(help="Same seed, same machine: same records.", min=0)]
Prompts = Annotated[
    list[str] | None,
    typer.Option(
        help="A published set (advbench, xstest, ...; NAME@REVISION), or a CSV, JSON, JSONL or Parquet file. "
        "Repeatable. Default: the organism's."
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="Column of a file that holds the text. One for all, or one each, in order."),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        help="Kind of a file's rows that state none: harmful (default), benign, borderline or task. "
        "One for all, or one each, in order.",
    ),
]
Limit = Annotated[int | None, typer.Option(help="Sample so many prompts of each source, by the seed.", min=1)]
Attacks = Annotated[
    str,
    typer.Option(
        help="Names, all, static, adaptive, or my_pkg.mine:attack, with commas. Default: the recipe's."
    ),
]
Judges = Annotated[
    list[str] | None, typer.Option("--judge", help="refusal, exact, or question=my_pkg.mine:judge. Repeatable.")
]
Attacker = Annotated[str, typer.Option(help="A model that writes attacks: as MODEL. Needed by some attacks.")]
Surrogate = Annotated[str, typer.Option(help="A model that NAME@transfer attacks search on: as MODEL.")]
Scorer = Annotated[
    str, typer.Option(help="A judge that tells attacks when they succeed. Default: the run's judge of harm.")
]
Shard = Annotated[
    str, typer.Option(help="Do part i of n of the work, i from 0: 0/2. Put the parts together with sirl merge.")
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
    columns: Columns = None,
    kinds: Kinds = None,
    limit: Limit = None,
    attacks: Attacks = "",
    judge: Judges = None,
    attacker: Attacker = "",
    surrogate: Surrogate = "",
    scorer: Scorer = "",
    shard: Shard = "",
    seed: Seed = 0,
    recipe: RecipeName = "",
    changes: Changes = None,
) -> None:
    """Measure whether the instinct is there: the entropy gap between refusing and complying replies."""
    from sirl.cli import work
    from sirl.cli.job import Job
    from sirl.cli.sources import Asked

    asked = Asked(tuple(prompts or ()), tuple(columns or ()), tuple(kinds or ()), limit)
    settings = (recipe, tuple(changes or ()), asked, attacks, tuple(judge or ()))
    job = Job(model, out, seed, *settings, attacker, surrogate, scorer, shard)
    _print(work.gap(job))


@app.command()
def train(
    model: Model,
    out: Out,
    prompts: Prompts = None,
    columns: Columns = None,
    kinds: Kinds = None,
    limit: Limit = None,
    seed: Seed = 0,
    recipe: RecipeName = "",
    changes: Changes = None,
) -> None:
    """Harden a model by SIRL on unlabelled prompts; the result is in OUT/model."""
    from sirl.cli import work
    from sirl.cli.job import Job
    from sirl.cli.sources import Asked

    asked = Asked(tuple(prompts or ()), tuple(columns or ()), tuple(kinds or ()), limit)
    _print(work.train(Job(model, out, seed, recipe, tuple(changes or ()), asked)))


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
    shard: Shard = "",
    seed: Seed = 0,
    recipe: RecipeName = "",
    changes: Changes = None,
) -> None:
    """Measure defence against every attack, over-refusal and capability."""
    from sirl.cli import work
    from sirl.cli.job import Job
    from sirl.cli.sources import Asked

    asked = Asked(tuple(prompts or ()), tuple(columns or ()), tuple(kinds or ()), limit)
    settings = (recipe, tuple(changes or ()), asked, attacks, tuple(judge or ()))
    job = Job(model, out, seed, *settings, attacker, surrogate, scorer, shard)
    _print(work.evaluate(job))


@app.command()
def merge(
    shards: Annotated[list[Path], typer.Argument(help="The folders of all shards of one run.")],
    out: Annotated[Path, typer.Option(help="Run folder to write: new.")],
) -> None:
    """Put the shards of one run together: the same records and numbers as one process would give."""
    from sirl.cli.merge import merge as merge_shards

    _print(merge_shards(shards, out))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    allow_different_protocol: Annotated[
        bool, typer.Option("--allow-different-protocol", help="Compare runs that were measured differently.")
    ] = False,
) -> None:
    """Write one self-contained HTML page from run folders; two evaluate runs are compared."""
    from sirl.report import load_runs, render

    page = render(load_runs(runs), allow_different_protocol)
    if out.is_dir():
        raise RunError(f"{out} is a folder", "the name of the page to write", "add a file name to --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    typer.echo(f"wrote {out}")


@app.command()
def attacks() -> None:
    """List the attacks: kind, access, mechanism, source."""
    from rich.console import Console
    from rich.table import Table

    from sirl.attacks import ATTACKS

    table = Table("attack", "kind", "access", "mechanism", "source", "what it does")
    table.columns[0].no_wrap = True
    for info in ATTACKS.values():
        table.add_row(info.name, info.kind, info.access, info.mechanism, info.source, info.summary)
    Console().print(table)


@organism.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder to write the model to.")],
    arch: Arch = "llama",
    seed: Seed = 0,
) -> None:
    """Train an organism from nothing (minutes on two cores), measure it, and write its model card."""
    from sirl.cli import birth

    birth.build_organism(arch, out, seed)


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
