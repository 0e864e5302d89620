"""Build an organism, measure what was built, and write its model card from the measurement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from sirl.attacks import WRITING, instructions
from sirl.errors import ConfigError, RunError, suggest
from sirl.lm import LM, load_lm, save_lm
from sirl.organism import WEIGHTS
from sirl.organism.attacker_card import NAMES, attacker_card, examine
from sirl.organism.builder import OrganismRecipe, build, build_attacker, shipped_recipe
from sirl.organism.card import model_card
from sirl.phases import phase
from sirl.targets import LocalTarget
from sirl.workflows import measure
from sirl.workflows.measure import GAP_SIZES, SIZES, Measurement

CARD_SIZES = {**SIZES, "harmful": 200}
EXAM = 200  # outputs to each instruction on the attacker's card
ROLES = ("target", "attacker")


def build_organism(arch: str, out: Path, seed: int, role: str = "target") -> None:
    """Train, save and measure an organism: a model to attack and harden, or one that writes attacks.

    Raises ConfigError on an unknown arch or role, RunError if OUT is in use.
    """
    if role not in ROLES:
        raise ConfigError(f"role {role!r}", "an organism's role", suggest(role, ROLES))
    recipe = shipped_recipe(arch, seed)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RunError(f"{out} is not empty", "a new or empty folder", "name another --out")
    with phase("build the organism") as advance:

        def on_step(stage: str, step: int, steps: int, loss: float) -> None:
            advance(step, steps, f"{stage}, loss {loss:.3f}")

        if role == "target":
            lm = build(recipe, on_step)
        else:
            lm = build_attacker(recipe, load_lm(WEIGHTS / arch), instructions(), on_step)
    save_lm(lm, out)
    if role == "target":
        write_card(recipe, out)
    else:
        write_attacker_card(recipe, lm, out)


def write_card(recipe: OrganismRecipe, folder: Path) -> None:
    """Evaluate the organism in a folder, measure its gap, and write both into its README.md."""
    with TemporaryDirectory() as scratch:
        name, at = f"organism:{folder}", Path(scratch)
        asked = Measurement(name, at / "evaluate", seed=recipe.seed, sizes=CARD_SIZES)
        evaluated = measure.evaluate(asked).summary()
        asked = replace(asked, out=at / "gap", attacks=("static",), sizes=GAP_SIZES)
        gap = measure.gap(asked).summary()["gap"]
    (folder / "README.md").write_text(model_card(recipe, evaluated, gap), encoding="utf-8")


def write_attacker_card(recipe: OrganismRecipe, lm: LM, folder: Path) -> None:
    """Examine the attacker organism and write its marks into the folder's README.md."""
    marks = examine(LocalTarget(lm, WRITING), instructions(), WRITING, NAMES, EXAM, recipe.seed)
    (folder / "README.md").write_text(attacker_card(recipe, marks), encoding="utf-8")
