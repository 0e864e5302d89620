"""Prompts by what names them: files, published sets, sets read before, or the organism's own world."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from sirl.attacks import get_attacks
from sirl.config import TrainConfig
from sirl.config.train import LABEL_FREE
from sirl.errors import ConfigError, DataError
from sirl.organism.corpus import evaluation_prompts
from sirl.organism.stream import hardening_attempts
from sirl.prompts import (
    SETS,
    PromptSet,
    Provenance,
    combine,
    load_prompts,
    removed,
    sample,
    shuffled_once,
    without_held_out,
)
from sirl.prompts.hub import is_hub
from sirl.prompts.published import load_set
from sirl.prompts.tables import KNOWN, is_table, part
from sirl.ranks import is_first
from sirl.records import UNLABELLED, Attempt, Kind, Prompt
from sirl.training import disguise, plainly
from sirl.workflows.models import Model

LOG = logging.getLogger("sirl")


@dataclass(frozen=True, slots=True)
class PromptSources:
    """Where prompts come from: files, published sets by name, or sets that were read before.

    `columns` and `kinds` are for files: none, one for all, or one for each source in order. `limit` bounds the
    prompts of each source, or of each sort of the organism's own. `held_out` are sources whose prompts
    are not trained on.
    """

    sources: tuple[str | PromptSet, ...] = ()
    columns: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    limit: int | None = None
    held_out: tuple[str | PromptSet, ...] = ()

    @classmethod
    def of(cls, given: Prompts) -> PromptSources:
        """Return sources as themselves; a set, a name or a list of these as sources."""
        if isinstance(given, PromptSources):
            return given
        if isinstance(given, str | Path):
            return cls((str(given),))
        return cls((given,) if isinstance(given, PromptSet) else tuple(given or ()))

    def __post_init__(self) -> None:
        """Raise ConfigError if an option has nothing to act on: nothing is silently ignored."""
        of_files = self.columns or self.kinds
        if of_files and not any(_is_file(source) for source in self.sources):
            found = "--column or --kind without a file"
            raise ConfigError(found, "--prompts FILE", "leave them out: published sets have their own")

    def named(self, names: Sequence[str]) -> tuple[str | PromptSet, ...]:
        """Return the sources of these names: a set that was read before in its name's place."""
        read = {_name(one): one for one in (*self.sources, *self.held_out) if isinstance(one, PromptSet)}
        return tuple(read.get(name, name) for name in names)

    def load(self, seed: int, unstated: Kind = UNLABELLED) -> list[PromptSet]:
        """Read every source, without what an earlier one asks; a kind that nobody states is `unstated`.

        Raises DataError, ConfigError.
        """
        columns, kinds = self._each("--column", self.columns), self._each("--kind", self.kinds)
        return combine(
            [
                self._load(source, column, kind, seed, unstated)
                for source, column, kind in zip(self.sources, columns, kinds, strict=True)
            ]
        )

    def _each(self, option: str, values: tuple[str, ...]) -> list[str | None]:
        if len(values) in (0, 1):
            return [values[0] if values else None] * len(self.sources)
        if len(values) != len(self.sources):
            found = f"{len(values)} times {option} and {len(self.sources)} times --prompts"
            raise ConfigError(
                found, f"one {option} for all, or one for each --prompts in order", f"repeat {option}"
            )
        return list(values)

    def _load(
        self, source: str | PromptSet, column: str | None, kind: str | None, seed: int, unstated: Kind
    ) -> PromptSet:
        if isinstance(source, PromptSet):
            return sample(source, self.limit, seed) if self.limit else source
        return load_source(source, kind=kind, column=column, limit=self.limit, seed=seed, unstated=unstated)


Prompts = PromptSources | PromptSet | str | Path | Sequence[PromptSet | str] | None


def load_source(
    source: str,
    *,
    kind: str | None = None,
    column: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    unstated: Kind = UNLABELLED,
) -> PromptSet:
    """Read a file, or load a published set by its name. Raises DataError; see `load_prompts` and `load_set`."""
    if not _is_file(source):
        return load_set(source, limit=limit, seed=seed)
    return load_prompts(source, kind=kind, column=column, limit=limit, seed=seed, unstated=unstated)


def _name(source: str | PromptSet) -> str:
    return source.provenance.source if isinstance(source, PromptSet) else source


def _is_file(source: str | PromptSet) -> bool:
    if isinstance(source, PromptSet):
        return False
    if is_hub(source):
        return True
    path, _ = part(source)
    is_path = is_table(path) or len(path.parts) > 1 or path.exists()
    return is_path and source.partition("@")[0] not in SETS


