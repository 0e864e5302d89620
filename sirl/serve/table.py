"""A run's records -> pages of transcripts.

In memory is one short entry a record; texts and tokens stay on disk and are read for the page that is shown.
The index reads on a little with each request, so none takes long, and the page says how much has been read.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

from sirl.errors import RunError
from sirl.metrics import split_draws, withstood
from sirl.records import Record, Transcripts
from sirl.reporting.transcripts import outcome
from sirl.rundir import RECORDS, RunDir

Order = Literal["as run", "least certain first", "most certain first"]
SEARCHED = 500  # characters of a request that a search for words sees
MOST = 2_000_000  # records of a run that are listed
_GOOD = {"answered": True, "refused": False, "right": True, "wrong": False}


@dataclass(frozen=True, slots=True)
class Entry:
    """What a record is found by. `good`: withstood, answered or right; None: no verdict, or blocked."""

    start: int
    attack: str
    kind: str
    outcome: str
    words: str
    mean: float | None
    good: bool | None
    extra: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """Which records: of an attack, a kind, an outcome, with these words in the request; empty is any."""

    attack: str = ""
    kind: str = ""
    outcome: str = ""
    words: str = ""
    order: Order = "as run"


@dataclass(frozen=True, slots=True)
class Tally:
    """How the replies of one kind to one attack went so far."""

    kind: str
    attack: str
    replies: int
    scored: int
    good: int


@dataclass(slots=True)
class Table:
    """The records of one run, indexed as far as they have been read; `error` says why no further."""

    run: RunDir
    transcripts: Transcripts = "redacted"
    error: str = ""
    _entries: list[Entry] = field(default_factory=list)
    _at: int = 0
    _size: int = 0
    _file: int = 0
    _lock: Lock = field(default_factory=Lock)

    def read(self, seconds: float = 0.4) -> tuple[float, bool]:
        """Read on for about so long; return the share that has been read, and whether that is all."""
        with self._lock:
            stamp = self.run.stamp(RECORDS)
            file, self._size = stamp[:2] if stamp else (0, 0)
            if file != self._file or self._size < self._at:  # replaced, as by a run that is continued
                self._file, self._at, self.error = file, 0, ""
                self._entries.clear()
            whole = bool(self.error) or self._at == self._size or self._read_on(time.monotonic() + seconds)
            return self._at / self._size if self._size else 1.0, whole

    def _read_on(self, end: float) -> bool:
        """Read on until a time; return whether that was all, but for a line that is being written."""
        try:
            for start, stop, record in self.run.records_from(self._at):
                self._entries.append(self._entry(start, record))
                self._at = stop
                if len(self._entries) >= MOST:
                    self.error = f"only the first {MOST} records are listed"
                    return True
                if time.monotonic() > end:
                    return False
        except (RunError, OSError) as error:
            self.error = str(error)
        return True

    def _entry(self, start: int, record: Record) -> Entry:
        checked(record)
        prompt, attack = record.prompt, record.attempt.attack
        words = prompt.id if self.transcripts == "none" else f"{prompt.id} {prompt.text[:SEARCHED]}"
        settings = self.run.config.get("settings")
        samples = settings.get("samples", 1) if isinstance(settings, dict) else 1
        extra = bool(split_draws([record], samples if isinstance(samples, int) else 1)[1])
        told = outcome(record)
        good = withstood(record) if prompt.kind == "harmful" else _GOOD.get(told)
        return Entry(
            start,
            sys.intern(attack),
            sys.intern(prompt.kind),
            sys.intern(told),
            sys.intern(words.casefold()),
            record.mean_entropy,
            None if record.completion.blocked or record.completion.error else good,
            extra,
        )

    def find(self, asked: Asked) -> list[int]:
        """Return where the records that were asked for begin, in order."""
        words = asked.words.casefold()
        found = [
            entry
            for entry in self._listed()
            if asked.attack in ("", entry.attack)
            and asked.kind in ("", entry.kind)
            and asked.outcome in ("", entry.outcome)
            and words in entry.words
        ]
        if asked.order != "as run":
            sign = 1 if asked.order == "most certain first" else -1
            known = [entry for entry in found if entry.mean is not None]
            known.sort(key=lambda entry: sign * (entry.mean or 0.0))
            found = [*known, *(entry for entry in found if entry.mean is None)]
        return [entry.start for entry in found]

    def choices(self, most: int = 200) -> dict[str, list[str]]:
        """Return the attacks, kinds and outcomes that there are, the commonest of too many."""
        listed = self._listed()
        columns = {name: Counter(getattr(e, name) for e in listed) for name in ("attack", "kind", "outcome")}
        return {name: sorted(v for v, _ in counts.most_common(most)) for name, counts in columns.items()}

    def tally(self) -> list[Tally]:
        """Return how it went so far, by kind and attack; extra draws, which show diversity alone, left out."""
        groups: dict[tuple[str, str], list[bool | None]] = {}
        for entry in self._listed():
            if not entry.extra:
                groups.setdefault((entry.kind, entry.attack), []).append(entry.good)
        return [
            Tally(*name, len(goods), sum(g is not None for g in goods), sum(bool(g) for g in goods))
            for name, goods in sorted(groups.items())
        ]

    def records(self, starts: Sequence[int]) -> list[Record]:
        """Return whole records by where they begin. Raises RunError if the file has changed meanwhile."""
        return [checked(self.run.record_at(start)) for start in starts]

    def _listed(self) -> list[Entry]:
        with self._lock:
            return list(self._entries)


def checked(record: Record) -> Record:
    """Return a record whose fields are of the types that a page shows. Raises RunError.

    A run folder may be a stranger's, and JSON holds anything.
    """
    prompt, attempt, completion = record.prompt, record.attempt, record.completion
    numbers = [*(completion.entropies or ()), *([] if record.mean_entropy is None else [record.mean_entropy])]
    texts = [
        prompt.id,
        prompt.text,
        prompt.kind,
        prompt.source,
        prompt.category,
        attempt.attack,
        attempt.prefill,
    ]
    texts += [completion.text, completion.error, *completion.pieces]
    texts += [part for message in attempt.messages for part in (message.role, message.content)]
    texts += [part for v in record.verdicts for part in (v.question, v.evidence, v.judge)]
    counts = [attempt.sample]
    if completion.defended:
        texts.append(completion.defended.did)
        counts += [completion.defended.calls, completion.defended.tokens or 0]
    sound = (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(n, int | float) and abs(n) < float("inf") for n in numbers)
        and all(v.answer in (True, False, None) for v in record.verdicts)
        and all(isinstance(n, int) for n in counts)
    )
    if not sound:
        raise RunError("a record with a field of another type", "records that sirl wrote", "remove its line")
    return record
