"""Let an attacker model rewrite a request again and again, told each time how the last try went.

PAIR runs a few streams of refinement side by side; TAP grows a tree: every leaf is rewritten several times,
what has left the topic is pruned unsent, and the best of what was sent grow on. The attacker sees its last
message, the reply and the result in words. This module refuses to know who judges and what is asked.

Departures: the attacker is shown its last try alone, in one message, not the talk so far; its feedback is the
result of the search's own judge and a refusing word, not a score from 1 to 10; it is asked for the message
alone, not for its reasons. PAIR runs its streams a few at a time, so that a win is noticed earlier.

Sources: arXiv 2310.08419 (PAIR), arXiv 2312.02119 (TAP).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from sirl.attacks.attacker import Order, Writer, clip, instruct, on_topic, sentences, writer
from sirl.attacks.search import Hunt, hunts, needed
from sirl.attacks.tries import Bench, Try, bench, going, say_to
from sirl.records import Attempt, Judge, Prompt, Target

Stream = list[Try]  # the tries of one line of refinement, oldest first


@dataclass(frozen=True, slots=True)
class Pair:
    """Refine in `streams` side by side, each `depth` tries long; then begin anew until the budget is spent."""

    NEEDS: ClassVar = ("attacker", "judge")
    recover: ClassVar = None  # the request is reworded
    streams: int = 5
    depth: int = 3
    attacker: Target | None = field(default=None, repr=False)
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return the first message that succeeds, else the best. Raises AttackError if something lacks."""
        court = bench(needed(target, "pair"), self.judge, "pair", seed)
        helper = writer(self.attacker, "pair", seed)
        searches = hunts(prompts, budget, seed, "pair")
        lines: dict[str, list[Stream]] = {prompt.id: [[] for _ in range(self.streams)] for prompt in prompts}
        while open_ := going(searches):
            self._round([(hunt, lines[hunt.prompt.id][: hunt.left]) for hunt in open_], court, helper)
        return [hunt.result(say_to(hunt, "pair", hunt.prompt.text)) for hunt in searches]

    def _round(self, batch: Sequence[tuple[Hunt, list[Stream]]], court: Bench, helper: Writer) -> None:
        """Lengthen every stream by one try; a stream at its end begins anew."""
        for _, streams in batch:
            for stream in streams:
                if len(stream) >= self.depth:
                    stream.clear()
        orders = [_order(hunt, stream[-1] if stream else None) for hunt, streams in batch for stream in streams]
        texts = iter(helper.write(orders))
        written = [[(stream, text) for stream in streams if (text := next(texts))] for _, streams in batch]
        attempts = [
            (hunt, [say_to(hunt, "pair", text) for _, text in row])
            for (hunt, _), row in zip(batch, written, strict=True)
        ]
        for row, tries in zip(written, court.send(attempts), strict=True):
            for (stream, _), done in zip(row, tries, strict=True):
                stream.append(done)


@dataclass(frozen=True, slots=True)
class Tap:
    """Grow a tree of rewritings `depth` deep: `branching` children a leaf, the best `width` go on."""

    NEEDS: ClassVar = ("attacker", "judge")
    recover: ClassVar = None  # the request is reworded
    branching: int = 4
    width: int = 10
    depth: int = 10
    attacker: Target | None = field(default=None, repr=False)
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return the first message that succeeds, else the best. Raises AttackError if something lacks."""
        court = bench(needed(target, "tap"), self.judge, "tap", seed)
        helper = writer(self.attacker, "tap", seed)
        searches = hunts(prompts, budget, seed, "tap")
        trees = {hunt.prompt.id: _Tree() for hunt in searches}
        while open_ := going(searches):
            self._level([(hunt, trees[hunt.prompt.id]) for hunt in open_], court, helper)
        return [hunt.result(say_to(hunt, "tap", hunt.prompt.text)) for hunt in searches]

    def _level(self, batch: Sequence[tuple[Hunt, _Tree]], court: Bench, helper: Writer) -> None:
        """Branch, prune what strays, send, keep the best; a tree that is full-grown or bare begins anew."""
        orders = [
            _order(hunt, leaf) for hunt, tree in batch for leaf in tree.leaves for _ in range(self.branching)
        ]
        texts = helper.write(orders)
        children = [(o.hunt, text) for o, text in zip(orders, texts, strict=True) if text]
        kept = on_topic(helper, children)
        rows = [
            [text for (owner, text), stays in zip(children, kept, strict=True) if stays and owner is hunt]
            for hunt, _ in batch
        ]
        attempts = [
            (hunt, [say_to(hunt, "tap", text) for text in dict.fromkeys(row)])
            for (hunt, _), row in zip(batch, rows, strict=True)
        ]
        for (hunt, tree), tries in zip(batch, court.send(attempts), strict=True):
            order = hunt.rng.permutation(len(tries))  # ties are broken by lot
            best = sorted((tries[i] for i in order), key=lambda t: -t.score)[: self.width]
            tree.grow(best, self.depth)


@dataclass(slots=True)
class _Tree:
    """The leaves of one prompt's tree; the root is None, from which the first messages are written."""

    leaves: Sequence[Try | None] = (None,)
    level: int = 0

    def grow(self, leaves: Sequence[Try], depth: int) -> None:
        self.level += 1
        self.leaves = leaves
        if not leaves or self.level >= depth:
            self.leaves, self.level = (None,), 0


def _order(hunt: Hunt, last: Try | None) -> Order:
    """Ask for a first message, or for a better one than the last."""
    if last is None:
        return Order(hunt, instruct("rewrite", request=hunt.prompt.text))
    text = instruct(
        "again",
        request=hunt.prompt.text,
        message=clip(last.attempt.messages[-1].content),
        reply=clip(last.reply),
        score=sentences("results")[last.result],
    )
    return Order(hunt, text)
