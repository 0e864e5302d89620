"""What training by a recipe would need: memory of each GPU and time of a step, every figure with its formula.

Arithmetic on sizes, and nothing else: no model is opened and nothing here was measured. It follows what
`sirl.training` really keeps. The frozen start stays whole on every GPU beside the policy; without LoRA TRL
loads a third copy as the reference of the KL term. Weights are in model.dtype, float32 by default; training
then computes in bfloat16, but the start, which is asked before the first step, in float32. "Whole" is one full
copy a GPU (DDP); "sharded" divides what FSDP and ZeRO-3 can divide, and gathers the policy to draw from it.
Memory is at the length limits; time is at the lengths that one assumes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from sirl.config import Recipe, ShapeConfig, TrainConfig
from sirl.config.train import RECOMPUTE_ABOVE
from sirl.errors import ConfigError, suggest

When = Literal["asking", "drawing", "training"]  # the start, before the first step; then in each step
STEPS: tuple[When, ...] = ("drawing", "training")
ALWAYS: tuple[When, ...] = ("asking", *STEPS)
BYTES = {"float32": 4, "bfloat16": 2}
COMPUTED = 2  # bytes of a value that is computed with: bfloat16
DRAWN = 64  # replies that `sirl.generation` draws at once
TILE = (4096, 8192)  # tokens x vocabulary of the logits that TRL's head holds at once
USABLE = 0.9  # share of the memory: the rest is the driver's, and lost between blocks
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU: memory in GiB, dense TFLOP/s in bfloat16 and float32, GB/s of memory; its maker states them."""

    name: str
    memory: float
    tflops: float
    float32: float
    bandwidth: float


DEVICES = {
    "a100": Device("A100 SXM 80 GB", 79.0, 312.0, 19.5, 2039.0),
    "h100": Device("H100 SXM 80 GB", 79.0, 989.0, 67.0, 3350.0),
    "h200": Device("H200 SXM 141 GB", 140.0, 989.0, 67.0, 4800.0),
}


@dataclass(frozen=True, slots=True)
class Assumed:
    """What the estimate takes for granted. Token counts 0 are the limits: every text is as long as it may be.

    `utilisation` is the share of the TFLOP/s that a dense pass reaches, `streaming` that of the bandwidth which
    drawing one token after another reaches.
    """

    device: Device
    gpus: int = 1
    prompt_tokens: int = 0
    reply_tokens: int = 0
    utilisation: float = 0.35
    streaming: float = 0.5


@dataclass(frozen=True, slots=True)
class Line:
    """One use of memory on each GPU, in bytes: with whole copies, and sharded over all GPUs."""

    what: str
    formula: str
    whole: float
    sharded: float
    when: tuple[When, ...] = ALWAYS


