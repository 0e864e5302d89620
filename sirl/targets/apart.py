"""vLLM in a process of its own, for work that ends before other work begins: its memory ends with it.

vLLM draws the replies; the log-prob and entropy of each token are those of the model in this process, from one
teacher-forced pass of `sirl.scoring`. A logits processor could see each distribution as it is drawn from, but
vLLM 0.31 has two runners with a form of processor each, a GPU's and a CPU's, and neither hands back what a
processor saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from os import environ
from pathlib import Path
from typing import Any

from sirl.config import ModelConfig
from sirl.errors import RunError, SirlError
from sirl.lm import LM, render
from sirl.records import Attempt, Completion, Decoding
from sirl.scoring import teacher_forced
from sirl.targets.vllm import open_vllm

Draw = Callable[[Sequence[Attempt], Decoding, int], list[Completion]]
_GRACE = 60.0  # seconds that vLLM has to end
_SCORED = 8  # replies a pass: on a real model the logits of more would not fit beside vLLM


@dataclass(frozen=True, slots=True)
class Source:
    """What a process needs to open a model by vLLM: a folder or a hub id, a name, and the settings."""

    folder: str | Path
    name: str
    config: ModelConfig


@contextmanager
def drawing_apart(lm: LM, source: Source) -> Iterator[Draw]:
    """Give what draws replies of `lm` by vLLM, by the words of `generation.generate`; its process ends with it.

    `lm` are the same weights, here. The process starts with the first draw: where nothing is drawn, none does.
    A draw raises ConfigError or DataError if vLLM does not start, RunError if it ends early or cannot reply.
    """
    with ExitStack() as held:
        lines: list[Connection] = []

        def draw(attempts: Sequence[Attempt], decoding: Decoding, seed: int) -> list[Completion]:
            if not lines:
                lines.append(held.enter_context(_process(source)))
            return scored(lm, _ask(lines[0], (attempts, decoding, seed)))

        yield draw


def scored(lm: LM, replies: Sequence[Completion]) -> list[Completion]:
    """Return the replies with the entropy and log-prob of each token under `lm` (nats, temperature 1)."""
    rows = render(lm, [reply.attempt for reply in replies])
    passes = teacher_forced(lm, rows, [reply.token_ids for reply in replies], _SCORED)
    return [
        replace(reply, entropies=_rounded(entropy_T), logprobs=_rounded(logprob_T))
        for reply, (entropy_T, logprob_T) in zip(replies, passes, strict=True)
    ]


def _rounded(values_T: Any) -> tuple[float, ...]:
    return tuple(round(value, 6) for value in values_T.tolist())


@contextmanager
def _process(source: Source) -> Iterator[Connection]:
    """Start a process that draws, and end it; spawned, as a process that has used a GPU cannot be forked."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, source), name="sirl-vllm")
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(_GRACE)
        if process.is_alive():
            process.kill()
            process.join()


def _ask(line: Connection, question: tuple[Sequence[Attempt], Decoding, int]) -> list[Completion]:
    try:
        line.send(question)
        answer = line.recv()
    except (EOFError, ConnectionError) as error:
        raise RunError(
            "vLLM's process ended before it replied",
            "a process with memory enough",
            "read its own words above; what was drawn is kept, so give the command again",
        ) from error
    if isinstance(answer, SirlError):
        raise answer
    replies: list[Completion] = answer
    for reply in replies:
        if reply.error:
            raise RunError(reply.error, "a prompt that it takes", "lower train.max_prompt_tokens")
    return replies


def _serve(line: Connection, source: Source) -> None:
    """Open the model and answer until the other end is closed, or gone."""
    environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # this process is its own; a kill of it must leave no other
    try:
        target = open_vllm(source.folder, source.name, source.config, Decoding())
    except SirlError as error:
        line.send(error)
        return
    while True:
        try:
            attempts, decoding, seed = line.recv()
            line.send(replace(target, decoding=decoding).reply(attempts, seed))
        except (EOFError, ConnectionError):
            return
