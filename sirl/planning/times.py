"""A recipe on some GPUs -> how long a step takes, phase by phase, and what comes before the first."""

from __future__ import annotations

from math import ceil

from sirl.planning.memory import COMPUTED, DRAWN, cached
from sirl.planning.nouns import Phase, Work, big


def phases(work: Work) -> tuple[Phase, ...]:
    """Return how long each part of a step takes on one GPU, and what comes before the first step."""
    config = work.train
    tokens = work.rows * (sum(work.lengths) + work.near * work.lengths[0])
    passes = 4 if config.lora_rank else 6  # LoRA: no gradient of the frozen weights
    passes += 2 if work.recomputes else 0
    found = [] if work.distills else [_drawing("draw the replies", work.rows, work)]
    if work.distills:
        found.append(_dense("read the replies by the base", 2, tokens, work))
    elif config.grpo.kl:
        found.append(_dense("score them by the reference", 2, tokens, work))
    found.append(_dense("train on them", passes, tokens, work))
    if not work.asks:
        return tuple(found)
    asked = min(config.prompts_per_step * config.steps, config.limit * max(1, len(config.prompts)))
    mine = ceil(asked / work.assumed.gpus)  # the requests are shared out among the processes
    start = _drawing("ask the base, once", mine * config.gate.samples, work, asking=True)
    return (*found, start)


def _dense(what: str, passes: int, tokens: int, work: Work) -> Phase:
    parameters = work.shape.parameters
    told = f"{passes} x {big(parameters)} x {big(tokens)} tokens / {big(work.speed)} FLOP/s"
    return Phase(what, told, passes * parameters * tokens / work.speed)


def _drawing(what: str, replies: int, work: Work, asking: bool = False) -> Phase:
    """Read the prompts in dense passes; then each token of a batch reads weights and cache, or computes.

    Whichever of the two takes longer counts. Float32 weights are cast once a batch, but for frozen ones under
    an adapter: those are cast, and so written and read again, for every token.
    """
    (prompt, reply), shape, device = work.lengths, work.shape, work.assumed.device
    recast = work.mixes and bool(work.train.lora_rank) and not asking
    weights = shape.parameters * (work.size + 2 * COMPUTED if recast else COMPUTED)
    speed = work.speed
    batch = min(DRAWN, replies)
    batches, twice = ceil(replies / batch), 2 * shape.parameters
    read = weights + batch * (prompt + reply / 2) * cached(shape) * COMPUTED
    bandwidth = device.bandwidth * 1e9 * work.assumed.streaming
    told = (
        f"{big(twice)} x {big(replies * prompt)} tokens / {big(speed)} FLOP/s + {batches} batches x {reply} "
        f"tokens x max({big(read)} B / {big(bandwidth)} B/s, {batch} x {big(twice)} / {big(speed)} FLOP/s)"
    )
    token = max(read / bandwidth, batch * twice / speed)
    return Phase(what, told, twice * replies * prompt / speed + batches * reply * token, once=asking)
