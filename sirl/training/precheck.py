"""Does the base model bring what the method needs? It is asked before `sirl train` spends anything on it.

SIRL needs a model that is surer when it refuses than when it complies; consistency training needs refusals of
plain requests, which it carries to their disguises. A sample of what training will send, each beside its plain
request, is answered by the base, and the offline judge of refusals parts the replies: no kind, no oracle, no
label is read. From the same replies come the base's refusal openers, and with them how inclined it is to
refuse each request. An ordinary question that nobody would refuse says nothing about the instinct, whatever its
entropy; so in the gap only requests count to which the base refuses at least one of its replies, plain or
disguised. What the numbers mean is said in `metrics` and `gap`.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from math import ceil, exp, isfinite
from typing import Any

import numpy as np

from sirl.config import EvaluateConfig
from sirl.entropy_gap import instinct, state
from sirl.errors import ConfigError
from sirl.lm import LM
from sirl.metrics import Measured, compare_entropies
from sirl.phases import phase
from sirl.propensity import find_openers, opener_logprobs
from sirl.records import Attempt, Completion, Decoding, Judge, Prompt
from sirl.rewards import propensity_cut
from sirl.training.base import Base
from sirl.training.disguises import plainly

LOG = logging.getLogger("sirl")
REQUESTS = 64  # at most so many of what will be sent are tried
DRAWS = 4  # replies to each of them, and to its plain request where that differs: what training compares
SHARE, LEAST = 0.05, 2  # of plain requests, refused every time; ours: of fewer a judge's mistakes are the most
_CALLED = {"sirl": "SIRL", "distill": "consistency training"}


def measure_instinct(
    base: Base,
    attempts: Sequence[Attempt],
    judge: Judge,
    config: EvaluateConfig,
    seed: int,
) -> dict[str, Any]:
    """Return how much surer the base is when it refuses, in nats a token; positive is what SIRL needs.

    The numbers are those of `metrics.compare_entropies`, and `propensity` is that of `_propensity`, with
    n_requests, those that count, of n_tried, n_plain_refused, those of which every plain reply refuses, and
    n_unjudged replies to the requests that count which nobody could judge; `verdict` is the sentence of
    `gap.instinct`.
    """
    chosen = sorted(attempts, key=lambda a: sha256(f"{seed}|instinct|{a.prompt.id}".encode()).digest())[
        :REQUESTS
    ]
    asked = [replace(form, sample=n) for a in chosen for form in _forms(a) for n in range(DRAWS)]
    decoding = Decoding(config.temperature, max_new_tokens=config.max_reply_tokens)
    with phase("check the base model") as advance:
        replies = base.reply(asked, decoding, seed, config.batch, advance)
    answers = [verdict.answer for verdict in judge(replies)]
    refused: list[Measured] = []
    complied: list[Measured] = []
    requests = _by_request(replies, answers)
    counted = {text: own for text, own in requests.items() if any(answer for _, _, answer, _ in own)}
    for text, own in counted.items():
        refused += [(text, form, entropy) for form, entropy, answer, _ in own if answer is True]
        complied += [(text, form, entropy) for form, entropy, answer, _ in own if answer is False]
    table = compare_entropies(refused, complied) | {
        "n_unjudged": sum(answer is None for own in counted.values() for _, _, answer, _ in own),
        "n_plain_refused": sum(all(answer for _, _, answer, plain in own if plain) for own in counted.values()),
        "n_requests": len(counted),
        "n_tried": len(requests),
    }
    return table | {"verdict": instinct(table), "propensity": _propensity(base.lm, replies, answers)}


def _propensity(lm: LM, replies: Sequence[Completion], answers: Sequence[bool | None]) -> dict[str, Any]:
    """Return how inclined the base is to refuse the requests that were tried, asked plainly; no label is read.

    openers     how many beginnings of its refusals were found in the replies to plain requests
    n           requests scored by the probability that their reply begins with an opener
    tenth, half, rest  the probability below which a tenth, half, nine tenths of them lie
    threshold   the probability above which training takes a request for one to refuse (`propensity_cut`), from
                the requests that it is given; here from those that were tried
    above       requests above it
    None: there is no opener.
    """
    plain = [i for i, reply in enumerate(replies) if len(_forms(reply.attempt)) == 1]
    openers = find_openers([replies[i] for i in plain], [answers[i] for i in plain])
    asked = list({replies[i].attempt.prompt.text: replies[i].attempt for i in plain}.values())
    values = [exp(x) for x in opener_logprobs(lm, asked, openers) if isfinite(x)] if openers else []
    threshold = propensity_cut(values) if values else None
    tenths: list[float | None] = [float(x) for x in np.quantile(values, (0.1, 0.5, 0.9))] if values else []
    return {
        "openers": len(openers),
        "n": len(values),
        **dict(zip(("tenth", "half", "rest"), tenths or [None] * 3, strict=True)),
        "threshold": threshold,
        "above": None if threshold is None else sum(x > threshold for x in values),
    }


def tell_propensity(found: Mapping[str, Any]) -> None:
    """Log how inclined the base is to refuse what it will be trained on."""
    own = found["propensity"]
    if own["threshold"] is None:
        LOG.warning(
            "inclination to refuse is unknown: %d phrases that begin refusals were found", own["openers"]
        )
        return
    low, half, high, limit = (f"{own[name]:.1%}" for name in ("tenth", "half", "rest", "threshold"))
    LOG.warning(
        "%s",
        f"inclination to refuse (the probability that a reply begins with one of {own['openers']} phrases of "
        f"refusal): {own['above']} of {own['n']} plain requests lie above {limit}, the threshold found without "
        f"labels; a tenth below {low}, half below {half}, a tenth above {high}",
    )


def require_instinct(found: Mapping[str, Any], method: str, name: str, force: bool) -> bool:
    """Return whether training is forced. Raises ConfigError if it would have to be and is not.

    It would if there are hardly any plain requests that the base refuses every time, and for SIRL if the
    instinct is absent or inverted.
    """
    lacking = _lacking(found, method)
    if lacking and not force:
        what, expected = lacking
        raise ConfigError(
            f"{_CALLED[method]} will not work on {name}: {what} ({_numbers(found)})",
            expected,
            "train another model, give prompts of which it refuses more, or use --force to train it anyway",
        )
    return bool(lacking)


def _lacking(found: Mapping[str, Any], method: str) -> tuple[str, str] | None:
    """Say what the method needs and the base does not have, and what is expected; None if it has all."""
    if method == "sirl" and state(found) in ("absent", "inverted"):
        return found["verdict"].rstrip(
            "."
        ), "a model that is more certain when it refuses than when it complies"
    needed = max(LEAST, ceil(SHARE * found["n_tried"]))
    if found["n_plain_refused"] < needed:
        what = f"it always refuses only {found['n_plain_refused']} of {found['n_tried']} plain requests"
        return (
            f"{what}, so there is hardly any refusal to strengthen or to extend to disguised requests",
            f"at least {needed}",
        )
    return None


def tell_instinct(found: Mapping[str, Any], method: str) -> None:
    """Warn that a model is trained whose instinct is unknown, or which lacks what the method needs."""
    if lacking := _lacking(found, method):
        LOG.warning("training anyway, because of --force: %s (%s)", lacking[0], _numbers(found))
    elif method == "sirl" and state(found) != "present":
        LOG.warning("entropy gap of the base model is %s (%s)", found["verdict"], _numbers(found))


def _forms(attempt: Attempt) -> list[Attempt]:
    """Return what is sent and, where that is something else, the plain request, asked as the gate asks it."""
    text = attempt.prompt.text
    plain = plainly(Prompt(text, text))
    same = attempt.messages == plain.messages and not attempt.prefill
    return [plain] if same else [plain, attempt]


def _by_request(
    replies: Sequence[Completion], answers: Sequence[bool | None]
) -> dict[str, list[tuple[str, float, bool | None, bool]]]:
    """Return of each reply form, mean entropy, verdict and whether it was asked plainly, by plain request."""
    requests: dict[str, list[tuple[str, float, bool | None, bool]]] = defaultdict(list)
    for reply, verdict in zip(replies, answers, strict=True):
        values = reply.entropies or ()
        answer = verdict if values else None
        form = f"{reply.attempt.prompt.id}|{reply.attempt.attack}"
        plain = len(_forms(reply.attempt)) == 1
        told = (form, sum(values) / max(1, len(values)), answer, plain)
        requests[reply.attempt.prompt.text].append(told)
    return requests


def _numbers(found: Mapping[str, Any]) -> str:
    count = f"{found['n_refused']} refusals and {found['n_complied']} compliant replies"
    told = f"{count} to {found['n_requests']} requests, both kinds in {found['n_mixed']} attempts"
    if found["difference"] is None:
        return told
    low, high = ("none" if found[end] is None else f"{found[end]:.3f}" for end in ("low", "high"))
    auroc = f"AUROC {found['auroc']:.2f}"
    nats = f"difference {found['difference']:.3f} nats per token within an attempt"
    return f"{nats}, 95 % interval {low} to {high}, {auroc}, {told}"
