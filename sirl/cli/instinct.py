"""Is it safe to train on certainty? The frozen start is asked before `sirl train` spends anything on it.

A sample of what training will send, each beside its plain request, is answered by the start, and the offline
judge of refusals parts the replies: no kind, no oracle, no label is read. An ordinary question that nobody
would refuse says nothing about the instinct, whatever its entropy; so only requests count to which the start
refuses at least one of its replies, plain or disguised. What the numbers mean is said in `metrics` and `gap`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import typer

from sirl.config import EvaluateConfig
from sirl.errors import ConfigError
from sirl.gap import instinct, state
from sirl.lm import LM
from sirl.metrics import Measured, compare_entropies
from sirl.records import Attempt, Completion, Decoding, Judge
from sirl.training import plainly
from sirl.training.together import generate_together

REQUESTS = 64  # at most so many of what will be sent are tried
DRAWS = 4  # replies to each of them, and to its plain request where that differs: what training compares


def measure_instinct(
    lm: LM, attempts: Sequence[Attempt], judge: Judge, config: EvaluateConfig, seed: int
) -> dict[str, Any]:
    """Return how much surer the start is when it refuses, in nats a token; positive is what SIRL needs.

    The numbers are those of `metrics.compare_entropies`, with n_requests, those that count, of n_tried, and
    n_unjudged replies to them which nobody could judge; `verdict` is the sentence of `gap.instinct`.
    """
    chosen = sorted(attempts, key=lambda a: sha256(f"{seed}|instinct|{a.prompt.id}".encode()).digest())[
        :REQUESTS
    ]
    asked = [replace(form, sample=n) for a in chosen for form in _forms(a) for n in range(DRAWS)]
    decoding = Decoding(config.temperature, max_new_tokens=config.max_reply_tokens)
    replies = generate_together(lm, asked, decoding, seed, config.batch)
    refused: list[Measured] = []
    complied: list[Measured] = []
    requests = _by_request(replies, judge)
    counted = {text: own for text, own in requests.items() if any(answer for *_, answer in own)}
    for text, own in counted.items():
        refused += [(text, form, entropy) for form, entropy, answer in own if answer is True]
        complied += [(text, form, entropy) for form, entropy, answer in own if answer is False]
    table = compare_entropies(refused, complied) | {
        "n_unjudged": sum(answer is None for own in counted.values() for *_, answer in own),
        "n_requests": len(counted),
        "n_tried": len(requests),
    }
    return table | {"verdict": instinct(table)}


def require_instinct(found: Mapping[str, Any], name: str, force: bool) -> bool:
    """Return whether training is forced. Raises ConfigError if it would have to be and is not.

    It would if the instinct is absent or inverted. Of an unknown one nothing can be said against training.
    """
    lacking = state(found) in ("absent", "inverted")
    if lacking and not force:
        raise ConfigError(
            f"{name} does not have the instinct that SIRL trains on: {found['verdict'].rstrip('.')} "
            f"({_numbers(found)})",
            "a model that is surer when it refuses than when it complies",
            "train another model, or give --force to train this one all the same",
        )
    return lacking


def tell_instinct(found: Mapping[str, Any]) -> None:
    """Say aloud that a model is trained whose instinct is unknown, or absent or inverted."""
    if state(found) != "present":
        typer.echo(f"instinct {found['verdict']} ({_numbers(found)})", err=True)


def _forms(attempt: Attempt) -> list[Attempt]:
    """Return what is sent and, where that is something else, the plain request."""
    plain = plainly(attempt.prompt)
    same = attempt.messages == plain.messages and not attempt.prefill
    return [plain] if same else [plain, attempt]


def _by_request(replies: Sequence[Completion], judge: Judge) -> dict[str, list[tuple[str, float, bool | None]]]:
    """Return of each reply the form it was asked in, its mean entropy and the verdict, by the plain request."""
    requests: dict[str, list[tuple[str, float, bool | None]]] = defaultdict(list)
    for reply, verdict in zip(replies, judge(replies), strict=True):
        values = reply.entropies or ()
        answer = verdict.answer if values else None
        form = f"{reply.attempt.prompt.id}|{reply.attempt.attack}"
        requests[reply.attempt.prompt.text].append((form, sum(values) / max(1, len(values)), answer))
    return requests


def _numbers(found: Mapping[str, Any]) -> str:
    count = f"{found['n_refused']} refusing and {found['n_complied']} complying replies"
    told = f"{count} to {found['n_requests']} requests, both in {found['n_mixed']} attempts"
    if found["difference"] is None:
        return told
    low, high = ("none" if found[end] is None else f"{found[end]:.3f}" for end in ("low", "high"))
    auroc = f"AUROC {found['auroc']:.2f}"
    nats = f"difference {found['difference']:.3f} nats a token within an attempt"
    return f"{nats}, 95 % interval {low} to {high}, {auroc}, {told}"
