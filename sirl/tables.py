"""The evidence of a run as a table for others to read: one row a reply and verdict, as CSV, Parquet or pandas.

A reply that two judges' questions were put to has two rows, one that no judge saw has one, without a verdict.
docs/tables.md says what each column holds. Rows are made one record at a time, so a run may be larger than the
memory. What may harm is withheld as on every page (`records.shown`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sirl.errors import DataError, RunError, suggest
from sirl.metrics import split_draws
from sirl.prompts import guarded
from sirl.records import Record, Transcripts, Verdict, shown
from sirl.rundir import RunDir

_TYPES = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
# Column -> its type. Every column may be empty; TEXTS are left empty where no text is to be shown.
COLUMNS: dict[str, type] = {
    **{"run": str, "model": str, "seed": int},
    **{"prompt_id": str, "prompt_kind": str, "source": str, "category": str, "prompt": str},
    **{"attack": str, "sample": int, "extra_draw": bool, "messages": str, "prefill": str},
    **{"temperature": float, "max_new_tokens": int},
    **{"search_kind": str, "budget": int, "queries": int, "passes": int, "search_won": bool},
    **{"reply": str, "reply_tokens": int, "finished": bool, "error": str, "blocked": bool},
    **{"defence_did": str, "defence_calls": int, "defence_tokens": int},
    **{"mean_entropy": float, "mean_logprob": float},
    **{"question": str, "answer": bool, "judge": str, "evidence": str},
}
TEXTS = ("prompt", "messages", "prefill", "reply", "evidence")
SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in COLUMNS.items()])
FORMATS = (".csv", ".parquet")
_BATCH, _TEXT = 10_000, 1_000_000  # rows, and characters of their texts, that are written at once


def write_table(runs: Sequence[RunDir], out: Path, transcripts: Transcripts = "redacted") -> int:
    """Write the rows of runs to a CSV or Parquet file, by its suffix; return how many.

    In a CSV, text that a spreadsheet would compute begins with an apostrophe. A file that is there is replaced
    when all is written. Raises DataError on another suffix, RunError if a run holds no replies or is damaged.
    """
    if out.suffix.lower() not in FORMATS:
        raise DataError(f"{out.name} as a table", " or ".join(FORMATS), suggest(out.suffix, FORMATS))
    if out.is_dir():
        raise RunError(f"{out} is a folder", "the name of the file to write", "add a file name")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"{out.name}.part")
    write = _write_csv if out.suffix.lower() == ".csv" else _write_parquet
    try:
        number = write(part, rows(runs, transcripts))
        part.replace(out)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return number


def frame(runs: Sequence[RunDir], transcripts: Transcripts = "redacted") -> Any:
    """Return the rows of runs as one pandas DataFrame, in memory. Raises RunError as `write_table`."""
    return pa.Table.from_pylist(list(rows(runs, transcripts)), SCHEMA).to_pandas()


def rows(runs: Sequence[RunDir], transcripts: Transcripts = "redacted") -> Iterator[dict[str, Any]]:
    """Yield the rows of runs, one record at a time, each with all of `COLUMNS`; None where there is nothing."""
    for run in runs:
        empty = True
        for record in run.each_record():
            empty = False
            yield from _rows(run, record, transcripts)
        if empty:
            found = f"{run.path} holds no replies"
            raise RunError(found, "a run of sirl gap or sirl evaluate", "name another folder")


def _rows(run: RunDir, record: Record, transcripts: Transcripts) -> Iterator[dict[str, Any]]:
    """Yield one row a verdict of a record; counts are those of the reply as it was, whatever is withheld."""
    seen = shown(record, transcripts)
    completion, attempt = seen.completion, seen.attempt
    logprobs = record.completion.logprobs
    decoding, search = attempt.decoding, attempt.search
    samples = int((run.config.get("settings") or {}).get("samples", 1))
    _, extra = split_draws([record], samples)
    defended = completion.defended
    row = {
        "run": run.path.resolve().name,
        "model": run.config.get("model"),
        "seed": run.config.get("seed"),
        "prompt_id": attempt.prompt.id,
        "prompt_kind": attempt.prompt.kind,
        "source": attempt.prompt.source,
        "category": attempt.prompt.category,
        "prompt": attempt.prompt.text,
        "attack": attempt.attack,
        "sample": attempt.sample,
        "extra_draw": bool(extra),
        "messages": json.dumps([[m.role, m.content] for m in attempt.messages], ensure_ascii=False),
        "prefill": attempt.prefill,
        "temperature": decoding.temperature if decoding else None,
        "max_new_tokens": decoding.max_new_tokens if decoding else None,
        "search_kind": search.kind,
        "budget": search.budget,
        "queries": search.queries,
        "passes": search.passes,
        "search_won": search.won,
        "reply": completion.text,
        "reply_tokens": len(record.completion.token_ids),
        "finished": completion.finished,
        "error": completion.error,
        "blocked": completion.blocked,
        "defence_did": defended.did if defended else None,
        "defence_calls": defended.calls if defended else None,
        "defence_tokens": defended.tokens if defended else None,
        "mean_entropy": record.mean_entropy,
        "mean_logprob": sum(logprobs) / len(logprobs) if logprobs else None,
    }
    for verdict in seen.verdicts or (None,):
        whole = row | _verdict(verdict)
        hidden = TEXTS if transcripts == "none" else ()
        yield {name: None if name in hidden else _clean(whole[name], COLUMNS[name]) for name in COLUMNS}


def _verdict(verdict: Verdict | None) -> dict[str, Any]:
    names = ("question", "answer", "judge", "evidence")
    return {name: getattr(verdict, name, None) for name in names}


def _clean(value: Any, kind: type) -> Any:
    """Return a value as its column's type; halves of surrogate pairs, which no file can hold, are `?`."""
    if value is None:
        return None
    return str(value).encode("utf-8", "replace").decode() if kind is str else kind(value)


def _write_csv(path: Path, table: Iterable[dict[str, Any]]) -> int:
    number = 0
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(COLUMNS))
        writer.writeheader()
        for row in table:
            writer.writerow({k: guarded(v) if isinstance(v, str) else v for k, v in row.items()})
            number += 1
    return number


def _write_parquet(path: Path, table: Iterable[dict[str, Any]]) -> int:
    number = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for some in _batches(table):
            writer.write_batch(pa.RecordBatch.from_pylist(some, SCHEMA))
            number += len(some)
    return number


def _batches(table: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Part rows so that no part holds more than `_BATCH` rows, or much more text than `_TEXT` characters."""
    held: list[dict[str, Any]] = []
    size = 0
    for row in table:
        held.append(row)
        size += sum(len(row[name] or "") for name in TEXTS)
        if len(held) == _BATCH or size > _TEXT:
            yield held
            held, size = [], 0
    if held:
        yield held
