"""Let an attacker model rewrite a request again and again, told each time how the tries so far went.

PAIR runs streams of refinement; TAP grows a tree: every leaf is rewritten several times, what has left the
topic is pruned unsent, and the best of what was sent grow on. The attacker sees the talk so far: its
messages, each with the whole reply, how it went in words, and a score from 1 to 10, which the attacker model
gives itself when asked as a judge. This module refuses to know who judges and what is asked.

Defaults: for PAIR, 30 streams of 3 and four kept exchanges, from its code (patrickrchao/JailbreakingLLMs:
main.py, whose own default is 3 streams); for TAP, branching 4, width 10, depth 10 and three kept exchanges,
from its code (RICommunity/TAP: Demo.ipynb, main_TAP.py).

Departures: success is what the search's own judge calls harmful, and only that scores 10 of 10; if an
attacker model gives no number, the result sets the score (1 refused, 5 not refused). The attacker is asked
for the message alone, without its reasons, and has one instruction instead of three. PAIR runs five streams
at a time, so that a success is noticed earlier, and begins again until the budget is spent. TAP sends all
candidates that stay on topic, as in the paper (its code cuts to the width first), and begins a new tree when
one is complete.

Sources: arXiv 2310.08419 (PAIR) and its code, arXiv 2312.02119 (TAP).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from sirl.attacks.attacker import Order, Writer, instruct, on_topic, rate, sentences, writer
from sirl.attacks.search import Hunt, hunts, needed
from sirl.attacks.tries import Bench, Try, bench, going, say_to
from sirl.records import Attempt, Judge, Message, Prompt, Target

KEPT = 4  # exchanges with the attacker that it is shown, the last ones; TAP shows KEPT_IN_TREE
KEPT_IN_TREE = 3


@dataclass(frozen=True, slots=True)
class Step:
    """One try of a line of refinement, how far it got (1 to 10), and the steps before it, oldest first."""

    done: Try
    level: int
    before: tuple[Step, ...] = ()

    @property
    def line(self) -> tuple[Step, ...]:
        return (*self.before, self)


Line = tuple[Step, ...]  # one line of refinement, oldest first
Stream = list[Step]  # one that is still growing


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
        orders = [_order(hunt, stream, KEPT) for hunt, streams in batch for stream in streams]
        texts = iter(helper.write(orders))
        written = [[(stream, text) for stream in streams if (text := next(texts))] for _, streams in batch]
        attempts = [
            (hunt, [say_to(hunt, "pair", text) for _, text in row])
            for (hunt, _), row in zip(batch, written, strict=True)
        ]
        sent = court.send(attempts)
        tried = [(hunt, done) for (hunt, _), tries in zip(batch, sent, strict=True) for done in tries]
        levels = iter(rate(helper, tried))
        for row, tries in zip(written, sent, strict=True):
            for (stream, _), done in zip(row, tries, strict=True):
                stream.append(Step(done, next(levels)))


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
        lines = [(hunt, line) for hunt, tree in batch for line in tree.leaves for _ in range(self.branching)]
        texts = helper.write([_order(hunt, line, KEPT_IN_TREE) for hunt, line in lines])
        children = [(*line, text) for line, text in zip(lines, texts, strict=True) if text]
        kept = on_topic(helper, [(hunt, text) for hunt, _, text in children])
        rows: list[dict[str, Line]] = [
            {text: line for (h, line, text), stays in zip(children, kept, strict=True) if stays and h is hunt}
            for hunt, _ in batch
        ]
        sent = court.send(
            [(h, [say_to(h, "tap", text) for text in row]) for (h, _), row in zip(batch, rows, strict=True)]
        )
        tried = [(hunt, done) for (hunt, _), tries in zip(batch, sent, strict=True) for done in tries]
        levels = iter(rate(helper, tried))
        for (hunt, tree), row, tries in zip(batch, rows, sent, strict=True):
            steps = [
                Step(done, next(levels), line) for done, line in zip(tries, row.values(), strict=False)
            ]  # the budget may not reach them all
            order = hunt.rng.permutation(len(steps))  # ties are broken by lot
            best = sorted((steps[i] for i in order), key=lambda step: -step.level)[: self.width]
            tree.grow([step.line for step in best], self.depth)


@dataclass(slots=True)
class _Tree:
    """The leaves of one prompt's tree, each with the line that leads to it; the root is an empty line."""

    leaves: Sequence[Line] = ((),)
    level: int = 0

    def grow(self, leaves: Sequence[Line], depth: int) -> None:
        self.level += 1
        self.leaves = leaves
        if not leaves or self.level >= depth:
            self.leaves, self.level = ((),), 0


def _order(hunt: Hunt, line: Sequence[Step], kept: int) -> Order:
    """Ask for a first message, or for a better one than the last, after the exchanges that led to it."""
    asked = instruct("rewrite", request=hunt.prompt.text)
    turns: list[Message] = []
    for step in line:
        message = step.done.attempt.messages[-1].content
        turns += [Message("user", asked), Message("assistant", f"<message>{message}</message>")]
        asked = instruct(
            "again",
            request=hunt.prompt.text,
            message=message,
            reply=step.done.reply,
            score=f"{sentences('results')[step.done.result]} {step.level} of 10.",
        )
    return Order(hunt, asked, before=tuple(turns[-2 * kept :]))
