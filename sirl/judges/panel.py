"""Several judges of one question vote: the majority of those that decided; a tie is undecided.

The votes stand in the evidence, so that how far the judges agree can be counted from the records alone. A name
stands there without white space (`%20`), so that no name can be taken for more than one vote. Or one judge
defers to another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from sirl.errors import JudgeError
from sirl.judges.contract import ask
from sirl.judges.identity import judge_name
from sirl.records import Completion, Judge, Question, Verdict

_WORD = {True: "yes", False: "no", None: "undecided"}
_ANSWER = {word: answer for answer, word in _WORD.items()}
_VOTE = re.compile(r"(\S+) (yes|no|undecided)(?:; |\Z| \|)")


@dataclass(frozen=True, slots=True)
class Panel:
    """Judges who vote on one question."""

    question: Question
    judges: tuple[Judge, ...]

    def __post_init__(self) -> None:
        """Raise JudgeError if one judge sits twice: his vote would count double."""
        names = [judge_name(judge) for judge in self.judges]
        if len(set(names)) < len(names):
            raise JudgeError("a judge named twice for one question", "each judge once", "leave one out")

    @property
    def identity(self) -> str:
        """The names of all who vote."""
        return "panel(" + ",".join(judge_name(judge) for judge in self.judges) + ")"

    def __call__(self, completions: Sequence[Completion]) -> list[Verdict]:
        """Answer the question about each reply by majority."""
        given = [ask(judge, completions, self.question) for judge in self.judges] if completions else []
        return [self._count(verdicts) for verdicts in zip(*given, strict=True)]

    def _count(self, verdicts: Sequence[Verdict]) -> Verdict:
        answers = [verdict.answer for verdict in verdicts]
        yes, no = answers.count(True), answers.count(False)
        cast = "; ".join(f"{_spelled(v.judge)} {_WORD[v.answer]}" for v in verdicts)
        why = " | ".join(verdict.evidence for verdict in verdicts)
        return Verdict(self.question, None if yes == no else yes > no, f"votes: {cast} | {why}", self.identity)


@dataclass(frozen=True, slots=True)
class Deferring:
    """A judge who leaves what it cannot decide to another."""

    question: Question
    first: Judge
    then: Judge

    @property
    def identity(self) -> str:
        """The names of both."""
        return f"{judge_name(self.first)}, else {judge_name(self.then)}"

    def __call__(self, completions: Sequence[Completion]) -> list[Verdict]:
        """Answer the question about each reply; the other is asked about those alone that are undecided."""
        verdicts = ask(self.first, completions, self.question)
        open_ = [i for i, verdict in enumerate(verdicts) if verdict.answer is None]
        asked = ask(self.then, [completions[i] for i in open_], self.question) if open_ else []
        found = dict(zip(open_, asked, strict=True))
        return [found.get(i, verdict) for i, verdict in enumerate(verdicts)]


def votes(verdict: Verdict) -> dict[str, bool | None]:
    """Return who voted how on a panel's verdict; empty when it is no panel's."""
    if not verdict.evidence.startswith("votes: "):
        return {}
    cast = verdict.evidence.removeprefix("votes: ").partition(" | ")[0]
    return {unquote(name): _ANSWER[word] for name, word in _VOTE.findall(cast)}


def _spelled(name: str) -> str:
    """Return a name without white space; `unquote` gives it back."""
    return re.sub(r"[%\s]", lambda sign: quote(sign.group()), name)
