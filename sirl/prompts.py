"""Prompt sets: read, check, deduplicate, split.

A file of any common shape becomes a tuple of `Prompt`s and a `Provenance` that says what was read and what was
dropped, row for row. This room knows files and text; it knows nothing of models, attacks or judges.

    CSV (UTF-8, or latin-1 when it is not UTF-8), JSON, JSONL, Parquet
    text      the first of `TEXT_COLUMNS`, or `column=`
    optional  id, kind, category, answer
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pyarrow
import pyarrow.parquet

from sirl.errors import DataError, suggest
from sirl.records import KINDS, Kind, Prompt

TEXT_COLUMNS = (
    "prompt",
    "text",
    "goal",
    "Goal",  # before Behavior: JailbreakBench has both, and its Behavior is a title
    "Behavior",
    "forbidden_prompt",
    "instruction",
    "question",
)
SUFFIXES = (".csv", ".json", ".jsonl", ".parquet")

Row = tuple[int, Mapping[str, Any]]  # its number in the file as an editor counts lines or rows, its cells


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a prompt set comes from: `rows` = `kept` + the sum of `dropped`, which maps why to how many."""

    path: str
    sha256: str
    encoding: str
    column: str
    rows: int
    kept: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sheet:
    """The rows of a file as they stand there, and what a JSON object says beside its one list of them."""

    path: Path
    rows: tuple[Row, ...]
    about: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts in the order of their file, and where they come from."""

    prompts: tuple[Prompt, ...]
    provenance: Provenance


def load_prompts(
    source: str | Path, *, kind: str = "harmful", column: str | None = None, limit: int | None = None
) -> PromptSet:
    """Read a prompt set; `kind` stands for rows that state none, `limit` keeps the first so many.

    Dropped and counted: empty texts, texts that are not Unicode, exact duplicates, near duplicates (equal
    but for case, spacing and outer punctuation, asking for the same answer), rows past the limit. An absent
    id is made from the text, so it is the same in every file.
    Raises DataError if the file is missing, unreadable, of unknown format or without usable rows, if no
    column holds the text, a kind is unknown, or one id stands for two texts.
    """
    path = Path(source)
    _check(kind in KINDS, f"kind {kind!r}", "a kind of prompt", suggest(kind, KINDS))
    _check(limit is None or limit >= 1, f"limit {limit}", "1 or more", "leave it out to read all rows")
    data = _read(path)
    rows, encoding = _rows(path, data)
    _check(bool(rows), f"{path} has no rows", "at least one prompt", "name another file")
    name = _text_column(path, rows, column)
    dropped: Counter[str] = Counter()
    kept = list(_distinct(path, _prompts(path, rows, name, cast(Kind, kind), dropped), dropped))
    _check(bool(kept), f"{path} has no usable row ({dict(dropped)})", "at least one prompt", "fill the column")
    if limit is not None and len(kept) > limit:
        dropped["past the limit"] = len(kept) - limit
        kept = kept[:limit]
    digest = sha256(data).hexdigest()
    return PromptSet(
        tuple(kept), Provenance(str(path), digest, encoding, name, len(rows), len(kept), dict(dropped))
    )


def load_rows(source: str | Path) -> Sheet:
    """Read the rows of a file for what else they hold than prompts. Raises DataError as `load_prompts` does."""
    path = Path(source)
    data = _read(path)
    rows, _ = _rows(path, data)
    _check(bool(rows), f"{path} has no rows", "at least one row", "name another file")
    whole = json.loads(data.decode("utf-8-sig")) if path.suffix.lower() == ".json" else None
    beside = whole.items() if isinstance(whole, dict) else ()
    return Sheet(path, tuple(rows), {name: value for name, value in beside if not isinstance(value, list)})


def split_prompts(prompts: Sequence[Prompt], share: float, seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """Part prompts into about `share` and the rest, each by its own id: adding one never moves another.

    Raises DataError if `share` is not between 0 and 1.
    """
    _check(0 < share < 1, f"share {share}", "a fraction between 0 and 1", "for example 0.5")
    parts: tuple[list[Prompt], list[Prompt]] = ([], [])
    for prompt in prompts:
        draw = int.from_bytes(sha256(f"{seed}|{prompt.id}".encode()).digest()[:8], "big") / 2**64
        parts[draw >= share].append(prompt)
    return parts


def without_overlap(prompts: Sequence[Prompt], others: Sequence[Prompt]) -> tuple[list[Prompt], int]:
    """Drop the prompts that `others` also holds, word for word or nearly; return the rest and the count."""
    seen = {normalised(other.text) for other in others}
    kept = [prompt for prompt in prompts if normalised(prompt.text) not in seen]
    return kept, len(prompts) - len(kept)


def normalised(text: str) -> str:
    """Return the text without case, spacing, look-alike characters and outer punctuation."""
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    start, end = 0, len(words)
    # Only the outer marks: inside a sum or a line of code punctuation is the meaning.
    while start < end and not words[start].isalnum():
        start += 1
    while end > start and not words[end - 1].isalnum():
        end -= 1
    return words[start:end] or words


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


def _text_column(path: Path, rows: Sequence[Row], column: str | None) -> str:
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    found = next((name for name in TEXT_COLUMNS if name in columns), None) if column is None else column
    if found is None or found not in columns:
        expected = f"column {column!r}" if column else f"one of the columns {', '.join(TEXT_COLUMNS)}"
        advice = suggest(column or "prompt", columns) + "; name the right one as column"
        raise DataError(f"{path} has columns {', '.join(columns)}", expected, advice)
    return found


def _prompts(
    path: Path, rows: Sequence[Row], column: str, kind: Kind, dropped: Counter[str]
) -> Iterator[Prompt]:
    for number, row in rows:
        where = f"row {number} of {path}"
        text = row.get(column)
        _check(text is None or isinstance(text, str), f"{column} in {where} is no text", "text", "mend it")
        text = (text or "").strip()
        if not text:
            dropped["empty"] += 1
        elif not _is_unicode(text):
            dropped["not Unicode"] += 1
        else:
            stated = _cell(row, "kind") or kind
            _check(stated in KINDS, f"kind {stated!r} in {where}", "a kind of prompt", suggest(stated, KINDS))
            identity = _cell(row, "id") or sha256(text.encode()).hexdigest()[:12]
            category = _cell(row, "category") or _cell(row, "Category")
            yield Prompt(identity, text, cast(Kind, stated), path.name, category, _cell(row, "answer"))


def _distinct(path: Path, prompts: Iterator[Prompt], dropped: Counter[str]) -> Iterator[Prompt]:
    texts: set[str] = set()
    near: set[tuple[str, str]] = set()
    ids: set[str] = set()
    for prompt in prompts:
        likeness = normalised(prompt.text), prompt.answer
        if prompt.text in texts:
            dropped["duplicate"] += 1
        elif likeness in near:
            dropped["near duplicate"] += 1
        else:
            found = f"id {prompt.id!r} stands for two texts in {path}"
            _check(prompt.id not in ids, found, "one id a prompt", "number them anew, or drop the id column")
            texts.add(prompt.text)
            near.add(likeness)
            ids.add(prompt.id)
            yield prompt


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value).strip()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell but no file can hold
        return False
    return True
