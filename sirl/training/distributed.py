"""Several processes train as one: how they meet, share work out, wait, and see whole weights.

Whatever must be alike everywhere, or is written, the first process decides or writes; work on many rows is
shared out in parts that do not depend on the number of processes. Alone, each function is its plain self.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from os import environ
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FSDPModule
from trl.models import unwrap_model_for_generation

from sirl.generation import generate
from sirl.lm import LM, render
from sirl.phases import Advance, ignored
from sirl.ranks import check_launch, count, is_first, rank, sharded
from sirl.records import Attempt, Completion, Decoding

_PATIENCE = timedelta(hours=2)  # the first process may write a large model, or search, while the others wait

Part = TypeVar("Part")
Row = TypeVar("Row")
Made = TypeVar("Made")


def join() -> None:
    """Meet the other processes of the launch; each takes its own GPU, if there are any. Alone: nothing.

    Call it before a model is loaded. Raises ConfigError on a launch that we cannot train in.
    """
    if count() == 1 or dist.is_initialized():
        return
    check_launch()
    environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"  # each process needs the whole base model
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
    if sharded() and state.distributed_type is DistributedType.MULTI_CPU:
        # accelerate 1.15 heeds FSDP on GPUs alone and would, without a word, train whole copies
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def wait() -> None:
    """Go on when every process has come here."""
    if dist.is_initialized():
        dist.barrier()


def from_first(make: Callable[[], Made]) -> Made:
    """Return what the first process makes, on every process; what it raises is raised on all."""
    if not dist.is_initialized():
        return make()
    outcome: list[Any] = [None, None]
    if is_first():
        try:
            outcome = [make(), None]
        except Exception as error:
            outcome = [None, error]
    dist.broadcast_object_list(outcome)
    made, problem = outcome
    if problem is not None:
        raise problem
    found: Made = made
    return found


def gathered(values: Sequence[Row]) -> list[Row]:
    """Return the values of all processes, the first process's first."""
    if not dist.is_initialized():
        return list(values)
    every: list[Any] = [None] * count()
    dist.all_gather_object(every, list(values))
    return [value for own in every for value in own]


def shared_out(parts: Sequence[Part], work: Callable[[Part], Sequence[Row]]) -> Iterator[list[Row]]:
    """Let each process do its part of a round of parts; yield what a round came to, in order, everywhere."""
    size = count() if dist.is_initialized() else 1
    for start in range(0, len(parts), size):
        mine = parts[start : start + size][rank() if size > 1 else 0 :][:1]
        yield gathered([row for part in mine for row in work(part)])


def generate_together(
    lm: LM,
    attempts: Sequence[Attempt],
    decoding: Decoding,
    seed: int,
    batch: int = 64,
    advance: Advance = ignored,
) -> list[Completion]:
    """Reply to each attempt, same order, as `generate` does; each of its batches is drawn by one process.

    No attempt may bring its own decoding.
    """
    lengths = [len(ids) for ids in render(lm, attempts)]
    order = sorted(range(len(attempts)), key=lambda i: (lengths[i], i))
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]

    def work(rows: list[int]) -> list[tuple[int, Completion]]:
        return list(zip(rows, generate(lm, [attempts[i] for i in rows], decoding, seed, batch), strict=True))

    found: dict[int, Completion] = {}
    for replies in shared_out(batches, work):
        found |= dict(replies)
        advance(len(found), len(attempts), "replies")
    return [found[i] for i in range(len(attempts))]


def whole_step(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return the rows of a step from all processes, column by column, as one process would have them."""
    return {name: gathered(values) for name, values in columns.items()}


def own_rows(values: Sequence[Row]) -> list[Row]:
    """Return this process's share of what belongs to all rows of a step."""
    size = count() if dist.is_initialized() else 1
    share = len(values) // size
    first = share * rank() if size > 1 else 0
    return list(values[first : first + share])


@contextmanager
def whole(trainer: Any) -> Iterator[Any]:
    """Yield the policy with all of its weights in this process, so that it may be called as often as it likes.

    Sharded weights are gathered once, before any inference mode begins, and dropped at the end; in between a
    forward pass speaks to nobody, so processes may make as many as their replies are long.
    """
    with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
        shards = [module for module in model.modules() if isinstance(module, FSDPModule)]
        for module in shards:
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
        try:
            yield model
        finally:
            for module in shards:
                module.set_reshard_after_forward(module is not model, recurse=False)
                module.reshard()
