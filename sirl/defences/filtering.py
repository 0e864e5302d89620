"""Defences that look and decide whether to answer: at the request, at parts of it, or at the reply.

What is filtered gets a refusal. A filter that cannot decide lets through.

*Departures.* The perplexity is that of the last ten tokens and of each ten before them, under the model under
test in its own chat format; the papers take GPT-2's, or the defended model's, of the bare text. It is set to
the highest of any plain harmful request of the run, as there. Erase-and-check takes words from the end, at
most eight, and asks after each; the paper takes up to 20 tokens. Its check is by default whether the model
itself refuses what is left (the paper has Llama 2 classify, or a classifier trained for it). A guard reads
what was sent, not the plain request.

Source: perplexity filter, arXiv 2309.00614 and 2308.14132; erase-and-check (suffix mode), arXiv 2309.02705;
guard models, arXiv 2312.06674.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, ClassVar

from sirl.defences.contract import last_text, refusal, replies_to, with_last
from sirl.judges import ask
from sirl.judges.refusal import refused
from sirl.records import Attempt, Completion, Decoding, Judge, Target

WINDOW = 10  # tokens; arXiv 2309.00614
ROUNDING = 1e-3  # nats: by how much the company that a text is read in may change its figure
ERASED = 8  # words at most: a call each, and one for the whole
_GLANCE = Decoding(max_new_tokens=32)  # of a reply, to see whether it refuses


@dataclass(frozen=True, slots=True)
class PerplexityFilter:
    """Refuse a request some ten tokens of which are less likely than any of the plain requests."""

    NEEDS: ClassVar = ("plain",)
    plain: tuple[str, ...] = ()
    set_to: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, attempts: Sequence[Attempt], target: Any, seed: int) -> list[Completion]:
        """Read each user's message once, then answer what is likely enough."""
        if target.name not in self.set_to:
            self.set_to[target.name] = max(map(_surprise, target.message_logprobs(self.plain, None)))
        highest = self.set_to[target.name]
        said = [(i, m.content) for i, a in enumerate(attempts) for m in a.messages if m.role == "user"]
        owners = [attempts[i].prompt.id for i, _ in said]
        found = target.message_logprobs([text for _, text in said], owners) if said else []
        odd = {i for (i, _), row in zip(said, found, strict=True) if _surprise(row) > highest + ROUNDING}
        return _answered(attempts, dict.fromkeys(odd, "perplexity"), target, seed)


@dataclass(frozen=True, slots=True)
class GuardInput:
    """Refuse a request that a guard model finds harmful."""

    NEEDS: ClassVar = ("guard",)
    guard: Judge | None = None

    def __call__(self, attempts: Sequence[Attempt], target: Target, seed: int) -> list[Completion]:
        """Show the guard what was sent; answer the rest."""
        return _answered(attempts, _flagged(self.guard, attempts), target, seed)


@dataclass(frozen=True, slots=True)
class GuardOutput:
    """Withhold a reply that a judge finds harmful."""

    NEEDS: ClassVar = ("judge",)
    judge: Judge | None = None

    def __call__(self, attempts: Sequence[Attempt], target: Target, seed: int) -> list[Completion]:
        """Answer, and show the judge each answer that came."""
        replies = replies_to(target, attempts, attempts, seed)
        able = [i for i, reply in enumerate(replies) if not (reply.error or reply.blocked)]
        seen = [replace(replies[i], attempt=_as_sent(attempts[i])) for i in able]
        verdicts = ask(self.judge, seen, "harmful") if self.judge and seen else []
        found = {i for i, verdict in zip(able, verdicts, strict=True) if verdict.answer is True}
        return [refusal(a, "harmful reply") if i in found else replies[i] for i, a in enumerate(attempts)]


@dataclass(frozen=True, slots=True)
class EraseAndCheck:
    """Refuse a request that, whole or without its last words, is found harmful."""

    most: int = ERASED
    guard: Judge | None = None

    def __call__(self, attempts: Sequence[Attempt], target: Target, seed: int) -> list[Completion]:
        """Check the request and what is left of it by each erasure; answer if none is flagged."""
        parts = [(i, text) for i, a in enumerate(attempts) for text in self._left(last_text(a))]
        tried = [with_last(attempts[i], text) for i, text in parts]
        if self.guard:
            places = _flagged(self.guard, tried)
        else:
            looks = [replace(a, prefill="", decoding=_GLANCE) for a in tried]
            verdicts = refused(target.reply(looks, seed)) if looks else []
            places = {n: "" for n, verdict in enumerate(verdicts) if verdict.answer is True}
        odd = {parts[n][0]: "erased and found harmful" for n in places}
        return _answered(attempts, odd, target, seed)

    def _left(self, text: str) -> list[str]:
        """Return the text, and what is left of it without its last word, its last two and so on."""
        words = text.split()
        erased = [" ".join(words[:-n]) for n in range(1, min(self.most, len(words) - 1) + 1)]
        return [text, *erased]


def _surprise(logprobs: Sequence[float]) -> float:
    """Return the highest mean of minus the log-probs (nats) of any window; of a shorter text, of all of it."""
    ends = range(min(WINDOW, len(logprobs)), len(logprobs) + 1)
    return max((-fmean(logprobs[max(0, end - WINDOW) : end]) for end in ends if end), default=0.0)


def _flagged(guard: Judge | None, attempts: Sequence[Attempt]) -> dict[int, str]:
    """Return the places of the attempts that a guard finds harmful; what it cannot decide is none."""
    seen = [Completion(_as_sent(attempt), "", (), (), finished=True) for attempt in attempts]
    verdicts = ask(guard, seen, "harmful") if guard and seen else []
    return {i: "harmful request" for i, verdict in enumerate(verdicts) if verdict.answer is True}


def _as_sent(attempt: Attempt) -> Attempt:
    """Return the attempt as a guard may know it: what was sent is the request."""
    return replace(attempt, prompt=replace(attempt.prompt, text=last_text(attempt)))


def _answered(attempts: Sequence[Attempt], odd: dict[int, str], target: Target, seed: int) -> list[Completion]:
    """Return a refusal in each odd place, and the model's reply in the others."""
    kept = [a for i, a in enumerate(attempts) if i not in odd]
    replies = iter(replies_to(target, kept, kept, seed) if kept else [])
    return [refusal(a, odd[i]) if i in odd else next(replies) for i, a in enumerate(attempts)]
