"""What training a model would need: memory of each GPU and time of a step, every figure with its formula.

Arithmetic on sizes, and nothing else: no model is opened and nothing here was measured. It follows what
`sirl.training` really keeps. The base model stays whole on every GPU beside the policy; without LoRA TRL
loads a third copy as the reference of the KL term. Weights are in model.dtype, float32 by default; everything
then computes in bfloat16, with weights that are cast for it. "Whole" is one full copy a GPU (DDP); "sharded"
divides what FSDP and ZeRO-3 can divide, and gathers the policy to draw from it. Memory is at the length limits;
time is at the lengths that one assumes.

    nouns    a GPU, what is assumed, uses of memory and time, the plan they make
    memory   a model and a recipe -> what each GPU holds
    times    a model and a recipe -> how long a step takes
"""

from __future__ import annotations

from sirl.config import Recipe
from sirl.config.train import LABEL_FREE, require_trainable
from sirl.errors import ConfigError
from sirl.planning.memory import adapter_parameters, uses_of_memory
from sirl.planning.nouns import (
    ALWAYS,
    BYTES,
    GIB,
    USABLE,
    Assumed,
    Device,
    Line,
    Plan,
    Shape,
    Work,
    find_device,
)
from sirl.planning.times import phases

__all__ = [
    "ALWAYS",
    "GIB",
    "USABLE",
    "Assumed",
    "Device",
    "Line",
    "Plan",
    "Shape",
    "adapter_parameters",
    "find_device",
    "make_plan",
]


def make_plan(recipe: Recipe, shape: Shape, assumed: Assumed) -> Plan:
    """Estimate memory and time of training a model of some shape by a recipe.

    Raises ConfigError if the recipe names a precision that cannot be trained, or its rows cannot be dealt out
    to so many GPUs.
    """
    config, work = recipe.train, Work(recipe, shape, assumed)
    if recipe.model.dtype not in BYTES:
        raise ConfigError(f"model.dtype = {recipe.model.dtype!r}", " or ".join(BYTES), "train in one of these")
    require_trainable(recipe.model.dtype, config)
    if config.method not in LABEL_FREE:
        advice = "plan the method that they are compared with"
        raise ConfigError(f"train.method = {config.method!r}", " or ".join(LABEL_FREE), advice)
    dealt = 1 if work.distills else config.micro_batch
    if assumed.gpus < 1 or work.step_rows % (dealt * assumed.gpus):
        what = "prompts_per_step" if work.distills else "group x prompts_per_step"
        raise ConfigError(
            f"{assumed.gpus} GPUs" if work.distills else f"train.micro_batch = {dealt} on {assumed.gpus} GPUs",
            f"a {'number' if work.distills else 'product'} that divides {what} = {work.step_rows}",
            "change --gpus" if work.distills else "change --gpus or --set train.micro_batch",
        )
    return Plan(
        lines=uses_of_memory(work),
        phases=phases(work),
        replies=work.step_rows,
        tokens=work.step_rows * sum(work.lengths),
        limit=USABLE * assumed.device.memory * GIB,
    )
