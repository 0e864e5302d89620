"""Questions with choices, as MMLU, ARC and their like publish them: the choices join the text.

The choices are a list, an object of `text` and `label`, an object from label to text, or the columns A, B, C
and D; the answer is a place counted from 0, a label, or the text of a choice, and becomes the label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from sirl.errors import DataError
from sirl.prompts.cells import find_column, is_missing, parsed, text_of

COLUMNS = ("choices", "options")
LETTERS = ("A", "B", "C", "D")


def with_choices(row: Mapping[str, Any], text: str, answer: str, where: str) -> tuple[str, str]:
    """Return a question with its choices, and the label of the right one; both as they are if it has none.

    Raises DataError if the choices cannot be read or the answer is none of them.
    """
    found = _choices(row, where) if answer else None
    if found is None:
        return text, answer
    labels, texts = found
    lines = "\n".join(f"{label}. {choice}" for label, choice in zip(labels, texts, strict=True))
    return f"{text}\n\n{lines}", _label(answer, labels, texts, where)


def _choices(row: Mapping[str, Any], where: str) -> tuple[list[str], list[str]] | None:
    """Return labels and texts."""
    column = next((found for name in COLUMNS if (found := find_column(name, row))), "")
    if not column or is_missing(row[column]):
        lettered = [text_of(row.get(letter), f"{letter} in {where}") for letter in LETTERS]
        return (list(LETTERS), lettered) if all(lettered) else None
    value = parsed(row[column])
    if isinstance(value, Mapping) and set(value) == {"text", "label"}:
        labels, texts = list(map(str, value["label"])), value["text"]
    elif isinstance(value, Mapping):
        labels, texts = list(value), list(value.values())
    else:
        labels, texts = list(ascii_uppercase), value
    well_formed = isinstance(texts, Sequence) and not isinstance(texts, str) and len(texts) <= len(labels)
    if not well_formed or len(texts) < 2:
        found = f"{column} in {where} is no list of choices"
        raise DataError(
            found, "two choices or more", "save the table as JSON lines or Parquet, or drop the column"
        )
    return labels[: len(texts)], [text_of(choice, f"{column} in {where}") for choice in texts]


def _label(answer: str, labels: Sequence[str], texts: Sequence[str], where: str) -> str:
    spelled = {label.casefold(): label for label in labels}
    if answer.casefold() in spelled:
        return spelled[answer.casefold()]
    if answer.isdecimal() and int(answer) < len(labels):
        return labels[int(answer)]
    same = [label for label, text in zip(labels, texts, strict=True) if text == answer]
    if len(same) != 1:
        found = f"the answer {answer!r} in {where} is none of its choices"
        raise DataError(found, f"one of {', '.join(labels)}, a place from 0, or a choice's text", "mend it")
    return same[0]
