"""Ask the frozen start, before the first step, about every plain request that a course will meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import exp

from sirl.config import TrainConfig
from sirl.errors import ConfigError, DataError
from sirl.generation import generate
from sirl.lm import LM, pieces
from sirl.phases import Advance
from sirl.propensity import Opener, find_openers, opener_logprobs
from sirl.records import Completion, Judge, Prompt
from sirl.rewards import Side
from sirl.training.course import Course, schedule_of
from sirl.training.disguises import plainly
from sirl.training.instincts import Asking, Instinct, read_instincts, take_sides
from sirl.training.precision import computing
from sirl.training.progress import Watch


@dataclass(frozen=True, slots=True)
class Conduct:
    """What the frozen start does with the plain requests, by their text; no gate, no sides, no judge.

    `openers` are how its refusals begin, the likeliest first; they are looked for where the gate asks.
    """

    instincts: Mapping[str, Instinct]
    sides: Mapping[str, Side]
    judge: Judge | None
    openers: tuple[Opener, ...] = ()


def ask_start(course: Course) -> Conduct:
    """Return the conduct of the start where the course goes.

    Raises ConfigError on a gate without its judge, DataError where the gate goes by refusals and none was
    drawn.
    """
    config = course.config
    judge = _gatekeeper(config, course.watch)
    used = sorted({i for step in schedule_of(course) for i in step})
    texts = [course.attempts[i].prompt.text for i in used]
    with asking(course, judge, "ask the base model") as how:
        instincts = read_instincts(how, texts, course.run)
    if config.gate == "none":
        return Conduct(instincts, {}, judge)
    if config.gate != "propensity":
        return Conduct(instincts, take_sides(instincts, config.gate, {}), judge)
    openers = _openers(course.lm, instincts)
    with course.watch.phase("weigh its refusals") as advance, computing(course.lm):
        inclined = propensities(course.lm, list(instincts), openers, advance)
    return Conduct(instincts, take_sides(instincts, config.gate, inclined), judge, openers)


@contextmanager
def asking(course: Course, judge: Judge | None, name: str) -> Iterator[Asking]:
    """Open what draws the start's replies."""
    elsewhere = course.watch.drawing
    opened = elsewhere() if elsewhere else nullcontext(partial(generate, course.lm))
    with computing(course.lm), opened as draw, course.watch.phase(name) as advance:
        yield Asking(draw, judge, course.config, course.seed, advance)


def _openers(lm: LM, instincts: Mapping[str, Instinct]) -> tuple[Opener, ...]:
    drawn = [(text, reply) for text, instinct in instincts.items() for reply in instinct.replies]
    replies = [
        Completion(
            plainly(Prompt(text, text)),
            "",
            reply.token_ids,
            pieces(lm, reply.token_ids),
            reply.finished,
            reply.entropies,
            reply.logprobs,
        )
        for text, reply in drawn
    ]
    openers = find_openers(replies, [reply.refused for _, reply in drawn])
    if not openers:
        raise DataError(
            f"none of {len(drawn)} replies of the base model to {len(instincts)} plain requests refuses",
            "some refusals, by whose beginnings its inclination to refuse is measured",
            "give prompts of which it refuses some, or train another model",
        )
    return openers


def propensities(lm: LM, texts: Sequence[str], openers: Sequence[Opener], advance: Advance) -> dict[str, float]:
    """Return the probability that the reply to each plain request begins with a refusal opener."""
    found = opener_logprobs(lm, [plainly(Prompt(text, text)) for text in texts], openers, advance=advance)
    return {text: exp(logprob) for text, logprob in zip(texts, found, strict=True)}


def _gatekeeper(config: TrainConfig, watch: Watch) -> Judge | None:
    """Return the judge that the gate asks, None where none is asked. Raises ConfigError if it is missing."""
    if config.gate not in ("start", "propensity"):
        return None
    if watch.refused is None:
        raise ConfigError(
            f"train.gate = {config.gate!r} and no judge of refusals", "Watch(refused=...)", "pass a judge"
        )
    return watch.refused
