"""A whole model's forward pass over rows of unequal length, in whatever company the model bears.

The only callers of a model for its logits; what is read token by token is `decoder`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from sirl.errors import AttackError
from sirl.lm import LM, left_pad
from sirl.lm.abilities import abilities
from sirl.lm.beginnings import beginnings
from sirl.lm.decoder import Decoder, Read, exact_head, places
from sirl.lm.growing_cache import growing_cache
from sirl.records import Attempt, Rows


def batches(lm: LM, order: Sequence[int], lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Cut `order`, sorted by length, into batches of at most `size` rows that may be drawn together."""
    if not order:
        return
    company = abilities(lm).company
    for _, members in groupby(order, lambda i: 0 if company == "any" else lengths[i]):
        rows = list(members)
        step = 1 if company == "none" else size
        yield from (rows[start : start + step] for start in range(0, len(rows), step))


def inputs(lm: LM, ids_BS: Tensor, attempts: Sequence[Attempt]) -> dict[str, Tensor]:
    """Return the model's argument for rendered ids: themselves, or their embeddings if any vector is soft.

    Raises AttackError if vectors are not as wide as the model: they were made for another one.
    """
    if not bool((ids_BS < 0).any()):
        return {"input_ids": ids_BS}
    vectors_BSH = lm.model.get_input_embeddings()(ids_BS.clamp(min=0)).clone()
    for row, attempt in enumerate(attempts):
        if not attempt.soft:
            continue
        soft_LH = torch.tensor(attempt.soft, dtype=vectors_BSH.dtype, device=lm.device)
        if soft_LH.shape[-1] != vectors_BSH.shape[-1]:
            raise AttackError(
                f"vectors of width {soft_LH.shape[-1]} for {lm.name}, of width {vectors_BSH.shape[-1]}",
                "vectors that were found on a model of the same width",
                "choose another surrogate, or leave soft_prompt@transfer out",
            )
        place_S = ids_BS[row] < 0
        vectors_BSH[row, place_S] = soft_LH[-1 - ids_BS[row, place_S]]
    return {"inputs_embeds": vectors_BSH}


def decode_from(lm: LM, read: Read, mask_BS: Tensor) -> Decoder:
    """Return the left-padded rows, a batch of `batches`, to be read on token by token.

    Raises AttackError as `last_logits` does.
    """
    _check_vectors(lm, read)
    return Decoder(lm, read, mask_BS, abilities(lm))


def decode_rows(lm: LM, rows: Rows) -> Decoder:
    """Return a batch of `batches` to be read on token by token; what begins alike is read once."""
    groups = beginnings(rows) if abilities(lm).shares else []
    if not groups:
        ids_BS, mask_BS = left_pad(lm, rows)
        return decode_from(lm, {"input_ids": ids_BS}, mask_BS)
    cache = growing_cache(lm)
    heads_GP, heads_mask_GP = left_pad(lm, [rows[group.rows[0]][: group.length] for group in groups])
    last_logits(lm, {"input_ids": heads_GP}, heads_mask_GP, 1, cache)
    place = {row: (number, group.length) for number, group in enumerate(groups) for row in group.rows}
    tails_BS, tails_mask_BS = left_pad(lm, [row[place[i][1] :] for i, row in enumerate(rows)])
    group_B = torch.tensor([place[i][0] for i in range(len(rows))], device=lm.device)
    cache.batch_select_indices(group_B)
    ids_BS = torch.cat([heads_GP[group_B], tails_BS], dim=1)
    mask_BS = torch.cat([heads_mask_GP[group_B], tails_mask_BS], dim=1)
    return Decoder(lm, {"input_ids": ids_BS}, mask_BS, abilities(lm), cache)


def last_logits(lm: LM, read: Read, mask_BS: Tensor, last: int, cache: Any = None) -> Tensor:
    """Return the logits of the last positions of left-padded rows, (B, last, V); differentiable.

    With a cache the mask also covers what it holds. Rows of a model that cannot be padded go through it by
    length; positions before a row begins are zeros. Raises AttackError if embeddings are given to a model that
    makes something else of them than of their tokens, ConfigError as `abilities` does.
    """
    keep = {"logits_to_keep": last} if lm.keeps_last_logits else {}
    cached = {"use_cache": False} if cache is None else {"use_cache": True, lm.cache_argument: cache}

    def work(read: Read, mask_BS: Tensor) -> Tensor:
        width = next(iter(read.values())).shape[1]
        with exact_head(lm):
            found = lm.model(**read, **places(lm, mask_BS, width), **cached, **keep).logits[:, -last:]
        return pad(found, (0, 0, last - found.shape[1], 0))

    return _by_length(lm, read, mask_BS, work)


def last_states(lm: LM, read: Read, mask_BS: Tensor) -> Tensor:
    """Return the last position's hidden state after each layer of left-padded rows, states_BLH."""
    keep = {"logits_to_keep": 1} if lm.keeps_last_logits else {}

    def work(read: Read, mask_BS: Tensor) -> Tensor:
        asked = places(lm, mask_BS, mask_BS.shape[1])
        found = lm.model(**read, **asked, use_cache=False, output_hidden_states=True, **keep).hidden_states
        return torch.stack([layer_BSH[:, -1] for layer_BSH in found[1:]], dim=1)

    return _by_length(lm, read, mask_BS, work)


def _by_length(lm: LM, read: Read, mask_BS: Tensor, work: Callable[[Read, Tensor], Tensor]) -> Tensor:
    """Do `work` on left-padded rows: on all at once, or on those that the model bears together, unpadded.

    What it returns has a row a row, and comes back in their order.
    """
    _check_vectors(lm, read)
    company = abilities(lm).company
    lengths = [] if company == "any" else mask_BS.sum(-1).tolist()
    if company != "none" and len(set(lengths)) < 2:
        return work(read, mask_BS)
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    parts = []
    for rows in batches(lm, order, lengths, len(lengths)):
        rows_B, width = torch.tensor(rows, device=lm.device), lengths[rows[0]]
        parts.append(work({k: v[rows_B, -width:] for k, v in read.items()}, mask_BS[rows_B, -width:]))
    return torch.cat(parts)[torch.tensor(order, device=lm.device).argsort()]


def _check_vectors(lm: LM, read: Read) -> None:
    if "inputs_embeds" in read and not abilities(lm).vectors:
        raise AttackError(
            f"{lm.name} makes something else of embeddings than of the tokens that they are of",
            "a model that reads nothing but the embeddings of its tokens",
            "choose attacks that write text",
        )
