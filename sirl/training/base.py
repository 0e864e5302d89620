"""What the base model replies before training, drawn once.

The check, the gate and the probes ask it much the same: plain requests, several times each. A reply that one of
them drew another gets again, if decoding and seed are the same: it would draw the very same. They are kept in
`base.jsonl` of the run, so that a command that is given again draws none of them. What the gate alone asks is
kept as the gate needs it, in `instincts.jsonl`: there may be as many requests as training has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from sirl.generation import generate
from sirl.lm import LM
from sirl.phases import Advance, ignored
from sirl.ranks import is_first
from sirl.records import Attempt, Completion, Decoding
from sirl.rundir import RunDir
from sirl.targets import Draw
from sirl.training.distributed import from_first, generate_together

REPLIES = "base.jsonl"


@dataclass
class Base:
    """The base model and what it has replied; `run` is where that is kept from then on."""

    lm: LM
    run: RunDir | None = None
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def recall(self, run: RunDir) -> None:
        """Take what the base model replied when the run was begun."""
        self.rows |= {row["key"]: row for row in from_first(lambda: run.rows(REPLIES))}

    def keep(self, run: RunDir) -> None:
        """Write what has been drawn, and from now on what will be; hold the run with `locked`."""
        self.run = run
        there = {row["key"] for row in from_first(lambda: run.rows(REPLIES))}
        self._write([row for key, row in self.rows.items() if key not in there])

    def reply(
        self,
        attempts: Sequence[Attempt],
        decoding: Decoding,
        seed: int,
        batch: int = 64,
        advance: Advance = ignored,
    ) -> list[Completion]:
        """Return the reply to each attempt, same order; what has not been drawn yet is, by all processes."""
        keys = [_key(attempt, decoding, seed) for attempt in attempts]
        new = {key: a for key, a in zip(keys, attempts, strict=True) if key not in self.rows}
        drawn = generate_together(self.lm, list(new.values()), decoding, seed, batch, advance) if new else []
        rows = [_row(key, reply) for key, reply in zip(new, drawn, strict=True)]
        self._write(rows)
        self.rows |= {row["key"]: row for row in rows}
        return [_completion(attempt, self.rows[key]) for key, attempt in zip(keys, attempts, strict=True)]

    @contextmanager
    def drawing(self) -> Iterator[Draw]:
        """Give what draws the replies that nobody has asked for yet, in this process, and keeps none."""

        def draw(attempts: Sequence[Attempt], decoding: Decoding, seed: int) -> list[Completion]:
            rows = [self.rows.get(_key(attempt, decoding, seed)) for attempt in attempts]
            new = [attempt for attempt, row in zip(attempts, rows, strict=True) if row is None]
            drawn = iter(generate(self.lm, new, decoding, seed))
            return [
                next(drawn) if row is None else _completion(attempt, row)
                for attempt, row in zip(attempts, rows, strict=True)
            ]

        yield draw

    def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        if self.run and rows and is_first():
            self.run.append(REPLIES, rows)


def _key(attempt: Attempt, decoding: Decoding, seed: int) -> str:
    """Return a short hash of all that a reply depends on."""
    sent = (attempt.key, attempt.messages, attempt.prefill, attempt.decoding or decoding, seed)
    return sha256(repr(sent).encode()).hexdigest()[:24]


def _row(key: str, reply: Completion) -> dict[str, Any]:
    names = ("text", "finished", "error", "token_ids", "entropies", "logprobs")
    return {"key": key} | {name: getattr(reply, name) for name in names}


def _completion(attempt: Attempt, row: dict[str, Any]) -> Completion:
    return Completion(
        attempt,
        row["text"],
        tuple(row["token_ids"]),
        pieces=(),
        finished=row["finished"],
        entropies=tuple(row["entropies"] or ()),
        logprobs=tuple(row["logprobs"] or ()),
        error=row["error"],
    )
