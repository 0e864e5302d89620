"""Which training prompts ask what a measurement will ask: a set that was trained on proves nothing.

Two texts are the same *word for word* if they are equal but for case, spacing and outer punctuation. They are
*nearly* the same if

    words     their sets of content words have a Jaccard similarity above 4/5, or
    fragment  one has at least four different runs of five words, more than 4/5 of them stand in the other, and
              so do all of its content words: a quotation with something around it.

Content words are all but a fixed list, function words and the words one asks with (explain, steps, way);
figures and the signs between them count. Content decides because requests share their frame: "how do I make a
kite" and "how do I make a boat" ask two things, "how do I make a kite" and "explain the best way to make a
kite" ask one. A paraphrase in other content words is not found.

The rule looks at two texts alone, so neither order nor company changes what is found. An index holds the
held-out texts; it proposes, the rule decides. The limits are ours.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sirl.prompts.rows import PromptSet, kinds_of
from sirl.prompts.texts import normalised

Match = Literal["word for word", "nearly"]
MATCHES: tuple[Match, ...] = ("word for word", "nearly")
Found = tuple[str, Match]  # the held-out set, and how near its prompt is

RUN = 5  # words
FEWEST_RUNS = 4
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[+*/=<>^%]|-(?![^\W\d_])")
_FUNCTION = frozenset(
    _WORD.findall(
        """a about an and any are as at be been but by can can't could did do does for from give had has have he
        her him his how i i'd i'm if in into is it its itself let me might must my of on one or our please she
        should so some tell than that the their them then there these they this those to us was we were what
        when where which who why will with would you your
        best describe explain guide help instructions need provide show step steps tutorial want way ways
        write"""
    )
)


@dataclass(frozen=True, slots=True)
class Wording:
    """What the rule reads of a text."""

    plain: str
    content: frozenset[str]
    runs: frozenset[tuple[str, ...]]


def wording(text: str) -> Wording:
    """Return what the rule reads of a text."""
    plain = normalised(text)
    words = _WORD.findall(plain.replace("’", "'"))
    runs = frozenset(tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1))
    return Wording(plain, frozenset(words) - _FUNCTION, runs)


def match(one: Wording, other: Wording) -> Match | None:
    """Say how near two texts are; None if they ask different things. Symmetric."""
    if one.plain == other.plain:
        return "word for word"
    shared = len(one.content & other.content)
    if 5 * shared > 4 * len(one.content | other.content):
        return "nearly"
    return "nearly" if _inside(one, other) or _inside(other, one) else None


def _inside(short: Wording, long: Wording) -> bool:
    enough = len(short.runs) >= FEWEST_RUNS and 5 * len(short.runs & long.runs) > 4 * len(short.runs)
    return enough and short.content <= long.content


@dataclass(frozen=True, slots=True)
class Index:
    """Held-out texts, found again by what a match must share: the plain text, a rare content word, a run."""

    texts: tuple[tuple[str, Wording], ...]  # the set that each is of
    times: Counter[str]  # in how many of them a content word stands
    plain: dict[str, list[int]]
    rare: dict[str, list[int]]
    runs: dict[tuple[str, ...], list[int]]

    def find(self, text: str) -> Found | None:
        """Return the first held-out set that holds the text, word for word before nearly."""
        own = wording(text)
        if places := self.plain.get(own.plain):
            return self.texts[places[0]][0], "word for word"
        near = [i for i in self._candidates(own) if match(own, self.texts[i][1])]
        return (self.texts[min(near)][0], "nearly") if near else None

    def _candidates(self, own: Wording) -> set[int]:
        by_word = (i for word in _rarest(own.content, self.times) for i in self.rare.get(word, ()))
        return {*by_word, *(i for run in own.runs for i in self.runs.get(run, ()))}


def index(held_out: Iterable[tuple[str, str]]) -> Index:
    """Build an index of texts, each beside the name of its set."""
    texts = tuple((name, wording(text)) for name, text in held_out)
    times = Counter(word for _, own in texts for word in own.content)
    plain: dict[str, list[int]] = defaultdict(list)
    rare: dict[str, list[int]] = defaultdict(list)
    runs: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, (_, own) in enumerate(texts):
        plain[own.plain].append(i)
        for word in _rarest(own.content, times):
            rare[word].append(i)
        for run in own.runs:
            runs[run].append(i)
    return Index(texts, times, plain, rare, runs)


def _rarest(content: frozenset[str], times: Counter[str]) -> list[str]:
    """Return words of which two sets of Jaccard similarity 4/5 or more share one, in one order of rarity.

    Source: prefix filtering, Chaudhuri, Ganti and Kaushik 2006.
    """
    ordered = sorted(content, key=lambda word: (times[word], word))
    return ordered[: len(ordered) - -(-4 * len(ordered) // 5) + 1]


def without_held_out(sets: Sequence[PromptSet], held_out: Sequence[PromptSet]) -> list[PromptSet]:
    """Drop from each set what a held-out set asks, and count it in `dropped`, by held-out set and nearness."""
    known = index((one.provenance.source, prompt.text) for one in held_out for prompt in one.prompts)
    cleaned = []
    for one in sets:
        found = [known.find(prompt.text) for prompt in one.prompts]
        kept = tuple(prompt for prompt, hit in zip(one.prompts, found, strict=True) if hit is None)
        counts = Counter(_reason(hit) for hit in found if hit)
        dropped = {**one.provenance.dropped, **counts}
        provenance = replace(one.provenance, kept=len(kept), kinds=kinds_of(kept), dropped=dropped)
        cleaned.append(PromptSet(kept, provenance))
    return cleaned


def removed(sets: Sequence[PromptSet], held_out: Sequence[PromptSet]) -> dict[str, dict[str, int]]:
    """Return how many prompts each held-out set cost the sets that `without_held_out` gave."""
    return {
        other.provenance.source: {
            how: sum(one.provenance.dropped.get(_reason((other.provenance.source, how)), 0) for one in sets)
            for how in MATCHES
        }
        for other in held_out
    }


def _reason(found: Found) -> str:
    source, how = found
    return f"held out in {source}, {how}"
