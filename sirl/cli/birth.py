"""Build an organism, measure what was built, and write its model card from the measurement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from sirl.cli import work
from sirl.cli.job import GAP_SIZES, SIZES, Job
from sirl.cli.progress import building
from sirl.errors import RunError
from sirl.lm import save_lm
from sirl.organism.builder import OrganismRecipe, build, shipped_recipe
from sirl.organism.card import model_card

CARD_SIZES = {**SIZES, "harmful": 200}


def build_organism(arch: str, out: Path, seed: int) -> None:
    """Train, save and measure an organism. Raises ConfigError on an unknown arch, RunError if OUT is in use."""
    recipe = shipped_recipe(arch, seed)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RunError(f"{out} is in use", "a new or empty folder", "name another --out")
    with building() as on_step:
        lm = build(recipe, on_step)
    save_lm(lm, out)
    write_card(recipe, out)
    typer.echo(f"wrote {out}")


def write_card(recipe: OrganismRecipe, folder: Path) -> None:
    """Evaluate the organism in a folder, measure its gap, and write both into its README.md."""
    with TemporaryDirectory() as scratch:
        job = Job(f"organism:{folder}", Path(scratch) / "evaluate", recipe.seed, sizes=CARD_SIZES)
        evaluated = work.evaluate(job)
        gap = work.gap(replace(job, out=Path(scratch) / "gap", attacks="static", sizes=GAP_SIZES))
    (folder / "README.md").write_text(model_card(recipe, evaluated, gap["gap"]), encoding="utf-8")
