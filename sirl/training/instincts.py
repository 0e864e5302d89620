"""How the base model treats each plain request: what it does there is what training carries elsewhere.

Before the first step the base draws a few replies to every plain request that training will meet, and a
judge of refusals (offline rules on the model's own words: no label) says which refuse. What the side of a
request is, `train.gate` decides:

start        by the replies drawn: refuse if all of them refuse, answer if none does, else split
propensity   refuse if the base is likely enough to begin with one of its own refusal openers; else answer if
             no reply drawn refuses, else split

A reply that could not be judged may refuse, so it keeps a request off the side answer. The moving policy is
never asked: a gate that looks at it feeds itself. The replies are kept in the run folder, so that a killed
run meets the same ones. This room knows no disguise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sirl.config import TrainConfig
from sirl.phases import Advance, ignored
from sirl.propensity import Opener
from sirl.ranks import is_first
from sirl.records import Attempt, Completion, Decoding, Judge, Message, Prompt
from sirl.rewards import Side, loops, sides_by_propensity
from sirl.rundir import RunDir
from sirl.training.distributed import from_first, shared_out

INSTINCTS = "instincts.jsonl"
PART = 256  # replies drawn and judged between two writes; the number of processes does not change it

Draw = Callable[[Sequence[Attempt], Decoding, int], list[Completion]]  # with entropies; `generate`, or as it


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of the base model: its tokens, with entropy and log-prob of each (nats, temperature 1).

    `refused` is None where it could not be judged. It is `sound` if it says something and does not loop: a loop
    has the lowest entropy of all.
    """

    token_ids: tuple[int, ...]
    entropies: tuple[float, ...]
    logprobs: tuple[float, ...]
    finished: bool
    sound: bool
    refused: bool | None

    @property
    def mean_entropy(self) -> float:
        """Nats a token; 0 of no tokens."""
        return sum(self.entropies) / max(1, len(self.entropies))


@dataclass(frozen=True, slots=True)
class BaseReplies:
    """What the base model does with one plain request: all replies drawn, at least one."""

    replies: tuple[Reply, ...]

    @property
    def refusals(self) -> int:
        """How many of the replies refuse."""
        return sum(reply.refused is True for reply in self.replies)

    @property
    def judged(self) -> int:
        """How many of the replies could be judged."""
        return sum(reply.refused is not None for reply in self.replies)

    @property
    def conduct(self) -> Side:
        """Refuse: every reply refuses. Answer: none does, or could if judged. Else split."""
        if self.refusals == len(self.replies):
            return "refuse"
        return "answer" if all(reply.refused is False for reply in self.replies) else "split"

    @property
    def standing(self) -> Reply | None:
        """The surest sound reply that does what most do (any, where none was judged); None if there is none."""
        usual = 2 * self.refusals > self.judged
        return surest([r for r in self.replies if not self.judged or r.refused is usual])

    @property
    def refusal(self) -> Reply | None:
        """The surest sound reply that refuses; None if none does."""
        return surest([reply for reply in self.replies if reply.refused])


@dataclass(frozen=True, slots=True)
class BaseConduct:
    """What the base model does with the plain requests, by their text; no gate: no sides, no judge.

    `openers` are how its refusals begin, the likeliest first; they are looked for where the gate asks.
    """

    instincts: Mapping[str, BaseReplies] = field(default_factory=dict)
    sides: Mapping[str, Side] = field(default_factory=dict)
    judge: Judge | None = None
    openers: tuple[Opener, ...] = ()


def surest(replies: Sequence[Reply]) -> Reply | None:
    """Return the sound reply of the least mean entropy; None if none is sound.

    One that was cut off at the length limit stands in only where none came to its end: what it says so far is
    what the base does, and without it a stream of long answers would be a stream of refusals.
    """
    sound = [reply for reply in replies if reply.sound]
    whole = [reply for reply in sound if reply.finished]
    return min(whole or sound, key=lambda reply: reply.mean_entropy, default=None)


def take_sides(
    instincts: Mapping[str, BaseReplies], propensities: Mapping[str, float] | None = None
) -> dict[str, Side]:
    """Return the side of each plain request: by what the base does, and its propensities if given."""
    conducts = [instinct.conduct for instinct in instincts.values()]
    if propensities is not None:
        inclined = sides_by_propensity([propensities[text] for text in instincts], conducts)
        return dict(zip(instincts, inclined, strict=True))
    return dict(zip(instincts, conducts, strict=True))


@dataclass(frozen=True, slots=True)
class Asking:
    """How the base model is asked: what draws its replies, with entropies, who says which refuse."""

    draw: Draw
    judge: Judge | None
    config: TrainConfig
    seed: int
    advance: Advance = ignored

    @property
    def decoding(self) -> Decoding:
        """How a reply is drawn, as the policy's are."""
        return Decoding(self.config.temperature, max_new_tokens=self.config.max_reply_tokens)


def read_instincts(asking: Asking, texts: Sequence[str], run: RunDir) -> dict[str, BaseReplies]:
    """Return the instinct of the base model on each plain request; its replies are kept in the run."""
    known = {row["text"]: _instinct(row) for row in from_first(lambda: run.rows(INSTINCTS))}
    had = len(known)
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    size = max(1, PART // asking.config.gate.samples)
    parts = [missing[start : start + size] for start in range(0, len(missing), size)]
    for rows in shared_out(parts, lambda part: _ask(asking, part)):
        if is_first():
            run.append(INSTINCTS, rows)
        known |= {row["text"]: _instinct(json.loads(json.dumps(row))) for row in rows}
        asking.advance(len(known), len(missing) + had, "plain requests")
    return {text: known[text] for text in texts}


def _ask(asking: Asking, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Draw replies to some plain requests, judged if there is a judge; one row a request, as it is kept."""
    draws = range(asking.config.gate.samples)
    attempts = [
        Attempt(Prompt(text, text), "direct", (Message("user", text),), sample=n)
        for text in texts
        for n in draws
    ]
    replies = read_replies(asking, attempts)
    groups = [replies[i : i + len(draws)] for i in range(0, len(replies), len(draws))]
    return [
        {"text": text, "replies": [asdict(reply) for reply in group]}
        for text, group in zip(texts, groups, strict=True)
    ]


def read_replies(asking: Asking, attempts: Sequence[Attempt]) -> list[Reply]:
    """Return the base's reply to each attempt, same order, judged if there is a judge."""
    drawn = asking.draw(attempts, asking.decoding, asking.seed)
    verdicts = asking.judge(drawn) if asking.judge else [None] * len(drawn)
    return [
        Reply(
            completion.token_ids,
            completion.entropies or (),
            completion.logprobs or (),
            completion.finished,
            bool(completion.text.strip() and completion.token_ids and not loops(completion.token_ids)),
            verdict.answer if verdict else None,
        )
        for completion, verdict in zip(drawn, verdicts, strict=True)
    ]


def reply_of(row: Mapping[str, Any]) -> Reply:
    """Return a reply as it is kept in a run."""
    listed = {name: tuple(row[name]) for name in ("token_ids", "entropies", "logprobs")}
    return Reply(**{**row, **listed})


def _instinct(row: Mapping[str, Any]) -> BaseReplies:
    return BaseReplies(tuple(map(reply_of, row["replies"])))
