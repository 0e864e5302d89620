"""The precision that training computes in: one answer for the trainers and for whoever asks the base model.

Float32 weights on a GPU are kept in float32 and computed with in bfloat16; on a CPU, and in bfloat16, a model
computes as its weights are. The start must be asked as it will be trained: its replies are what the policy
learns from, and a policy that computes otherwise differs from it before the first step.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from sirl.lm import LM


def mixes(lm: LM) -> bool:
    """Return True if training casts these weights to bfloat16 to compute with them."""
    return lm.device.type != "cpu" and lm.model.dtype == torch.float32 and torch.cuda.is_bf16_supported()


def computing(lm: LM) -> AbstractContextManager[object]:
    """Return the context in which the model computes as it does in training.

    It keeps the cast weights until it is left, so let it span a whole batch of replies.
    """
    return torch.autocast(lm.device.type, torch.bfloat16) if mixes(lm) else nullcontext()
