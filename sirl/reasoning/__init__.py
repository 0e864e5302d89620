"""Part a reply into what the model only thought and what it said: one rule for all who read replies.

Families mark their reasoning in their own ways; `marks` is the table, `channels` the one format that is no pair
of marks. What was never closed is reasoning to its end. Where the text shows marks that speak of reasoning and
cannot be told apart from the answer, `unread` says so and there is no answer: nothing is guessed.

A mark that is only quoted, between quotation marks or backticks or inside a block of code, is no mark.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from sirl.reasoning import channels
from sirl.reasoning.marks import ODD, TABLE, Marks, Token, is_mark, tokens

__all__ = [
    "ODD",
    "TABLE",
    "UNKNOWN",
    "Marks",
    "Parts",
    "is_mark",
    "opened",
    "shows_marks",
    "split",
    "without_thinking",
]

UNKNOWN = "<think unknown>"  # before a reply of a model whose marks are not known; `sirl.lm` writes it
_NOT_KNOWN = "the model's marks of reasoning are not known"
_FENCE = re.compile(r"^[ \t]*```.*?^[ \t]*```", re.DOTALL | re.MULTILINE)
_LONE = re.compile(r"\s*(?:thought|thoughts|think|thinking|reasoning)[ \t]*\n")
_QUOTES = "\"'`“”‘’«»"


@dataclass(frozen=True, slots=True)
class Parts:
    """A reply in two. `unread` says why they could not be told apart; then the answer is empty."""

    reasoning: str
    answer: str
    unread: str = ""

    @property
    def missing(self) -> str:
        """Say why there is no answer to judge; empty when there is one."""
        if self.answer.strip():
            return ""
        return self.unread or ("only reasoning" if self.reasoning.strip() else "empty reply")


def without_thinking(text: str) -> str:
    """Return the answer of a reply, all of it where it shows no reasoning."""
    return split(text).answer


def split(text: str, own: Sequence[Marks] = ()) -> Parts:
    """Part a reply into reasoning and answer. `own` are marks that one model's template writes.

    A reply without marks is its own answer, to the last character.
    """
    if text.startswith(UNKNOWN):
        return Parts(text.removeprefix(UNKNOWN), "", _NOT_KNOWN)
    if found := channels.headers(text):
        quoted = _Quoted(text)
        if not all(quoted.holds(header.start(), header.end()) for header in found):
            return Parts(*channels.read_channels(text))
    if channels.is_bare(text):
        return Parts(*channels.read_bare(text))
    if _LONE.match(text):
        return Parts(text, "", "it begins with a bare word for reasoning, whose end is not marked")
    return _pairs(text, own)


def opened(text: str, own: Sequence[Marks] = ()) -> str:
    """Return the mark that leaves a block of reasoning open at the end of a text; empty if none does."""
    if found := channels.headers(text):
        last = found[-1]
        going = "<|" not in text[last.end() :]
        return last.group() if going and last[1].lower() != "final" else ""
    mark = ""
    for token in tokens(text, own):
        if token.kind in ("open", "close"):
            mark = text[token.start : token.stop] if token.kind == "open" else ""
    return mark


def shows_marks(template: str) -> bool:
    """Say whether a chat template writes or strips marks that this room can read."""
    in_channels = all(token in template for token in ("<|channel|>", "<|message|>"))
    return in_channels or any(token.kind in ("open", "close") for token in tokens(template))


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of reasoning in a text: all of it, what stands inside its marks, and the mark that tells it."""

    start: int
    stop: int
    inner: slice
    mark: Token


def _pairs(text: str, own: Sequence[Marks]) -> Parts:
    found = [token for token in tokens(text, own) if token.kind in ("open", "close")]
    quoted = _Quoted(text) if found else None
    blocks = _blocks(text, [t for t in found if quoted and not quoted.holds(t.start, t.stop, t.kind)])
    said = ""
    at = 0
    for block in blocks:
        said += text[at : block.start]
        if not block.mark.known and said.strip():
            mark = text[block.mark.start : block.mark.stop]
            return Parts(text, "", f"it holds {mark}, which looks like reasoning and is not a known mark")
        at = block.stop
    thoughts = "\n".join(inner for block in blocks if (inner := text[block.inner].strip()))
    return Parts(thoughts, _unwrapped(said + text[at:], own))


