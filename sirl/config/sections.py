"""What every table of settings is: a frozen dataclass whose fields say their type, range and meaning.

A field's annotation is the one source: of what is accepted (msgspec checks it), of the sentence that refuses
the rest, of `sirl config show`, of the JSON schema and of the page of settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from math import isfinite
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, inspect

from sirl.config.requests import JsonObject, json_object
from sirl.errors import ConfigError, suggest

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0)]  # finite, as every number
Keys = tuple[str, ...]  # of a setting: train, gate, samples
T = TypeVar("T")
N = TypeVar("N")


class Section:
    """A table of settings. However one is made, a value out of its range raises ConfigError."""

    __slots__ = ()
    NAME: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Check every value against its field."""
        for name, kind in kinds_of(type(self)).items():
            if not is_dataclass(kind):
                read(f"{self.NAME}.{name}", kind, getattr(self, name))


def require(holds: bool, name: str, value: object, expected: str) -> None:
    """Raise ConfigError if a setting is not what it must be."""
    if not holds:
        raise ConfigError(f"{name} = {value!r}", expected, f"change {name} in the recipe or with --set")


def kinds_of(section: Any) -> Mapping[str, Any]:
    """Return the annotation of each field of a section."""
    return _kinds(section)


@cache
def _kinds(section: Any) -> Mapping[str, Any]:
    hints = get_type_hints(section, include_extras=True)
    return {field.name: hints[field.name] for field in fields(section)}


def decode(usual: T, table: Mapping[str, Any], where: str = "") -> T:
    """Return a section with the values of a table in place of the `usual` ones. Raises ConfigError.

    `where` is the section's name, as train.gate; a table in it is a section of its own.
    """
    kinds, values = kinds_of(type(usual)), {}
    for key, value in table.items():
        name = f"{where}.{key}" if where else key
        if key not in kinds:
            raise _unknown(type(usual), where, key)
        known = getattr(usual, key)
        values[key] = decode(known, value, name) if is_dataclass(known) else read(name, kinds[key], value)
    return replace(usual, **values)  # type: ignore[type-var]


def read(name: str, kind: Any, value: Any) -> Any:
    """Return a setting's value as its annotation has it; text with commas is a list. Raises ConfigError."""
    if bare(kind) is JsonObject:
        return json_object(name, value)
    given, listed = value, get_origin(bare(kind)) is tuple
    if listed and isinstance(value, str):
        given = [part.strip() for part in value.split(",") if part.strip()]
    elif listed and isinstance(value, int) and not isinstance(value, bool):
        given = [value]
    try:
        if isinstance(value, float) and bare(kind) is int:
            raise msgspec.ValidationError  # 6.0 is no count
        found = msgspec.convert(given, kind, strict=not (listed and isinstance(value, str)))
    except msgspec.ValidationError as error:
        raise _refused(name, kind, value) from error
    if isinstance(found, float) and not isfinite(found):
        raise _refused(name, kind, value)
    return tuple(part.strip() if isinstance(part, str) else part for part in found) if listed else found


def leaves(section: Any, table: Mapping[str, Any], where: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield each setting that a table gives, by its keys; `section` says which tables are sections.

    Raises ConfigError where a section is given a value.
    """
    kinds = kinds_of(section)
    for key, value in table.items():
        keys, kind = (*where, key), kinds.get(key)
        if not is_dataclass(kind):
            yield keys, value
        elif isinstance(value, Mapping):
            yield from leaves(kind, value, keys)
        else:
            name = ".".join(keys)
            raise ConfigError(
                f"{name} = {value!r}", "a table", f"known: {name}.{f', {name}.'.join(kinds_of(kind))}"
            )


def unusual(section: Any, where: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield each setting that is not its default, by its keys."""
    for one in fields(section):
        keys, value = (*where, one.name), getattr(section, one.name)
        if is_dataclass(value):
            yield from unusual(value, keys)
        elif value != one.default:
            yield keys, value


def nested(settings: Mapping[Keys, Any]) -> dict[str, Any]:
    """Return the tables that settings by their keys make."""
    tables: dict[str, Any] = {}
    for (*sections, key), value in settings.items():
        table = tables
        for name in sections:
            table = table.setdefault(name, {})
        table[key] = value
    return tables


def bare(kind: Any) -> Any:
    """Return the type of an annotation without what stands beside it."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def note(kind: Any, sort: type[N]) -> N | None:
    """Return what an annotation says beside the type: its text, for `str`; None if nothing of that sort."""
    return next((said for said in get_args(kind)[1:] if isinstance(said, sort)), None)


def range_of(kind: Any) -> str:
    """Say which values a setting takes: 'a whole number, 1 or more'."""
    return "a JSON object" if bare(kind) is JsonObject else _range(inspect.type_info(kind))


def _range(told: Any) -> str:
    if isinstance(told, inspect.Metadata):
        return _range(told.type)
    if isinstance(told, inspect.LiteralType):
        return ", ".join(map(str, told.values))
    if isinstance(told, inspect.VarTupleType):
        return f"a list of {_range(told.item_type).removeprefix('a ').replace('number', 'numbers')}"
    if isinstance(told, inspect.DictType):
        inside = told.value_type
        return "a table" if isinstance(inside, inspect.AnyType) else f"a table of {_range(inside)}"
    names: dict[type, str] = {
        inspect.IntType: "a whole number",
        inspect.FloatType: "a number",
        inspect.BoolType: "true or false",
    }
    word = names.get(type(told), "text")
    bounds = {
        form: getattr(told, bound, None)
        for bound, form in {"gt": "above {}", "ge": "{} or more", "le": "at most {}", "lt": "below {}"}.items()
    }
    limits = [form.format(f"{value:g}") for form, value in bounds.items() if value is not None]
    return ", ".join([word, " and ".join(limits)]) if limits else word


def _refused(name: str, kind: Any, value: Any) -> ConfigError:
    told = inspect.type_info(kind)
    told = told.type if isinstance(told, inspect.Metadata) else told
    if isinstance(told, inspect.LiteralType) and isinstance(value, str):
        return ConfigError(f"{name} = {value!r}", "a known value", suggest(value, map(str, told.values)))
    return ConfigError(f"{name} = {value!r}", range_of(kind), f"change {name} in the recipe or with --set")


def _unknown(section: type, where: str, key: str) -> ConfigError:
    if not where:
        return ConfigError(f"section {key!r}", "a section of a recipe", suggest(key, kinds_of(section)))
    return ConfigError(f"setting {where}.{key}", "a known setting", suggest(key, _names(section)))


def _names(section: Any, before: str = "") -> Iterator[str]:
    for name, kind in kinds_of(section).items():
        yield f"{before}{name}"
        yield from _names(kind, f"{name}.") if is_dataclass(kind) else ()
