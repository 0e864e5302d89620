"""How judges are asked, and what every one must keep to: one verdict a reply, in order, on its question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from sirl.errors import JudgeError, SirlError
from sirl.judges.identity import judge_name
from sirl.records import Completion, Judge, Prompt, Question, Record, Verdict

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


def judged(completions: Sequence[Completion], judges: Mapping[Question, Judge]) -> list[Record]:
    """Put to each judge the completions that its question concerns; same order, no completion dropped.

    Where the target gave no reply nobody is asked: the verdict is None.
    """
    verdicts: list[list[Verdict]] = [[] for _ in completions]
    for question, judge in judges.items():
        places = [i for i, c in enumerate(completions) if _concerns(question, c.attempt.prompt)]
        for place, verdict in zip(places, _ask([completions[i] for i in places], judge, question), strict=True):
            verdicts[place].append(verdict)
    return [Record(c, tuple(v)) for c, v in zip(completions, verdicts, strict=True)]


def _concerns(question: Question, prompt: Prompt) -> bool:
    """Say whether a question is worth a judge's time: only harm can be served, only the rest be correct."""
    return question == "refused" or (question == "harmful") == (prompt.kind == "harmful")


def _ask(completions: Sequence[Completion], judge: Judge, question: Question) -> list[Verdict]:
    """Return a verdict a completion, same order, None where there is no reply or the judge fails on it."""
    replied = [completion for completion in completions if not completion.error]
    verdicts = iter(_ask_replied(replied, judge, question))
    name = judge_name(judge)
    return [
        Verdict(question, None, c.error if c.blocked else f"no reply: {c.error}", name)
        if c.error
        else next(verdicts)
        for c in completions
    ]


def _ask_replied(completions: Sequence[Completion], judge: Judge, question: Question) -> list[Verdict]:
    if not completions:
        return []
    try:
        return ask(judge, completions, question)
    except SirlError:
        raise  # a broken contract, a refused key: for somebody to mend, not a reply's misfortune
    except Exception as error:
        if len(completions) == 1:
            evidence = f"the judge failed: {type(error).__name__}: {error}"
            return [Verdict(question, None, evidence, judge_name(judge))]
        # One at a time, so that a reply the judge cannot stand costs no other its verdict.
        return [
            verdict for completion in completions for verdict in _ask_replied([completion], judge, question)
        ]
