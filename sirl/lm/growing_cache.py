"""A cache of keys and values with room for more: a step writes one token in place of copying all before it.

The library's own appends by concatenation, which at 32 rows behind prompts of 170 tokens is a third of a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from sirl.lm import LM

_ROOM = 64  # tokens, before all is copied again


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # the library is untyped here
    """One layer's keys and values, each the first part of a buffer. Not differentiable."""

    keys: Tensor
    values: Tensor

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._buffers: dict[str, Tensor] = {}

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values of new tokens (B, heads, S, width); return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._append("keys", self.keys, key_states)
        self.values = self._append("values", self.values, value_states)
        return self.keys, self.values

    def _append(self, name: str, held: Tensor, new: Tensor) -> Tensor:
        used = held.shape[-2] if held.numel() else 0
        end, buffer = used + new.shape[-2], self._buffers.get(name)
        # Rows that left, or were chosen anew, stand in a tensor of their own, outside of the buffer.
        current = buffer is not None and held.data_ptr() == buffer.data_ptr() and len(held) == len(buffer)
        if buffer is None or not current or end > buffer.shape[-2]:
            buffer = torch.empty(
                (*new.shape[:-2], end + _ROOM, new.shape[-1]), dtype=new.dtype, device=new.device
            )
            if used:
                buffer[..., :used, :] = held
            self._buffers[name] = buffer
        buffer[..., used:end, :] = new
        return buffer[..., :end, :]


def growing_cache(lm: LM) -> DynamicCache:
    """Return an empty cache for the model; layers that hold more than keys and values are the library's own."""
    cache = DynamicCache(config=lm.text_config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
