"""What a model can do, found by trying it once.

Padding on the left changes what some models say: states of a recurrence, positions counted from the left edge
and windows cut at fixed places are all disturbed by it. Some caches cannot let a row go. No list of names is
kept: the first time a model is used, two short rows are put through it in several ways, and the first way that
agrees with its plain forward pass (one row, no padding, no cache) is taken for good. A model that agrees in
none is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from sirl.entropy import token_entropy
from sirl.errors import ConfigError, SirlError
from sirl.lm import LM, left_pad
from sirl.lm.decoder import Abilities, Decoder, Read, places
from sirl.lm.limits import require_finite

_CLOSE = 2e-3  # of float32 logits: those that agree were seen within 4e-4, others beyond 8e-3 (docs/log.md)
_CLOSE_IN_HALF = 0.1  # of half-precision logits: rounding alone moves them by some percent
_STEPS = 6  # tokens fed one by one: some caches go wrong from the third on
_LENGTHS = (5, 11)  # tokens of the rows before these


_WAYS: tuple[tuple[Any, bool], ...] = (
    ("any", True),
    ("any", False),
    ("equal", True),
    ("equal", False),
    ("none", False),
)  # company and drops, the fastest first
_KNOWN: WeakKeyDictionary[Any, Abilities] = WeakKeyDictionary()
_ALIKE: dict[tuple[str, ...], Abilities] = {}  # by class, precision and config: a copy that trains is alike


def abilities(lm: LM) -> Abilities:
    """Return what the model can do; the first call tries it, with about twenty short forward passes.

    Raises ConfigError if the model's own logits disagree with themselves: it reads what comes after a token, or
    what its cache makes of a row differs from what its forward pass does.
    """
    inner = lm.base
    if inner not in _KNOWN:
        alike = (str(type(inner)), str(inner.dtype), inner.config.to_json_string())
        if alike not in _ALIKE:
            _ALIKE[alike] = _try(lm)
        _KNOWN[inner] = _ALIKE[alike]
    return _KNOWN[inner]


@torch.no_grad()
def _try(lm: LM) -> Abilities:
    """Try the ways, the fastest first. Raises ConfigError if none agrees with the plain forward pass."""
    reasons: list[str] = []
    rows = _sample(lm)
    try:
        truths = [_plain(lm, {"input_ids": torch.tensor([row], device=lm.device)}) for row in rows]
        for true_TV in truths:
            require_finite(token_entropy(true_TV).tolist(), lm.name)
        _check_causal(lm, rows, truths)
        table = lm.model.get_input_embeddings()
        vectors = _agreed(
            lambda: [
                (_plain(lm, {"inputs_embeds": table(torch.tensor([row], device=lm.device))}), truth)
                for row, truth in zip(rows, truths, strict=True)
            ],
            lm,
            [],
        )
        for company, drops in _WAYS:
            can = Abilities(company, drops)
            if _agreed(lambda can=can: _in_this_way(lm, rows, truths, can), lm, reasons):  # type: ignore[misc]
                shares = company == "any" and _agreed(lambda: _behind_a_cache(lm, rows, truths), lm, [])
                return replace(can, vectors=vectors, shares=shares)
    except (SirlError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever foreign code raises, the model cannot be called
        reasons = [f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"]
    raise ConfigError(
        f"{lm.name} ({type(lm.base).__name__}) gives other logits token by token than in one forward pass"
        f" ({reasons[-1]})",
        "an architecture whose replies can be drawn and scored alike",
        "use another model, or the same one behind an endpoint",
    )


def _agreed(make: Callable[[], Sequence[tuple[Tensor, Tensor]]], lm: LM, reasons: list[str]) -> bool:
    """Say whether all of what is made, pairs of logits (T, V), is alike; if not, a reason is added."""
    try:
        distance = max(_distance(lm, found_TV, true_TV) for found_TV, true_TV in make())
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # foreign code: this way is none
        reasons.append(f"{type(error).__name__}: {' '.join(str(error).split())[:150]}")
        return False
    reasons.append(f"they differ by {distance:.0%}")
    return distance < (_CLOSE_IN_HALF if _in_half(lm) else _CLOSE)


def _in_half(lm: LM) -> bool:
    return lm.model.dtype != torch.float32 or torch.is_autocast_enabled(lm.device.type)


def _distance(lm: LM, found_TV: Tensor, true_TV: Tensor) -> float:
    """Return how far apart logits are, as a share of their spread, at the worst position.

    In half precision at the middle one: there a router may choose another expert on a rounding.
    """
    found_TV, true_TV = found_TV.float(), true_TV.float()
    found_TV, true_TV = (x - x.mean(-1, keepdim=True) for x in (found_TV, true_TV))
    share_T = (found_TV - true_TV).norm(dim=-1) / true_TV.norm(dim=-1).clamp(min=1e-9)
    share = share_T.median() if _in_half(lm) else share_T.max()
    return float(share.nan_to_num(torch.inf))


def _sample(lm: LM) -> list[list[int]]:
    """Return two rows of unlike ordinary tokens, spread over the vocabulary."""
    special = set(lm.tokenizer.added_tokens_decoder)
    plain = [i for i in range(min(len(lm.tokenizer), lm.rows)) if i not in special] or list(range(lm.rows))
    count = sum(_LENGTHS) + 2 * _STEPS
    ids = [plain[place * len(plain) // count] for place in range(count)]
    cut = _LENGTHS[0] + _STEPS
    return [ids[:cut], ids[cut:]]


def _plain(lm: LM, read: Read) -> Tensor:
    """Return logits_SV of one row by the forward pass as it stands: no mask, no positions, no cache."""
    logits_SV: Tensor = lm.model(**read, use_cache=False).logits[0]
    return logits_SV


def _check_causal(lm: LM, rows: Sequence[Sequence[int]], truths: Sequence[Tensor]) -> None:
    for row, true_SV in zip(rows, truths, strict=True):
        cuts = [len(row) - 4, len(row) - 1]
        parts = [_plain(lm, {"input_ids": torch.tensor([row[:cut]], device=lm.device)})[-1] for cut in cuts]
        true_TV = true_SV[[cut - 1 for cut in cuts]]
        if not _agreed(lambda: [(torch.stack(parts), true_TV)], lm, []):  # noqa: B023  # called at once
            raise ConfigError(
                f"{lm.name} ({type(lm.base).__name__}) says something else of a token once others follow it",
                "a causal language model, which reads from left to right",
                "use another model, or the same one behind an endpoint",
            )


def _in_this_way(
    lm: LM, rows: Sequence[Sequence[int]], truths: Sequence[Tensor], can: Abilities
) -> list[tuple[Tensor, Tensor]]:
    """Return (logits_TV, true logits_TV) of each row, read on token by token, and padded in one pass."""
    if can.company == "none":
        return [
            pair
            for i in range(len(rows))
            for pair in _step_by_step(lm, rows[i : i + 1], truths[i : i + 1], can)
        ]
    if can.company == "equal":
        width = min(map(len, rows))
        return _step_by_step(lm, [row[:width] for row in rows], truths, can)
    ids_BS, mask_BS = left_pad(lm, rows)
    asked = places(lm, mask_BS, ids_BS.shape[1])
    found_BSV = lm.model(input_ids=ids_BS, **asked, use_cache=False).logits
    padded = [(found_BSV[i, -len(row) :], truths[i]) for i, row in enumerate(rows)]
    return padded + _step_by_step(lm, rows, truths, can)


def _step_by_step(
    lm: LM, rows: Sequence[Sequence[int]], truths: Sequence[Tensor], can: Abilities
) -> list[tuple[Tensor, Tensor]]:
    """Return the same, of the last tokens of each row, fed one by one.

    Half-way all but the first row end; where rows may leave the cache the first goes on twice: its copy counts.
    """
    prompts = [row[:-_STEPS] for row in rows]
    ids_BS, mask_BS = left_pad(lm, prompts)
    decoder = Decoder(lm, {"input_ids": ids_BS}, mask_BS, can)
    found: list[list[Tensor]] = [[] for _ in rows]
    alive = list(range(len(rows)))
    for step in range(_STEPS):
        for i, logits_V in dict(zip(alive, decoder.logits(), strict=True)).items():
            found[i].append(logits_V)
        if step == _STEPS // 2:
            alive = [0, 0] if can.drops else [0]
            decoder.keep(torch.tensor(alive, device=lm.device))
        decoder.feed(torch.tensor([rows[i][len(prompts[i]) + step] for i in alive], device=lm.device))
    starts = [len(prompt) - 1 for prompt in prompts]
    return [
        (torch.stack(found_T), true_SV[start : start + len(found_T)])
        for start, true_SV, found_T in zip(starts, truths, found, strict=True)
    ]


def _behind_a_cache(
    lm: LM, rows: Sequence[Sequence[int]], truths: Sequence[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Return the same, of the last tokens of each row behind a cache of those before, both padded on the left.

    None of them is right, which is infinitely far away, where the cache is not of keys and values alone.
    """
    cache = DynamicCache(config=lm.text_config)
    cuts = [len(row) - _STEPS + number for number, row in enumerate(rows)]
    heads_BS, mask_BS = left_pad(lm, [row[:cut] for row, cut in zip(rows, cuts, strict=True)])
    named = {lm.cache_argument: cache, "use_cache": True}
    lm.model(input_ids=heads_BS, **places(lm, mask_BS, heads_BS.shape[1]), **named)
    plain = all(type(layer) is DynamicLayer and layer.keys is not None for layer in cache.layers)
    tails_BS, more_BS = left_pad(lm, [row[cut:] for row, cut in zip(rows, cuts, strict=True)])
    whole_BS = torch.cat([mask_BS, more_BS], dim=1)
    found_BSV = lm.model(input_ids=tails_BS, **places(lm, whole_BS, tails_BS.shape[1]), **named).logits
    return [
        (found_SV[cut - len(true_SV) :] if plain else true_SV[cut:] * torch.inf, true_SV[cut:])
        for found_SV, true_SV, cut in zip(found_BSV, truths, cuts, strict=True)
    ]
