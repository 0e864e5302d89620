"""Every setting, with its default and where that comes from.

Settings are frozen dataclasses read from a recipe (TOML) and changed with `--set section.key=value`.
A recipe may lie over another one, which it names as its `base`.
An unknown key or a value out of range fails; nothing is silently ignored. Defaults are the paper's
(arXiv 2510.01088, the settings table of its appendix) unless the description says otherwise.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sirl.config.asks import say_aloud
from sirl.config.before import refuse_renamed
from sirl.config.measure import EvaluateConfig, JudgeConfig, ModelConfig
from sirl.config.sections import Keys, decode, kinds_of, leaves, nested
from sirl.config.train import METHODS, TrainConfig, reads, refuse_unread
from sirl.errors import ConfigError, suggest

__all__ = [
    "CHANGES",
    "RECIPES",
    "Changes",
    "EvaluateConfig",
    "JudgeConfig",
    "ModelConfig",
    "Recipe",
    "TrainConfig",
    "load_recipe",
    "system_text",
    "with_change",
]
Changes = Mapping[str, Any] | Sequence[str]  # section.key: value, or texts section.key=value
RECIPES = Path(__file__).parents[1] / "recipes"
CHANGES = "--set"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One published setting: how to measure the gap, train, and evaluate one kind of model."""

    model: ModelConfig = field(default_factory=ModelConfig)
    gap: EvaluateConfig = field(default_factory=lambda: EvaluateConfig(temperature=1.0, samples=4))
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)


class Given(NamedTuple):
    """A setting as written, and who gives it: a recipe, or `--set`."""

    value: Any
    origin: str


def system_text(value: str) -> str:
    """Return a system prompt: the text of a file if `value` names one, else `value` itself.

    Raises ConfigError if a file is named that cannot be read.
    """
    named = len(value) < 256 and "\n" not in value and Path(value).suffix in (".txt", ".md")
    if not named:
        return value.strip()
    try:
        if Path(value).exists() and not Path(value).is_file():
            raise OSError("a pipe, a device or a folder")
        return Path(value).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"system = {value!r} cannot be read ({error})", "a text file", "check it") from error


def settings_of(tables: Mapping[str, Any]) -> Iterator[tuple[Keys, Any]]:
    """Yield the settings that sections of a recipe give, by their keys. Raises ConfigError on an old name."""
    refuse_renamed(tables.get("train", {}))
    return leaves(Recipe, tables)


def load_recipe(name: str = "default", changes: Changes = ()) -> Recipe:
    """Read a recipe by shipped name or by path, then apply changes: `section.key=value`, or a mapping of them.

    Raises ConfigError on an unknown recipe, section or key, on a value of the wrong type or out of range, and
    on a setting that the method does not read.
    """
    given = given_settings(name, changes)
    return decode(Recipe(), nested({keys: setting.value for keys, setting in given.items()}))


def given_settings(name: str, changes: Changes = ()) -> dict[Keys, Given]:
    """Return what a recipe, those that it lies over and the changes say of each setting; the last one counts.

    Where one of them names another method, what those below it say for theirs is left out. Raises ConfigError
    on any other setting that the method does not read; values are as written.
    """
    found: dict[Keys, Given] = {}
    method, since = TrainConfig().method, set[Keys]()  # the settings given since the method was named
    for origin, tables in (*_layers(name), (CHANGES, _changed(changes))):
        mine = {keys: Given(value, origin) for table in tables for keys, value in settings_of(table)}
        found |= mine
        before, method = method, found.get(("train", "method"), Given(method, "")).value
        since = {*mine, *(since if method == before else ())}
    if method in METHODS:
        unread = {keys for keys in found if keys[0] == "train" and not reads(method, keys[1:])}
        for keys in sorted(unread & since):
            refuse_unread(method, keys[1:], found[keys].value)
        found = {keys: setting for keys, setting in found.items() if keys not in unread}
    return found


def with_change(changes: Changes, name: str, value: str) -> Changes:
    """Return the changes and one more, which wins over the others."""
    return {**changes, name: value} if isinstance(changes, Mapping) else (*changes, f"{name}={value}")


def _layers(name: str, built_on_it: tuple[str, ...] = ()) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return a recipe's name and its tables, behind those of the recipes that it lies over."""
    tables = dict(read_recipe(name))
    base = tables.pop("base", None)
    if base is not None and (not isinstance(base, str) or base in (name, *built_on_it)):
        raise ConfigError(f"base = {base!r} in {name}", "another recipe", "name a shipped one or a TOML file")
    for section, table in tables.items():
        if not isinstance(table, dict):
            known = ", ".join(f"[{section}]" for section in kinds_of(Recipe))
            raise ConfigError(f"{section} outside a section in {name}", f"settings in {known}", "move it there")
    return [*([] if base is None else _layers(base, (name, *built_on_it))), (name, [tables])]


def read_recipe(name: str) -> Mapping[str, Any]:
    """Return the tables of a recipe, by shipped name or by path, unchecked; what a file asks for is told.

    Raises ConfigError.
    """
    shipped = RECIPES / f"{name}.toml"
    path = shipped if shipped.is_file() else Path(name)
    if not path.is_file():
        known = suggest(name, (p.stem for p in RECIPES.glob("*.toml")))
        raise ConfigError(f"recipe {name!r}", "a shipped recipe or a TOML file", known)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML ({error})", "a TOML file", "mend that line") from error
    if path != shipped:
        say_aloud(path, tables)
    return tables


def _changed(changes: Changes) -> list[dict[str, Any]]:
    """Return each change as the tables that a recipe would have for it."""
    named = changes.items() if isinstance(changes, Mapping) else map(_split_change, changes)
    return [nested({_keys(name): value}) for name, value in named]


def _keys(name: str, change: str = "") -> Keys:
    keys = tuple(key.strip() for key in name.split("."))
    if len(keys) < 2 or not all(keys):
        example = "for example --set train.steps=60"
        raise ConfigError(f"--set {change or name!r}", "section.key=value", example)
    return keys


def _split_change(change: str) -> tuple[str, Any]:
    name, equals, text = change.partition("=")
    _keys(name if equals else "", change)
    try:
        return name, tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # not TOML, a number too long to read, or too deep
        return name, text.strip()  # a bare word is text
