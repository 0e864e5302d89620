"""One run as the command line asks for it, resolved: model, settings, prompts, attacks, judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import typer

from sirl.attacks import WRITING, AttackInfo, Means, arm, get_attacks, read_phrase_book, unmet
from sirl.attacks.artifacts import Replay, Source, import_attacks
from sirl.cli.sources import (
    ATTACKER,
    ORGANISM,
    SEEN,
    Subject,
    measuring_prompts,
    open_judges,
    open_subject,
    open_target,
)
from sirl.config import EvaluateConfig, Recipe, load_recipe
from sirl.errors import AttackError
from sirl.evidence import Study
from sirl.judges import get_judge
from sirl.records import Access, Decoding, Prompt, Target
from sirl.targets import LocalTarget

# How many of the organism's own prompts a measurement asks, by category or kind.
GAP_SIZES = {"harmful": 48}
SIZES = {"harmful": 100, "benign": 200, "open": 24, "borderline": 200, "math": 200, "code": 200, "chat": 200}


@dataclass(frozen=True, slots=True)
class Job:
    """The words of one command. An empty `recipe`, `attacks` or `attacker` means the default.

    The default attacker of an organism is the attacker organism; any other model has none.
    """

    model: str
    out: Path
    seed: int = 0
    recipe: str = ""
    changes: tuple[str, ...] = ()
    prompts: tuple[Path, ...] = ()
    attacks: str = ""
    judges: tuple[str, ...] = ()
    attacker: str = ""
    surrogate: str = ""
    scorer: str = ""
    phrase_book: Path | None = None
    attack_prompts: Path | None = None
    columns: str = ""
    request_column: str = ""
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)

    def settings(self, subject_is_organism: bool) -> Recipe:
        """Read the recipe with the changes asked for. Raises ConfigError."""
        name = self.recipe or ("organism" if subject_is_organism else "default")
        return load_recipe(name, self.changes)

    def open(self) -> tuple[Subject, Recipe]:
        """Load the model and the settings; the settings first, so that a slip in them costs no loading."""
        early = self.settings(self.model.startswith(ORGANISM))
        subject = open_subject(self.model, early.model)
        return subject, self.settings(subject.is_organism)


def make_study(job: Job, subject: Subject, recipe: Recipe, config: EvaluateConfig) -> Study:
    """Bring together what one measurement needs. Raises AttackError, JudgeError, DataError, ConfigError."""
    if job.attacks:
        config = replace(config, attacks=tuple(name.strip() for name in job.attacks.split(",")))
    prompts = measuring_prompts(subject, job.prompts, job.sizes, job.seed)
    judges = open_judges(subject, job.judges, own_prompts=not job.prompts)
    decoding = Decoding(config.temperature, max_new_tokens=config.max_reply_tokens)
    target = LocalTarget(subject.lm, decoding, config.batch)
    means = Means(
        judge=get_judge(job.scorer) if job.scorer else judges["harmful"],
        attacker=_attacker(job, subject, recipe, config.attacks),
        surrogate=open_target(job.surrogate, recipe.model, decoding) if job.surrogate else None,
        benign=tuple(prompt for prompt in prompts if prompt.kind == "benign"),
        phrase_book=read_phrase_book(job.phrase_book) if job.phrase_book else None,
    )
    attacks = armed(config.attacks, means, target.access)
    replayed = found_elsewhere(job, prompts)
    if clash := sorted(attacks.keys() & replayed.keys()):
        raise AttackError(f"two attacks are named {clash[0]!r}", "one name an attack", "rename the column")
    attacks |= replayed
    config = replace(config, attacks=(*config.attacks, *replayed))
    return Study(tuple(prompts), attacks, target, judges, config, job.seed)


def _attacker(job: Job, subject: Subject, recipe: Recipe, attacks: Sequence[str]) -> Target | None:
    """Open the model that writes attacks, if one is named or an attack on an organism needs one."""
    wanted = any("attacker" in info.needs for info in get_attacks(attacks).values())
    spec = job.attacker or (ATTACKER if subject.is_organism and wanted else "")
    return open_target(spec, recipe.model, WRITING) if spec else None


def armed(names: Sequence[str], means: Means, access: Access) -> dict[str, AttackInfo]:
    """Return the named attacks with their means; those of a group that cannot be run are left out, aloud.

    Raises AttackError if one that was named itself cannot be run, or none is left.
    """
    attacks = {name: arm(info, means) for name, info in get_attacks(names).items()}
    lacks = {name: lack for name, info in attacks.items() if (lack := unmet(info, access))}
    for name, lack in lacks.items():
        if name in names or len(lacks) == len(attacks):
            advice = "name --attacker or --surrogate MODEL, or leave the attack out"
            raise AttackError(f"attack {name!r} cannot be run: {lack}", "all that it needs", advice)
        typer.echo(f"left out: {name}: {lack}", err=True)
    return {name: info for name, info in attacks.items() if name not in lacks}


def found_elsewhere(job: Job, prompts: Sequence[Prompt]) -> dict[str, AttackInfo]:
    """Return the attacks of --attack-prompts; the harmful prompts that they do not cover are told, aloud.

    Raises AttackError if one of them covers none, or the other two options come without a file.
    """
    columns = tuple(name.strip() for name in job.columns.split(",")) if job.columns else ()
    if job.attack_prompts is None:
        if columns or job.request_column:
            raise AttackError("columns of no file", "--attack-prompts FILE with them", "name the file")
        return {}
    found = import_attacks(Source(job.attack_prompts, columns, job.request_column))
    harmful = [prompt for prompt in prompts if prompt.kind == "harmful"]
    for name, left_out in uncovered(found, harmful).items():
        told = ", ".join(f"{why}: {count}" for why, count in left_out.items() if count)
        if sum(left_out.values()) == len(harmful):
            advice = "measure with the prompt set that they were found on"
            raise AttackError(f"{name} covers none of {len(harmful)} harmful prompts ({told})", "some", advice)
        if told:
            typer.echo(f"not asked under {name}, of {len(harmful)} harmful prompts: {told}", err=True)
    return found


def uncovered(attacks: Mapping[str, AttackInfo], prompts: Sequence[Prompt]) -> dict[str, dict[str, int]]:
    """Count, for each attack of prompts found elsewhere, the harmful prompts that it does not cover, by why."""
    harmful = [prompt for prompt in prompts if prompt.kind == "harmful"]
    runs = {name: info.run for name, info in attacks.items()}
    return {name: run.missing(harmful) for name, run in runs.items() if isinstance(run, Replay)}


def seen_attacks(job: Job, subject: Subject) -> list[str] | None:
    """Return the attacks whose kind of context the model met in training; None: its past is not known."""
    return list(SEEN) if subject.is_organism and not job.prompts else None
