"""A study: a table of methods x models x seeds, each measured after the same numbers of training steps.

    [study]            models, seeds, steps, the method the others are compared with, prompts to ask, judges
    [study.train]      settings of [train] for every method, on top of the base recipe
    [study.evaluate]   settings of [evaluate], likewise
    [study.tuned]      what was chosen by looking at which attacks, for the reader
    [study.sizes]      how many of the organism's own prompts are asked, by sort
    [methods.NAME]     what this method changes; with `best_of` or `defence` it is a way to answer and changes
                       [evaluate]; with `method` beside them it trains as well, by the rest

This room reads what is asked for; whether a setting exists is found out where recipes are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sirl.config import read_recipe
from sirl.config.sections import kinds_of, read, require
from sirl.errors import ConfigError, suggest

START = "start"  # the starting model: a row of every study
Table = Mapping[str, Any]
ANSWERING = ("best_of", "defence")  # settings of [evaluate] that make a method a way to answer
Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StudyConfig:
    """What a study runs and how it is told; `train`, `evaluate` and `methods` hold settings as written.

    `tuned` says what was chosen (a setting, a method) and the attacks by whose figures, which the page repeats.
    `prompts` and `judges` are what `sirl evaluate` takes as --prompts and --judge; none: the organism's own.
    """

    models: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]  # at which each trained model is measured; 0 is the start
    reference: str  # the method that the others are compared with; start: the model as it is
    methods: Mapping[str, Table]
    recipe: str = ""  # the base; empty: each model's default
    train: Table = field(default_factory=dict)
    evaluate: Table = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    tuned: Mapping[str, Names] = field(default_factory=dict)
    prompts: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    floor: float = 0.89  # of the DSR under every attack, claimed by arXiv 2510.01088

    def __post_init__(self) -> None:
        for name in ("models", "seeds", "steps", "methods"):
            values = list(getattr(self, name))
            require(len(values) > 0, f"study.{name}", values, "at least one")
            require(len(set(values)) == len(values), f"study.{name}", values, "each once")
        require(min(self.seeds) >= 0, "study.seeds", self.seeds, "0 or more")
        require(min(self.steps) >= 0, "study.steps", self.steps, "0 or more")
        require(0 <= self.floor <= 1, "study.floor", self.floor, "a share from 0 to 1")
        known = (*([START] if 0 in self.steps else []), *self.methods)
        if self.reference not in known:
            advice = suggest(self.reference, known)
            expected = "one of the methods, or start with step 0"
            raise ConfigError(f"study.reference = {self.reference!r}", expected, advice)
        for name in self.methods:
            plain = name.replace("_", "").replace("-", "").isalnum() and name != START
            require(plain, "a method's name", name, f"letters, digits, - and _, and not {START!r}")
        require(
            max(self.steps) > 0 or not any(self.trains(name) for name in self.methods),
            "study.steps",
            self.steps,
            "a step above 0 for methods that train",
        )

    def trains(self, method: str) -> bool:
        """Say whether a method makes another model; the start, and a way to answer, do not."""
        return method != START and makes_another_model(self.methods[method])


def makes_another_model(settings: Table) -> bool:
    """Say whether the settings of a method train; a way to answer does only where it names `method`."""
    return "method" in settings or not any(name in settings for name in ANSWERING)


def load_study(name: str) -> StudyConfig:
    """Read a study by shipped name or by path. Raises ConfigError on what is unknown or of the wrong type."""
    tables = dict(read_recipe(name))
    study, methods = dict(tables.pop("study", {})), tables.pop("methods", {})
    if not study or not isinstance(methods, dict) or not all(isinstance(m, dict) for m in methods.values()):
        advice = "see docs/study.md, or use sirl train for a recipe"
        raise ConfigError(f"{name} is no study", "[study] and a table [methods.NAME] for each method", advice)
    if tables:
        raise ConfigError(f"section {next(iter(tables))!r} in {name}", "[study] and [methods.NAME]", "drop it")
    kinds = {key: kind for key, kind in kinds_of(StudyConfig).items() if key != "methods"}
    for key in study.keys() - kinds.keys():
        raise ConfigError(f"setting study.{key}", "a known setting", suggest(key, kinds))
    given = {key: read(f"study.{key}", kinds[key], value) for key, value in study.items()}
    missing = [f for f in ("models", "seeds", "steps", "reference") if f not in given]
    if missing:
        raise ConfigError(f"{name} without study.{missing[0]}", "all that a study needs", f"add {missing[0]}")
    return StudyConfig(methods=methods, **given)
