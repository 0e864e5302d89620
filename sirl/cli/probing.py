"""What looks on while a model trains: prompts held out of training, and what a model does on them.

The probes are part of the unlabelled prompts that training would have had, so they are neither trained on nor
evaluated. What the frozen start did on each, judged by offline rules on its own words, says what to compare
with: nobody says which of them are harmful.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from sirl.lm import LM, render
from sirl.metrics import rate
from sirl.records import Attempt, Completion, Decoding, Judge
from sirl.rewards import repetition
from sirl.scoring import teacher_forced
from sirl.training import plainly
from sirl.training.together import generate_together

PROBES = 96  # plain requests at most
ONE_IN = 10  # of the requests of a small set

Probe = Callable[[LM], dict[str, float]]


def hold_out(attempts: Sequence[Attempt]) -> tuple[list[Attempt], list[Attempt]]:
    """Return what is left to train on and the probes: the first plain requests, each once, in no disguise.

    A request that is a probe is not trained on under any disguise.
    """
    texts = list(dict.fromkeys(a.prompt.text for a in attempts))
    held = set(texts[: min(PROBES, len(texts) // ONE_IN)])
    probes = {a.prompt.text: plainly(a.prompt) for a in attempts if a.prompt.text in held}
    return [a for a in attempts if a.prompt.text not in held], list(probes.values())


@dataclass(frozen=True, slots=True)
class _Yardstick:
    """What the frozen start did on the probes: its greedy replies, and which refuse (None: undecided)."""

    replies: Sequence[Completion]
    refused: Sequence[bool | None]


def make_probe(start: LM, probes: Sequence[Attempt], refused: Judge, max_new_tokens: int) -> Probe | None:
    """Return a measure of a model against the frozen start on the probes; None if there are no probes.

    refusal_probe   share refused of what the start refuses
    benign_probe    share refused of what the start answers
    distinct_probe  share of replies to what the start answers that differ from each other
    repeated_probe  mean share of a reply's 4-grams that occurred earlier in it
    drift_probe     nats a token that the start's own answers cost more than they cost the start
    """
    if not probes:
        return None
    decoding = Decoding(max_new_tokens=max_new_tokens)
    found: list[_Yardstick] = []  # asked when training begins, not before

    def measure(lm: LM) -> dict[str, float]:
        if not found:
            replies = generate_together(start, probes, decoding, 0)
            found.append(_Yardstick(replies, [verdict.answer for verdict in refused(replies)]))
        (yardstick,) = found
        replies = generate_together(lm, probes, decoding, 0)
        answers = [verdict.answer for verdict in refused(replies)]
        answered = [i for i, no in enumerate(yardstick.refused) if no is False]
        shares = {
            "refusal_probe": [a for a, no in zip(answers, yardstick.refused, strict=True) if no],
            "benign_probe": [answers[i] for i in answered],
        }
        values = {name: rate(given).value for name, given in shares.items()}
        if answered:
            values["distinct_probe"] = len({replies[i].token_ids for i in answered}) / len(answered)
            values["drift_probe"] = _drift(lm, [yardstick.replies[i] for i in answered])
        values["repeated_probe"] = fmean(repetition(reply.token_ids) for reply in replies)
        return {name: value for name, value in values.items() if value is not None}

    return measure


def _drift(lm: LM, replies: Sequence[Completion]) -> float:
    """Return how many nats a token these replies cost more than when they were drawn: a forward KL, sampled."""
    rows = render(lm, [reply.attempt for reply in replies])
    scored = teacher_forced(lm, rows, [reply.token_ids for reply in replies])
    costs = [
        float((torch.tensor(reply.logprobs) - logprob_T.cpu()).mean())
        for reply, (_, logprob_T) in zip(replies, scored, strict=True)
    ]
    return fmean(costs)
