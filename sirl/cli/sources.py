"""What the words on the command line stand for: models, prompts and judges.

The one place in a real run that knows the organism: `organism:llama` brings its own prompts and its
exact oracle; any other model brings the user's files and the offline judges.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from sirl.errors import ConfigError, DataError, suggest
from sirl.judges import get_judges
from sirl.lm import LM, load_lm
from sirl.organism import WEIGHTS, oracle
from sirl.organism.corpus import ALIGNED, HARDENING, evaluation_prompts, hardening_prompts
from sirl.prompts import load_prompts
from sirl.records import Judge, Prompt, Question

disable_progress_bar()  # of loading weights: this process is the command line's, and it has bars of its own

ORGANISM = "organism:"
# Attacks whose kind of context the organism met in alignment or in SIRL's prompts; the rest are new to it.
FAMILIES = {
    "plain": ("direct",),
    "roleplay": ("aim", "better_dan"),
    "rules": ("refusal_suppression", "prefix_injection", "style_rules"),
}
SEEN = tuple(
    attack
    for family, attacks in FAMILIES.items()
    for attack in attacks
    if family == "plain" or family in {*ALIGNED, *HARDENING}
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A model under test: `origin` is where its weights came from before any hardening by sirl."""

    lm: LM
    name: str
    origin: str

    @property
    def is_organism(self) -> bool:
        return self.origin.startswith(ORGANISM)


def open_subject(spec: str, dtype: str = "float32", trust_remote_code: bool = False) -> Subject:
    """Load an organism (shipped, or `organism:FOLDER`), a training run's model, a folder, or a hub id."""
    if spec.startswith(ORGANISM):
        return Subject(load_lm(_organism_folder(spec), name=spec, dtype=dtype), spec, spec)
    run = Path(spec) / "config.json"
    origin = _trained_from(run)
    if origin:
        folder = Path(spec) / "model"
        if not folder.is_dir():
            raise DataError(
                f"the training run {spec} has no model yet",
                "a finished run",
                "run sirl train again to finish it",
            )
        name = f"{origin}+sirl"
        return Subject(load_lm(folder, name=name, dtype=dtype), name, origin)
    lm = load_lm(spec, dtype=dtype, trust_remote_code=trust_remote_code)
    return Subject(lm, spec, spec)


def training_prompts(subject: Subject, files: Sequence[Path], count: int, seed: int) -> list[Prompt]:
    """Return unlabelled prompts to harden on: the user's files, or the organism's own."""
    if files:
        return [prompt for file in files for prompt in load_prompts(file).prompts]
    _require_organism(subject)
    return hardening_prompts(count, seed)


def measuring_prompts(
    subject: Subject, files: Sequence[Path], sizes: Mapping[str, int], seed: int
) -> list[Prompt]:
    """Return prompts to measure on: the user's files (column `kind` says why each is asked), or the world's."""
    if files:
        return [prompt for file in files for prompt in load_prompts(file).prompts]
    _require_organism(subject)
    return evaluation_prompts(dict(sizes), seed)


def open_judges(subject: Subject, names: Sequence[str], own_prompts: bool) -> dict[Question, Judge]:
    """Return a judge for each question: the named ones, or the oracle on its own world, or the offline ones."""
    if subject.is_organism and own_prompts and not names:
        return dict(oracle.JUDGES)
    return get_judges(names)


def _organism_folder(spec: str) -> Path:
    name = spec.removeprefix(ORGANISM)
    for folder in (WEIGHTS / name, Path(name)):
        if name and folder.is_dir():
            return folder
    shipped = suggest(name, (p.name for p in sorted(WEIGHTS.glob("*"))))
    raise ConfigError(f"organism {name!r}", "a shipped organism or the folder of a built one", shipped)


def _require_organism(subject: Subject) -> None:
    if not subject.is_organism:
        raise ConfigError(
            f"no prompts for {subject.name}", "--prompts FILE", "give a CSV, JSON, JSONL or Parquet file"
        )


def _trained_from(config: Path) -> str:
    """Return the model that a training run hardened; empty if this is no training run."""
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(settings.get("model", "")) if settings.get("kind") == "train" else ""
