r"""Translate by a phrase book, leave the rest as it is, and read the translation back exactly.

The longest phrase of the book is taken at each place, in the book's spelling or with a capital at its start.
Words that the book does not hold stay as they are. Where a reader with the book would read something else than
was meant, the words stay as they are too, a backslash before each. This module refuses to know any language:
the book is the user's, or the one in templates/low_resource.phrases.tsv.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sirl.errors import AttackError

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_TOKEN = re.compile(rf"{_WORD.pattern}|.", re.DOTALL)
_PHRASE = re.compile(rf"{_WORD.pattern}(?: {_WORD.pattern})*")


@dataclass(frozen=True)
class PhraseBook:
    """Pairs of phrases, ours and the other language's; no two pairs share a side, whatever its case.

    Raises AttackError if two do, if a phrase is not of words with single spaces, or if there is no pair.
    """

    pairs: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        if not self.pairs:
            raise _unusable("holds no phrase", "at least one pair")
        for side in zip(*self.pairs, strict=True):
            if odd := next((phrase for phrase in side if not _PHRASE.fullmatch(phrase)), None):
                raise _unusable(f"holds {odd!r}", "words with one space between them, and no other sign")
            phrase, times = Counter(phrase.casefold() for phrase in side).most_common(1)[0]
            if times > 1:
                raise _unusable(f"holds {phrase!r} {times} times", "each phrase once, so it can be read back")

    @cached_property
    def longest(self) -> int:
        """The most words in a phrase, of either language."""
        return max(phrase.count(" ") + 1 for pair in self.pairs for phrase in pair)

    @cached_property
    def there(self) -> dict[str, str]:
        """Our phrases to theirs, with and without a capital at the start."""
        return {_capital(ours): _capital(theirs) for ours, theirs in self.pairs} | dict(self.pairs)

    @cached_property
    def back(self) -> dict[str, str]:
        """Their phrases to ours, likewise."""
        back = {theirs: ours for ours, theirs in self.pairs}
        return {_capital(theirs): _capital(ours) for theirs, ours in back.items()} | back

    def translate(self, text: str) -> str:
        """Return the text in the other language, as far as the book goes."""
        written = ""
        for phrase in reversed(self._phrases(text)):  # from the end: what follows decides how a phrase is read
            if self._reads(self.there.get(phrase, ""), phrase, written):
                written = self.there[phrase] + written
                continue
            for token in reversed(_TOKEN.findall(phrase)):
                plain = self._reads(token, token, written)
                written = (token if plain else f"\\{token}") + written
        return written

    def read(self, text: str) -> str:
        """Undo `translate`."""
        ours, at = [], 0
        while at < len(text):
            phrase, end = self._next(text, at)
            ours.append(phrase)
            at = end
        return "".join(ours)

    def _phrases(self, text: str) -> list[str]:
        """Cut our text into phrases of the book, and single words and signs where there is none."""
        phrases, at = [], 0
        while at < len(text):
            ends = self._ends(text, at)
            end = next((end for end in reversed(ends) if text[at:end] in self.there), None)
            end = end or (ends[0] if ends else at + 1)
            phrases.append(text[at:end])
            at = end
        return phrases

    def _reads(self, written: str, meant: str, rest: str) -> bool:
        """Say whether what is written would be read as what is meant, with the rest behind it."""
        return bool(written) and self._next(written + rest, 0) == (meant, len(written))

    def _next(self, text: str, at: int) -> tuple[str, int]:
        """Read one phrase, word or sign of a translated text; return it in our language, and where it ends."""
        if text[at] == "\\" and (kept := _TOKEN.match(text, at + 1)):
            return kept[0], kept.end()
        ends = self._ends(text, at)
        for end in reversed(ends):
            if text[at:end] in self.back:
                return self.back[text[at:end]], end
        end = ends[0] if ends else at + 1
        return text[at:end], end

    def _ends(self, text: str, at: int) -> list[int]:
        """Return where the runs of one, two, three ... words from `at` end; none if no word begins there."""
        ends: list[int] = []
        while len(ends) < self.longest and (word := _WORD.match(text, at)):
            ends.append(word.end())
            if not text.startswith(" ", word.end()):
                break
            at = word.end() + 1
        return ends


def read_phrase_book(path: Path) -> PhraseBook:
    """Read a phrase book: UTF-8, one pair a line with a tab between; lines that begin with # are not read.

    Raises AttackError if the file cannot be read, a line is no pair, or the pairs make no phrase book.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AttackError(f"phrase book {path} cannot be read ({error})", "a UTF-8 file", "check it") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            ours, _, theirs = line.partition("\t")
            if not (ours.strip() and theirs.strip()) or "\t" in theirs:
                raise AttackError(
                    f"line {number} of {path} is no pair", "two phrases, a tab between", "mend it"
                )
            pairs.append((ours.strip(), theirs.strip()))
    return PhraseBook(tuple(pairs))


def _capital(phrase: str) -> str:
    return phrase[:1].upper() + phrase[1:]


def _unusable(found: str, expected: str) -> AttackError:
    return AttackError(f"the phrase book {found}", expected, "mend it; see templates/low_resource.phrases.tsv")
