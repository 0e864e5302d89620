"""A slowly moving average of the policy's trained weights: a scorer that one lucky step does not move.

It lives beside the policy and takes its place only while it scores. Kept in each checkpoint, so that a killed
run continues with the same. Weights that are spread over several processes are not averaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback

from sirl.ranks import is_first

DECAY = 0.95  # a step; ours: a memory of about 20 steps, of the 20 to 40 in which training is useful
_FILE = "average.safetensors"


class Average(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """The average after each step: DECAY of the old, the rest of the new; at the start it is the start."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        trained = _trained(given["model"])
        kept = load_file(_checkpoint(args, state) / _FILE) if state.global_step else trained
        self.weights = {name: kept[name].clone().to(weight.device) for name, weight in trained.items()}

    def on_step_end(self, *_: Any, **given: Any) -> None:
        for name, weight in _trained(given["model"]).items():
            self.weights[name].lerp_(weight, 1 - DECAY)

    def on_save(self, args: Any, state: Any, control: Any, **__: Any) -> None:  # noqa: ARG002
        if is_first():
            weights = {name: weight.contiguous() for name, weight in self.weights.items()}
            save_file(weights, _checkpoint(args, state) / _FILE)

    @contextmanager
    def in_place(self, model: Any) -> Iterator[None]:
        """Put the average into the model, and its own weights back afterwards."""
        trained = _trained(model)
        own = {name: weight.clone() for name, weight in trained.items()}
        try:
            for name, weight in trained.items():
                weight.copy_(self.weights[name])
            yield
        finally:
            for name, weight in trained.items():
                weight.copy_(own[name])


def _checkpoint(args: Any, state: Any) -> Path:
    """Return the checkpoint of the step that training is at: what it continues from, or what it writes."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _trained(model: Any) -> dict[str, Tensor]:
    """Return the weights that training moves, as plain tensors that share their storage."""
    return {name: w.detach() for name, w in model.named_parameters() if w.requires_grad}
