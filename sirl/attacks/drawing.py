"""Draw one word of a request instead of writing it.

The word is masked in the request and drawn above it, in block letters of five rows. Which word: an attacker
model names those that give offence, and each is tried in turn. Without such a model (`artprompt_rules`) it
is the longest that is not among the words any request may hold, the last of several. This module refuses to
know harm: by itself it looks at length and at a list of ordinary words.

Only words of a-z are drawn, in small letters, capitals, or with a capital first; the mask is written the
same way, so the drawing can be read back. A request without such a word is sent as it is.

Defaults: every word that is named is drawn in turn, once, as in its code (uw-nsl/ArtPrompt:
jailbreak/attack_utils.py).

Departures: an attacker model names the words; the published code draws every alphabetic word that is not a
stop word. One word at a time is drawn, in one font of ours, so that it can be decoded; the paper has several
fonts and reports each and the best. If the model names no word of the request, uncommon words are tried, the
longest first.

Source: arXiv 2402.11753 (ArtPrompt).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

from sirl.attacks.attacker import Order, instruct, writer
from sirl.attacks.info import Recover
from sirl.attacks.search import Hunt, hunts, needed
from sirl.attacks.static import fill, read_template, say, unfill
from sirl.attacks.tries import bench, going
from sirl.records import Attempt, Judge, Message, Prompt, Target

NAME = "artprompt"
TEMPLATE = "drawing"
ROWS = 5
_WORD = re.compile(r"\b(?:[a-z]+|[A-Z][a-z]+|[A-Z]+)\b")
_READ = re.compile(r"\[\[|\[(mask|Mask|MASK)\]")


def drawable(text: str) -> list[re.Match[str]]:
    """Return where the words that may be drawn stand, the first to draw first: rare, long, late."""
    words = list(_WORD.finditer(text))
    rare = [word for word in words if word[0].lower() not in _common()] or words
    return sorted(rare, key=lambda word: (-len(word[0]), -word.start()))


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


def artprompt_rules(request: str) -> tuple[Message, ...]:
    """Send the request with one word drawn, the first of those that may be."""
    words = drawable(request)
    return masked(request, words[0]) if words else say(request)


def masked(request: str, word: re.Match[str]) -> tuple[Message, ...]:
    """Send the request with a word of it drawn and masked."""
    before, after = (part.replace("[", "[[") for part in (request[: word.start()], request[word.end() :]))
    task = f"{before}[{_in_case_of(word[0], 'mask')}]{after}"
    return say(fill(read_template(TEMPLATE), f"{draw(word[0])}\n\n{task}"))


@dataclass(frozen=True, slots=True)
class ArtPrompt:
    """Draw one word of those that the attacker names after another."""

    NEEDS: ClassVar = ("attacker", "judge")
    attacker: Target | None = field(default=None, repr=False)
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return the first that succeeds, else the best. Raises AttackError if something lacks."""
        court = bench(needed(target, NAME), self.judge, NAME, seed)
        helper = writer(self.attacker, NAME, seed)
        searches = hunts(prompts, budget, seed, NAME)
        open_ = going(searches)
        texts = helper.write([Order(hunt, instruct("words", request=hunt.prompt.text)) for hunt in open_])
        named = {h.prompt.id: _named(h.prompt.text, text or "") for h, text in zip(open_, texts, strict=True)}
        for i in range(max(map(len, named.values()), default=0)):
            court.send([(hunt, _attempts(hunt, named[hunt.prompt.id][i : i + 1])) for hunt in going(searches)])
        return [hunt.result(Attempt(hunt.prompt, NAME, artprompt_rules(hunt.prompt.text))) for hunt in searches]

    @property
    def recover(self) -> Recover:
        """Read the request back."""
        return from_drawing


def _named(request: str, said: str) -> list[re.Match[str]]:
    """Return the words of a request that were named, in that order; all that may be drawn where none was."""
    order = {word: i for i, word in reversed(list(enumerate(re.findall(r"[a-z]+", said.lower()))))}
    words = drawable(request)
    chosen = [word for word in words if word[0].lower() in order]
    return sorted(chosen, key=lambda word: order[word[0].lower()]) or words


def _attempts(hunt: Hunt, words: Sequence[re.Match[str]]) -> list[Attempt]:
    return [Attempt(hunt.prompt, NAME, masked(hunt.prompt.text, word)) for word in words]


def from_drawing(text: str) -> str:
    """Read the request back from what `artprompt` sends."""
    if not text.startswith(read_template(TEMPLATE).split("{request}")[0]):
        return text  # it held no word that can be drawn
    art, _, masked = unfill(read_template(TEMPLATE), text).partition("\n\n")
    word = read_drawing(art)
    return _READ.sub(lambda m: _in_case_of(m[1], word) if m[1] else "[", masked)


def _in_case_of(model: str, word: str) -> str:
    if model.islower():
        return word.lower()
    return word.capitalize() if len(model) == 1 or model.istitle() else word.upper()


@cache
def _common() -> frozenset[str]:
    """Return the words that any request may hold."""
    return frozenset(read_template(f"{TEMPLATE}.common").split())


@cache
def _font() -> dict[str, tuple[str, ...]]:
    """Return the rows of each letter, all of one width."""
    lines = read_template(f"{TEMPLATE}.font").split("\n")
    font = {}
    for start in range(0, len(lines), ROWS + 1):
        rows = lines[start + 1 : start + 1 + ROWS]
        font[lines[start]] = tuple(row.ljust(max(map(len, rows))) for row in rows)
    return font
