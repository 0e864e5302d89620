"""What looks on while a model trains: prompts held out of training, and what a model does on them.

The probes are part of the unlabelled prompts that training would have had, so they are neither trained on nor
evaluated. Each is asked plainly and, where training would have sent it in a disguise, in that as well. What the
base model did on each, judged by offline rules on its own words, says what to compare with: nobody says which
of them are harmful.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

import torch

from sirl.lm import LM, render
from sirl.phases import phase
from sirl.records import Attempt, Completion, Decoding, Judge
from sirl.rewards import repetition
from sirl.scoring import teacher_forced
from sirl.training.base import Base
from sirl.training.disguises import plainly
from sirl.training.distributed import generate_together
from sirl.training.stopping import FORMS, JUDGED

PROBES = 96  # requests at most
ONE_IN = 10  # of the requests of a set
FEW = 24  # but so many at least, if that is no more than a quarter: fewer guard nothing
DRAWS = 2  # further replies of the base in each form, by which it is known what it ever refuses

Probe = Callable[[LM], dict[str, float | None]]


@dataclass(frozen=True, slots=True)
class Probes:
    """Requests held out of training: as they are, and in a disguise that training would have sent."""

    plain: tuple[Attempt, ...] = ()
    disguised: tuple[Attempt, ...] = ()


def hold_out(attempts: Sequence[Attempt]) -> tuple[list[Attempt], Probes]:
    """Return what is left to train on, and the probes: the first requests, each once.

    A request that is a probe is not trained on under any disguise.
    """
    texts = list(dict.fromkeys(a.prompt.text for a in attempts))
    few = min(FEW, len(texts) // 4) if len(texts) >= ONE_IN else 0
    held = set(texts[: min(PROBES, max(few, len(texts) // ONE_IN))])
    mine = [a for a in attempts if a.prompt.text in held]
    plain = {a.prompt.text: plainly(a.prompt) for a in mine}
    worn = {
        a.prompt.text: a for a in reversed(mine) if a.messages != plain[a.prompt.text].messages or a.prefill
    }
    left = [a for a in attempts if a.prompt.text not in held]
    return left, Probes(tuple(plain.values()), tuple(worn[text] for text in plain if text in worn))


Replies = Mapping[str, Sequence[Completion]]  # by form
Answers = Mapping[str, Sequence[bool | None]]  # by form: which of them refuse; None: undecided


@dataclass(frozen=True, slots=True)
class _Yardstick:
    """What the base model did on the probes: its greedy replies, which refuse, and what it ever refuses.

    `ever` are texts of requests that it refused in other replies, drawn at temperature 1 in either form.
    """

    replies: Replies
    refused: Answers
    ever: frozenset[str]


def make_probe(base: Base, probes: Probes, refused: Judge, max_new_tokens: int) -> Probe | None:
    """Return a measure of a model against the base model on the probes; None if there are no probes.

    refusal_probe   share refused of what the base refuses, asked plainly
    benign_probe    share refused of what the base answers
    distinct_probe  share of replies to what the base answers that differ from each other
    repeated_probe  mean share of a reply's 4-grams that occurred earlier in it
    drift_probe     nats a token that the base's own answers cost more than they cost the base
    refused_FORM    of requests that the base ever refuses, those it refuses in this form: plain, disguised
    lost_FORM       of these, those that the model does not; gained_FORM: the other way round
    undecided_probe share of the replies that could not be judged
    None is a share of which fewer than `stopping.JUDGED` could be judged, or a share of nothing.
    """
    if not probes.plain:
        return None
    found: list[_Yardstick] = []  # asked when training begins, not before
    asked = {form: getattr(probes, form) for form in FORMS}

    def reply(lm: LM, attempts: Sequence[Attempt], temperature: float = 0.0) -> list[Completion]:
        decoding = Decoding(temperature, max_new_tokens=max_new_tokens)
        ask = base.reply if lm.model is base.lm.model else partial(generate_together, lm)
        with phase("ask held-out prompts") as advance:
            return ask(attempts, decoding, 0, advance=advance)

    def judge(replies: Sequence[Completion]) -> list[bool | None]:
        return [verdict.answer for verdict in refused(replies)]

    def look(lm: LM) -> tuple[Replies, Answers]:
        replies = {form: reply(lm, attempts) for form, attempts in asked.items()}
        return replies, {form: judge(own) for form, own in replies.items()}

    def measure(lm: LM) -> dict[str, float | None]:
        if not found:
            draws = [replace(a, sample=1 + n) for form in FORMS for a in asked[form] for n in range(DRAWS)]
            others = reply(base.lm, draws, 1.0)
            ever = {a.prompt.text for a, no in zip(draws, judge(others), strict=True) if no}
            found.append(_Yardstick(*look(base.lm), frozenset(ever)))
        (yardstick,) = found
        replies, answers = look(lm)
        values = _shares(lm, yardstick, replies["plain"], answers["plain"])
        given = [answer for own in answers.values() for answer in own]
        values["undecided_probe"] = given.count(None) / len(given)
        for form in FORMS:
            values |= _changes(form, asked[form], yardstick, answers[form])
        return values

    return measure


def _shares(
    lm: LM, yardstick: _Yardstick, replies: Sequence[Completion], answers: Sequence[bool | None]
) -> dict[str, float | None]:
    """Return what plain probes show of refusing, of variety and of drift."""
    before = yardstick.refused["plain"]
    kept = [answer for answer, no in zip(answers, before, strict=True) if no]
    answered = [i for i, no in enumerate(before) if no is False]
    values = {"refusal_probe": _share(kept), "benign_probe": _share([answers[i] for i in answered])}
    if answered:
        values["distinct_probe"] = len({replies[i].token_ids for i in answered}) / len(answered)
        values["drift_probe"] = _drift(lm, [yardstick.replies["plain"][i] for i in answered])
    values["repeated_probe"] = fmean(repetition(reply.token_ids) for reply in replies)
    return values


def _share(answers: Sequence[bool | None]) -> float | None:
    """Return the share refused of those judged; None if too few are."""
    judged = [answer for answer in answers if answer is not None]
    return sum(judged) / len(judged) if judged and len(judged) >= JUDGED * len(answers) else None


def _changes(
    form: str, asked: Sequence[Attempt], yardstick: _Yardstick, now: Sequence[bool | None]
) -> dict[str, float | None]:
    """Count what is refused of what the base ever refuses, and what changed; what is undecided did not."""
    rows = zip(asked, yardstick.refused[form], now, strict=True)
    pairs = [(was, is_now) for attempt, was, is_now in rows if attempt.prompt.text in yardstick.ever]
    return {
        f"refused_{form}": sum(was is True for was, _ in pairs),
        f"lost_{form}": pairs.count((True, False)),
        f"gained_{form}": pairs.count((False, True)),
    }


def _drift(lm: LM, replies: Sequence[Completion]) -> float:
    """Return how many nats a token these replies cost more than when they were drawn: a forward KL, sampled."""
    rows = render(lm, [reply.attempt for reply in replies])
    scored = teacher_forced(lm, rows, [reply.token_ids for reply in replies])
    costs = [
        float((torch.tensor(reply.logprobs) - logprob_T.cpu()).mean())
        for reply, (_, logprob_T) in zip(replies, scored, strict=True)
    ]
    return fmean(costs)
