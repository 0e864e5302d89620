"""A JSON value -> rows: the shapes in which pandas, datasets, JailbreakBench and HarmBench write a table.

    [{...}, {...}]  ["text", ...]             rows, or texts
    {"goals": [...], "version": 1}            one list, with something told beside it
    {"prompt": [...], "kind": [...]}          columns (pandas to_dict("list"), datasets)
    {"prompt": {"0": ...}, "kind": {...}}     columns by index (pandas to_json)
    {"0": {"prompt": ...}, "1": {...}}        rows by index (pandas orient="index")
    {"columns": [...], "data": [[...]]}       pandas orient="split"
    {"schema": {...}, "data": [{...}]}        pandas orient="table"
    {"0": "text", "1": "text"}                a pandas Series; {"index": [...], "data": [...]}: split
    {"features": [...], "rows": [{"row": ...}]}  the API of datasets' viewer
    {"train": ..., "test": ...}               splits, of which one must be chosen
    {"id": ["text", ...]}  {"id": [{...}]}    HarmBench: test cases, or completions, by behaviour

Names decide where two shapes look alike: whoever reads a table says which columns it would know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sirl.errors import DataError, suggest
from sirl.prompts.cells import Row
from sirl.prompts.chats import turns_of
from sirl.records import KINDS

# Names that say which part of a set it is: of splits, and of prompts that are asked for different ends.
CASES = frozenset({"id", "number", "prompt"})  # the columns of texts under ids, as of HarmBench's test cases
_PART = re.compile(
    rf"(train|test|val|valid|validation|dev|eval|held[-_]?out|{'|'.join(KINDS)}|safe|unsafe|harmless)([-_.].*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader looks for: the columns that it would know, and one split where a file has several.

    `together`: lists of rows under several names that are no splits are read one after another, each row with
    its name as id.
    """

    columns: Collection[str] = ()
    split: str = ""
    together: bool = False

    def knows(self, names: Collection[str]) -> bool:
        """Say whether one of the names is a column that the reader would know."""
        return bool({name.casefold() for name in names} & {name.casefold() for name in self.columns})


def parse(text: str, where: str) -> Any:
    """Parse JSON; NaN, which JSON lacks and Python writes, is None. Raises DataError, with the line."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        advice = "remove the comma at its end" if text.rstrip().endswith(",") else "mend it"
        raise DataError(f"{where} is not JSON ({error})", "valid JSON", advice) from error


def lines_of(text: str) -> list[str]:
    """Return the lines of a text. Not splitlines: a cell may hold U+2028 or a form feed as it is."""
    return re.split(r"\r\n|\r|\n", text)


def read_lines(name: str, text: str) -> list[Row]:
    """Return the rows of JSON lines; blank lines are left out. Raises DataError, with the line."""
    return [
        (number, as_row(parse(line, where), where))
        for number, line in enumerate(lines_of(text), 1)
        if line.strip()
        for where in [f"line {number} of {name}"]
    ]


def read_value(name: str, value: Any, wanted: Wanted) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows of a JSON value, and what an object says beside its one list of them.

    Raises DataError if the value is of no known shape, or has several splits and none is chosen.
    """
    if isinstance(value, dict) and isinstance(value.get("data"), dict) and not wanted.knows(value):
        value = value["data"]  # splits or columns, with something told beside them
    if wanted.split:
        value = _chosen(name, value, wanted.split)
    if isinstance(value, list):
        return _items(name, value), {}
    if not isinstance(value, dict):
        raise _shapeless(name, f"is one {type(value).__name__}")
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        return _split_orient(name, value), {}
    if "features" in value and isinstance(value.get("rows"), list):
        return _viewed(name, value["rows"]), {k: v for k, v in value.items() if k != "rows"}
    if any(turns_of(inner) for inner in value.values()):
        return [(1, value)], {}  # a row that is a chat, not a column of turns
    if wanted.knows(value):
        return _columns(name, value), {}
    if series := _series(value):
        return _items(name, series), {}
    lists = {key: inner for key, inner in value.items() if isinstance(inner, list)}
    if len(lists) == 1 and not (wanted.together and _texts(*lists.values())):
        return _items(name, *lists.values()), {k: v for k, v in value.items() if k not in lists}
    return _groups(name, value, wanted), {}


def as_row(item: Any, where: str) -> Mapping[str, Any]:
    """Return an object as a row, a text or a chat as that of one prompt. Raises DataError on anything else."""
    row = {"prompt": item} if isinstance(item, str) or turns_of(item) else item
    if not isinstance(row, dict):
        raise DataError(f"{where} is a {type(item).__name__}", "an object or a text", "mend it")
    return cast(Mapping[str, Any], row)


def choose(name: str, parts: Sequence[str]) -> DataError:
    """Return the error of a file that has several splits."""
    told = ", ".join(parts[:8]) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "")
    advice = f"choose one, as {name}@{parts[0]}; --prompts may be repeated"
    return DataError(f"{name} holds several lists of rows: {told}", "one of them", advice)