@dataclass(frozen=True, slots=True)
class Phase:
    """One use of time, in seconds; `once` is before the first step, the others are a step each."""

    what: str
    formula: str
    seconds: float
    once: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The estimate: its lines, and the peaks that they add up to (bytes: whole, sharded)."""

    lines: tuple[Line, ...]
    phases: tuple[Phase, ...]
    replies: int  # a step, of all GPUs together
    tokens: int  # a step, of all GPUs together
    limit: float  # bytes that may be used on each GPU

    def peak(self, when: When) -> tuple[float, float]:
        """Return what is held at most at one time of a step (whole, sharded)."""
        held = [line for line in self.lines if when in line.when]
        return sum(line.whole for line in held), sum(line.sharded for line in held)

    @property
    def fits(self) -> tuple[bool, bool]:
        """Say whether training fits (whole, sharded)."""
        whole, sharded = zip(*map(self.peak, ALWAYS), strict=True)
        return max(whole) <= self.limit, max(sharded) <= self.limit


def find_device(name: str, memory: float = 0.0) -> Device:
    """Return a known device, with `memory` in GiB in place of its own unless that is 0. Raises ConfigError."""
    if name not in DEVICES:
        raise ConfigError(f"device {name!r}", "a known GPU", suggest(name, DEVICES))
    return replace(DEVICES[name], memory=memory) if memory else DEVICES[name]


@dataclass(frozen=True, slots=True)
class _Work:
    """A recipe on some GPUs."""

    recipe: Recipe
    assumed: Assumed

    @property
    def train(self) -> TrainConfig:
        return self.recipe.train

    @property
    def shape(self) -> ShapeConfig:
        return self.recipe.shape

    @property
    def size(self) -> int:
        """Bytes of a weight."""
        return BYTES[self.recipe.model.dtype]

    @property
    def rows(self) -> int:
        """Replies of a step on one GPU."""
        return self.train.group * self.train.prompts_per_step // self.assumed.gpus

    @property
    def limits(self) -> int:
        """Tokens of the longest prompt and the longest reply together."""
        return self.train.max_prompt_tokens + self.train.max_reply_tokens

    @property
    def lengths(self) -> tuple[int, int]:
        """Tokens of a prompt and of a reply, as assumed."""
        prompt = self.assumed.prompt_tokens or self.train.max_prompt_tokens
        return prompt, self.assumed.reply_tokens or self.train.max_reply_tokens

    @property
    def speed(self) -> float:
        """FLOP a second that a dense pass reaches."""
        return self.assumed.device.tflops * 1e12 * self.assumed.utilisation

    @property
    def recomputes(self) -> bool:
        return self.shape.parameters > RECOMPUTE_ABOVE


def make_plan(recipe: Recipe, assumed: Assumed) -> Plan:
    """Estimate memory and time of training by a recipe.

    Raises ConfigError if the recipe tells no shape, names a precision that cannot be trained, or its rows
    cannot be dealt out to so many GPUs.
    """
    config, rows = recipe.train, recipe.train.group * recipe.train.prompts_per_step
    if not recipe.shape.parameters:
        advice = "name a recipe of a model, or add [shape] to yours"
        raise ConfigError("a recipe without the shape of a model", "a section [shape]", advice)
    if recipe.model.dtype not in BYTES:
        raise ConfigError(f"model.dtype = {recipe.model.dtype!r}", " or ".join(BYTES), "train in one of these")
    if assumed.gpus < 1 or rows % (config.micro_batch * assumed.gpus):
        raise ConfigError(
            f"train.micro_batch = {config.micro_batch} on {assumed.gpus} GPUs",
            f"a product that divides group x prompts_per_step = {rows}",
            "change --gpus or --set train.micro_batch",
        )
    work = _Work(recipe, assumed)
    return Plan(
        lines=(*_states(work), *_activations(work), *_cache(work)),
        phases=_phases(work),
        replies=rows,
        tokens=rows * sum(work.lengths),
        limit=USABLE * assumed.device.memory * GIB,
    )


def adapter_parameters(shape: ShapeConfig, rank: int) -> int:
    """Return the weights of LoRA on every linear layer but the head: rank x (inputs + outputs) of each."""
    h, queries, keys = shape.hidden, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = 2 * (h + queries) + 2 * (h + keys)
    return rank * shape.layers * (attention + 3 * (h + shape.intermediate))


def cached(shape: ShapeConfig) -> int:
    """Return how many keys and values one token leaves in the cache."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim


def _states(work: _Work) -> list[Line]:
    """Return what the weights and their optimiser hold."""
    shape, rank, gpus = work.shape, work.train.lora_rank, work.assumed.gpus
    weights, told = shape.parameters * work.size, f"{_big(shape.parameters)} x {work.size} B"
    gathered = weights - weights / gpus
    lines = [
        Line("the start, frozen", told, weights, weights),
        Line("the policy", told, weights, weights / gpus, STEPS),
        Line("the policy's other shards", f"{told} x {gpus - 1}/{gpus}", 0, gathered, ("drawing",)),
    ]
    trained, each = shape.parameters, work.size
    if rank:
        trained, each = adapter_parameters(shape, rank), BYTES["float32"]  # PEFT keeps an adapter in float32
        held = trained * each
        lines.append(Line(f"LoRA of rank {rank}", f"{_big(trained)} x {each} B", held, held / gpus, STEPS))
    elif work.train.kl:
        lines.append(Line("the reference of the KL", told, weights, weights / gpus, STEPS))
    held, told = trained * each, f"{_big(trained)} x {each} B"
    return [
        *(line for line in lines if line.whole or line.sharded),
        Line("AdamW's two moments", f"2 x {told}", 2 * held, 2 * held / gpus, STEPS),
        Line("gradients", told, held, held / gpus, ("training",)),
    ]


