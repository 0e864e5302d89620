"""Several judges of one question vote: the majority of those that decided; a tie is undecided.

The votes stand in the evidence, so that how far the judges agree can be counted from the records alone. A name
stands there without white space (`%20`), so that no name can be taken for more than one vote.
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


def votes(verdict: Verdict) -> dict[str, bool | None]:
    """Return who voted how on a panel's verdict; empty when it is no panel's."""
    if not verdict.evidence.startswith("votes: "):
        return {}
    cast = verdict.evidence.removeprefix("votes: ").partition(" | ")[0]
    return {unquote(name): _ANSWER[word] for name, word in _VOTE.findall(cast)}


def _spelled(name: str) -> str:
    """Return a name without white space; `unquote` gives it back."""
    return re.sub(r"[%\s]", lambda sign: quote(sign.group()), name)
