"""Replies that people labelled: read them, put them to a judge, and write how far the two agree.

A file is read as prompts are (`sirl.prompts`). A label is yes when its value is among the positive ones, and
several label columns vote; every value that occurs is counted with what it was taken for. This module asks
judges and counts through `metrics`; it knows no judge by name.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sirl.errors import DataError, suggest
from sirl.judges import ask, judge_name, votes
from sirl.metrics import agreement, fleiss_kappa
from sirl.prompts import MISSING, Table, is_missing, number_text, only_turn, read_table, text_of, turns_of
from sirl.records import ASSUMED, Attempt, Completion, Judge, Message, Prompt, Question, Verdict

_WORDS = {True: "yes", False: "no", None: "missing"}


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a labelled file holds what: one or more columns of labels, and the values that mean yes.

    `negative` are the values that mean no; none: every value that is neither positive nor missing does.
    """

    reply: str
    labels: tuple[str, ...]
    positive: tuple[str, ...]
    request: str = ""
    negative: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled reply: its number in the file from 1, what was asked (may be empty), people's answer.

    `label` is None where the label is missing or several columns are tied; `values` are the labels' words.
    """

    number: int
    request: str
    reply: str
    label: bool | None
    values: tuple[tuple[str, bool | None], ...] = ()

    @property
    def completion(self) -> Completion:
        """The reply as a judge meets it: people's labels take each request for one that may be served harm.

        Nobody stated that kind, and such files mix safe requests in, so it is marked as assumed.
        """
        prompt = Prompt(str(self.number), self.request, "harmful", source=ASSUMED)
        return Completion(Attempt(prompt, "", (Message("user", self.request),)), self.reply, (), (), True)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a judge said about labelled replies, one verdict a row, and the summary of both."""

    rows: tuple[Labelled, ...]
    verdicts: tuple[Verdict, ...]
    summary: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What the values of labels mean, spelled as `_spelled` does."""

    positive: frozenset[str]
    negative: frozenset[str] = field(default_factory=frozenset)

    def __call__(self, value: str) -> bool | None:
        """Return what a value means; None: nothing. A word that the user names is no missing value."""
        spelled = _spelled(value)
        if spelled in self.positive or spelled in self.negative:
            return spelled in self.positive
        return None if value in MISSING else False


def read_labelled(path: str | Path, columns: Columns) -> list[Labelled]:
    """Return every row of a labelled file, FILE, FILE@SPLIT or `hf:...`.

    Raises DataError as `read_table` does, if a column is missing, if a value that was named does not occur, or
    if values are named for yes and for no and another one occurs.
    """
    wanted = [name for name in (columns.reply, *columns.labels, columns.request) if name]
    table = read_table(path, wanted, together=True)
    for name in wanted:
        if name not in table.columns:
            raise DataError(
                f"{path} has no column {name!r}", "a column of the file", suggest(name, table.columns)
            )
    meaning = _Meaning(*(frozenset(map(_spelled, named)) for named in (columns.positive, columns.negative)))
    _check_values(table, columns, meaning)
    return [_labelled(place, row, columns, meaning) for place, (_, row) in enumerate(table.rows, 1)]


def _labelled(place: int, row: Mapping[str, Any], columns: Columns, meaning: _Meaning) -> Labelled:
    where = f"row {place}"
    values = tuple((value, meaning(value)) for value in (_value(row, name) for name in columns.labels))
    reply = row.get(columns.reply)
    return Labelled(
        place,
        _text(row.get(columns.request), f"{columns.request} in {where}") if columns.request else "",
        reply if isinstance(reply, str) else _text(reply, f"{columns.reply} in {where}"),
        _majority([means for _, means in values]),
        values,
    )


def _text(value: Any, where: str) -> str:
    """Return a text, or that of a chat of one turn."""
    turns = turns_of(value) if isinstance(value, list) else None
    return text_of(value, where) if turns is None else only_turn(turns, where)


def _check_values(table: Table, columns: Columns, meaning: _Meaning) -> None:
    found = {_value(row, name) for _, row in table.rows for name in columns.labels}
    known = sorted(filter(None, found))
    spelled = {_spelled(value) for value in found}
    if not columns.positive:
        raise DataError("no label value means yes", "--positive, once or more", suggest("", known[:20]))
    if absent := [value for value in (*columns.positive, *columns.negative) if _spelled(value) not in spelled]:
        expected = "labels that occur"
        raise DataError(f"no label in {table.name} is {absent[0]!r}", expected, suggest(absent[0], known[:20]))
    if both := meaning.positive & meaning.negative:
        raise DataError(f"the label {min(both)!r} is named for yes and for no", "one of them", "leave one out")
    named = meaning.positive | meaning.negative
    other = [value for value in known if _spelled(value) not in named and value not in MISSING]
    if columns.negative and other:
        advice = "name it in --positive or --negative, or leave out --negative: then it means no"
        raise DataError(f"the label {other[0]!r} in {table.name} is not named", "yes or no", advice)


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
    summary["labels"] = count_labels(rows)
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


def count_labels(rows: Sequence[Labelled]) -> dict[str, Any]:
    """Return how often each label occurs by what it was taken for, and the rows without label or reply."""
    taken: dict[str, Counter[str]] = {word: Counter() for word in _WORDS.values()}
    for value, means in (pair for row in rows for pair in row.values):
        taken[_WORDS[means]][value] += 1
    tied = sum(row.label is None and any(means is not None for _, means in row.values) for row in rows)
    unlabelled = sum(row.label is None for row in rows) - tied
    counts = {"rows": len(rows), "unlabelled": unlabelled, "tied": tied}
    no_reply = sum(is_missing(row.reply) for row in rows)
    return {**{word: dict(found) for word, found in taken.items()}, **counts, "no_reply": no_reply}


def _value(row: Mapping[str, Any], name: str) -> str:
    """Return a label as text; a word for nothing stays, since a label may be None in so many words."""
    value = row.get(name)
    return value.strip() if isinstance(value, str) else text_of(value, f"the label {name}")


def _spelled(value: str) -> str:
    """Return a label without case, and `1` for `1.0`."""
    return number_text(value.strip().casefold())


def _majority(given: Sequence[bool | None]) -> bool | None:
    yes, no = given.count(True), given.count(False)
    return None if yes == no else yes > no