def _items(name: str, items: Sequence[Any]) -> list[Row]:
    if items and all(isinstance(item, list) and not turns_of(item) for item in items):
        if any(len(item) != 1 or not isinstance(item[0], str) for item in items):
            found = f"{name} is a list of lists of values"
            raise DataError(
                found, "rows that name their columns", 'write it as pandas does with orient="records"'
            )
        items = [item[0] for item in items]
    return [(number, as_row(item, f"item {number} of {name}")) for number, item in enumerate(items, 1)]


def _chosen(name: str, value: Any, split: str) -> Any:
    if not isinstance(value, dict) or split not in value:
        known = suggest(split, value) if isinstance(value, dict) else "leave out what follows the @"
        raise DataError(f"{name} has no split {split!r}", "a split that it has", known)
    return value[split]


def _viewed(name: str, items: Sequence[Any]) -> list[Row]:
    """Return the rows of datasets' viewer, which shortens what is long. Raises DataError where it did."""
    for number, item in enumerate(items, 1):
        cut = item.get("truncated_cells") if isinstance(item, dict) else None
        if cut:
            found = f"item {number} of {name} holds only the beginning of {', '.join(map(str, cut))}"
            raise DataError(found, "whole rows", "read the data set itself: --prompts hf:OWNER/NAME")
    inner = [
        item["row"] if isinstance(item, dict) and isinstance(item.get("row"), dict) else item for item in items
    ]
    return _items(name, inner)


def _series(value: Mapping[str, Any]) -> list[str]:
    """Return the texts of a pandas Series; none if the object is something else."""
    texts = value["data"] if "index" in value and isinstance(value.get("data"), list) else []
    if not texts and all(key.isdecimal() for key in value):
        texts = list(value.values())
    return texts if all(isinstance(text, str | None) for text in texts) else []


def _split_orient(name: str, value: Mapping[str, Any]) -> list[Row]:
    columns = [str(column) for column in value["columns"]]
    rows: list[Row] = []
    for number, cells in enumerate(value["data"], 1):
        if not isinstance(cells, list) or len(cells) != len(columns):
            raise DataError(f"item {number} of {name} does not fit its columns", "one cell a column", "mend it")
        rows.append((number, dict(zip(columns, cells, strict=True))))
    if len(set(columns)) < len(columns):
        raise DataError(f"two columns of {name} have one name", "names that differ", "rename one of them")
    return rows


def _columns(name: str, value: Mapping[str, Any]) -> list[Row]:
    """Return the rows of an object of columns, or of an object that is itself a row."""
    inner = list(value.values())
    if not any(isinstance(column, list | dict) for column in inner):
        return [(1, value)]
    if all(isinstance(column, dict) for column in inner):
        keys = [list(column) for column in inner]
        inner = [list(column.values()) for column in inner]
    else:
        keys = [list(range(len(column))) if isinstance(column, list) else [] for column in inner]
    if any(own != keys[0] for own in keys):
        found = f"the columns of {name} differ in length or index"
        raise DataError(found, "one cell a column and row", "write it anew as a list of objects")
    rows = zip(*inner, strict=True)
    return [(number, dict(zip(value, row, strict=True))) for number, row in enumerate(rows, 1)]


def _groups(name: str, value: Mapping[str, Any], wanted: Wanted) -> list[Row]:
    """Return the rows of an object whose values are rows, or lists of rows or of texts, under ids."""
    inner = list(value.values())
    kinds = {type(rows) for rows in inner}
    if kinds not in ({dict}, {list}):
        raise _shapeless(name, f"is an object with the keys {', '.join(list(value)[:8]) or '(none)'}")
    if _parts(value) or (kinds == {list} and not wanted.together and not _texts(*inner)):
        raise choose(name, list(value))
    if kinds == {dict}:
        return [(n, _with_id(key, row)) for n, (key, row) in enumerate(value.items(), 1)]
    return list(enumerate(_under_ids(name, value, wanted.together), 1))


def _parts(names: Collection[str]) -> bool:
    """Say whether the names are those of splits: one of them outright, or all of them with more behind it."""
    found = [_PART.fullmatch(name) for name in names]
    return all(found) or any(one and not one[2] for one in found)


def _under_ids(name: str, value: Mapping[str, Sequence[Any]], together: bool) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of lists under ids. A text is a prompt; read `together`, those of a list share an id."""
    for key, items in value.items():
        for number, item in enumerate(items, 1):
            row = as_row(item, f"item {number} of {key} in {name}")
            own = key if together or len(items) == 1 else f"{key}/{number}"
            yield {"id": own, "number": number, **row} if isinstance(item, str) else _with_id(key, row)


def _with_id(key: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the row with its key as id, unless it has one or the key is only its place."""
    has_one = any(name.casefold() == "id" for name in row)
    return row if has_one or key.isdecimal() else {"id": key, **row}


def _texts(*lists: Any) -> bool:
    return all(isinstance(item, str) for items in lists for item in items)


def _shapeless(name: str, what: str) -> DataError:
    expected = "a list of objects or of texts, an object with one such list, or an object of columns"
    return DataError(f"{name} {what} and holds no list of rows", expected, "reshape it")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _constant(word: str) -> float | None:
    return None if word == "NaN" else float(word)
