"""The settings for a reader and for an editor: each with its value, origin and meaning, and as a schema."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from typing import Any

from msgspec import json

from sirl.config import Changes, Recipe, given_settings, load_recipe
from sirl.config.measure import EvaluateConfig
from sirl.config.requests import JsonObject, without_logins
from sirl.config.sections import bare, kinds_of, leaves, note, range_of
from sirl.config.study import StudyConfig
from sirl.config.train import METHODS, TrainConfig, readers


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: where its value comes from (default, a recipe, --set), what it does, and what it takes.

    `read_by` are the methods that read a setting of [train]; empty where all do, and elsewhere.
    """

    name: str
    value: Any
    origin: str
    does: str
    takes: str
    read_by: tuple[str, ...] = ()


def shown(value: Any) -> str:
    """Return a value as a reader writes it: a list with commas, an empty one as none."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value) or "none"


def described(recipe: str = "default", changes: Changes = ()) -> list[Setting]:
    """Return every setting of a recipe with changes. Raises ConfigError as `load_recipe`."""
    settled, given, told = load_recipe(recipe, changes), given_settings(recipe, changes), []
    for keys, value in leaves(Recipe, asdict(settled)):
        kind: Any = Recipe
        for key in keys:
            kind = kinds_of(kind)[key]
        only = readers(keys[1:]) if keys[0] == "train" else METHODS
        method = settled.train.method
        origin = given[keys].origin if keys in given else "default"
        origin = origin if method in only else f"not read by {method}"
        narrow = () if only == METHODS else only
        told.append(
            Setting(
                ".".join(keys), without_logins(value), origin, note(kind, str) or "", range_of(kind), narrow
            )
        )
    return told


def schema() -> dict[str, Any]:
    """Return a JSON schema of recipes and studies, by which editors of TOML complete and check them."""
    sections: dict[str, Any] = {}
    properties = _properties(Recipe, sections)
    study = _properties(StudyConfig, sections)
    del study["methods"]
    study |= {name: properties[name] for name in ("train", "evaluate")}
    either = _properties(TrainConfig, sections) | _properties(EvaluateConfig, sections)
    base = {"type": "string", "description": "The recipe that this one lies over: a shipped one or a file."}
    methods = {"type": "object", "additionalProperties": _object(either, "What a method changes.")}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A recipe or a study of sirl",
        **_object({"base": base, **properties, "study": _object(study, "A study."), "methods": methods}, ""),
        "$defs": sections,
    }


def _properties(section: Any, sections: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a section as properties; what sections are in it are added to `sections`."""
    defaults = {one.name: one.default for one in fields(section)}
    found: dict[str, Any] = {}
    for name, kind in kinds_of(section).items():
        if is_dataclass(kind):
            found[name] = {"$ref": f"#/$defs/{kind.__name__}"}  # type: ignore[union-attr]
            sections[kind.__name__] = _object(_properties(kind, sections), kind.__doc__)  # type: ignore[union-attr]
            continue
        told = {"type": ["object", "string"]} if bare(kind) is JsonObject else json.schema(kind)
        usual = defaults[name]
        default = {} if usual is MISSING else {"default": list(usual) if isinstance(usual, tuple) else usual}
        found[name] = {**told, **default, **({"description": said} if (said := note(kind, str)) else {})}
    return found


def _object(properties: dict[str, Any], told: str | None) -> dict[str, Any]:
    table = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**table, "description": " ".join(told.split())} if told else table
