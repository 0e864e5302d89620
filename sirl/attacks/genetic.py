"""A genetic search over readable prompts: sentences cross over, words mutate, the words of good prompts spread.

A genome is the text around a request, with one `{request}`. Whole generations of all prompts are scored in one
call. What a score means is the attack's own affair: this module refuses to know models and likelihoods.

Source: arXiv 2310.04451.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import isqrt

import numpy as np

from sirl.attacks.search import Checks, Hunt
from sirl.attacks.static import PLACEHOLDER, TEMPLATES, fill, read_template
from sirl.records import Attempt, Message, Prompt

Scorer = Callable[[Sequence[Attempt]], list[float]]  # higher is better for the attack; one query each
Rewriter = Callable[
    [Sequence[tuple[Hunt, str]]], list[str | None]
]  # genomes written anew, None where that fails

_SENTENCE = re.compile(r"(?<=[.!?:])\s+")
_WORD = re.compile(r"[A-Za-z]+")
MOMENTUM = 0.5  # what a word's score keeps from one generation to the next


@cache
def seeds() -> tuple[str, ...]:
    """Return the genomes that a search begins with, the plainest first."""
    return tuple(read_template(path.stem) for path in sorted(TEMPLATES.glob("genetic.[0-9]*.txt")))


@cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """Return, for each word of the list, the words that may stand in its place."""
    groups = [tuple(line.split()) for line in read_template("genetic.words").splitlines()]
    return {word: tuple(w for w in group if w != word) for group in groups for word in group}


@dataclass(frozen=True, slots=True)
class Breeding:
    """How a generation follows the last: the best `elite` share stays, the rest are children of good parents.

    `crossover` is the chance that a child has two parents, which change places at `points` places at most;
    `words` that a listed word of it is replaced; `mutation` that it is written anew by a model, where there is
    one. `most` bounds a generation; a budget too small for `generations` of them is spread over as many as each
    has prompts.
    """

    most: int = 256
    generations: int = 100
    elite: float = 0.05
    crossover: float = 0.5
    points: int = 5
    words: float = 0.1
    mutation: float = 0.01

    def size(self, budget: int) -> int:
        """Return how many genomes a generation holds."""
        return min(self.most, max(4, isqrt(budget), budget // self.generations))


@dataclass(slots=True, eq=False)
class Herd:
    """One prompt's generation with its scores, best first, and what each word has been worth so far."""

    hunt: Hunt
    genomes: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    words: dict[str, float] = field(default_factory=dict)


def start(prompt: Prompt, name: str) -> Attempt:
    """Return what is sent when nothing was searched."""
    return written(prompt, name, seeds()[0])


def written(prompt: Prompt, name: str, genome: str) -> Attempt:
    """Write the request into a genome."""
    return Attempt(prompt, name, (Message("user", fill(genome, prompt.text)),))


def evolve(
    hunts: Sequence[Hunt],
    name: str,
    scorer: Scorer,
    checks: Checks,
    breeding: Breeding,
    rewriter: Rewriter | None = None,
) -> None:
    """Breed until every hunt has spent its budget or succeeded; the start is scored and checked by itself.

    A `rewriter` fills the first generation with seeds written anew and mutates children; without one the seeds
    are all of the first generation and words alone change.
    """
    herds = [Herd(hunt) for hunt in hunts if hunt.left]
    _score([(herd, [seeds()[0]]) for herd in herds], name, scorer)
    able = _able(herds, checks, hunts)
    others = [(herd, [*seeds()[1:], *extra]) for herd, extra in _more(able, breeding, rewriter)]
    _score([(herd, genomes[: herd.hunt.left]) for herd, genomes in others], name, scorer)
    while able := _able(herds, checks, hunts):
        born = [(herd, _children(herd, breeding)) for herd in able]
        _score(_mutants(born, breeding, rewriter), name, scorer)


def _able(herds: Sequence[Herd], checks: Checks, hunts: Sequence[Hunt]) -> list[Herd]:
    going = checks.going(hunts)
    return [herd for herd in herds if herd.hunt in going]


def _more(herds: Sequence[Herd], breeding: Breeding, rewriter: Rewriter | None) -> list[tuple[Herd, list[str]]]:
    """Return what fills each herd's first generation beside the seeds: seeds written anew."""
    wanted = [
        (herd, seeds()[int(herd.hunt.rng.integers(len(seeds())))])
        for herd in herds
        for _ in range(breeding.size(herd.hunt.budget) - len(seeds()) if rewriter else 0)
    ]
    texts = rewriter([(herd.hunt, seed) for herd, seed in wanted]) if rewriter else []
    written = [(herd, text) for (herd, _), text in zip(wanted, texts, strict=True) if text]
    return [(herd, list(dict.fromkeys(t for h, t in written if h is herd))) for herd in herds]


