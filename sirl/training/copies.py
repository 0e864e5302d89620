"""How often a run holds the weights: with an adapter once, else twice, as the base and as the policy.

PEFT and TRL change the model that they are given: its layers, its config, its forward pass. So each gets
modules of its own. Where these are not trained, under an adapter or as TRL's reference, their weights are those
of the base model itself, in the same memory, and nobody may write into them. Only where weights are spread
over several processes is each model a copy: they are spread by taking them from where they were.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.nn import Parameter
from trl.trainer import grpo_trainer

from sirl.config import TrainConfig
from sirl.lm import LM
from sirl.ranks import sharded


def sharing(model: Any) -> Any:
    """Return a model with modules and a config of its own and the weights of `model`, in the same memory."""
    weights = {id(weight): Parameter(weight.detach(), weight.requires_grad) for weight in model.parameters()}
    return copy.deepcopy(model, weights)


def frozen(lm: LM) -> Any:
    """Return the base for a trainer that changes its modules and none of its weights."""
    return copy.deepcopy(lm.model) if sharded() else sharing(lm.model)


def policy_of(lm: LM, config: TrainConfig) -> Any:
    """Return the model that a trainer gets to train: what an adapter is put on, or a copy."""
    return frozen(lm) if config.lora_rank else copy.deepcopy(lm.model)


@contextmanager
def as_reference(make: Callable[[], Any]) -> Iterator[None]:
    """Let a GRPOTrainer that is made meanwhile take its reference from `make`.

    TRL asks for none with an adapter, which it turns off instead, nor without a KL. It would load another copy.
    """
    load = grpo_trainer.create_model_from_path
    grpo_trainer.create_model_from_path = lambda *_, **__: make()
    try:
        yield
    finally:
        grpo_trainer.create_model_from_path = load
