"""How the frozen start treats each plain request: what it does there is what training carries elsewhere.

Before the first step the start draws a few replies to every plain request that training will meet, and a
judge of refusals (offline rules on the model's own words: no label) says which refuse. A request that the start
always refuses has the *instinct*: the entropy reward carries it to every disguise of that request. Where the
start mostly answers, refusing is what costs. In between, or where that hangs on replies that could not be
judged, the start is split, and nothing is rewarded. The moving
policy is never asked: a gate that looks at it feeds itself. Without a judge the start's certainty decides: the
surer half of the requests, as `rewards.sides_by_certainty` parts them, is rewarded and the rest is let be.

The replies are kept in the run folder, so that a killed run meets the same ones. This room knows no disguise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sirl.config import TrainConfig
from sirl.phases import Advance, ignored
from sirl.ranks import is_first
from sirl.records import Attempt, Completion, Decoding, Judge, Message, Prompt
from sirl.rewards import Side, loops, sides_by_certainty
from sirl.rundir import RunDir
from sirl.training.together import from_first, shared_out

INSTINCTS = "instincts.jsonl"
PART = 256  # replies drawn and judged between two writes; the number of processes does not change it

Draw = Callable[[Sequence[Attempt], Decoding, int], list[Completion]]  # with entropies; `generate`, or as it


@dataclass(frozen=True, slots=True)
class Instinct:
    """What the frozen start does with one plain request.

    `refusals` of the `judged` replies refuse; the rest of the `drawn` could not be judged. `mean_entropy` is
    over all of them (nats a token). The tokens, with entropy and log-prob of each (nats), are of the reply that
    stands for what most do, see `_standing`; empty if none can.
    """

    refusals: int
    judged: int
    drawn: int
    mean_entropy: float
    token_ids: tuple[int, ...]
    entropies: tuple[float, ...]
    logprobs: tuple[float, ...]
    finished: bool

    @property
    def conduct(self) -> Side:
        """Refuse: every reply drawn refuses. Answer: at most half do, or could if judged. Else split."""
        if self.refusals == self.drawn:
            return "refuse"
        possible = self.refusals + self.drawn - self.judged
        return "answer" if 2 * possible <= self.drawn else "split"


def take_sides(instincts: Mapping[str, Instinct], gate: str) -> dict[str, Side]:
    """Return the side of each plain request: by what the start does there, or by how sure it is there."""
    if gate == "certainty":
        entropies = [instinct.mean_entropy for instinct in instincts.values()]
        return dict(zip(instincts, sides_by_certainty(entropies), strict=True))
    return {text: instinct.conduct for text, instinct in instincts.items()}


@dataclass(frozen=True, slots=True)
class Asking:
    """How the frozen start is asked: what draws its replies, with entropies, who says which refuse."""

    draw: Draw
    judge: Judge | None
    config: TrainConfig
    seed: int
    advance: Advance = ignored


def read_instincts(asking: Asking, texts: Sequence[str], run: RunDir) -> dict[str, Instinct]:
    """Return the instinct of the frozen start on each plain request; its replies are kept in the run."""
    known = {row["text"]: _instinct(row) for row in from_first(lambda: run.rows(INSTINCTS))}
    had = len(known)
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    size = max(1, PART // asking.config.gate_samples)
    parts = [missing[start : start + size] for start in range(0, len(missing), size)]
    for rows in shared_out(parts, lambda part: _ask(asking, part)):
        if is_first():
            run.append(INSTINCTS, rows)
        known |= {row["text"]: _instinct(json.loads(json.dumps(row))) for row in rows}
        asking.advance(len(known), len(missing) + had, "plain requests")
    return {text: known[text] for text in texts}


def _ask(asking: Asking, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Draw replies to some plain requests, judged if there is a judge; one row a request, as it is kept."""
    config, judge = asking.config, asking.judge
    draws = range(config.gate_samples)
    attempts = [
        Attempt(Prompt(text, text), "direct", (Message("user", text),), sample=n)
        for text in texts
        for n in draws
    ]
    decoding = Decoding(config.temperature, max_new_tokens=config.max_reply_tokens)
    replies = asking.draw(attempts, decoding, asking.seed)
    answers = [verdict.answer for verdict in judge(replies)] if judge else [None] * len(replies)
    parts = range(0, len(replies), len(draws))
    groups = [(replies[i : i + len(draws)], answers[i : i + len(draws)]) for i in parts]
    return [{"text": text, **_row(*group)} for text, group in zip(texts, groups, strict=True)]


def _row(replies: Sequence[Completion], answers: Sequence[bool | None]) -> dict[str, Any]:
    refusals, judged = answers.count(True), len(answers) - answers.count(None)
    usual = 2 * refusals > judged
    fitting = [r for r, a in zip(replies, answers, strict=True) if a is usual] if judged else replies
    standing = _standing(fitting)
    return {
        "refusals": refusals,
        "judged": judged,
        "drawn": len(replies),
        "mean_entropy": sum(map(_mean_entropy, replies)) / len(replies),
        "token_ids": standing.token_ids if standing else (),
        "entropies": standing.entropies if standing else (),
        "logprobs": standing.logprobs if standing else (),
        "finished": bool(standing and standing.finished),
    }


def _standing(replies: Sequence[Completion]) -> Completion | None:
    """Return the surest reply that says something and does not loop: a loop has the lowest entropy of all.

    One that was cut off at the length limit stands in only where none came to its end: what it says so far is
    what the start does, and without it a stream of long answers would be a stream of refusals.
    """
    sound = [r for r in replies if r.text.strip() and r.token_ids and not loops(r.token_ids)]
    whole = [r for r in sound if r.finished]
    return min(whole or sound, key=_mean_entropy, default=None)


def _mean_entropy(reply: Completion) -> float:
    values = reply.entropies or ()
    return sum(values) / max(1, len(values))


def _instinct(row: dict[str, Any]) -> Instinct:
    sequences = {name: tuple(row[name]) for name in ("token_ids", "entropies", "logprobs")}
    return Instinct(**{name: value for name, value in (row | sequences).items() if name != "text"})
