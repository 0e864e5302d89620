"""Cut a request into named pieces that are harmless one by one, to be joined by the model.

The pieces are written as quoted strings, so that the cut can be undone exactly. This module refuses to
know which words of a request are the harmful ones: it cuts by length alone.

Source: arXiv 2302.05733 (payload splitting).
"""

from __future__ import annotations

import json
import re
from itertools import pairwise

from sirl.attacks.static import fill, read_template, say, unfill
from sirl.records import Message

PIECES = 4


def split_words(text: str, pieces: int) -> list[str]:
    """Cut at word boundaries into at most `pieces` runs of nearly equal word counts.

    Every space stays with the word before it: joined, the pieces are the text. A text of fewer words gives
    one piece a word.
    """
    words = re.findall(r"\s*\S+\s*", text) or [text]
    count = min(pieces, len(words))
    edges = [round(i * len(words) / count) for i in range(count + 1)]
    return ["".join(words[start:end]) for start, end in pairwise(edges)]


def write_pieces(text: str) -> str:
    """Return the pieces one a line: a letter, an equals sign, a quoted string."""
    pieces = split_words(text, PIECES)
    return "\n".join(f"{chr(65 + i)} = {json.dumps(p, ensure_ascii=False)}" for i, p in enumerate(pieces))


def join_pieces(block: str) -> str:
    """Undo `write_pieces`."""
    return "".join(json.loads(line.partition(" = ")[2]) for line in block.split("\n"))


def payload_splitting(request: str) -> tuple[Message, ...]:
    """Send the request as named pieces and ask for an answer to their sum."""
    return say(fill(read_template("payload_splitting"), write_pieces(request)))


def from_pieces(text: str) -> str:
    """Read the request back from what `payload_splitting` sends."""
    return join_pieces(unfill(read_template("payload_splitting"), text))
