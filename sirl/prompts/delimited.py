"""Text of a CSV or TSV file -> its header and its rows. A row that does not fit the header is an error."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

from sirl.errors import DataError
from sirl.prompts.cells import Row, bare

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_HINT = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)  # Excel's own first line
_SPACED = re.compile(r'[,;\t|] +"')
Line = tuple[int, list[str]]  # the number of the line that a row begins on, its cells


def read_delimited(name: str, text: str, separator: str = "") -> tuple[list[str], list[Row], str]:
    """Return the header, the rows and the separator, found in the header unless it is given.

    Raises DataError, with the line, if the text is not CSV, if a row has
    more or fewer cells than the header, or if two separators both fit.
    """
    if hint := _HINT.match(text):
        separator, text = hint[1], text[hint.end() :]
    first = 2 if hint else 1
    with _cells_of_any_length(text):
        found = separator or _separator(name, text)
        lines = list(_lines(name, text, found, first))
        if _SPACED.search(text):
            _refuse_spaces_before_quotes(name, lines, list(_lines(name, text, found, first, spaces=False)))
    if not lines:
        return [], [], found
    header = [bare(cell) for cell in lines[0][1]]
    rows: list[Row] = []
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise _misfit(name, number, len(cells), len(header), found)
        rows.append((number, {column: cell for column, cell in zip(header, cells, strict=True) if column}))
    return header, rows, found


@contextmanager
def _cells_of_any_length(text: str) -> Iterator[None]:
    """Lift the limit of the csv module, which is the whole process's, while one text is read."""
    before = csv.field_size_limit(max(len(text), csv.field_size_limit()))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _lines(name: str, text: str, separator: str, first: int, spaces: bool = True) -> Iterator[Line]:
    """Yield the rows, blank lines left out. `spaces`: those after a separator belong to the cell."""
    source = io.StringIO(text, newline="")
    reader = csv.reader(source, delimiter=separator, strict=True, skipinitialspace=not spaces)
    begins, width = first, 0
    try:
        for cells in reader:
            width = width or (len(cells) if any(map(bare, cells)) else 0)
            if len(cells) == width or any(map(bare, cells)):
                yield begins, cells
            begins = first + reader.line_num
    except csv.Error as error:
        found = f"the row that begins on line {begins} of {name} is not CSV ({error})"
        raise DataError(found, f"cells separated by {_told(separator)}", "mend it, or use JSONL") from error


def _separator(name: str, text: str) -> str:
    """Return the separator that parts the header; of several, the one that every row fits."""
    wide = [mark for mark in SEPARATORS if _columns(name, text, mark) > 1]
    if len(wide) < 2:
        return wide[0] if wide else ","
    fitting = [mark for mark in wide if _fits(name, text, mark)]
    if len(fitting) != 1:
        told = " and ".join(SEPARATORS[mark] for mark in fitting or wide)
        found = f"the header of {name} can be read with {told} as the separator"
        raise DataError(
            found, "one separator", 'put quotes around the names that hold another, or add a line "sep=;"'
        )
    return fitting[0]


def _columns(name: str, text: str, separator: str) -> int:
    """Return the columns of the header; none if the separator leaves it in pieces that are no cells."""
    try:
        return len(next(_lines(name, text, separator, 1), (1, []))[1])
    except DataError:
        return 0


def _fits(name: str, text: str, separator: str) -> bool:
    try:
        return len({len(cells) for _, cells in _lines(name, text, separator, 1)}) == 1
    except DataError:
        return False


def _refuse_spaces_before_quotes(name: str, kept: list[Line], skipped: list[Line]) -> None:
    """Raise DataError where a space before a quotation mark makes it part of the text."""
    for (number, one), (_, other) in zip(kept, skipped, strict=False):
        if [cell.lstrip(" ") for cell in one] != [cell.lstrip(" ") for cell in other]:
            found = f"line {number} of {name} has a space before a quotation mark"
            raise DataError(found, "quotation marks right after the separator", "remove the space")


def _misfit(name: str, number: int, cells: int, columns: int, separator: str) -> DataError:
    found = f"line {number} of {name} has {cells} cells and the header {columns}"
    advice = (
        f"put quotes around a cell that holds a {_told(separator)}"
        if cells > columns
        else "fill in what is missing, if only by separators"
    )
    return DataError(found, f"one cell a column, separated by {_told(separator)}", advice)


def _told(separator: str) -> str:
    return SEPARATORS.get(separator, repr(separator))
