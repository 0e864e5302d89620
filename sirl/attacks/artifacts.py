"""Prompts found elsewhere: read them as attacks to replay, and write what an attack sent for others to read.

Two shapes. A JailbreakBench artefact (JSON) holds one attack on one model: `parameters` and a list
`jailbreaks`, each with its goal and the prompt found for it, null where none was. A wide table (CSV, JSONL,
Parquet) holds one column an attack, and may say beside a column NAME what its search cost, in `NAME:queries`
and `NAME:budget`.

A prompt found for a request is sent for that request alone: rows and prompts are matched by the text of the
request (but for case, spacing and outer punctuation), or by id where a row has no such text. Prompts of a run
without one are not asked under that attack; `Replay.missing` counts them. This module refuses to search and to
open runs.

Source: JailbreakBench, arXiv 2404.01318 (its artefacts).
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
from sirl.metrics import rate, select
from sirl.prompts import TEXT_COLUMNS, Sheet, load_rows, normalised
from sirl.records import AttackKind, Attempt, Decoding, Prompt, Record, Search, Target

MANUAL, LIST = "manual", "jailbreaks"  # JailbreakBench's words
_IDS = ("id", "index", "Index")


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
        return self._by_text.get(normalised(prompt.text)) or self._by_id.get(prompt.id)

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
    searches here. Raises AttackError if the columns are not there or hold nothing, DataError as `load_rows`.
    """
    sheet = load_rows(source.path)
    if isinstance(sheet.about.get("parameters"), dict):
        info = _artefact(sheet, source)
        return {info.name: info}
    infos = [_column(sheet, source, column) for column in _columns(sheet, source)]
    return {info.name: info for info in infos}


def export_artefact(records: Sequence[Record], model: str, access: str) -> dict[str, Any]:
    """Return the JailbreakBench artefact of one attack's records (see `single`).

    `model` is the one attacked, `access` what the attack needs of the model it searches on.

    What that format has no place for, and a replay here needs, stands beside it: each row's `budget`.
    """
    rows = [_exported(record, index) for index, record in enumerate(records)]
    first = records[0].attempt
    kind = first.search.kind
    attack_type = MANUAL if kind == "static" else "white_box" if access == "white-box" else "black_box"
    answers = [record.answer("harmful") for record in records]
    return {
        "parameters": {
            "method": first.attack.partition("@")[0],
            "model": first.search.surrogate or model,
            "attack_type": "transfer" if kind == "transfer" else attack_type,
            "evaluated_on": model,
            "attack_success_rate": rate(answers).value,
            "total_number_of_jailbreaks": answers.count(True),
            "number_of_submitted_prompts": len(rows),
            "total_number_of_queries": sum(row["number_of_queries"] for row in rows),
        },
        LIST: rows,
    }


def export_wide(records: Sequence[Record], model: str) -> list[dict[str, Any]]:
    """Return the rows of a wide table with the one attack's column and what its search cost."""
    name = records[0].attempt.attack.partition("@")[0]
    column = f"{name}@{records[0].attempt.search.surrogate or model}"
    return [
        {
            "id": r.prompt.id,
            "prompt": r.prompt.text,
            column: r.attempt.messages[0].content,
            f"{column}:queries": r.attempt.search.queries,
            f"{column}:budget": r.attempt.search.budget,
        }
        for r in records
    ]


def single(records: Sequence[Record], attack: str, decoding: Decoding) -> list[Record]:
    """Return the records of an attack, the first draw of each harmful prompt.

    Raises AttackError if there is none, or if the attack is more than one message of the user, answered as the
    run's own `decoding` says: a prompt alone would not repeat it.
    """
    chosen = [r for r in select(records, "harmful", attack) if r.attempt.sample == 0]
    if not chosen:
        known = suggest(attack, {r.attempt.attack for r in records})
        raise AttackError(f"no record of attack {attack!r} in this run", "an attack that it holds", known)
    for attempt in (r.attempt for r in chosen):
        more = len(attempt.messages) > 1 or attempt.prefill or attempt.soft or attempt.decoding != decoding
        if more:
            found = f"attack {attack!r} is more than a message for prompt {attempt.prompt.id!r}"
            raise AttackError(found, "one message of the user and nothing else", "export another attack")
    return chosen


