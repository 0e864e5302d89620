"""Prompts found elsewhere, read as attacks to replay.

Three shapes. A JailbreakBench artefact (JSON) holds one attack on one model: `parameters` and a list
`jailbreaks`, each with its goal and the prompt found for it, null where none was. HarmBench's test cases (JSON)
hold lists of prompts by behaviour: the first of each list is one attack, the second another. A wide table, in
any format that `sirl.prompts` reads, holds one column an attack, and may say beside a column NAME what its
search cost, in `NAME:queries` and `NAME:budget`.

A prompt found for a request is sent for that request alone: rows and prompts are matched by the text of the
request (but for case, spacing and outer punctuation), or by id where a row has no such text. Prompts of a run
without one are not asked under that attack; `Replay.missing` counts them. This module refuses to search and to
open runs.

Sources: JailbreakBench, arXiv 2404.01318 (its artefacts); HarmBench, arXiv 2402.04249 (its test cases).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from sirl.attacks.info import AttackInfo
from sirl.attacks.static import say
from sirl.errors import AttackError, suggest
from sirl.prompts import (
    CASES,
    TEXT_COLUMNS,
    Table,
    find_column,
    is_missing,
    normalised,
    number_text,
    read_table,
    text_of,
    unguarded,
)
from sirl.records import AttackKind, Attempt, Prompt, Search, Target

MANUAL = "manual"  # JailbreakBench's word for an attack that people wrote
_IDS = ("id", "index", "BehaviorID", "behavior_id")


@dataclass(frozen=True, slots=True)
class Found:
    """One row: the request it was found for, by text or else by id, what to send, and what finding it cost."""

    request: str
    identity: str
    sent: str | None
    search: Search


@dataclass(frozen=True)
class Replay:
    """Send for each prompt what was found for it elsewhere."""

    name: str
    rows: tuple[Found, ...]
    REPLAYS: ClassVar[bool] = True
    recover: ClassVar[None] = None  # whatever the search made of the request

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return an attempt a prompt. Raises AttackError on a prompt that nothing was found for."""
        del target, budget, seed  # the search is over
        attempts = []
        for prompt in prompts:
            row = self.find(prompt)
            if row is None or row.sent is None:
                found = f"attack {self.name!r} has nothing to send for prompt {prompt.id!r}"
                raise AttackError(found, "prompts that it covers", "use the prompt set it was found on")
            attempts.append(Attempt(prompt, self.name, say(row.sent), search=row.search))
        return attempts

    def covers(self, prompt: Prompt) -> bool:
        """Say whether there is something to send for a prompt."""
        row = self.find(prompt)
        return row is not None and row.sent is not None

    def missing(self, prompts: Iterable[Prompt]) -> dict[str, int]:
        """Count the prompts that are not asked: those without a row, and those whose search found nothing."""
        rows = [self.find(prompt) for prompt in prompts]
        return {
            "no row": rows.count(None),
            "nothing found": sum(r is not None and r.sent is None for r in rows),
        }

    def find(self, prompt: Prompt) -> Found | None:
        """Return the row of a prompt: the same request, or the same id where the row tells no request."""
        _, _, own = prompt.id.partition(":")  # behind the name of its set; a bare number is of any set
        found = self._by_text.get(normalised(prompt.text)) or self._by_id.get(prompt.id)
        return found or (None if own.isdecimal() else self._by_id.get(own))

    @cached_property
    def _by_text(self) -> dict[str, Found]:
        return {normalised(row.request): row for row in reversed(self.rows) if row.request}

    @cached_property
    def _by_id(self) -> dict[str, Found]:
        return {row.identity: row for row in reversed(self.rows) if not row.request and row.identity}


@dataclass(frozen=True, slots=True)
class Source:
    """A file of prompts found elsewhere; `columns` and `request_column` are for wide tables."""

    path: Path
    columns: tuple[str, ...] = ()
    request_column: str = ""


def import_attacks(source: Source) -> dict[str, AttackInfo]:
    """Return the attacks of a file by name: METHOD@MODEL of an artefact, the column's name of a table.

    A table's column without an @ gets the file's name behind one, so that it is not taken for an attack that
    searches here. Raises AttackError if the columns are not there or hold nothing, DataError as `read_table`.
    """
    table = read_table(source.path, (*TEXT_COLUMNS, *source.columns, source.request_column), together=True)
    if isinstance(table.about.get("parameters"), dict):
        infos = [_artefact(table, source)]
    elif set(table.columns) == CASES and not source.columns:
        infos = _test_cases(table, source)
    else:
        infos = [_column(table, source, column) for column in _columns(table, source)]
    return {info.name: info for info in infos}


