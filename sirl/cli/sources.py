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

from sirl.config import ModelConfig
from sirl.errors import ConfigError, DataError, suggest
from sirl.judges import get_judges
from sirl.lm import LM, load_lm
from sirl.organism import WEIGHTS, oracle
from sirl.organism.corpus import evaluation_prompts, hardening_prompts
from sirl.prompts import load_prompts
from sirl.records import Decoding, Judge, Prompt, Question, Target
from sirl.targets import LocalTarget

disable_progress_bar()  # of loading weights: this process is the command line's, and it has bars of its own

ORGANISM = "organism:"
ATTACKER = "organism:attacker"  # the one that writes attacks
# Attacks whose kind of context the organism met in alignment or in SIRL's prompts; the rest are new to it.
FAMILIES = {
    "plain": ("direct",),
    "story": ("deep_inception", "renellm"),
    "roleplay": ("aim", "better_dan"),
    "rules": ("refusal_suppression", "prefix_injection", "style_rules"),
    "demos": ("ica", "many_shot"),
}
SEEN = tuple(attack for attacks in FAMILIES.values() for attack in attacks)


@dataclass(frozen=True, slots=True)
class Subject:
    """A model under test: `origin` is where its weights came from before any hardening by sirl."""

    lm: LM
    name: str
    origin: str

    @property
    def is_organism(self) -> bool:
        return self.origin.startswith(ORGANISM)


def open_subject(spec: str, config: ModelConfig) -> Subject:
    """Load an organism (shipped, or `organism:FOLDER`), a training run's model, a folder, or a hub id."""
    source, name, origin = _resolve(spec)
    lm = load_lm(source, name=name, dtype=config.dtype, trust_remote_code=config.trust_remote_code)
    return Subject(lm, name, origin)


def open_target(spec: str, config: ModelConfig, decoding: Decoding) -> Target:
    """Open a model that attacks use, as a surrogate or as their writer, by the words of `open_subject`."""
    return LocalTarget(open_subject(spec, config).lm, decoding)


def _resolve(spec: str) -> tuple[str | Path, str, str]:
    """Return where the weights are, what to call the model, and where it came from before hardening."""
    if spec.startswith(ORGANISM):
        return _organism_folder(spec), spec, spec
    origin = _trained_from(Path(spec) / "config.json")
    if not origin:
        return spec, spec, spec
    if not (Path(spec) / "model").is_dir():
        found = f"the training run {spec} has no model yet"
        raise DataError(found, "a finished run", "repeat sirl train")
    return Path(spec) / "model", f"{origin}+sirl", origin


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
    """Return a judge for each question: the named, else the oracle on its own world, else the offline."""
    return get_judges(names, oracle.JUDGES if subject.is_organism and own_prompts else None)


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
    is_run = isinstance(settings, dict) and settings.get("kind") == "train"
    return str(settings.get("model", "")) if is_run else ""
