"""Draw one word of a request instead of writing it.

The word is masked in the request and drawn above it, in block letters of five rows. Which word: the longest
that is not among the words any request may hold, the last of several; the published attack asks a language
model for the dangerous one. This module refuses to know harm: it looks at length and at a list of ordinary
words.

Only words of a-z are drawn, in small letters, capitals, or with a capital first; the mask is written the same
way, so the drawing can be read back. A request without such a word is sent as it is.

Source: arXiv 2402.11753 (ArtPrompt).
"""

from __future__ import annotations

import re
from functools import cache

from sirl.attacks.static import fill, read_template, say, unfill
from sirl.records import Message

NAME = "artprompt"
ROWS = 5
_WORD = re.compile(r"\b(?:[a-z]+|[A-Z][a-z]+|[A-Z]+)\b")
_READ = re.compile(r"\[\[|\[(mask|Mask|MASK)\]")


def choose_word(text: str) -> re.Match[str] | None:
    """Return where the word to draw stands; None if there is none."""
    words = list(_WORD.finditer(text))
    rare = [word for word in words if word[0].lower() not in _common()] or words
    return max(rare, key=lambda word: (len(word[0]), word.start()), default=None)


def draw(word: str) -> str:
    """Return the word in block letters, five lines, one empty column between two letters."""
    glyphs = [_font()[letter] for letter in word.lower()]
    return "\n".join(" ".join(row).rstrip() for row in zip(*glyphs, strict=True))


def read_drawing(art: str) -> str:
    """Undo `draw`: cut at empty columns and look each letter up."""
    rows = art.split("\n")
    width = max(map(len, rows))
    columns = ["".join(column) for column in zip(*(row.ljust(width) for row in rows), strict=True)]
    letters = "|".join(columns).split(f"|{' ' * ROWS}|")
    known = {"|".join(map("".join, zip(*glyph, strict=True))): letter for letter, glyph in _font().items()}
    return "".join(known[letter] for letter in letters)


def artprompt(request: str) -> tuple[Message, ...]:
    """Send the request with one word drawn."""
    chosen = choose_word(request)
    if chosen is None:
        return say(request)
    before, after = (part.replace("[", "[[") for part in (request[: chosen.start()], request[chosen.end() :]))
    masked = f"{before}[{_in_case_of(chosen[0], 'mask')}]{after}"
    return say(fill(read_template(NAME), f"{draw(chosen[0])}\n\n{masked}"))


def from_drawing(text: str) -> str:
    """Read the request back from what `artprompt` sends."""
    if not text.startswith(read_template(NAME).split("{request}")[0]):
        return text  # it held no word that can be drawn
    art, _, masked = unfill(read_template(NAME), text).partition("\n\n")
    word = read_drawing(art)
    return _READ.sub(lambda m: _in_case_of(m[1], word) if m[1] else "[", masked)


def _in_case_of(model: str, word: str) -> str:
    if model.islower():
        return word.lower()
    return word.capitalize() if len(model) == 1 or model.istitle() else word.upper()


@cache
def _common() -> frozenset[str]:
    """Return the words that any request may hold."""
    return frozenset(read_template(f"{NAME}.common").split())


@cache
def _font() -> dict[str, tuple[str, ...]]:
    """Return the rows of each letter, all of one width."""
    lines = read_template(f"{NAME}.font").split("\n")
    font = {}
    for start in range(0, len(lines), ROWS + 1):
        rows = lines[start + 1 : start + 1 + ROWS]
        font[lines[start]] = tuple(row.ljust(max(map(len, rows))) for row in rows)
    return font