def _activations(work: _Work) -> list[Line]:
    """Return what one micro-batch leaves for its backward pass, and the head's logits, which come in tiles.

    Inside a layer 8 values a token are as wide as the stream (norms, residuals, their gradients), then come
    queries, keys, values and what attention makes of them, and 4 inside the feed-forward layer; no matrix of
    attention is kept.
    """
    shape, tokens = work.shape, work.train.micro_batch * work.limits
    heads = 2 * (shape.heads + shape.kv_heads) * shape.head_dim
    layer = tokens * COMPUTED * (8 * shape.hidden + heads + 4 * shape.intermediate)
    inside = f"(8 x {shape.hidden} + {heads} + 4 x {shape.intermediate}) x {COMPUTED} B"
    width = min(TILE[1], shape.vocabulary)
    tile = TILE[0] * width * BYTES["float32"]
    lines = [
        Line("a tile of the head's logits", f"{TILE[0]} tokens x {width} x 4 B", tile, tile, ("training",))
    ]
    if not work.recomputes:
        told = f"{_big(tokens)} tokens x {shape.layers} layers x {inside}"
        return [
            Line("inside the layers", told, layer * shape.layers, layer * shape.layers, ("training",)),
            *lines,
        ]
    kept = tokens * shape.layers * shape.hidden * work.size
    told = f"{_big(tokens)} tokens x {shape.layers} layers x {shape.hidden} x {work.size} B"
    return [
        Line("inputs of the layers", told, kept, kept, ("training",)),
        Line("one layer, recomputed", f"{_big(tokens)} tokens x {inside}", layer, layer, ("training",)),
        *lines,
    ]


def _cache(work: _Work) -> list[Line]:
    """Return what drawing one batch of replies holds, all of them at the limits."""
    shape, asks = work.shape, work.train.gate != "none"
    lines = []
    batches: tuple[tuple[When, int, int], ...] = (
        ("asking", DRAWN * asks, work.size),
        ("drawing", min(DRAWN, work.rows), COMPUTED),
    )
    for when, batch, size in batches:
        cache = batch * work.limits * cached(shape) * size
        logits = 3 * batch * shape.vocabulary * BYTES["float32"]
        each = f"2 x {shape.layers} layers x {shape.kv_heads} x {shape.head_dim} x {size} B"
        told = f"{batch} replies x {work.limits} tokens x {each}"
        three = f"3 x {batch} x {shape.vocabulary} x 4 B"
        lines.append(Line("keys and values", told, cache, cache, (when,)))
        lines.append(Line("logits, softmax, its sum", three, logits, logits, (when,)))
    return [line for line in lines if line.whole]


def _phases(work: _Work) -> tuple[Phase, ...]:
    """Return how long each part of a step takes on one GPU, and what comes before the first step."""
    config, tokens = work.train, work.rows * sum(work.lengths)
    passes = 4 if config.lora_rank else 6  # LoRA: no gradient of the frozen weights
    passes += 2 if work.recomputes else 0
    phases = [_drawing("draw the replies", work.rows, work)]
    if config.kl:
        phases.append(_dense("score them by the reference", 2, tokens, work))
    phases.append(_dense("train on them", passes, tokens, work))
    if config.gate == "none":
        return tuple(phases)
    asked = min(config.prompts_per_step * config.steps, config.limit * max(1, len(config.prompts)))
    start = _drawing("ask the start, once", asked * config.gate_samples, work, asking=True)
    return (*phases, start)  # every process asks all of it


def _dense(what: str, passes: int, tokens: int, work: _Work) -> Phase:
    parameters = work.shape.parameters
    told = f"{passes} x {_big(parameters)} x {_big(tokens)} tokens / {_big(work.speed)} FLOP/s"
    return Phase(what, told, passes * parameters * tokens / work.speed)


def _drawing(what: str, replies: int, work: _Work, asking: bool = False) -> Phase:
    """Read the prompts in dense passes; then each token of a batch reads weights and cache, or computes.

    Whichever of the two takes longer counts. The start is asked in the precision of its weights.
    """
    (prompt, reply), shape, device = work.lengths, work.shape, work.assumed.device
    size = work.size if asking else COMPUTED
    speed = device.float32 * 1e12 * work.assumed.utilisation if size == BYTES["float32"] else work.speed
    batch = min(DRAWN, replies)
    batches, twice = ceil(replies / batch), 2 * shape.parameters
    read = shape.parameters * work.size + batch * (prompt + reply / 2) * cached(shape) * size
    bandwidth = device.bandwidth * 1e9 * work.assumed.streaming
    told = (
        f"{_big(twice)} x {_big(replies * prompt)} tokens / {_big(speed)} FLOP/s + {batches} batches x {reply} "
        f"tokens x max({_big(read)} B / {_big(bandwidth)} B/s, {batch} x {_big(twice)} / {_big(speed)} FLOP/s)"
    )
    token = max(read / bandwidth, batch * twice / speed)
    return Phase(what, told, twice * replies * prompt / speed + batches * reply * token, once=asking)


def _big(value: float) -> str:
    """Write a large number in three digits: 8.03e9."""
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{digits}e{int(power)}" if value >= 1e4 else f"{value:g}"
