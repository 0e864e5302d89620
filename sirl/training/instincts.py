"""How the frozen start treats each plain request: what it does there is what training carries elsewhere.

Before the first step the start draws a few replies to every plain request that training will meet, and a
judge of refusals (offline rules on the model's own words: no label) says which refuse. A request that the start
always refuses has the *instinct*: the entropy reward carries it to every disguise of that request. Where the
start mostly answers, refusing is what costs. In between the start is split, and nothing is rewarded. The moving
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
from sirl.ranks import is_first
from sirl.records import Attempt, Completion, Decoding, Judge, Message, Prompt
from sirl.rewards import Side, sides_by_certainty
from sirl.rundir import RunDir
from sirl.training.together import from_first, shared_out

INSTINCTS = "instincts.jsonl"

Draw = Callable[[Sequence[Attempt], Decoding, int], list[Completion]]  # with entropies; `generate`, or as it


@dataclass(frozen=True, slots=True)
class Instinct:
    """What the frozen start does with one plain request.

    `refusals` of the `judged` replies refuse; the rest of the drawn could not be judged. `mean_entropy` is
    over all of them (nats a token). The tokens, with entropy and log-prob of each (nats), are of its surest
    reply among those that do what most do.
    """

    refusals: int
    judged: int
    mean_entropy: float
    token_ids: tuple[int, ...]
    entropies: tuple[float, ...]
    logprobs: tuple[float, ...]
    finished: bool

    @property
    def conduct(self) -> Side:
        """Refuse: all of its replies refuse. Answer: at most half do. Split: in between, or none was judged."""
        if not self.judged:
            return "split"
        if self.refusals == self.judged:
            return "refuse"
        return "answer" if 2 * self.refusals <= self.judged else "split"


def take_sides(instincts: Mapping[str, Instinct], gate: str) -> dict[str, Side]:
    """Return the side of each plain request: by what the start does there, or by how sure it is there."""
    if gate == "certainty":
        entropies = [instinct.mean_entropy for instinct in instincts.values()]
        return dict(zip(instincts, sides_by_certainty(entropies), strict=True))
    return {text: instinct.conduct for text, instinct in instincts.items()}


def read_instincts(
    draw: Draw, texts: Sequence[str], judge: Judge | None, config: TrainConfig, run: RunDir, seed: int
) -> dict[str, Instinct]:
    """Return the instinct of the frozen start on each plain request.

    `draw` gives its replies, with entropies. They are drawn once and kept in the run.
    """
    known = {row["text"]: _instinct(row) for row in from_first(lambda: run.rows(INSTINCTS))}
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    size = max(1, 256 // config.gate_samples)
    parts = [missing[start : start + size] for start in range(0, len(missing), size)]
    for rows in shared_out(parts, lambda part: _ask(draw, part, judge, config, seed)):
        if is_first():
            run.append(INSTINCTS, rows)
        known |= {row["text"]: _instinct(json.loads(json.dumps(row))) for row in rows}
    return {text: known[text] for text in texts}


def _ask(
    draw: Draw, texts: Sequence[str], judge: Judge | None, config: TrainConfig, seed: int
) -> list[dict[str, Any]]:
    """Draw replies to some plain requests, judged if there is a judge; one row a request, as it is kept."""
    draws = range(config.gate_samples)
    attempts = [
        Attempt(Prompt(text, text), "direct", (Message("user", text),), sample=n)
        for text in texts
        for n in draws
    ]
    decoding = Decoding(config.temperature, max_new_tokens=config.max_reply_tokens)
    replies = draw(attempts, decoding, seed)
    answers = [verdict.answer for verdict in judge(replies)] if judge else [None] * len(replies)
    parts = range(0, len(replies), len(draws))
    groups = [(replies[i : i + len(draws)], answers[i : i + len(draws)]) for i in parts]
    return [{"text": text, **_row(*group)} for text, group in zip(texts, groups, strict=True)]


def _row(replies: Sequence[Completion], answers: Sequence[bool | None]) -> dict[str, Any]:
    refusals, judged = answers.count(True), len(answers) - answers.count(None)
    usual = 2 * refusals > judged
    fitting = [r for r, a in zip(replies, answers, strict=True) if a is usual] or list(replies)
    surest = min(fitting, key=_mean_entropy)
    return {
        "refusals": refusals,
        "judged": judged,
        "mean_entropy": sum(map(_mean_entropy, replies)) / len(replies),
        "token_ids": surest.token_ids,
        "entropies": surest.entropies,
        "logprobs": surest.logprobs,
        "finished": surest.finished,
    }


def _mean_entropy(reply: Completion) -> float:
    values = reply.entropies or ()
    return sum(values) / max(1, len(values))


def _instinct(row: dict[str, Any]) -> Instinct:
    sequences = {name: tuple(row[name]) for name in ("token_ids", "entropies", "logprobs")}
    return Instinct(**{name: value for name, value in (row | sequences).items() if name != "text"})
