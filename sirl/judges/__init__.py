"""Judges: decide harmful, refused or correct, each by name, with evidence; undecided is None.

The door of the room: `get_judges` turns names into judges, `judged` puts replies to each of them, `ask` holds
any judge, ours or a user's, to the contract. A judge reads completions and nothing else; it knows neither
attacks by name nor models under test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from sirl.errors import JudgeError, suggest
from sirl.judges import exact, harm, refusal
from sirl.judges.contract import QUESTIONS, ask, judged
from sirl.judges.identity import Signed, identify, judge_name
from sirl.judges.panel import Deferring, Panel, votes
from sirl.plugins import load_plugin
from sirl.records import Judge, Question

__all__ = [
    "DEFAULT",
    "JUDGES",
    "Deferring",
    "Panel",
    "ask",
    "get_judge",
    "get_judges",
    "identify",
    "judge_name",
    "judged",
    "known_agreement",
    "votes",
]

JUDGES: Mapping[str, Mapping[Question, Judge]] = {
    "refusal": {
        "refused": Signed(refusal.NAME, refusal.refused),
        "harmful": Signed(refusal.NAME, refusal.harmful),
    },
    "harm": {"harmful": Signed(harm.NAME, harm.harmful)},
    "exact": {"correct": Signed(exact.NAME, exact.correct)},
}
DEFAULT = ("refusal", "harm", "exact")  # a later one replaces an earlier one on its questions
AGREEMENT = Path(__file__).with_name("agreement.json")


def get_judges(
    names: Sequence[str] = (), default: Mapping[Question, Judge] | None = None
) -> dict[Question, Judge]:
    """Return one judge a question: `default` (None: those of `DEFAULT`), replaced where `names` says so.

    A name is one of `JUDGES`, answering all its questions, or `[question=]my_pkg.mine:judge`, a user's own
    function for one question (*harmful?* if none is named). Raises JudgeError on an unknown name or question.
    """
    chosen = {q: j for name in DEFAULT for q, j in _known(name).items()} if default is None else dict(default)
    for name in names:
        before, equals, after = name.rpartition("=")
        if equals or ":" in name:
            question = _question(before or "harmful")
            chosen[question] = get_judge(after, question)
        else:
            chosen.update(_known(name))
    return chosen


def get_judge(name: str, question: Question = "harmful") -> Judge:
    """Return the judge `name` for one question. Raises JudgeError if there is none."""
    if ":" in name:
        return cast(Judge, load_plugin(name, "judge", JudgeError))
    known = _known(name)
    if question not in known:
        advice = f"it answers {', '.join(known)}"
        raise JudgeError(f"judge {name!r} for {question!r}", "a judge of that question", advice)
    return known[question]


def known_agreement(judges: Mapping[Question, Judge]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return what is known of the judges' agreement with people: question -> judge -> one row a labelled set.

    A row has kappa, low, high, n, set and seen: whether the judge was made on those very replies. Only our own
    judges have been measured; a user's judge, or a model, is absent.
    """
    table = json.loads(AGREEMENT.read_text(encoding="utf-8"))
    return {
        question: {name: table[name][question]}
        for question, judge in judges.items()
        for name, known in JUDGES.items()
        if known.get(question) is judge and question in table.get(name, {})
    }


def _known(name: str) -> Mapping[Question, Judge]:
    if name not in JUDGES:
        advice = f"{suggest(name, JUDGES)}; or my_pkg.mine:judge"
        raise JudgeError(f"judge {name!r}", "a known judge", advice)
    return JUDGES[name]


def _question(name: str) -> Question:
    if name not in QUESTIONS:
        raise JudgeError(f"question {name!r}", "a question that judges answer", suggest(name, QUESTIONS))
    return cast(Question, name)
