"""A file of prompts -> a prompt set: CSV (UTF-8, or latin-1 when it is not UTF-8), JSON, JSONL, Parquet.

The columns of a published set are recognised (`sets.SHAPES`); any other table needs a column of text, the first
of `TEXT_COLUMNS` or the one named, and may have id, kind, category, answer and target.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from sirl.errors import DataError, suggest
from sirl.prompts.rows import Origin, PromptSet, Row, Selection, read_rows
from sirl.prompts.sets import SHAPES, Shape
from sirl.prompts.tables import read_table
from sirl.records import KINDS, Kind

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


def load_prompts(
    source: str | Path,
    *,
    kind: str = "harmful",
    column: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> PromptSet:
    """Read a file; `kind` stands for rows that state none, `limit` samples so many of them by `seed`.

    An absent id is made from the text, so it is the same in every file. Raises DataError if the file is
    missing, unreadable, of unknown format or without usable rows, if no column holds the text, a kind is
    unknown, or one id stands for two texts; what is dropped, see `rows.read_rows`.
    """
    path = Path(source)
    selection = select(kind, limit, seed)
    table = read_table(path)
    if not table.rows:
        raise DataError(f"{path} has no rows", "at least one prompt", "name another file")
    columns = list(dict.fromkeys(name for _, row in table.rows for name in row))
    origin = Origin(path.name, sha256(table.data).hexdigest(), table.encoding)
    return read_rows(table.rows, _shape(path, columns, column), origin, selection)


@dataclass(frozen=True, slots=True)
class Sheet:
    """The rows of a file as they stand there, and what a JSON object says beside its one list of them."""

    path: Path
    rows: tuple[Row, ...]
    about: Mapping[str, Any]


def load_rows(source: str | Path) -> Sheet:
    """Read the rows of a file for what else they hold than prompts. Raises DataError as `load_prompts` does."""
    path = Path(source)
    table = read_table(path)
    if not table.rows:
        raise DataError(f"{path} has no rows", "at least one row", "name another file")
    whole = json.loads(table.data.decode("utf-8-sig")) if path.suffix.lower() == ".json" else None
    beside = whole.items() if isinstance(whole, dict) else ()
    about = {name: value for name, value in beside if not isinstance(value, list)}
    return Sheet(path, tuple(table.rows), about)


def select(kind: str, limit: int | None, seed: int) -> Selection:
    """Check what was asked for. Raises DataError."""
    if kind not in KINDS:
        raise DataError(f"kind {kind!r}", "a kind of prompt", suggest(kind, KINDS))
    if limit is not None and limit < 1:
        raise DataError(f"limit {limit}", "1 or more", "leave it out to read all rows")
    return Selection(cast(Kind, kind), limit, seed)


def recognise(columns: Collection[str]) -> Shape | None:
    """Return the shape of the published set that has these columns; None if it is nobody's."""
    return next((shape for shape in SHAPES if shape.known_by <= set(columns)), None)


def _shape(path: Path, columns: list[str], column: str | None) -> Shape:
    known = recognise(columns)
    if known is not None:
        found: str | None = column or known.text
    else:
        found = column or next((name for name in TEXT_COLUMNS if name in columns), None)
    if found is None or found not in columns:
        expected = f"column {column!r}" if column else f"one of the columns {', '.join(TEXT_COLUMNS)}"
        advice = suggest(column or "prompt", columns) + "; name the right one as column"
        raise DataError(f"{path} has columns {', '.join(columns)}", expected, advice)
    if known is not None:
        return replace(known, text=found)
    category = "category" if "category" in columns else "Category"
    target = "target" if "target" in columns else "Target"
    return Shape("", frozenset(columns), found, id="id", category=category, target=target)
