"""Cells of a table: when one holds nothing, and the text of a value. Knows no file and no column's meaning."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from typing import Any

from sirl.errors import DataError

Row = tuple[int, Mapping[str, Any]]  # its number in the file as an editor counts lines or rows, its cells

# Source: the default na_values of pandas.read_csv, and NaT, which is how pandas prints a missing time.
MISSING = frozenset(
    {
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
        *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "NaT"),
    }
)
_MISSING = frozenset(word.casefold() for word in MISSING)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # source: OWASP, CSV injection
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"  # byte order mark, zero-width spaces and joiners


def bare(text: str) -> str:
    """Return the text without spaces and invisible characters around it."""
    return text.strip().strip(_INVISIBLE).strip()


def is_missing(value: object) -> bool:
    """Say whether a cell holds nothing: None, a NaN of any type, blanks, or a word of `MISSING` in any case."""
    if isinstance(value, str):
        return bare(value).casefold() in _MISSING
    return value is None or value != value  # a NaN differs from itself


def text_of(value: object, where: str) -> str:
    """Return the text of a cell, without spaces around it; a whole number that pandas made a float is whole.

    Nothing, as `is_missing` says, is the empty text. Of a list of texts and of an object of true and false (a
    set of classes) these are joined by commas. Raises DataError on any other list or object.
    """
    if is_missing(value):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, Mapping) and all(isinstance(holds, bool | None) for holds in value.values()):
        return ", ".join(str(name) for name, holds in value.items() if holds)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, list | Mapping):
        raise DataError(f"{where} is a {_type(value)}", "text or a number", "write it as text")
    return str(value).strip()


def number_text(text: str) -> str:
    """Return `1` for `1.0`, which is how pandas writes a column of whole numbers with a gap; else the text."""
    whole, point, rest = text.partition(".")
    return whole if point and whole.isdecimal() and rest.strip("0") == "" and rest else text


def guarded(text: str) -> str:
    """Return a cell that a spreadsheet shows and does not compute: an apostrophe before a formula."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def unguarded(text: str) -> str:
    """Return the text of a cell that `guarded` wrote."""
    return text[1:] if text.startswith("'") and guarded(text) != text else text


def find_column(name: str, columns: Iterable[str]) -> str:
    """Return the column of this name, in whatever case it is spelled; empty if there is none."""
    spelled = {column.casefold(): column for column in columns}
    return spelled.get(name.casefold(), "")


def parsed(value: Any) -> Any:
    """Return what a text says that is a list or an object as JSON or Python write it; else the value."""
    for parse in (json.loads, ast.literal_eval) if isinstance(value, str) else ():
        try:
            return parse(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value


def _type(value: object) -> str:
    return "list" if isinstance(value, list) else "JSON object"
