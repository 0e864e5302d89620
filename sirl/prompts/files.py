"""A file of prompts -> a prompt set; `tables` says which files are read.

The columns of a published set are recognised (`sets.SHAPES`); any other table needs a column of text, the first
of `TEXT_COLUMNS` or the one named, and may have id, kind, category, answer and target. Case is no difference
between names of columns.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import cast

from sirl.errors import DataError, suggest
from sirl.prompts.cells import find_column
from sirl.prompts.chats import COLUMNS as CHATS
from sirl.prompts.hub import column_of
from sirl.prompts.objects import CASES
from sirl.prompts.rows import Origin, PromptSet, Selection, read_rows
from sirl.prompts.sets import SHAPES, Shape
from sirl.prompts.tables import Table, read_table
from sirl.records import KINDS, UNLABELLED, Kind

TEXT_COLUMNS = (
    "prompt",
    "text",
    "goal",  # before Behavior: JailbreakBench has both, and its Behavior is a title
    "Behavior",
    "forbidden_prompt",
    "instruction",
    "question",
    *CHATS,
)
_BEHIND = {"instruction": ("input", "context")}  # as Alpaca and Dolly part a request
_TEST_CASES = "read as HarmBench's test cases, each a prompt: --attack-prompts replays them as attacks"


def load_prompts(
    source: str | Path,
    *,
    kind: str | None = None,
    column: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    unstated: Kind = UNLABELLED,
) -> PromptSet:
    """Read FILE, FILE@SPLIT, a folder or `hf:...`; `limit` samples so many prompts by `seed`.

    `kind` is that of rows that state none; where neither they, nor it, nor their published set do, it is
    `unstated`, and the provenance counts them. An absent id is made from the text, so it is the same in every
    file. Raises DataError as `read_table` does, if no column holds the text or no row is usable, if a kind is
    unknown, or one id stands for two texts; what is dropped, see `rows.read_rows`.
    """
    selection = select(kind, limit, seed, unstated)
    column = column_of(source, column)
    table = read_table(source, (column,) if column else TEXT_COLUMNS)
    cases = set(table.columns) == CASES and ".json" in table.name
    notes = (*table.notes, *((_TEST_CASES,) if cases else ()))
    origin = Origin(table.name, table.sha256, table.encoding, table.revision, notes)
    return read_rows(table.rows, _shape(table, column), origin, selection)


def select(kind: str | None, limit: int | None, seed: int, unstated: Kind = UNLABELLED) -> Selection:
    """Check what was asked for. Raises DataError."""
    if kind is not None and kind not in KINDS:
        raise DataError(f"kind {kind!r}", "a kind of prompt", suggest(kind, KINDS))
    if limit is not None and limit < 1:
        raise DataError(f"limit {limit}", "1 or more", "leave it out to read all rows")
    return Selection(cast(Kind | None, kind), limit, seed, unstated)


def recognise(columns: Collection[str]) -> Shape | None:
    """Return the shape of the published set that has these columns; None if it is nobody's."""
    return next((shape for shape in SHAPES if shape.known_by <= set(columns)), None)


def _shape(table: Table, column: str | None) -> Shape:
    known = recognise(table.columns)
    if column is None and known is not None:
        return known
    wanted = (column,) if column else TEXT_COLUMNS
    found = next((name for name in (find_column(one, table.columns) for one in wanted) if name), "")
    if not found:
        told = ", ".join(name[:40] for name in table.columns)
        expected = f"column {column!r}" if column else f"one of the columns {', '.join(TEXT_COLUMNS)}"
        known_ones = suggest(column or "prompt", table.columns)[:400]
        advice = f"{known_ones}; name the right one as column"
        if {".csv", ".tsv"} & set(Path(table.name).suffixes):
            advice += ", or add a header line with its cells separated by comma, semicolon, tab or |"
        raise DataError(f"{table.name} has the columns {told[:400]}", expected, advice)
    if known is not None:
        return replace(known, text=found)
    known_by, others = frozenset(table.columns), _BEHIND.get(found.casefold(), ())
    behind = next(filter(None, (find_column(one, table.columns) for one in others)), "")
    return Shape("", known_by, found, id="id", category="category", target="target", behind=behind)
