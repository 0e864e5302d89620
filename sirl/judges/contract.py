"""What every judge must keep to: one verdict a completion, in order, on the question that was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from sirl.errors import JudgeError
from sirl.judges.identity import judge_name
from sirl.records import Completion, Judge, Question, Verdict

QUESTIONS: tuple[str, ...] = get_args(Question)


def ask(judge: Judge, completions: Sequence[Completion], question: Question | None = None) -> list[Verdict]:
    """Ask a judge and check its reply: one verdict a completion, each on `question` where one is given.

    Raises JudgeError when the contract is broken; what the judge itself raises passes through.
    """
    verdicts = judge(completions)
    name = judge_name(judge)
    if not isinstance(verdicts, (list, tuple)):
        raise _broken(name, f"a {type(verdicts).__name__}", "a list of verdicts")
    if len(verdicts) != len(completions):
        raise _broken(name, f"{len(verdicts)} verdicts", f"{len(completions)}, one a completion")
    for verdict in verdicts:
        _check(name, verdict, question)
    return list(verdicts)


def _check(name: str, verdict: object, question: Question | None) -> None:
    if not isinstance(verdict, Verdict):
        raise _broken(name, f"a {type(verdict).__name__} among its verdicts", "only verdicts")
    if verdict.answer not in (True, False, None) or not isinstance(verdict.answer, (bool, type(None))):
        raise _broken(name, f"the answer {verdict.answer!r}", "True, False or None")
    if not isinstance(verdict.evidence, str) or not isinstance(verdict.judge, str):
        raise _broken(name, "evidence or a name that is not text", "text for both")
    if verdict.question not in QUESTIONS or question not in (None, verdict.question):
        raise _broken(name, f"a verdict on {verdict.question!r}", f"one on {question or QUESTIONS}")


def _broken(name: str, found: str, expected: str) -> JudgeError:
    return JudgeError(f"judge {name} returned {found}", expected, "mend the judge; see records.Judge")
