"""What an estimate is made of: a GPU, what is taken for granted, uses of memory and of time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import Literal

from sirl.config import Recipe, TrainConfig
from sirl.config.train import RECOMPUTE_ABOVE
from sirl.errors import ConfigError, suggest

When = Literal["asking", "drawing", "training"]  # the base, before the first step; then in each step
STEPS: tuple[When, ...] = ("drawing", "training")
ALWAYS: tuple[When, ...] = ("asking", *STEPS)
BYTES = {"float32": 4, "bfloat16": 2}
USABLE = 0.9  # share of the memory: the rest is the driver's, and lost between blocks
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU: memory in GiB, dense TFLOP/s in bfloat16, GB/s of memory; its maker states them."""

    name: str
    memory: float
    tflops: float
    bandwidth: float


DEVICES = {
    "a100": Device("A100 SXM 80 GB", 79.0, 312.0, 2039.0),
    "h100": Device("H100 SXM 80 GB", 79.0, 989.0, 3350.0),
    "h200": Device("H200 SXM 141 GB", 140.0, 989.0, 4800.0),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder with gated feed-forward layers."""

    parameters: int  # all of them, a tied head counted once
    layers: int
    hidden: int  # width of the residual stream
    heads: int
    kv_heads: int  # heads of keys and values; fewer than `heads` where queries share them
    head_dim: int
    intermediate: int  # width inside a feed-forward layer
    vocabulary: int  # rows of the embedding, often padded beyond the tokenizer's


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

    @property
    def times(self) -> tuple[When, ...]:
        """The times that there are: without a gate nothing is asked, and distilling draws nothing."""
        return tuple(when for when in ALWAYS if any(line.when == (when,) for line in self.lines))

    def peak(self, when: When) -> tuple[float, float]:
        """Return what is held at most at one time of a step (whole, sharded)."""
        held = [line for line in self.lines if when in line.when]
        return sum(line.whole for line in held), sum(line.sharded for line in held)

    @property
    def fits(self) -> tuple[bool, bool]:
        """Say whether training fits (whole, sharded)."""
        whole, sharded = zip(*map(self.peak, self.times), strict=True)
        return max(whole) <= self.limit, max(sharded) <= self.limit


def find_device(name: str, memory: float = 0.0) -> Device:
    """Return a known device, with `memory` in GiB in place of its own unless that is 0. Raises ConfigError."""
    if name not in DEVICES:
        raise ConfigError(f"device {name!r}", "a known GPU", suggest(name, DEVICES))
    return replace(DEVICES[name], memory=memory) if memory else DEVICES[name]


@dataclass(frozen=True, slots=True)
class Work:
    """Training a model of some shape by a recipe on some GPUs."""

    recipe: Recipe
    shape: Shape
    assumed: Assumed

    @property
    def train(self) -> TrainConfig:
        return self.recipe.train

    @property
    def size(self) -> int:
        """Bytes of a weight."""
        return BYTES[self.recipe.model.dtype]

    @property
    def mixes(self) -> bool:
        """True if float32 weights are cast to bfloat16 to compute with them: `training.precision`."""
        return self.size == BYTES["float32"]

    @property
    def distills(self) -> bool:
        return self.train.method == "distill"

    @property
    def asks(self) -> bool:
        """True if the base is asked before the first step."""
        return self.distills or self.train.gate.kind != "none"

    @property
    def step_rows(self) -> int:
        """Replies of a step, on all GPUs."""
        return self.train.prompts_per_step * (1 if self.distills else self.train.group)

    @property
    def rows(self) -> int:
        """Replies of a step on one GPU."""
        return self.step_rows // self.assumed.gpus

    @property
    def near(self) -> int:
        """Requests close to refusals beside each reply, of which only the prompt is read."""
        held = self.distills and self.train.gate.kind == "propensity"
        return self.train.distill.boundary if held else 0

    @property
    def together(self) -> int:
        """Replies of one backward pass: train.micro_batch, or half of it where a teacher reads them too."""
        if self.distills:
            return gcd(max(1, self.train.micro_batch // 2), self.rows)
        return self.train.micro_batch

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


def big(value: float) -> str:
    """Write a large number in three digits: 8.03e9."""
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{digits}e{int(power)}" if value >= 1e4 else f"{value:g}"
