"""Lead the model to a request in small steps: real turns, each question built on its last reply.

An attacker model opens with a harmless question and comes closer turn by turn. A question that was refused is
taken back, as if it had never been asked, and a milder one is put in its place. A talk that is long enough or
was refused too often is dropped and another begun. What is sent in the end is the whole talk that succeeded,
with the model's own replies in it; if none did, the plain request. This module refuses to know what a step is.

Defaults: 10 rounds and 10 backtracks, from its authors' code (Azure/PyRIT:
pyrit/orchestrator/multi_turn/crescendo_orchestrator.py). 10 conversations are from the paper and were not
found in code.

Departures: refusals are recognised by their words; the attacker sees the conversation itself, not a summary
of the last reply; no separate judge scores progress.

Source: arXiv 2404.01833 (Crescendo).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from sirl.attacks.attacker import Order, clip, instruct, writer
from sirl.attacks.search import Hunt, hunts, needed
from sirl.attacks.tries import Try, bench, going, say_to
from sirl.records import Attempt, Judge, Message, Prompt, Target

NAME = "crescendo"


@dataclass(slots=True)
class Talk:
    """One conversation under way: the turns that stand, the question refused, and how often that happened."""

    turns: tuple[Message, ...] = ()
    refused: str = ""
    backtracks: int = 0

    @property
    def rounds(self) -> int:
        return len(self.turns) // 2

    @property
    def text(self) -> str:
        """The talk as the attacker is shown it."""
        marks = {"user": "Q", "assistant": "A"}
        return "\n".join(f"{marks[m.role]}: {clip(m.content)}" for m in self.turns)


@dataclass(frozen=True, slots=True)
class Crescendo:
    """Talk for at most `rounds` turns and `backtracks` questions taken back, then begin anew."""

    NEEDS: ClassVar = ("attacker", "judge")
    recover: ClassVar = None  # the request is reworded
    rounds: int = 10
    backtracks: int = 10
    attacker: Target | None = field(default=None, repr=False)
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return the talk that succeeded, else the plain request. Raises AttackError if something lacks."""
        court = bench(needed(target, NAME), self.judge, NAME, seed)
        helper = writer(self.attacker, NAME, seed)
        searches = hunts(prompts, budget, seed, NAME)
        talks = {prompt.id: Talk() for prompt in prompts}
        while open_ := going(searches):
            orders = [_order(hunt, talks[hunt.prompt.id]) for hunt in open_]
            questions = helper.write(orders)
            attempts = [
                (hunt, [_attempt(hunt, talks[hunt.prompt.id], q)] if q else [])
                for hunt, q in zip(open_, questions, strict=True)
            ]
            for hunt, tries in zip(open_, court.send(attempts), strict=True):
                talks[hunt.prompt.id] = self._after(talks[hunt.prompt.id], tries)
        return [_result(hunt) for hunt in searches]

    def _after(self, talk: Talk, tries: Sequence[Try]) -> Talk:
        """Return the talk after a question: a turn longer, the question taken back, or a new one begun."""
        if not tries:  # the attacker was lost for words
            return Talk()
        (done,) = tries
        if done.result == "refused" or not done.reply.strip():
            asked = done.attempt.messages[-1].content
            after = Talk(talk.turns, asked, talk.backtracks + 1)
        else:
            turns = (*done.attempt.messages, Message("assistant", done.reply))
            after = Talk(turns, "", talk.backtracks)
        over = after.rounds >= self.rounds or after.backtracks > self.backtracks
        return Talk() if over else after


def _order(hunt: Hunt, talk: Talk) -> Order:
    """Ask for the first question, the next, or a milder one."""
    name = "back" if talk.refused else "next" if talk.turns else "open"
    return Order(hunt, instruct(name, request=hunt.prompt.text, history=talk.text, message=clip(talk.refused)))


def _attempt(hunt: Hunt, talk: Talk, question: str) -> Attempt:
    return Attempt(hunt.prompt, NAME, (*talk.turns, Message("user", question)))


def _result(hunt: Hunt) -> Attempt:
    """Return what succeeded; short of that no talk is better than the plain request."""
    if not hunt.succeeded:
        hunt.best = None
    return hunt.result(say_to(hunt, NAME, hunt.prompt.text))
