"""A record as plain dicts, lists and numbers, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from sirl.records.nouns import (
    Attempt,
    Completion,
    Decoding,
    Defended,
    Message,
    Prompt,
    Record,
    Search,
    Verdict,
)
from sirl.records.typed import require_typed, types_of


def to_json(record: Record) -> dict[str, Any]:
    """Return the record as plain dicts, lists and numbers."""
    return asdict(record)


def from_json(row: Mapping[str, Any]) -> Record:
    """Rebuild a record from `to_json`'s form. Raises KeyError, TypeError or ValueError on a foreign row."""
    c = row["completion"]
    a = c["attempt"]
    attempt = Attempt(
        **{
            **a,
            "prompt": Prompt(**a["prompt"]),
            "messages": tuple(Message(**m) for m in a["messages"]),
            "decoding": Decoding(**a["decoding"]) if a["decoding"] else None,
            "soft": tuple(map(tuple, a["soft"])),
            "search": Search(**{**a["search"], "trace": tuple((n, x) for n, x in a["search"]["trace"])}),
        }
    )
    sequences = {
        name: None if c[name] is None else tuple(c[name])
        for name in ("token_ids", "pieces", "entropies", "logprobs")
    }
    defended = Defended(**c["defended"]) if c.get("defended") else None
    completion = Completion(**{**c, "attempt": attempt, "defended": defended, **sequences})
    verdicts = tuple(Verdict(**v) for v in row["verdicts"])
    nouns = (attempt.prompt, *attempt.messages, attempt.decoding, attempt.search, attempt, defended, completion)
    for noun in (*nouns, *verdicts):
        if noun is not None:
            _require_own_types(noun)
    return Record(completion, verdicts)


def _require_own_types(noun: Any) -> None:
    types = types_of(noun.__class__)
    require_typed({name: getattr(noun, name) for name in types}, types, f"{type(noun).__name__.lower()}.")


def without_tokens(record: Record) -> Record:
    """Return a record whose reply keeps its text and, as its only entropy, the mean: little of its memory."""
    mean = record.mean_entropy
    entropies = None if mean is None else (mean,)
    completion = replace(record.completion, token_ids=(), pieces=(), entropies=entropies, logprobs=None)
    return replace(record, completion=completion)
