"""Replies of the base model, each labelled once: the one place of training where labels are read.

They are drawn before the first step and kept in the run folder, so that a killed run learns from the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sirl.errors import ConfigError, DataError
from sirl.generation import generate
from sirl.lm import render
from sirl.phases import phase
from sirl.ranks import is_first
from sirl.records import Attempt, Decoding, Message
from sirl.rundir import RunDir
from sirl.training.distributed import from_first, shared_out
from sirl.training.precision import computing
from sirl.training.schedule import stable_seed
from sirl.training.training_run import TrainingRun, schedule_of

SAMPLES = "samples.jsonl"
_TOGETHER = 256  # replies drawn, labelled and written at once


@dataclass(frozen=True, slots=True)
class Sample:
    """The tokens of one reply and whether it is good; None is undecided, and is never learnt from."""

    token_ids: tuple[int, ...]
    good: bool | None


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is sent, as tokens, with a good and a bad reply to it; None where no sample is one."""

    prompt_ids: tuple[int, ...]
    good: tuple[int, ...] | None
    bad: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Lessons:
    """One lesson a prompt of each step, and how the labels fell: `counts` go into every step's row."""

    rows: tuple[Lesson, ...]
    counts: Mapping[str, int]


def read_lessons(training: TrainingRun, steps: int) -> Lessons:
    """Draw and label `group` replies to each prompt that the first `steps` steps take; return what they teach.

    A prompt taken twice is answered twice as often. A harmful prompt without a good reply gets one of the base
    to the plain request, if `gate.samples` draws hold one.
    """
    taken = [training.attempts[i] for step in schedule_of(training)[:steps] for i in step]
    group = training.config.group
    sent = [replace(a, sample=n * group + g) for n, a in enumerate(taken) for g in range(group)]
    drawn = _label(training, sent)
    groups = [drawn[start : start + group] for start in range(0, len(drawn), group)]
    needy = [a for a, own in zip(taken, groups, strict=True) if _needs_help(a, own)]
    plain = _ask_plainly(training, needy)
    prompts = render(training.lm, taken)
    rows = tuple(
        Lesson(
            tuple(ids),
            _first(own, True) or (_first(plain[a.prompt.text], True) if _needs_help(a, own) else None),
            _first(own, False),
        )
        for a, own, ids in zip(taken, groups, prompts, strict=True)
    )
    everything = [*drawn, *(sample for own in plain.values() for sample in own)]
    undecided = sum(sample.good is None for sample in everything)
    return Lessons(rows, {"samples": len(everything), "undecided": undecided})


def paired(lessons: Lessons) -> list[Lesson]:
    """Return the lessons that have both replies. Raises DataError if none has."""
    pairs = [lesson for lesson in lessons.rows if lesson.good and lesson.bad]
    if not pairs:
        raise DataError(
            f"none of {len(lessons.rows)} prompts has a good and a bad reply",
            "at least one pair to learn from",
            "raise train.group or train.temperature, or see whether the prompts' labels are right",
        )
    return pairs


def tally(training: TrainingRun, lessons: Lessons, used: Sequence[Lesson]) -> dict[str, int]:
    """Return what every step's row says of the labels."""
    return {"left_out": training.left_out, **lessons.counts, "unused": len(lessons.rows) - len(used)}


def _needs_help(attempt: Attempt, samples: Sequence[Sample]) -> bool:
    return attempt.prompt.kind == "harmful" and _first(samples, True) is None


def _first(samples: Sequence[Sample], good: bool) -> tuple[int, ...] | None:
    return next((sample.token_ids for sample in samples if sample.good is good), None)


def _ask_plainly(training: TrainingRun, attempts: Sequence[Attempt]) -> dict[str, list[Sample]]:
    """Return labelled replies of the base to the plain requests, by their text."""
    prompts = {attempt.prompt.text: attempt.prompt for attempt in attempts}
    draws = training.config.gate.samples
    sent = [
        Attempt(replace(prompt, id=text), "direct", (Message("user", text),), sample=n)
        for text, prompt in prompts.items()
        for n in range(draws)
    ]
    samples = _label(training, sent)
    return {text: samples[n * draws : (n + 1) * draws] for n, text in enumerate(prompts)}


def _label(training: TrainingRun, sent: Sequence[Attempt]) -> list[Sample]:
    """Return one labelled reply an attempt, drawn from the base model or read back from the run.

    Chunks are drawn whole, so that a resumed run draws in the same company.
    """
    known = from_first(lambda: _kept(training.run))
    chunks = [sent[start : start + _TOGETHER] for start in range(0, len(sent), _TOGETHER)]
    wanting = [chunk for chunk in chunks if {attempt.key for attempt in chunk} - known.keys()]
    with phase("ask the base model") as advance:
        drawn = 0
        for rows in shared_out(wanting, lambda chunk: _draw(training, chunk)):
            if is_first():
                training.run.append(SAMPLES, [row for row in rows if row["key"] not in known])
            drawn += len(rows)
            advance(drawn, sum(map(len, wanting)), "labelled replies")
    known = from_first(lambda: _kept(training.run))
    return [known[attempt.key] for attempt in sent]


def _draw(training: TrainingRun, attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    config, good = training.config, training.hooks.good
    if good is None:
        raise ConfigError("no labels", "Hooks(good=...)", "pass a labeller")
    decoding = Decoding(config.temperature, max_new_tokens=config.max_reply_tokens)
    with computing(training.lm):
        replies = generate(training.lm, attempts, decoding, stable_seed("samples", training.seed))
    labels = good(replies)
    return [
        {"key": reply.attempt.key, "good": label, "finished": reply.finished, "token_ids": reply.token_ids}
        for reply, label in zip(replies, labels, strict=True)
    ]


def _kept(run: RunDir) -> dict[str, Sample]:
    return {row["key"]: Sample(tuple(row["token_ids"]), row["good"]) for row in run.rows(SAMPLES)}
