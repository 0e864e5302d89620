"""Breed templates: choose a promising one, let an attacker model mutate it, try the young, keep the good.

The pool starts with 77 templates. One is chosen by the published MCTS-Explore: a walk down the tree of
descent by upper confidence bounds, which may stop early so that parents are not forgotten; its reward is
smaller for deep descent. Five mutations are written by the attacker model: generate (in the style of),
crossover, expand, shorten, rephrase. Only mutants are sent, one a choice, those of all prompts in one call.

Defaults: exploration 0.5, early stop 0.1, minimum share of reward 0.2 and one mutant per choice, from its
code (sherdencooper/GPTFuzz: gptfuzzer/fuzzer/selection.py, gptfuzz.py, which limits all its questions
together to 1,000 queries). 77 seeds and 500 queries a question are from the paper and were not found in its
code.

Departures: the seeds are ours. Each prompt has its own pool, so that its result does not depend on the other
prompts; the published pool is shared by the questions of a run. A search ends with its first success, so a
template joins the pool if it was not refused, with half the reward of a success.

Source: arXiv 2309.10253 (GPTFuzzer); its code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

import numpy as np

from sirl.attacks.attacker import Order, Writer, instruct, one_slot, writer
from sirl.attacks.search import Hunt, hunts, needed
from sirl.attacks.static import PLACEHOLDER, fill, read_template
from sirl.attacks.tries import Bench, Try, bench, going, say_to
from sirl.records import Attempt, Judge, Prompt, Target

MUTATIONS = ("generate", "crossover", "expand", "shorten", "rephrase")
IDLE = 20  # choices in a row without a usable mutant, after which a search gives up
LONGEST = 4000  # characters of a template; one that has grown beyond is dropped


@cache
def seeds() -> tuple[str, ...]:
    r"""Return the templates that a pool starts with: a line each in the file, \n for a line break."""
    return tuple(line.replace("\\n", "\n") for line in read_template("gptfuzzer.seeds").splitlines())


@dataclass(slots=True)
class Node:
    """A template in the pool; `level` counts its mutations, `reward` and `visits` are those of the search."""

    text: str
    level: int = 0
    reward: float = 0.0
    visits: int = 0
    children: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Pool:
    """The templates of one prompt: the seeds, and all that was bred from them."""

    seeds: list[Node]
    steps: int = 0

    def all(self) -> list[Node]:
        """Return every template of the pool, parents before children."""
        found = list(self.seeds)
        for node in found:  # grows while it is walked
            found += node.children
        return found


@dataclass(frozen=True, slots=True)
class GptFuzzer:
    """Breed `young` mutants a choice. The other fields are the constants of MCTS-Explore."""

    NEEDS: ClassVar = ("attacker", "judge")
    recover: ClassVar = None  # the request is reworded
    young: int = 1
    exploration: float = 0.5
    early_stop: float = 0.1
    least: float = 0.2
    attacker: Target | None = field(default=None, repr=False)
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return the first template that succeeds, else the best. Raises AttackError if something lacks."""
        court = bench(needed(target, "gptfuzzer"), self.judge, "gptfuzzer", seed)
        helper = writer(self.attacker, "gptfuzzer", seed)
        searches = hunts(prompts, budget, seed, "gptfuzzer")
        pools = {p.id: Pool([Node(text) for text in seeds()]) for p in prompts}
        while open_ := going(searches, IDLE):
            self._generation([(hunt, pools[hunt.prompt.id]) for hunt in open_], court, helper)
        return [hunt.result(_attempt(hunt, seeds()[0])) for hunt in searches]

    def _generation(self, batch: Sequence[tuple[Hunt, Pool]], court: Bench, helper: Writer) -> None:
        """Choose a parent a prompt, breed from it, try the young, and tell its ancestors how they did."""
        paths = [self._choose(pool, hunt.rng) for hunt, pool in batch]
        orders = [
            _mutation(hunt, path[-1], pool)
            for (hunt, pool), path in zip(batch, paths, strict=True)
            for _ in range(min(self.young, hunt.left))
        ]
        bred = [(o.hunt, t) for o, t in zip(orders, _grown(orders, helper), strict=True) if t]
        rows = [list(dict.fromkeys(text for owner, text in bred if owner is hunt)) for hunt, _ in batch]
        attempts = [
            (hunt, [_attempt(hunt, text) for text in row]) for (hunt, _), row in zip(batch, rows, strict=True)
        ]
        for path, row, tries in zip(paths, rows, court.send(attempts), strict=True):
            self._learn(path, row, tries)

    def _choose(self, pool: Pool, rng: np.random.Generator) -> list[Node]:
        """Walk from the seeds to the template to mutate; return the path."""
        pool.steps += 1
        path: list[Node] = []
        nodes = pool.seeds
        while nodes and not (path and rng.random() < self.early_stop):
            path.append(max(nodes, key=lambda node: self._bound(node, pool.steps)))
            nodes = path[-1].children
        for node in path:
            node.visits += 1
        return path

    def _bound(self, node: Node, steps: int) -> float:
        """Return the upper confidence bound on a template's reward."""
        doubt = math.sqrt(2 * math.log(steps) / (node.visits + 0.01))
        return node.reward / (node.visits + 1) + self.exploration * doubt

    def _learn(self, path: Sequence[Node], row: Sequence[str], tries: Sequence[Try]) -> None:
        """Add the young that were not refused; reward the path by their mean score, less for deep descent."""
        parent = path[-1]
        good = [text for text, done in zip(row, tries, strict=True) if done.score > 0]
        mean = sum(done.score for done in tries) / max(1, len(tries))
        for node in path:
            node.reward += mean * max(self.least, 1 - 0.1 * parent.level)
        parent.children += [Node(text, parent.level + 1) for text in good]


@dataclass(frozen=True, slots=True)
class _Mutation:
    """A mutation that was ordered, with the template it is made of."""

    hunt: Hunt
    name: str
    parent: str
    order: Order


def _mutation(hunt: Hunt, parent: Node, pool: Pool) -> _Mutation:
    name = MUTATIONS[hunt.rng.integers(len(MUTATIONS))]
    others = [node.text for node in pool.all() if node is not parent]
    other = others[hunt.rng.integers(len(others))]
    check = _no_slot if name == "expand" else one_slot
    text = instruct(name, template=parent.text, other=other)
    return _Mutation(hunt, name, parent.text, Order(hunt, text, check))


def _grown(mutations: Sequence[_Mutation], helper: Writer) -> list[str | None]:
    """Return the young templates; None where nothing usable was written or it has grown too long."""
    texts = helper.write([mutation.order for mutation in mutations])
    young = [
        f"{text} {m.parent}" if text and m.name == "expand" else text
        for m, text in zip(mutations, texts, strict=True)
    ]
    return [text if text and len(text) <= LONGEST else None for text in young]


def _no_slot(text: str) -> bool:
    return PLACEHOLDER not in text


def _attempt(hunt: Hunt, template: str) -> Attempt:
    return say_to(hunt, "gptfuzzer", fill(template, hunt.prompt.text))
