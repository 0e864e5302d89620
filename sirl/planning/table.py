"""The arithmetic of a recipe on some GPUs as a table to read."""

from __future__ import annotations

import html
from dataclasses import dataclass

from sirl.config import Recipe
from sirl.planning import ALWAYS, GIB, USABLE, Assumed, Line, Plan, Shape, make_plan

_WIDTH = 30


@dataclass(frozen=True, slots=True, repr=False)
class Estimate:
    """What training would need, by arithmetic: the plan, and the table to read."""

    plan: Plan
    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text)}</pre>"


def estimate(title: str, settings: Recipe, shape: Shape, assumed: Assumed) -> Estimate:
    """Return the estimate under a title. Raises ConfigError on what cannot be planned."""
    made = make_plan(settings, shape, assumed)
    lengths = (
        f"prompts of {assumed.prompt_tokens or settings.train.max_prompt_tokens} and replies of "
        f"{assumed.reply_tokens or settings.train.max_reply_tokens} tokens"
    )
    lines = [
        f"{title}: {shape.parameters:,} parameters in {settings.model.dtype}, "
        f"on {assumed.gpus} x {assumed.device.name}",
        "An estimate by arithmetic; nothing here was measured.",
        "",
        *_memory(made, assumed),
        "",
        f"a step: {settings.train.prompts_per_step} prompts x "
        f"{made.replies // settings.train.prompts_per_step} = {made.replies} replies, "
        f"{made.replies // assumed.gpus} a GPU, {made.tokens:,} tokens ({lengths})",
        "",
        *_time(made, assumed, settings.train.steps),
    ]
    return Estimate(made, "\n".join(lines))


def _memory(made: Plan, assumed: Assumed) -> list[str]:
    rows = [
        f"{line.what:{_WIDTH}}{_gib(line.whole, line.sharded)}  {_when(line):18}  {line.formula}"
        for line in made.lines
    ]
    peaks = [f"{f'at most while {when}':{_WIDTH}}{_gib(*made.peak(when))}" for when in made.times]
    whole, sharded = ("fits" if fits else "does not fit" for fits in made.fits)
    limit = f"{assumed.device.memory:g} GiB x {USABLE:g} = {made.limit / GIB:.1f} GiB"
    return [
        f"{'memory of each GPU, GiB':{_WIDTH}}{'whole':>9}{'sharded':>9}  {'while':18}  formula",
        *rows,
        *peaks,
        f"may be used: {limit}. Whole copies (DDP): {whole}. Sharded (FSDP, ZeRO-3): {sharded}.",
    ]


def _gib(whole: float, sharded: float) -> str:
    return f"{whole / GIB:>9.1f}{sharded / GIB:>9.1f}"


def _when(line: Line) -> str:
    return "always" if line.when == ALWAYS else ", ".join(line.when)


def _time(made: Plan, assumed: Assumed, steps: int) -> list[str]:
    device = assumed.device
    step = sum(phase.seconds for phase in made.phases if not phase.once)
    once = sum(phase.seconds for phase in made.phases if phase.once)
    return [
        f"{'time, s':{_WIDTH}}{'':9}  {device.tflops:g} TFLOP/s x {assumed.utilisation:g}, "
        f"{device.bandwidth:g} GB/s x {assumed.streaming:g}; no waiting between GPUs",
        *(f"{phase.what:{_WIDTH + 1}}{phase.seconds:>8,.0f}  {phase.formula}" for phase in made.phases),
        f"a step: {step:,.0f} s. The run of {steps} steps: {(once + steps * step) / 3600:,.1f} h.",
    ]
