"""Replies that people labelled: read them, put them to a judge, and write how far the two agree.

CSV (UTF-8 or latin-1), JSON (a list, or an object of lists or of objects) and JSONL become rows; a label is
yes when its value is among the positive ones, and several label columns vote. This module asks judges and
counts through `metrics`; it knows no judge by name.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sirl.errors import DataError, suggest
from sirl.judges import ask, judge_name, votes
from sirl.metrics import agreement, fleiss_kappa
from sirl.records import Attempt, Completion, Judge, Message, Prompt, Question, Verdict

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a labelled file holds what: one or more columns of labels, and the values that mean yes."""

    reply: str
    labels: tuple[str, ...]
    positive: tuple[str, ...]
    request: str = ""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled reply: its number in the file from 1, what was asked (may be empty), people's answer.

    `label` is None where the label is empty or several columns are tied.
    """

    number: int
    request: str
    reply: str
    label: bool | None

    @property
    def completion(self) -> Completion:
        prompt = Prompt(str(self.number), self.request)
        return Completion(Attempt(prompt, "", (Message("user", self.request),)), self.reply, (), (), True)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a judge said about labelled replies, one verdict a row, and the summary of both."""

    rows: tuple[Labelled, ...]
    verdicts: tuple[Verdict, ...]
    summary: Mapping[str, Any]


def read_labelled(path: Path, columns: Columns) -> list[Labelled]:
    """Return every row of a labelled file. Raises DataError if it cannot be read or a column is missing."""
    rows = _rows(path, _text(path))
    known = list(dict.fromkeys(name for row in rows for name in row))
    for name in filter(None, (columns.reply, *columns.labels, columns.request)):
        if name not in known:
            raise DataError(f"{path} has no column {name!r}", "a column of the file", suggest(name, known))
    wanted = {value.strip().casefold() for value in columns.positive}
    values = {_cell(row, name).casefold() for row in rows for name in columns.labels}
    if not wanted & values:
        found = f"no label in {path} is {' or '.join(columns.positive)}"
        raise DataError(found, "a value that occurs", suggest(columns.positive[0], sorted(values)[:20]))
    return [
        Labelled(
            number,
            _cell(row, columns.request) if columns.request else "",
            str(row.get(columns.reply) or ""),
            _majority([_label(_cell(row, name), wanted) for name in columns.labels]),
        )
        for number, row in enumerate(rows, 1)
    ]


def check(rows: Sequence[Labelled], judge: Judge, question: Question) -> Checked:
    """Ask a judge about labelled replies and count how far it agrees with people.

    The interval of kappa resamples requests where they are known, else single replies. Judges that vote are
    reported with Fleiss' kappa among themselves.
    """
    verdicts = ask(judge, [row.completion for row in rows], question)
    clusters = [row.request or f"row {row.number}" for row in rows]
    summary: dict[str, Any] = {
        "question": question,
        "judge": verdicts[0].judge if verdicts else judge_name(judge),
    }
    answers = [verdict.answer for verdict in verdicts]
    summary |= agreement([row.label for row in rows], answers, clusters)
    if any(panel := [votes(verdict) for verdict in verdicts]):
        summary["judges_kappa"] = votes_kappa(panel)
    return Checked(tuple(rows), tuple(verdicts), summary)


def votes_kappa(panel: Sequence[Mapping[str, bool | None]]) -> float | None:
    """Return Fleiss' kappa of judges, from who voted how on each reply."""
    names = sorted({name for given in panel for name in given})
    return fleiss_kappa([[given.get(name) for given in panel] for name in names])


def write_check(out: Path, checked: Checked) -> None:
    """Write summary.json, confusion.csv and disagreements.jsonl into a folder, in place of older ones."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(checked.summary, indent=1, ensure_ascii=False)
    (out / "summary.json").write_text(text + "\n", encoding="utf-8")
    pairs = list(zip(checked.rows, checked.verdicts, strict=True))
    with (out / "confusion.csv").open("w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        table.writerow(["label", "judge yes", "judge no", "judge undecided"])
        for name, label in (("yes", True), ("no", False), ("undecided", None)):
            given = [verdict.answer for row, verdict in pairs if row.label is label]
            table.writerow([name, *(sum(answer is side for answer in given) for side in (True, False, None))])
    with (out / "disagreements.jsonl").open("w", encoding="utf-8") as handle:
        for row, verdict in pairs:
            if row.label is not None and verdict.answer is not row.label:
                line: dict[str, Any] = {"row": row.number, "label": row.label, "verdict": verdict.answer}
                line |= {"evidence": verdict.evidence, "request": row.request, "reply": row.reply}
                handle.write(json.dumps(line, ensure_ascii=False) + "\n")


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(f"{path} cannot be read ({why})", "a file of labelled replies", "check it") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if path.suffix.lower() != ".csv":
            raise DataError(f"{path} is not UTF-8 ({error.reason})", "UTF-8", "save it as UTF-8") from error
        return data.decode("latin-1")


def _rows(path: Path, text: str) -> list[Row]:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        found = list(csv.DictReader(io.StringIO(text, newline="")))
        return [{name: value for name, value in row.items() if isinstance(name, str)} for row in found]
    try:
        if suffix == ".jsonl":
            items = [json.loads(line) for line in text.split("\n") if line.strip()]
        elif suffix == ".json":
            items = _flat(json.loads(text))
        else:
            expected = "one of .csv, .json, .jsonl"
            raise DataError(f"{path} is of unknown format", expected, "write it in one of these")
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error})", "valid JSON", "mend it") from error
    if not items or not all(isinstance(item, dict) for item in items):
        raise DataError(f"{path} holds no rows", "objects with columns", "name another file")
    return items


def _flat(value: Any) -> list[Any]:
    """Return the rows of a list, or of an object of lists or of objects, in the order of the file."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return []
    inner = list(value.values())
    return [row for item in inner for row in (item if isinstance(item, list) else [item])]


def _cell(row: Row, name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value).strip()


def _label(value: str, positive: set[str]) -> bool | None:
    return value.casefold() in positive if value else None


def _majority(given: Sequence[bool | None]) -> bool | None:
    yes, no = given.count(True), given.count(False)
    return None if yes == no else yes > no