def _exported(record: Record, index: int) -> dict[str, Any]:
    attempt, jailbroken = record.attempt, record.answer("harmful")
    return {
        "index": index,
        "id": attempt.prompt.id,
        "goal": attempt.prompt.text,
        "behavior": "",
        "category": attempt.prompt.category,
        "prompt": attempt.messages[0].content,
        "response": record.completion.text,
        "number_of_queries": attempt.search.queries,
        "queries_to_jailbreak": attempt.search.queries if jailbroken else None,
        "budget": attempt.search.budget,
        "prompt_tokens": None,  # not recorded
        "response_tokens": len(record.completion.token_ids),
        "jailbroken": jailbroken,
    }


def _artefact(sheet: Sheet, source: Source) -> AttackInfo:
    """Return the attack of a JailbreakBench artefact."""
    told = sheet.about["parameters"]
    method, model = (str(told.get(name) or "unknown") for name in ("method", "model"))
    if source.columns:
        found = f"{source.path} is an artefact of one attack"
        raise AttackError(found, "columns of a wide table only", "leave out --columns")
    manual = told.get("attack_type") == MANUAL
    rows = []
    for number, row in sheet.rows:
        where = f"item {number} of {source.path}"
        queries = _count(row.get("number_of_queries"), where)
        budget = _count(row.get("budget"), where) or queries
        search = Search() if manual else Search("transfer", budget, queries, surrogate=model)
        rows.append(Found(_text(row.get("goal")), _identity(row), _text(row.get("prompt")) or None, search))
    return _info(f"{method.lower()}@{model}", rows, source, "static" if manual else "transfer")


def _columns(sheet: Sheet, source: Source) -> tuple[str, ...]:
    """Return the columns to import; all of them, and that of the request, must be there."""
    known = list(dict.fromkeys(name for _, row in sheet.rows for name in row))
    wanted = [*source.columns, *([source.request_column] if source.request_column else [])]
    absent = next((name for name in wanted if name not in known), None)
    if absent or not source.columns:
        found = f"{source.path} has no column {absent!r}" if absent else f"{source.path} is a wide table"
        raise AttackError(
            found, "the columns that hold prompts, named with --columns", suggest(absent or "", known)
        )
    return source.columns


def _column(sheet: Sheet, source: Source, column: str) -> AttackInfo:
    """Return the attack of one column of a wide table."""
    names = {name for _, row in sheet.rows for name in row}
    texts = [name for name in TEXT_COLUMNS if name in names and name not in source.columns]
    request = source.request_column or (texts[0] if texts else "")
    surrogate = column.partition("@")[2] or None
    rows = []
    for number, row in sheet.rows:
        where = f"row {number} of {source.path}"
        queries, budget = (_count(row.get(f"{column}:{name}"), where) for name in ("queries", "budget"))
        search = Search("transfer", budget or queries, queries, surrogate=surrogate)
        rows.append(Found(_text(row.get(request)), _identity(row), _text(row.get(column)) or None, search))
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
    budget = max(row.search.budget for row in rows)
    summary = f"{sum(row.sent is not None for row in rows)} prompts found elsewhere, replayed."
    return AttackInfo(
        name, "replay", "none", kind, source.path.name, summary, Replay(name, tuple(rows)), budget
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value.strip() else ""


def _identity(row: Mapping[str, Any]) -> str:
    return next((str(row[name]) for name in _IDS if row.get(name) not in (None, "")), "")


def _count(value: Any, where: str) -> int:
    """Return a number of queries; none told is 0."""
    try:
        count = int(value or 0)
    except (TypeError, ValueError):
        count = -1
    if count < 0:
        raise AttackError(f"{value!r} in {where} is no number of queries", "0 or more", "mend it")
    return count
