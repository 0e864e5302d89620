"""Rows that a model reads token by token, as its own `generate` would have it read them.

Models differ in what their forward pass takes and in what their caches hold; each prepares both itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import DynamicCache

from sirl.lm import LM
from sirl.lm.growing_cache import growing_cache

_PART = 2**14  # rows of the last layer that are widened to float32 at once

Read = Mapping[str, Tensor]  # {"input_ids": ids_BS} or {"inputs_embeds": vectors_BSH}


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model can do.

    company  which rows may go through it together: any, padded on the left; those of equal length; none
    drops    rows may leave its cache while the others go on, or go on twice; else finished rows stay, unheeded
    vectors  embeddings may be given in the place of token ids
    shares   its cache holds keys and values alone, can be cut back, and rows may be padded behind what it holds
    """

    company: Literal["any", "equal", "none"]
    drops: bool
    vectors: bool = False
    shares: bool = False


class Decoder:
    """Left-padded rows that are read on token by token, as the model's own `generate` prepares them.

    `logits` gives what may come next for each row still going; `feed` appends a token to each; `keep` ends the
    rest, which leave the cache where the model allows that and else stay in it unheeded. Where it does, a row
    that is kept twice goes on twice. What a `cache` holds of the rows' first places is not read again.
    """

    def __init__(
        self, lm: LM, read: Read, mask_BS: Tensor, can: Abilities, cache: DynamicCache | None = None
    ) -> None:
        self.lm, self.drops = lm, can.drops
        self.inner = lm.base
        first_BS = next(iter(read.values()))
        self.ids_BS = read.get("input_ids", torch.full(first_BS.shape[:2], lm.pad_id, device=lm.device))
        self.alive_B = torch.arange(len(mask_BS), device=lm.device)
        self.given: dict[str, Any] = {"use_cache": True, **places(lm, mask_BS, mask_BS.shape[1])}
        if bool(mask_BS.all()):
            self.given.pop("attention_mask", None)
        if lm.keeps_last_logits:
            self.given["logits_to_keep"] = 1
        self.unread = mask_BS.shape[1] - cache.get_seq_length() if cache else None  # None: all places
        if cache or self.inner._supports_default_dynamic_cache():  # the others make their own
            self.given[lm.cache_argument] = cache or growing_cache(lm)
        self.first = {key: value for key, value in read.items() if key != "input_ids"}
        self.begun = False

    def logits(self) -> Tensor:
        """Return the next logits_BV of each row still going."""
        asked = self.inner.prepare_inputs_for_generation(
            self.ids_BS,
            next_sequence_length=1 if self.begun else self.unread,
            is_first_iteration=not self.begun,
            **self.first,
            **self.given,
        )
        with exact_head(self.lm):
            found = self.lm.model(**asked, return_dict=True)
        self.given = self.inner._update_model_kwargs_for_generation(found, self.given)
        self.begun, self.first = True, {}
        logits_BV: Tensor = found.logits[:, -1]
        return logits_BV if self.drops else logits_BV[self.alive_B]

    def keep(self, chosen_B: Tensor) -> None:
        """Go on with these of the rows still going."""
        if not self.drops:
            self.alive_B = self.alive_B[chosen_B]
            return
        rows = len(self.ids_BS)
        self.given[self.lm.cache_argument].reorder_cache(chosen_B)
        self.given |= {
            key: value[chosen_B]
            for key, value in self.given.items()
            if isinstance(value, Tensor) and value.dim() and len(value) == rows
        }
        self.ids_BS = self.ids_BS[chosen_B]

    def feed(self, token_B: Tensor) -> None:
        """Append a token to each row still going."""
        if not self.drops:
            token_B = torch.full_like(self.ids_BS[:, 0], self.lm.pad_id).index_copy(0, self.alive_B, token_B)
        self.ids_BS = torch.cat([self.ids_BS, token_B.unsqueeze(-1)], dim=1)


@contextmanager
def exact_head(lm: LM) -> Iterator[None]:
    """Let the model's last layer give its logits in float32 meanwhile, whatever the precision of the rest.

    In bfloat16 the rounding of logits moves the entropy of a token by some 6e-4 nats, more than the replies of
    a sure model differ in. What the model does to its logits, it does as ever. A last layer that is no plain
    linear map is left alone.
    """
    head = lm.base.get_output_embeddings()
    plain = isinstance(head, torch.nn.Linear) and head.weight.is_floating_point()
    if not plain or not (head.weight.dtype != torch.float32 or torch.is_autocast_enabled(lm.device.type)):
        yield
        return

    def forward(states_ND: Tensor) -> Tensor:
        with torch.autocast(lm.device.type, enabled=False):
            parts = [linear(states_ND.float(), part.float()) for part in head.weight.split(_PART)]
            logits_NV = torch.cat(parts, dim=-1)
            return logits_NV if head.bias is None else logits_NV + head.bias.float()

    head.forward = forward
    try:
        yield
    finally:
        del head.forward


def places(lm: LM, mask_BS: Tensor, width: int) -> dict[str, Tensor]:
    """Return what the model takes of mask and positions, for the last `width` places of the mask."""
    positions_BS = (mask_BS.long().cumsum(-1) - 1).clamp(min=0)[:, -width:]
    known = {"attention_mask": mask_BS.long(), "position_ids": positions_BS}
    return {key: value for key, value in known.items() if key in lm.arguments}