def _artefact(table: Table, source: Source) -> AttackInfo:
    """Return the attack of a JailbreakBench artefact."""
    told = table.about["parameters"]
    method, model = (str(told.get(name) or "unknown") for name in ("method", "model"))
    if source.columns:
        found = f"{source.path} is an artefact of one attack"
        raise AttackError(found, "columns of a wide table only", "leave out --columns")
    manual = told.get("attack_type") == MANUAL
    rows = []
    for number, row in table.rows:
        where = f"item {number} of {source.path}"
        queries = _count(row.get("number_of_queries"), where)
        budget = _count(row.get("budget"), where) or queries
        search = Search() if manual else Search("transfer", budget, queries, surrogate=model)
        rows.append(
            Found(
                _text(row.get("goal"), where), _identity(row), _text(row.get("prompt"), where) or None, search
            )
        )
    return _info(f"{method.lower()}@{model}", rows, source, "static" if manual else "transfer")


def _test_cases(table: Table, source: Source) -> list[AttackInfo]:
    """Return an attack for each place in the lists of test cases: all the first ones, all the second ones."""
    by_place: dict[int, list[Found]] = {}
    for _, row in table.rows:
        found = Found("", str(row["id"]), row["prompt"] if row["prompt"].strip() else None, Search("transfer"))
        by_place.setdefault(row["number"], []).append(found)
    names = {n: f"test_case_{n}" if len(by_place) > 1 else "test_case" for n in by_place}
    return [_info(f"{names[n]}@{source.path.stem}", rows, source, "transfer") for n, rows in by_place.items()]


def _columns(table: Table, source: Source) -> tuple[str, ...]:
    """Return the columns to import; all of them, and that of the request, must be there."""
    known = table.columns
    wanted = [*source.columns, *([source.request_column] if source.request_column else [])]
    absent = next((name for name in wanted if name not in known), None)
    if absent or not source.columns:
        found = f"{source.path} has no column {absent!r}" if absent else f"{source.path} is a wide table"
        raise AttackError(
            found, "the columns that hold prompts, named with --columns", suggest(absent or "", known)
        )
    return source.columns


def _column(table: Table, source: Source, column: str) -> AttackInfo:
    """Return the attack of one column of a wide table."""
    texts = [
        name for one in TEXT_COLUMNS if (name := find_column(one, table.columns)) not in ("", *source.columns)
    ]
    request = source.request_column or (texts[0] if texts else "")
    surrogate = column.partition("@")[2] or None
    rows = []
    for number, row in table.rows:
        where = f"row {number} of {source.path}"
        queries, budget = (_count(row.get(f"{column}:{name}"), where) for name in ("queries", "budget"))
        search = Search("transfer", budget or queries, queries, surrogate=surrogate)
        rows.append(
            Found(
                unguarded(_text(row.get(request), where)),
                _identity(row),
                unguarded(_text(row.get(column), where)) or None,
                search,
            )
        )
    name = column if surrogate else f"{column}@{source.path.stem}"
    return _info(name, rows, source, "transfer")


def _info(name: str, rows: Sequence[Found], source: Source, kind: AttackKind) -> AttackInfo:
    if not any(row.sent for row in rows):
        raise AttackError(
            f"{source.path} holds no prompt of {name}", "at least one", "name another column or file"
        )
    if not all(row.request or row.identity for row in rows if row.sent):
        found = f"{source.path} does not say which requests its prompts are for"
        raise AttackError(found, "a column of requests or of ids", "name it with --request-column")
    _refuse_rivals(rows, source)
    budget = max(row.search.budget for row in rows)
    summary = f"{sum(row.sent is not None for row in rows)} prompts found elsewhere, replayed."
    return AttackInfo(
        name, "replay", "none", kind, source.path.name, summary, Replay(name, tuple(rows)), budget
    )


def _refuse_rivals(rows: Sequence[Found], source: Source) -> None:
    """Raise AttackError if two prompts are for one request: only one of them would be sent."""
    sent: dict[tuple[str, str], str] = {}
    for row in (row for row in rows if row.sent):
        key = (normalised(row.request), "" if row.request else row.identity)
        if sent.setdefault(key, str(row.sent)) != row.sent:
            whose = f" (id {row.identity})" if row.identity else ""
            found = f"{source.path} holds two prompts for one request{whose}"
            raise AttackError(found, "one row a request", "put the others into a column or file of their own")


def _text(value: Any, where: str) -> str:
    """Return a text as it stands, spaces included; a cell that holds nothing is empty."""
    if is_missing(value):
        return ""
    if not isinstance(value, str):
        raise AttackError(f"a prompt in {where} is a {type(value).__name__}", "text", "mend it")
    return value


def _identity(row: Mapping[str, Any]) -> str:
    cells = (row.get(find_column(name, row)) for name in _IDS)
    return next((number_text(text_of(cell, "an id")) for cell in cells if not is_missing(cell)), "")


def _count(value: Any, where: str) -> int:
    """Return a number of queries; none told is 0."""
    text = number_text(text_of(value, f"a number of queries in {where}")) or "0"
    if not text.isdecimal():
        raise AttackError(f"{value!r} in {where} is no number of queries", "0 or more", "mend it")
    return int(text)