def _blocks(text: str, found: Sequence[Token]) -> list[_Block]:
    """Return the blocks of reasoning in order.

    A closing mark without an opening one ends a block that the prompt opened: all before it was reasoning. One
    with nothing behind it, after an answer, is a slip: it is left out and ends nothing.
    """
    closes: dict[str, list[Token]] = {}
    for token in found:
        if token.kind == "close":
            closes.setdefault(token.key, []).append(token)
    starts = {key: [token.start for token in row] for key, row in closes.items()}
    last = len(text.rstrip())
    blocks: list[_Block] = []
    at = 0  # where the last block ended
    for token in found:
        if token.start < at:
            continue
        if token.kind == "open":
            place = bisect_right(starts.get(token.key, []), token.start)
            row = closes.get(token.key, [])[place : place + 1]
            if row:
                at = row[0].stop
                blocks.append(_Block(token.start, at, slice(token.stop, row[0].start), token))
            elif _may_stay_open(text, token):
                return [*blocks, _Block(token.start, len(text), slice(token.stop, len(text)), token)]
        elif blocks and token.stop >= last and text[at : token.start].strip():
            blocks.append(_Block(token.start, token.stop, slice(0, 0), token))
        else:
            at = token.stop
            blocks = [_Block(0, at, slice(0, token.start), token)]
    return blocks


def _may_stay_open(text: str, token: Token) -> bool:
    """Say whether an opening mark counts though nothing closes it.

    It begins a line, a phrase begins the reply; `[thought]` that is not known is the stage direction of a play.
    """
    if text[token.start] not in "<[◁":
        return not text[: token.start].strip()
    return (token.known or text[token.start] != "[") and _begins_line(text, token.start)


def _begins_line(text: str, place: int) -> bool:
    return not text[text.rfind("\n", 0, place) + 1 : place].strip()


def _unwrapped(answer: str, own: Sequence[Marks]) -> str:
    """Return an answer without the marks of its family around it, where it begins with such a mark."""
    marks = [token for token in tokens(answer, own) if token.kind in ("answer", "end")]
    if not marks or marks[0].kind != "answer" or answer[: marks[0].start].strip():
        return answer
    first = marks[0]
    last = next((token for token in reversed(marks) if token.kind == "end" and token.key == first.key), None)
    if last is None:
        return answer[first.stop :]
    return answer[first.stop : last.start] + answer[last.stop :]


class _Quoted:
    """Which places of a text are quoted: between marks of quotation, in a code span or in a block of code."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.fences = [(match.start(), match.end()) for match in _FENCE.finditer(text)]
        self.opens: dict[int, int] = {}
        self.ticks = [match.start() for match in re.finditer("`", text)]

    def holds(self, start: int, stop: int, kind: str = "open") -> bool:
        """Say whether the mark from `start` to `stop` is quoted.

        A closing mark alone on its line of a block of code that holds no opening one is taken at its word:
        reasoning may leave such a block open.
        """
        text = self.text
        if start > 0 and stop < len(text) and text[start - 1] in _QUOTES and text[stop] in _QUOTES:
            return True
        place = bisect_right(self.fences, (start, len(text))) - 1
        if place < 0 or self.fences[place][1] <= start:
            return self._in_span(start)
        alone = _begins_line(text, start) and not text[stop : stop + 200].partition("\n")[0].strip()
        return not (kind == "close" and alone and start < self._first_open(place))

    def _first_open(self, fence: int) -> int:
        """Return where the first opening mark stands in a block of code; behind the text if there is none."""
        if fence not in self.opens:
            start, stop = self.fences[fence]
            marks = tokens(self.text[start:stop])
            first = next((token.start for token in marks if token.kind == "open"), None)
            self.opens[fence] = len(self.text) if first is None else start + first
        return self.opens[fence]

    def _in_span(self, start: int) -> bool:
        """Say whether a place lies in a code span: an odd number of backticks before it, and one behind it."""
        begin = self.text.rfind("\n", 0, start) + 1
        end = self.text.find("\n", start)
        first, here = bisect_right(self.ticks, begin - 1), bisect_right(self.ticks, start)
        last = bisect_right(self.ticks, end) if end >= 0 else len(self.ticks)
        return (here - first) % 2 == 1 and last > here
