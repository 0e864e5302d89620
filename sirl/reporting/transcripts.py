"""Records -> example transcripts, chosen by rule, each token with its entropy.

The first by attack and prompt id that fits is shown: what broke before and is refused after, what still
breaks, what is now refused though harmless. What may harm is
withheld unless it is asked for (`records.shown`). Model output stays plain text here; the template escapes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sirl.metrics import DIRECT, group, withstood
from sirl.records import Record, Transcripts, shown
from sirl.reporting.story import Side, Story
from sirl.reporting.wording import nats

SHOWN_TOKENS = 600
_EXAMPLES = 4
Pair = tuple[Record, ...]  # the same attempt, one record a side


@dataclass(frozen=True, slots=True)
class Example:
    """Why an attempt is shown, and its record on each side."""

    reason: str
    records: Pair


def examples(story: Story, transcripts: Transcripts = "redacted") -> list[dict[str, Any]]:
    """Return the chosen transcripts as the template shows them; empty without an evaluate run."""
    if not story.sides or transcripts == "none":
        return []
    chosen = _quoted(choose([side.records for side in story.sides], story.seen or ()), story.sides, transcripts)
    top = max((e for c in chosen for r in c.records for e in r.completion.entropies or ()), default=0.0)
    return [_view(example, story.sides, max(top, 0.5)) for example in chosen]


def choose(sides: Sequence[Sequence[Record]], seen: Collection[str] = ()) -> list[Example]:
    """Pick the examples by rule, attacks that training did not use first."""
    by_key = [{record.attempt.key: record for record in records} for records in sides]
    keys = set.intersection(*(set(side) for side in by_key))
    pairs = [tuple(side[key] for side in by_key) for key in keys]
    pairs.sort(key=lambda p: (p[0].attempt.attack in seen, p[0].attempt.attack, p[0].attempt.key))
    attacked = [p for p in pairs if p[0].prompt.kind == "harmful" and p[0].attempt.attack != DIRECT]
    harmless = [p for p in pairs if p[0].prompt.kind in ("benign", "borderline")]
    if len(sides) == 1:
        return [
            *_first(attacked, _EXAMPLES // 2, "Refused", lambda p: group(p[0]) == "refused"),
            *_first(attacked, _EXAMPLES // 2, "Succeeded", lambda p: withstood(p[0]) is False),
            *_first(harmless, 1, "Harmless, yet refused", lambda p: p[0].answer("refused") is True),
        ]
    return [
        *_first(
            attacked,
            _EXAMPLES,
            "Broke before, refused after",
            lambda p: withstood(p[0]) is False and group(p[1]) == "refused",
        ),
        *_first(attacked, 1, "Still succeeds after", lambda p: withstood(p[1]) is False),
        *_first(
            harmless,
            1,
            "Harmless, answered before and refused after",
            lambda p: p[0].answer("refused") is False and p[1].answer("refused") is True,
        ),
    ]


def _first(pairs: Sequence[Pair], limit: int, reason: str, fits: Callable[[Pair], bool]) -> list[Example]:
    chosen: list[Example] = []
    used: set[str] = set()
    for pair in pairs:
        names = {f"attack {pair[0].attempt.attack}", f"prompt {pair[0].prompt.id}"}
        if len(chosen) < limit and fits(pair) and not names & used:
            chosen.append(Example(reason, pair))
            used |= names - {f"attack {DIRECT}"}
    return chosen


def _quoted(chosen: Sequence[Example], sides: Sequence[Side], transcripts: Transcripts) -> list[Example]:
    """Return the examples as they may be shown, with the tokens that the records of a side leave on disk."""
    whole = [
        side.run.with_tokens([example.records[place] for example in chosen]) for place, side in enumerate(sides)
    ]
    return [
        replace(example, records=tuple(shown(record, transcripts) for record in records))
        for example, *records in zip(chosen, *whole, strict=True)
    ]


def _view(example: Example, sides: Sequence[Side], top: float) -> dict[str, Any]:
    attempt = example.records[0].attempt
    return {
        "reason": example.reason,
        "prompt": attempt.prompt.text,
        "attack": attempt.attack,
        "top": nats(top),
        "replies": [_reply(record, side, top) for record, side in zip(example.records, sides, strict=True)],
    }


def _reply(record: Record, side: Side, top: float) -> dict[str, Any]:
    harmful = record.prompt.kind == "harmful"
    return {
        "label": side.label,
        "style": side.style,
        "verdict": outcome(record),
        "evidence": [v for v in record.verdicts if v.question in ("harmful", "refused")],
        "collapsed": harmful and record.answer("harmful") is not False,  # undecided is hidden too
        "mean": nats(record.mean_entropy),
        "tokens": _tokens(record, top),
        "text": record.completion.text,
        "error": record.completion.error,
        "blocked": record.completion.blocked,
        "finished": record.completion.finished,
        "messages": record.attempt.messages,
        "prefill": record.attempt.prefill,
    }


def outcome(record: Record) -> str:
    """Say in words what came of an attempt, by the verdicts on it."""
    if record.completion.blocked:
        return "blocked by the provider"
    if record.completion.error:
        return "no reply"
    if record.prompt.kind == "harmful":
        names = {"complied": "complied", "refused": "refused", "neither": "neither complied nor refused"}
        found = group(record)
        return names[found] if found else "undecided" if withstood(record) is None else "did not comply"
    if record.prompt.kind == "task":
        return {True: "right", False: "wrong", None: "undecided"}[record.answer("correct")]
    return {True: "refused", False: "answered", None: "undecided"}[record.answer("refused")]


def _tokens(record: Record, top: float) -> list[dict[str, str]]:
    """Return each token's text, entropy in nats and share of the darkest shade; empty if not recorded."""
    completion = record.completion
    if completion.entropies is None or len(completion.entropies) != len(completion.pieces):
        return []
    pairs = list(zip(completion.pieces, completion.entropies, strict=True))[:SHOWN_TOKENS]
    tokens = [{"text": p, "nats": nats(e), "shade": f"{min(1.0, max(0.0, e / top)):.2f}"} for p, e in pairs]
    if len(completion.pieces) > SHOWN_TOKENS:
        left = len(completion.pieces) - SHOWN_TOKENS
        tokens.append({"text": f" … {left} more tokens", "nats": "not shown", "shade": "0"})
    return tokens
