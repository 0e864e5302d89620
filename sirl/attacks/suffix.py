"""A suffix behind the request, as tokens in a slot: where every search over tokens begins.

What is optimised is what is sent: a suffix counts only if its text, read again behind the request, gives the
very tokens. This module refuses to know how better tokens are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sirl.attacks.search import Hunt, beginning
from sirl.records import SLOT, Attempt, Message, Prompt, WhiteBox

PLAIN = (" !", " x", "\n!")  # what a plain suffix repeats

Ids = tuple[int, ...]


@dataclass(slots=True)
class Climb:
    """One prompt's suffix: `slotted` is the chat with the slot in it, `ids` what stands there now.

    `start` is sent when nothing was searched.
    """

    hunt: Hunt
    slotted: Attempt
    ids: Ids
    beginning: str
    start: Attempt


def climbs(hunts: Sequence[Hunt], target: WhiteBox, name: str, length: int, default: str) -> list[Climb]:
    """Return each hunt with a plain suffix of about `length` tokens; `default` begins the reply hoped for."""
    slots = [slotted(hunt.prompt, name) for hunt in hunts]
    starts = plain_starts(target, slots, length)
    return [
        Climb(hunt, slot, ids, beginning(hunt.prompt, default), filled(slot, text))
        for hunt, slot, (ids, text) in zip(hunts, slots, starts, strict=True)
    ]


def slotted(prompt: Prompt, name: str) -> Attempt:
    """Return the request with a slot right behind it."""
    return Attempt(prompt, name, (Message("user", f"{prompt.text}{SLOT}"),))


def filled(attempt: Attempt, text: str) -> Attempt:
    """Write the text into the slot."""
    messages = tuple(replace(m, content=m.content.replace(SLOT, text)) for m in attempt.messages)
    return replace(attempt, messages=messages)


def plain_starts(target: WhiteBox, attempts: Sequence[Attempt], length: int) -> list[tuple[Ids, str]]:
    """Return the tokens and the text of a plain suffix a slot, about `length` tokens.

    A text whose every repeat is one token is preferred: a swap next to half a pair seldom survives. No tokens
    where every plain suffix runs into the request: such a request has no slot that keeps its tokens.
    """
    found: list[list[tuple[int, Ids, str]]] = [[] for _ in attempts]
    for text in PLAIN:
        ones, twos = (target.slot_ids(attempts, [text * n] * len(attempts)) for n in (1, 2))
        each = [max(1, len(two) - len(one)) if one and two else 1 for one, two in zip(ones, twos, strict=True)]
        rows = target.slot_ids(attempts, [text * max(1, length // n) for n in each])
        kept = target.slot_texts(attempts, [row or () for row in rows])
        for starts, tokens, row, back in zip(found, each, rows, kept, strict=True):
            if row and back is not None:
                starts.append((tokens, row, back))
    best = [min(starts, key=lambda start: start[0], default=(1, (), PLAIN[0] * length)) for starts in found]
    return [(row, text) for _, row, text in best]


def score(
    climbing: Sequence[Climb], rows: Sequence[Sequence[Ids]], target: WhiteBox
) -> list[list[float | None]]:
    """Score each climb's suffixes, all in one call; None for one whose text would be read as other tokens.

    The best is offered to its hunt; a scored suffix is one query.
    """
    flat = [(climb, ids) for climb, row in zip(climbing, rows, strict=True) for ids in row]
    texts = target.slot_texts([climb.slotted for climb, _ in flat], [ids for _, ids in flat])
    sent = [(climb, ids, text) for (climb, ids), text in zip(flat, texts, strict=True) if text is not None]
    values = target.slot_likelihood(
        [climb.slotted for climb, _, _ in sent],
        [ids for _, ids, _ in sent],
        [climb.beginning for climb, _, _ in sent],
    )
    for (climb, ids, text), value in zip(sent, values, strict=True):
        climb.hunt.queries += 1
        if climb.hunt.offer(filled(climb.slotted, text), value):
            climb.ids = ids
    for climb in climbing:
        climb.hunt.mark()
    scores = iter(values)
    given = iter([None if text is None else next(scores) for text in texts])
    return [[next(given) for _ in row] for row in rows]