def _mutants(
    born: list[tuple[Herd, list[str]]], breeding: Breeding, rewriter: Rewriter | None
) -> list[tuple[Herd, list[str]]]:
    """Write a few children anew."""
    if rewriter is None:
        return born
    drawn = [
        (herd, children, i)
        for herd, children in born
        for i in range(len(children))
        if herd.hunt.rng.random() < breeding.mutation
    ]
    texts = rewriter([(herd.hunt, children[i]) for herd, children, i in drawn])
    for (_, children, i), text in zip(drawn, texts, strict=True):
        children[i] = text or children[i]
    return born


def _score(born: Sequence[tuple[Herd, list[str]]], name: str, scorer: Scorer) -> None:
    """Score all new genomes in one call and rank each herd anew."""
    flat = [(herd, genome) for herd, genomes in born for genome in genomes]
    attempts = [written(herd.hunt.prompt, name, genome) for herd, genome in flat]
    for (herd, genome), attempt, value in zip(flat, attempts, scorer(attempts), strict=True):
        herd.hunt.queries += 1
        herd.hunt.offer(attempt, value)
        herd.genomes.append(genome)
        herd.scores.append(value)
    for herd, _ in born:
        _learn(herd)
        ranked = sorted(zip(herd.scores, herd.genomes, strict=True), key=lambda pair: (-pair[0], pair[1]))
        herd.scores, herd.genomes = [value for value, _ in ranked], [genome for _, genome in ranked]
        herd.hunt.mark()


def _children(herd: Herd, breeding: Breeding) -> list[str]:
    """Keep the elite and return new genomes beside it, none of them known."""
    rng, size = herd.hunt.rng, breeding.size(herd.hunt.budget)
    parents, weights_G = herd.genomes[:size], _fitness(herd.scores[:size])
    kept = max(1, round(breeding.elite * size))
    known, children = set(herd.genomes), []
    for _ in range(min(size - min(kept, size - 1), herd.hunt.left)):
        one, two = (parents[int(i)] for i in rng.choice(len(parents), 2, p=weights_G))
        child = _cross(one, two, breeding.points, rng) if rng.random() < breeding.crossover else one
        child = _mutate(child, herd, breeding.words)
        for _ in range(8):  # a child that was seen before is worth no query
            if child not in known:
                break
            child = _mutate(child, herd, 3 * breeding.words)
        known.add(child)
        children.append(child)
    herd.genomes, herd.scores = herd.genomes[:size], herd.scores[:size]
    return children


def _fitness(scores: Sequence[float]) -> np.ndarray:
    """Return the chance of each to become a parent: softmax of the scores in units of their own spread."""
    values_G = np.array(scores, dtype=np.float64)
    values_G = np.where(
        np.isfinite(values_G), values_G, np.nanmin(np.append(values_G[np.isfinite(values_G)], 0.0))
    )
    weights_G = np.exp((values_G - values_G.max()) / (values_G.std() + 1e-9))
    result: np.ndarray = weights_G / weights_G.sum()
    return result


def _cross(one: str, two: str, points: int, rng: np.random.Generator) -> str:
    """Cut both parents at the same few places and take each part from either; the request's stays."""
    ours, theirs = _SENTENCE.split(one), _SENTENCE.split(two)
    inner = np.arange(1, max(1, min(len(ours), len(theirs))))
    cuts = set(rng.permutation(inner)[:points].tolist())
    child, other = [], False
    for i, sentence in enumerate(ours):
        if i == 0 or i in cuts:
            other = bool(rng.random() < 0.5)
        child.append(theirs[i] if other and i < len(theirs) and _plain(sentence, theirs[i]) else sentence)
    return " ".join(child)


def _plain(*sentences: str) -> bool:
    return all(PLACEHOLDER not in sentence for sentence in sentences)


def _mutate(genome: str, herd: Herd, share: float) -> str:
    """Replace some listed words by synonyms, those that have been worth most so far the likeliest."""
    rng = herd.hunt.rng

    def replaced(match: re.Match[str]) -> str:
        word = match[0]
        others = synonyms().get(word.lower(), ())
        if not others or rng.random() >= share:
            return word
        worth_W = np.array([herd.words.get(w, 0.0) for w in others])
        chances_W = np.exp(worth_W - worth_W.max())
        chosen = others[int(rng.choice(len(others), p=chances_W / chances_W.sum()))]
        return chosen.capitalize() if word[0].isupper() else chosen

    parts = genome.split(PLACEHOLDER)  # the placeholder is no word
    return PLACEHOLDER.join(_WORD.sub(replaced, part) for part in parts)


def _learn(herd: Herd) -> None:
    """Move each listed word's worth towards the mean score, in spreads, of the prompts that hold it."""
    values_G = np.array(herd.scores, dtype=np.float64)
    if not values_G.size or not np.isfinite(values_G).all():
        return
    values_G = (values_G - values_G.mean()) / (values_G.std() + 1e-9)
    seen: dict[str, list[float]] = {}
    for genome, value in zip(herd.genomes, values_G.tolist(), strict=True):
        for word in {w.lower() for w in _WORD.findall(genome)} & synonyms().keys():
            seen.setdefault(word, []).append(value)
    for word, values in seen.items():
        herd.words[word] = MOMENTUM * herd.words.get(word, 0.0) + (1 - MOMENTUM) * sum(values) / len(values)
