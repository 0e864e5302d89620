"""A file of any common shape -> rows of cells, and the encoding it was read in. Knows no column's meaning."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow
import pyarrow.parquet

from sirl.errors import DataError
from sirl.prompts.rows import Row

SUFFIXES = (".csv", ".json", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Table:
    """The bytes of a file, its rows, and how the bytes were read."""

    data: bytes
    rows: list[Row]
    encoding: str


def read_table(path: Path) -> Table:
    """Read a file by its suffix. Raises DataError if it is missing, unreadable or of unknown format."""
    data = _read(path)
    return Table(data, *_rows(path, data))


def _check(holds: bool, found: str, expected: str, advice: str) -> None:
    if not holds:
        raise DataError(found, expected, advice)


def _read(path: Path) -> bytes:
    known = f"use one of {', '.join(SUFFIXES)}"
    _check(path.suffix.lower() in SUFFIXES, f"{path} is of unknown format", "a table of prompts", known)
    try:
        return path.read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(f"{path} cannot be read ({why})", "a file of prompts", "check the path") from error


def _rows(path: Path, data: bytes) -> tuple[list[Row], str]:
    """Return the rows and the encoding they were read in."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet_rows(path, data), "parquet"
    try:
        text, encoding = data.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError as error:
        # Spreadsheets still write CSV in latin-1; JSON is UTF-8 by its standard, so there it is damage.
        readable = suffix == ".csv" and b"\0" not in data
        if not readable:
            expected = "UTF-8 text"
            raise DataError(f"{path} is not UTF-8 ({error.reason})", expected, "save it as UTF-8") from error
        text, encoding = data.decode("latin-1"), "latin-1"
    reader = {".csv": _csv_rows, ".json": _json_rows, ".jsonl": _jsonl_rows}[suffix]
    return list(reader(path, text)), encoding


def _csv_rows(path: Path, text: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            quote = "put quotes around cells that hold a comma"
            where = f"line {reader.line_num} of {path}"
            _check(None not in row, f"{where} has more cells than the header", "one cell a column", quote)
            yield reader.line_num, row
    except csv.Error as error:
        found = f"line {reader.line_num} of {path} is not CSV ({error})"
        raise DataError(found, "comma-separated cells", "mend that line, or use JSONL") from error


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    value = _parse(text, str(path))
    lists = [v for v in value.values() if isinstance(v, list)] if isinstance(value, dict) else [value]
    one_list = len(lists) == 1 and isinstance(lists[0], list)
    found = f"{path} holds no single list of prompts"
    _check(one_list, found, "a list of objects or of texts, or an object with one such list", "reshape it")
    for number, item in enumerate(lists[0], 1):
        yield number, _as_row(item, f"item {number} of {path}")


def _jsonl_rows(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON may hold U+2028 as it is
        if line.strip():
            where = f"line {number} of {path}"
            yield number, _as_row(_parse(line, where), where)


def _parquet_rows(path: Path, data: bytes) -> list[Row]:
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not Parquet", "a Parquet table", "write the file again") from error
    return list(enumerate(table.to_pylist(), 1))


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error})", "valid JSON", "mend it") from error


def _as_row(item: Any, where: str) -> Mapping[str, Any]:
    row = {"prompt": item} if isinstance(item, str) else item
    _check(isinstance(row, dict), f"{where} is a {type(item).__name__}", "an object or a text", "mend it")
    return cast(Mapping[str, Any], row)
