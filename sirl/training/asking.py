"""Ask the base model, before the first step, about every plain request that a course will meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from math import exp

from sirl.config import TrainConfig
from sirl.errors import ConfigError, DataError
from sirl.generation import generate
from sirl.lm import LM, pieces
from sirl.phases import Advance, phase
from sirl.propensity import Opener, find_openers, opener_logprobs
from sirl.records import Completion, Judge, Prompt
from sirl.training.disguises import plainly
from sirl.training.instincts import Asking, BaseConduct, BaseReplies, read_instincts, take_sides
from sirl.training.precision import computing
from sirl.training.progress import Hooks
from sirl.training.training_run import TrainingRun, schedule_of


def ask_base(training: TrainingRun) -> BaseConduct:
    """Return the conduct of the base where the course goes.

    Raises ConfigError on a gate without its judge, DataError where the gate goes by refusals and none was
    drawn.
    """
    config = training.config
    judge = _gatekeeper(config, training.hooks)
    used = sorted({i for step in schedule_of(training) for i in step})
    texts = [training.attempts[i].prompt.text for i in used]
    with asking(training, judge, "ask the base model") as how:
        instincts = read_instincts(how, texts, training.run)
    if config.gate.kind == "none":
        return BaseConduct(instincts, {}, judge)
    if config.gate.kind != "propensity":
        return BaseConduct(instincts, take_sides(instincts), judge)
    openers = _openers(training.lm, instincts)
    with phase("measure its inclination to refuse") as advance, computing(training.lm):
        inclined = propensities(training.lm, list(instincts), openers, advance)
    return BaseConduct(instincts, take_sides(instincts, inclined), judge, openers)


@contextmanager
def asking(training: TrainingRun, judge: Judge | None, name: str) -> Iterator[Asking]:
    """Open what draws the base's replies."""
    elsewhere = training.hooks.drawing
    opened = elsewhere() if elsewhere else nullcontext(partial(generate, training.lm))
    with computing(training.lm), opened as draw, phase(name) as advance:
        yield Asking(draw, judge, training.config, training.seed, advance)


def _openers(lm: LM, instincts: Mapping[str, BaseReplies]) -> tuple[Opener, ...]:
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


def _gatekeeper(config: TrainConfig, hooks: Hooks) -> Judge | None:
    """Return the judge that the gate asks, None where none is asked. Raises ConfigError if it is missing."""
    if config.gate.kind == "none":
        return None
    if hooks.refused is None:
        found = f"train.gate.kind = {config.gate.kind!r} and no judge of refusals"
        raise ConfigError(found, "Hooks(refused=...)", "pass a judge")
    return hooks.refused
