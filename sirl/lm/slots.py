"""A slot in a text: the tokens on both sides of it, and whether tokens written there would survive as text.

What a search optimises is token ids, what is sent is text. The two agree only where the text, read again in
its surroundings, gives the same ids; this module checks that, and knows nothing of chats and models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sirl.errors import AttackError
from sirl.records import SLOT

_PROBE = " !"  # stands in the slot while its surroundings are read


@dataclass(frozen=True, slots=True)
class Slot:
    """The surroundings of a slot.

    `before` and `after` are all token ids on either side; `left` and `right` the text between the slot and the
    nearest special tokens (these included), which is all that can change how a text in the slot is read, and
    `near` how many tokens of either side it holds. `stripped` says on which sides white space at the edge of a
    text in the slot is taken away before it is read.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    left: str
    right: str
    near: tuple[int, int]
    stripped: tuple[bool, bool] = (False, False)


def find_slot(tokenizer: Any, text: str) -> Slot:
    """Return the surroundings of the one slot in a text. Raises AttackError if there is not exactly one."""
    if text.count(SLOT) != 1:
        raise AttackError(
            f"a chat holds {text.count(SLOT)} slots", "exactly one", f"write sirl.records.SLOT ({SLOT!r}) once"
        )
    before, after = text.split(SLOT)
    ids, ends = _read(tokenizer, before, after)
    marks = [token for token in tokenizer.get_added_vocab() if token]
    start = max((before.rfind(mark) for mark in marks if mark in before), default=-1)
    stop = min((after.find(mark) + len(mark) for mark in marks if mark in after), default=len(after))
    left, right = before[max(start, 0) :], after[:stop]
    near_ids, near = _read(tokenizer, left, right)
    head, tail = ids[: ends[0]], ids[ends[1] :]
    apart = (
        near_ids[: near[0]] == head[len(head) - near[0] :]
        and near_ids[near[1] :] == (tail[: len(near_ids) - near[1]])
    )
    if not apart:  # a tokenizer that reads across special tokens: look at the whole text
        left, right, near_ids, near = before, after, ids, ends
    return Slot(tuple(head), tuple(tail), left, right, (near[0], len(near_ids) - near[1]))


def read_in(tokenizer: Any, slots: Sequence[Slot], texts: Sequence[str]) -> list[tuple[int, ...] | None]:
    """Return the ids of each text in its slot.

    None where text and surroundings run together, or some of the text would be stripped.
    """
    whole = [slot.left + text + slot.right for slot, text in zip(slots, texts, strict=True)]
    rows = tokenizer(whole, add_special_tokens=False)["input_ids"] if whole else []
    return [
        _between(slot, ids) if _stays(slot, text) else None
        for slot, text, ids in zip(slots, texts, rows, strict=True)
    ]


def write_in(tokenizer: Any, slots: Sequence[Slot], rows: Sequence[Sequence[int]]) -> list[str | None]:
    """Return the text of each row of ids in its slot; None where it would be read as other ids."""
    heads = [list(slot.before[-1:]) for slot in slots]  # a decoder strips the first space: never let it
    known = {tuple(head): tokenizer.decode(head) for head in heads}
    both = tokenizer.batch_decode([[*head, *row] for head, row in zip(heads, rows, strict=True)])
    texts = [text[len(known[tuple(head)]) :] for text, head in zip(both, heads, strict=True)]
    read = read_in(tokenizer, slots, texts)
    return [t if ids == tuple(row) else None for t, ids, row in zip(texts, read, rows, strict=True)]


def _stays(slot: Slot, text: str) -> bool:
    left, right = slot.stripped
    return not (left and text != text.lstrip()) and not (right and text != text.rstrip())


def _between(slot: Slot, ids: Sequence[int]) -> tuple[int, ...] | None:
    head, tail = slot.near
    stop = len(ids) - tail
    apart = (
        stop >= head
        and tuple(ids[:head]) == slot.before[len(slot.before) - head :]
        and tuple(ids[stop:]) == slot.after[:tail]
    )
    return tuple(ids[head:stop]) if apart else None


def _read(tokenizer: Any, before: str, after: str) -> tuple[list[int], tuple[int, int]]:
    """Return the ids of before + probe + after, where those of `before` end and those of `after` begin.

    A mark that swallows the white space behind it reaches into the probe, and is of `before` still.
    """
    start, stop = len(before), len(before + _PROBE)
    if not tokenizer.is_fast:  # no offsets: each side on its own
        head, probe, tail = (
            list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (before, _PROBE, after)
        )
        return [*head, *probe, *tail], (len(head), len(head) + len(probe))
    found = tokenizer(before + _PROBE + after, add_special_tokens=False, return_offsets_mapping=True)
    spans = found["offset_mapping"]
    marks = tokenizer.added_tokens_decoder
    head_end = next(
        (
            i
            for i, (begin, end) in enumerate(spans)
            if end > start and not (begin < start and found["input_ids"][i] in marks)
        ),
        len(spans),
    )
    tail_start = next((i for i, (begin, _) in enumerate(spans) if begin >= stop), len(spans))
    return list(found["input_ids"]), (head_end, tail_start)