@dataclass(frozen=True, slots=True)
class Stream:
    """What training sends, where it comes from, and how many prompts each held-out set cost it, by nearness."""

    attempts: tuple[Attempt, ...]
    sources: tuple[Provenance, ...]
    held_out: tuple[Provenance, ...] = ()
    removed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def training_settings(model: Model, asked: PromptSources, config: TrainConfig) -> TrainConfig:
    """Return the settings with the command's own words in them; no `prompts` means the organism's own stream.

    An organism has that unless prompts are named. Raises ConfigError on a limit that has nothing to act on.
    """
    default = TrainConfig()
    own = model.is_organism and not asked.sources and config.prompts == default.prompts
    if own and (asked.limit is not None or config.limit != default.limit):
        raise ConfigError(
            "--limit without --prompts",
            "prompts to sample from",
            "name --prompts, or set train.steps to train less",
        )
    prompts = tuple(map(_name, asked.sources)) or (() if own else config.prompts)
    held_out = (*config.held_out, *map(_name, asked.held_out))
    return replace(config, prompts=prompts, limit=asked.limit or config.limit, held_out=held_out)


def training_attempts(model: Model, asked: PromptSources, config: TrainConfig, seed: int) -> Stream:
    """Return unlabelled prompts to harden on, plain or disguised: the settings', or the organism's own.

    `config` is that of `training_settings`. What a held-out set asks is left out before the limit is applied.
    Raises ConfigError if no prompts are named, DataError if none is left or a baseline lacks its labels.
    """
    held_out = PromptSources(asked.named(config.held_out)).load(seed) if config.held_out else []
    if not config.prompts:
        _require_organism(model)
        attempts = _own_stream(config, seed)
        sets = without_held_out([_own([attempt.prompt for attempt in attempts])], held_out)
        kept = {prompt.id for one in sets for prompt in one.prompts}
        attempts = [attempt for attempt in attempts if attempt.prompt.id in kept]
    else:
        every = replace(asked, sources=asked.named(config.prompts), limit=None).load(seed)
        sets = [sample(one, config.limit, seed) for one in without_held_out(every, held_out)]
        worn = get_attacks(config.disguises) if config.disguises else {}
        prompts = shuffled_once([prompt for one in sets for prompt in one.prompts], seed)
        attempts = disguise(prompts, worn, config.disguised, seed)
    if not attempts:
        raise DataError(
            "all training prompts overlap --held-out",
            "prompts to train on",
            "add prompts, or drop a held-out set",
        )
    _require_labels([attempt.prompt for attempt in attempts], config)
    sources, told = (tuple(one.provenance for one in some) for some in (sets, held_out))
    if config.prompts:
        tell((*sources, *told))
    return Stream(tuple(attempts), sources, told, removed(sets, held_out))


def _own_stream(config: TrainConfig, seed: int) -> list[Attempt]:
    """Return the organism's own prompts: as many disguised as its world says, none if `disguised` is 0."""
    attempts = hardening_attempts(config.steps * config.prompts_per_step, seed)
    return attempts if config.disguised else [plainly(attempt.prompt) for attempt in attempts]


def measuring_prompts(
    model: Model, asked: PromptSources, sizes: Mapping[str, int], seed: int
) -> list[PromptSet]:
    """Return prompts to measure on: the user's, or the world's.

    Column `kind` says why each is asked. Where nobody says, it is harmful, and that is told, aloud.
    """
    if asked.sources:
        sets = asked.load(seed, "harmful")
        tell(one.provenance for one in sets)
        return sets
    _require_organism(model)
    bounded = {sort: min(size, asked.limit or size) for sort, size in sizes.items()}
    return [_own(evaluation_prompts(bounded, seed))]


def tell(sources: Iterable[Provenance]) -> None:
    """Log what a user should know of how prompts were read, and which rows were left out."""
    for source in sources if is_first() else ():
        lost = {why: count for why, count in source.dropped.items() if why != "past the limit"}
        told = ", ".join(f"{why}: {count}" for why, count in lost.items())
        left_out = [f"{sum(lost.values())} of {source.rows} rows are left out ({told})"] if lost else []
        for note in (*source.notes, *left_out):
            LOG.warning("%s: %s", source.source, note)


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


def _require_labels(prompts: Sequence[Prompt], config: TrainConfig) -> None:
    """Raise DataError if a method that reads labels is given prompts of which nobody said the kind."""
    unlabelled = sum(prompt.kind == UNLABELLED for prompt in prompts)
    if unlabelled and config.method not in LABEL_FREE:
        found = f"{unlabelled} of {len(prompts)} prompts to train on state no kind"
        expected = f"labelled prompts, which train.method = {config.method!r} reads"
        raise DataError(found, expected, "add a column kind, or say --kind for a whole file")


def _require_organism(model: Model) -> None:
    if not model.is_organism:
        raise ConfigError(
            f"no prompts for {model.name}",
            "--prompts FILE or NAME",
            f"give a file ({KNOWN}), or a published set by name",
        )
