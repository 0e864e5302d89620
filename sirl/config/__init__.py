"""Every setting, with its default and where that comes from.

Settings are frozen dataclasses read from a recipe (TOML) and changed with `--set section.key=value`.
A recipe may lie over another one, which it names as its `base`.
An unknown key or a value out of range fails; nothing is silently ignored. Defaults are the paper's
(arXiv 2510.01088, the settings table of its appendix) unless the comment says otherwise.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from sirl.config.asks import say_aloud
from sirl.config.measure import EvaluateConfig, JudgeConfig, ModelConfig
from sirl.config.requests import JsonObject, json_object
from sirl.config.shape import ShapeConfig
from sirl.config.train import UNREAD, TrainConfig
from sirl.errors import ConfigError, suggest

__all__ = [
    "RECIPES",
    "Changes",
    "EvaluateConfig",
    "JudgeConfig",
    "ModelConfig",
    "Recipe",
    "ShapeConfig",
    "TrainConfig",
    "load_recipe",
    "system_text",
    "with_change",
]
Changes = Mapping[str, Any] | Sequence[str]  # section.key: value, or texts section.key=value
RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One published setting: how to measure the gap, train, and evaluate one kind of model."""

    model: ModelConfig = field(default_factory=ModelConfig)
    gap: EvaluateConfig = field(default_factory=lambda: EvaluateConfig(temperature=1.0, samples=4))
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    shape: ShapeConfig = field(default_factory=ShapeConfig)


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


def load_recipe(name: str = "default", changes: Changes = ()) -> Recipe:
    """Read a recipe by shipped name or by path, then apply changes: `section.key=value`, or a mapping of them.

    Raises ConfigError on an unknown recipe, section or key, on a value of the wrong type or out of range, on a
    change that the method does not read; what a recipe holds for another method is put at its default.
    """
    tables = _tables(name)
    if isinstance(changes, Mapping):
        asked = [(*_split_name(name), value) for name, value in changes.items()]
    else:
        asked = [_split_change(change) for change in changes]
    for section, key, value in asked:
        tables.setdefault(section, {})[key] = value
    recipe = Recipe()
    for section, table in tables.items():
        if section not in {f.name for f in fields(Recipe)}:
            known = suggest(section, (f.name for f in fields(Recipe)))
            raise ConfigError(f"section {section!r}", "a section of a recipe", known)
        recipe = replace(recipe, **{section: _apply(getattr(recipe, section), section, table)})
    for section, key, _ in asked:
        if section == "train" and key in UNREAD[recipe.train.method]:
            method = f"train.method = {recipe.train.method!r}"
            raise ConfigError(f"--set train.{key} with {method}", "a setting that it reads", "leave it out")
    unread = {name: getattr(TrainConfig(), name) for name in UNREAD[recipe.train.method]}
    return replace(recipe, train=replace(recipe.train, **unread))


def with_change(changes: Changes, name: str, value: str) -> Changes:
    """Return the changes and one more, which wins over the others."""
    return {**changes, name: value} if isinstance(changes, Mapping) else (*changes, f"{name}={value}")


def _tables(name: str, built_on_it: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Return the sections of a recipe, laid over those of the recipe that it names as its base."""
    raw = dict(read_recipe(name))
    base = raw.pop("base", None)
    if base is not None and (not isinstance(base, str) or base in (name, *built_on_it)):
        raise ConfigError(f"base = {base!r} in {name}", "another recipe", "name a shipped one or a TOML file")
    tables = {} if base is None else _tables(base, (name, *built_on_it))
    for section, table in raw.items():
        if not isinstance(table, dict):
            raise ConfigError(
                f"{section} outside a section in {name}",
                "settings in [model], [gap], [train], [evaluate], [judge] or [shape]",
                "move it into its section",
            )
        tables[section] = {**tables.get(section, {}), **table}
    return tables


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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML ({error})", "a TOML file", "mend that line") from error
    if path != shipped:
        say_aloud(path, tables)
    return tables


def _split_change(change: str) -> tuple[str, str, Any]:
    name, equals, text = change.partition("=")
    section, key = _split_name(name.strip() if equals else "", change)
    try:
        return section, key, tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return section, key, text.strip()  # a bare word is text


def _split_name(name: str, change: str = "") -> tuple[str, str]:
    section, _, key = name.partition(".")
    if not (section and key):
        raise ConfigError(
            f"--set {(change or name)!r}", "section.key=value", "for example --set train.steps=60"
        )
    return section, key


def _apply(config: Any, section: str, table: Mapping[str, Any]) -> Any:
    types = get_type_hints(type(config))
    changes: dict[str, Any] = {}
    for key, value in table.items():
        if key not in types:
            raise ConfigError(f"setting {section}.{key}", "a known setting", suggest(key, types))
        changes[key] = _convert(f"{section}.{key}", types[key], value)
    return replace(config, **changes)


def _convert(name: str, kind: Any, value: Any) -> Any:
    if kind == tuple[str, ...]:
        names = _listed(value) if isinstance(value, str) else value
        if isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names):
            return tuple(n.strip() for n in names)
        raise ConfigError(f"{name} = {value!r}", "a value of type list of text", "change it")
    if kind is JsonObject:
        return json_object(name, value)
    if kind == tuple[int, ...]:
        return _whole_numbers(name, value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{name} = {value!r}", f"a value of type {kind.__name__}", "change it")
    return value


def _listed(text: str) -> list[str]:
    """Return the parts of a text with commas; an empty one is an empty list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _whole_numbers(name: str, value: Any) -> tuple[int, ...]:
    numbers = _listed(value) if isinstance(value, str) else value
    numbers = numbers if isinstance(numbers, (list, tuple)) else [numbers]
    try:
        return tuple(int(str(number)) for number in numbers)
    except ValueError:
        raise ConfigError(f"{name} = {value!r}", "whole numbers", "for example [30, 100]") from None
