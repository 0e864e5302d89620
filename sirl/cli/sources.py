"""What the words on the command line stand for: models, prompts and judges.

The one place in a real run that knows the organism: `organism:llama` brings its own prompts and its
exact oracle; any other model brings the user's files and the offline judges.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from sirl.config import ModelConfig
from sirl.errors import ConfigError, DataError, suggest
from sirl.judges import get_judges
from sirl.lm import LM, load_lm
from sirl.organism import WEIGHTS, oracle
from sirl.organism.corpus import evaluation_prompts, hardening_prompts
from sirl.prompts import SETS, PromptSet, Provenance, combine, load_prompts
from sirl.prompts.hub import load_set
from sirl.prompts.tables import SUFFIXES
from sirl.records import Decoding, Judge, Prompt, Question, Target
from sirl.targets import LocalTarget

disable_progress_bar()  # of loading weights: this process is the command line's, and it has bars of its own

ORGANISM = "organism:"
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
class Asked:
    """The prompts that the user names: files, or published sets by name.

    `columns` and `kinds` are for files: none, one for all, or one for each source in order.
    """

    sources: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    limit: int | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError if an option has nothing to act on: nothing is silently ignored."""
        if self.limit is not None and not self.sources:
            raise ConfigError(
                "--limit without --prompts", "prompts to sample from", "name them, or leave it out"
            )
        of_files = self.columns or self.kinds
        if of_files and not any(_is_file(source) for source in self.sources):
            found = "--column or --kind without a file"
            raise ConfigError(found, "--prompts FILE", "a set by name brings its own; leave them out")

    def load(self, seed: int) -> list[PromptSet]:
        """Read every source, without what an earlier one asks. Raises DataError, ConfigError."""
        columns, kinds = self._each("--column", self.columns), self._each("--kind", self.kinds)
        return combine(
            [
                self._load(source, column, kind or "harmful", seed)
                for source, column, kind in zip(self.sources, columns, kinds, strict=True)
            ]
        )

    def _each(self, option: str, values: tuple[str, ...]) -> list[str | None]:
        if len(values) in (0, 1):
            return [values[0] if values else None] * len(self.sources)
        if len(values) != len(self.sources):
            found = f"{len(values)} times {option} and {len(self.sources)} times --prompts"
            raise ConfigError(found, "one for all, or one for each in order", f"repeat {option}")
        return list(values)

    def _load(self, source: str, column: str | None, kind: str, seed: int) -> PromptSet:
        if _is_file(source):
            return load_prompts(source, kind=kind, column=column, limit=self.limit, seed=seed)
        return load_set(source, limit=self.limit, seed=seed)


def _is_file(source: str) -> bool:
    path = Path(source)
    is_path = path.suffix.lower() in SUFFIXES or len(path.parts) > 1 or path.exists()
    return is_path and source.partition("@")[0] not in SETS


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


def training_prompts(subject: Subject, asked: Asked, count: int, seed: int) -> list[PromptSet]:
    """Return unlabelled prompts to harden on: the user's, or the organism's own."""
    if asked.sources:
        return asked.load(seed)
    _require_organism(subject)
    return [_own(hardening_prompts(count, seed))]


def measuring_prompts(subject: Subject, asked: Asked, sizes: Mapping[str, int], seed: int) -> list[PromptSet]:
    """Return prompts to measure on: the user's (column `kind` says why each is asked), or the world's."""
    if asked.sources:
        return asked.load(seed)
    _require_organism(subject)
    return [_own(evaluation_prompts(dict(sizes), seed))]


def open_judges(subject: Subject, names: Sequence[str], own_prompts: bool) -> dict[Question, Judge]:
    """Return a judge for each question: the named, else the oracle on its own world, else the offline."""
    return get_judges(names, oracle.JUDGES if subject.is_organism and own_prompts else None)


def _own(prompts: Sequence[Prompt]) -> PromptSet:
    """Return the organism's own prompts as a set; they are made, not read."""
    digest = sha256("\0".join(prompt.text for prompt in prompts).encode()).hexdigest()
    kinds: Counter[str] = Counter(prompt.kind for prompt in prompts)
    size = len(prompts)
    source = "made by the organism's world"
    return PromptSet(
        tuple(prompts),
        Provenance(source, "", None, digest, "generated", "", size, size, dict(sorted(kinds.items())), {}),
    )


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
            f"no prompts for {subject.name}",
            "--prompts FILE or NAME",
            "give a CSV, JSON, JSONL or Parquet file, or a published set by name",
        )


def _trained_from(config: Path) -> str:
    """Return the model that a training run hardened; empty if this is no training run."""
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    is_run = isinstance(settings, dict) and settings.get("kind") == "train"
    return str(settings.get("model", "")) if is_run else ""
