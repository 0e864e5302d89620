"""Is a value from a file of the type that is meant? Lines and settings of a run may be a stranger's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Check = Callable[[Any], bool]
_LARGEST = 2**63  # what a table's whole numbers hold


def require_typed(values: Mapping[str, Any], types: Mapping[str, Any], where: str) -> None:
    """Raise TypeError, which names it, on the first of `values` that is not of its type; others pass."""
    for name, hint in types.items():
        if name in values and not checker(hint)(values[name]):
            raise TypeError(f"{where}{name} = {values[name]!r:.80}")


@cache
def types_of(noun: type) -> Mapping[str, Any]:
    """Return the types of a noun's fields."""
    return get_type_hints(noun)


@cache
def checker(hint: Any) -> Check:
    """Return what says whether a value is of a type; numbers must be finite, and fit into 64 bits."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda _: True
    if origin in (Union, UnionType):
        return _any_of(tuple(map(checker, args)))
    if origin is Literal:
        return lambda value: isinstance(value, str) and value in args
    if origin in (tuple, list):
        return _sequence(origin, args)
    if origin is dict:
        key, item = checker(args[0]), checker(args[1])
        return lambda value: isinstance(value, dict) and all(key(k) and item(v) for k, v in value.items())
    return _PLAIN.get(hint) or (lambda value: isinstance(value, hint))


def _any_of(checks: tuple[Check, ...]) -> Check:
    return lambda value: any(check(value) for check in checks)


def _sequence(origin: type, args: tuple[Any, ...]) -> Check:
    if origin is tuple and args[-1] is not Ellipsis:
        each = tuple(map(checker, args))
        return lambda value: (
            isinstance(value, tuple)
            and len(value) == len(each)
            and all(c(v) for c, v in zip(each, value, strict=True))
        )
    of, several = checker(args[0]), _SEVERAL.get(args[0])
    whole: Check = several or (
        lambda values: all(map(of, values))
    )  # of a long reply without a call for each token
    return lambda value: isinstance(value, origin) and whole(value)


def _whole(value: Any) -> bool:
    return type(value) is int and -_LARGEST <= value < _LARGEST


def _number(value: Any) -> bool:
    return _whole(value) or (type(value) is float and isfinite(value))


_PLAIN: Mapping[Any, Check] = {
    **{bool: lambda value: type(value) is bool, int: _whole, float: _number},
    **{str: lambda value: type(value) is str, NoneType: lambda value: value is None},
}
_SEVERAL: Mapping[Any, Check] = {
    int: lambda values: {*map(type, values)} <= {int} and (not values or max(map(abs, values)) < _LARGEST),
    float: lambda values: {*map(type, values)} <= {float, int} and all(map(isfinite, values)),
    str: lambda values: {*map(type, values)} <= {str},
}
