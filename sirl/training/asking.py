"""Ask the frozen start, before the first step, about every plain request that a course will meet."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from sirl.config import TrainConfig
from sirl.errors import ConfigError
from sirl.generation import generate
from sirl.records import Judge
from sirl.rewards import Side
from sirl.training.course import Course, schedule_of
from sirl.training.instincts import Asking, Instinct, read_instincts, take_sides
from sirl.training.precision import computing
from sirl.training.progress import Watch


@dataclass(frozen=True, slots=True)
class Conduct:
    """What the frozen start does with the plain requests, by their text; no gate, no sides, no judge."""

    instincts: Mapping[str, Instinct]
    sides: Mapping[str, Side]
    judge: Judge | None


def ask_start(course: Course) -> Conduct:
    """Return the conduct of the start where the course goes. Raises ConfigError on a gate without its judge."""
    config = course.config
    judge = _gatekeeper(config, course.watch)
    used = sorted({i for step in schedule_of(course) for i in step})
    texts = [course.attempts[i].prompt.text for i in used]
    elsewhere = course.watch.drawing
    opened = elsewhere() if elsewhere else nullcontext(partial(generate, course.lm))
    with computing(course.lm), opened as draw, course.watch.phase("ask the base model") as advance:
        asking = Asking(draw, judge, config, course.seed, advance)
        instincts = read_instincts(asking, texts, course.run)
    sides = {} if config.gate == "none" else take_sides(instincts, config.gate)
    return Conduct(instincts, sides, judge)


def _gatekeeper(config: TrainConfig, watch: Watch) -> Judge | None:
    """Return the judge that the gate asks, None where none is asked. Raises ConfigError if it is missing."""
    if config.gate != "start":
        return None
    if watch.refused is None:
        raise ConfigError(
            f"train.gate = {config.gate!r} and no judge of refusals", "Watch(refused=...)", "pass a judge"
        )
    return watch.refused
