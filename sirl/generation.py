"""The only sampler: attempts to completions, with the entropy of each token recorded as it is drawn.

The reward of SIRL then costs no forward pass. Each row draws from its own random stream, derived from
(seed, prompt id, attack, sample), so the order of attempts does not change what is drawn. This room does
not know what a reply means, and it cannot record entropy for a model behind an endpoint.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sirl.entropy import token_entropy, token_logprob
from sirl.errors import DataError
from sirl.lm import LM, decode, left_pad, pieces, render, reply_text, slots_of
from sirl.lm.abilities import abilities
from sirl.lm.decoder import Decoder
from sirl.lm.limits import memory_for, require_finite, unsendable
from sirl.lm.passes import batches, decode_from, decode_rows, inputs
from sirl.lm.slots import read_in
from sirl.records import SLOT, Attempt, Completion, Decoding, Message, Prompt, Rows

_LOWER = (
    "lower evaluate.batch or gap.batch, which are part of the protocol, so with a new --out; in training lower "
    "train.prompts_per_step, train.group or train.max_reply_tokens"
)


@dataclass(frozen=True, slots=True)
class Draw:
    """The tokens of one reply, EOS included, with entropy and log-prob of each (nats, temperature 1)."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    entropies: tuple[float, ...]
    logprobs: tuple[float, ...]
    finished: bool


def generate(
    lm: LM, attempts: Sequence[Attempt], decoding: Decoding, seed: int, batch: int = 64
) -> list[Completion]:
    """Reply to each attempt, same order; an attempt's own decoding wins over `decoding`.

    A prompt that the model cannot read, as it is too long or holds a token that the model does not know, has
    an `error` and no reply. Raises as `draw` does for the model's sake.
    """
    rows = render(lm, attempts)
    errors = [unsendable(lm, attempt, row) for attempt, row in zip(attempts, rows, strict=True)]
    able = [i for i, error in enumerate(errors) if not error]
    sent = [attempts[i] for i in able]
    draws = iter(_draw(lm, sent, [rows[i] for i in able], (decoding, seed, batch)))
    return [
        Completion(attempt, "", (), (), finished=False, error=error)
        if error
        else _completion(lm, attempt, next(draws))
        for attempt, error in zip(attempts, errors, strict=True)
    ]


def draw(lm: LM, attempts: Sequence[Attempt], decoding: Decoding, seed: int, batch: int = 64) -> list[Draw]:
    """Draw the tokens of each reply, same order, without turning them into text.

    Rows that share a decoding are batched by prompt length, `batch` at a time. A reply ends, unfinished, where
    the model's positions do. Raises DataError on a prompt that the model cannot read and on logits that are NaN
    or infinite, ConfigError on a model whose replies cannot be drawn and scored alike.
    """
    rows = render(lm, attempts)
    for attempt, row in zip(attempts, rows, strict=True):
        if problem := unsendable(lm, attempt, row):
            raise DataError(problem, "a prompt that it can read", "leave the prompt out")
    return _draw(lm, attempts, rows, (decoding, seed, batch))


def finish_requests(lm: LM, beginnings: Sequence[str], tokens: int, seed: int) -> list[str]:
    """Let the model go on with what a user has begun to say, at temperature 1; return each as one line.

    It writes up to `tokens` tokens, and the line ends with the first special token or line break. A beginning
    that the model's chat template would alter stays as it is, alone.
    """
    empty = Attempt(Prompt("", ""), "", (Message("user", SLOT),))
    (slot,) = slots_of(lm, [empty])
    begun = read_in(lm.tokenizer, [slot] * len(beginnings), beginnings)
    able = [i for i, ids in enumerate(begun) if ids is not None]
    rows = [[*slot.before, *(begun[i] or ())] for i in able]
    asked = [replace(empty, prompt=Prompt(beginnings[i], "")) for i in able]
    lines = list(beginnings)
    draws = _draw(lm, asked, rows, (Decoding(1.0, max_new_tokens=tokens), seed, 64))
    marks = {*lm.stop_ids, *lm.tokenizer.all_special_ids}
    for i, d in zip(able, draws, strict=True):
        end = next((n for n, token in enumerate(d.token_ids) if token in marks), len(d.token_ids))
        written = decode(lm, [*(begun[i] or ()), *d.token_ids[:end]])
        lines[i] = next(iter(written.splitlines()), "").strip()
    return lines


@torch.no_grad()  # not inference_mode, in which autocast casts every weight anew for every token
def _draw(lm: LM, attempts: Sequence[Attempt], rows: Rows, how: tuple[Decoding, int, int]) -> list[Draw]:
    """Draw the tokens of each rendered attempt that can be sent; `how` is decoding, seed and batch."""
    decoding, seed, batch = how
    plans = [attempt.decoding or decoding for attempt in attempts]
    draws: dict[int, Draw] = {}
    for plan in dict.fromkeys(plans):
        members = sorted((i for i, p in enumerate(plans) if p == plan), key=lambda i: (len(rows[i]), i))
        for chunk in batches(lm, members, list(map(len, rows)), batch):
            uniforms_BT = np.stack([_stream(seed, attempts[i], plan.max_new_tokens) for i in chunk])
            with memory_for(f"{len(chunk)} replies of {lm.name} at once", _LOWER):
                drawn = _draw_batch(
                    lm, [rows[i] for i in chunk], plan, uniforms_BT, [attempts[i] for i in chunk]
                )
            draws.update(zip(chunk, drawn, strict=True))
    return [draws[i] for i in range(len(attempts))]


def _completion(lm: LM, attempt: Attempt, d: Draw) -> Completion:
    return Completion(
        attempt=attempt,
        text=reply_text(lm, attempt, d.token_ids),
        token_ids=d.token_ids,
        pieces=pieces(lm, d.token_ids),
        finished=d.finished,
        entropies=d.entropies,
        logprobs=d.logprobs,
    )


def _stream(seed: int, attempt: Attempt, length: int) -> np.ndarray:
    """Return `length` uniforms in [0, 1) that depend on the seed and the attempt's key alone."""
    key = hashlib.sha256(f"{seed}|{attempt.key}".encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "big"))).random(length)


def _draw_batch(
    lm: LM, rows: Sequence[Sequence[int]], plan: Decoding, uniforms_BT: np.ndarray, attempts: Sequence[Attempt]
) -> list[Draw]:
    decoder, logits_BV = _read(lm, rows, attempts)
    stops = torch.tensor(lm.stop_ids, device=lm.device)
    alive_B = torch.arange(len(rows), device=lm.device)  # which of the first rows each row still going is
    room_B = torch.tensor([min(plan.max_new_tokens, _room(lm, row)) for row in rows], device=lm.device)
    tokens, entropies, logprobs, owners = [], [], [], []
    uniforms_TB = torch.from_numpy(uniforms_BT.T).to(lm.device)
    for step in range(plan.max_new_tokens):
        logits_BV = decoder.logits() if step else logits_BV
        token_B = pick(logits_BV, plan, uniforms_TB[step, alive_B])
        tokens.append(token_B)
        entropies.append(token_entropy(logits_BV))
        logprobs.append(token_logprob(logits_BV, token_B))
        owners.append(alive_B)
        going_B = ~torch.isin(token_B, stops) & (step + 1 < room_B[alive_B])
        if not going_B.any():
            break
        if not going_B.all():  # finished rows leave the batch
            chosen = going_B.nonzero().squeeze(-1)
            decoder.keep(chosen)
            alive_B, token_B = alive_B[chosen], token_B[chosen]
        decoder.feed(token_B)
    found = [torch.cat(column).tolist() for column in (tokens, entropies, logprobs)]
    require_finite(found[1], lm.name)
    return _gather(rows, found, torch.cat(owners).tolist(), set(lm.stop_ids))


def _read(lm: LM, rows: Sequence[Sequence[int]], attempts: Sequence[Attempt]) -> tuple[Decoder, Tensor]:
    """Return the decoder behind the prompts, and the logits_BV of the first tokens.

    Rows that say the same, as the draws of a group do, are read once, and so is what rows begin with alike.
    """
    said: list[Any] = [(tuple(row), attempt.soft) for row, attempt in zip(rows, attempts, strict=True)]
    keys = said if abilities(lm).drops else range(len(rows))
    place = {key: number for number, key in enumerate(dict.fromkeys(keys))}  # of what is read
    place_B = [place[key] for key in keys]
    read = [place_B.index(number) for number in range(len(place))]  # the first row that says it
    if any(attempts[i].soft for i in read):
        ids_BS, mask_BS = left_pad(lm, [rows[i] for i in read])
        decoder = decode_from(lm, inputs(lm, ids_BS, [attempts[i] for i in read]), mask_BS)
    else:
        decoder = decode_rows(lm, [rows[i] for i in read])
    logits_BV = decoder.logits()
    if len(read) < len(rows):
        copies_B = torch.tensor(place_B, device=lm.device)
        decoder.keep(copies_B)
        logits_BV = logits_BV[copies_B]
    return decoder, logits_BV


def _room(lm: LM, row: Sequence[int]) -> int:
    """Return how many tokens the model's positions leave for a reply."""
    return sys.maxsize if lm.positions is None else lm.positions - len(row)


def _gather(
    rows: Sequence[Sequence[int]], columns: Sequence[Sequence[float]], owners: list[int], stops: set[int]
) -> list[Draw]:
    """Hand the tokens, in drawing order, back to the rows that own them."""
    tokens, entropies, logprobs = columns
    mine: list[list[int]] = [[] for _ in rows]
    for place, owner in enumerate(owners):
        mine[owner].append(place)
    return [
        Draw(
            prompt_ids=tuple(row),
            token_ids=tuple(int(tokens[p]) for p in places),
            entropies=tuple(round(entropies[p], 6) for p in places),
            logprobs=tuple(round(logprobs[p], 6) for p in places),
            finished=int(tokens[places[-1]]) in stops,
        )
        for row, places in zip(rows, mine, strict=True)
    ]


def pick(logits_BV: Tensor, plan: Decoding, uniform_B: Tensor) -> Tensor:
    """Choose a token a row: argmax at temperature 0, else by inverse CDF at the row's uniform in [0, 1).

    Inverse CDF because multinomial draws V numbers a row on one CPU thread, many times slower at V = 128k.
    Summed in float64: in float32 a sum over 128k tokens drifts, by 9e-4 in total variation if they are equal.
    """
    if plan.temperature == 0:
        return logits_BV.argmax(-1)
    probs_BV = torch.softmax(logits_BV.float() / plan.temperature, dim=-1)
    if plan.top_k or plan.top_p < 1:
        probs_BV = _truncate(probs_BV, plan)
    cdf_BV = probs_BV.cumsum(-1, dtype=torch.float64)
    target_B = uniform_B.double().clamp(max=1 - 1e-12) * cdf_BV[:, -1]
    chosen_B = torch.searchsorted(cdf_BV, target_B.unsqueeze(-1), right=True).squeeze(-1)
    return chosen_B.clamp(max=logits_BV.shape[-1] - 1)


def _truncate(probs_BV: Tensor, plan: Decoding) -> Tensor:
    """Zero all but the `top_k` likeliest tokens and all beyond the first that reach `top_p`."""
    ordered_BV, order_BV = probs_BV.sort(dim=-1, descending=True)
    keep_BV = (ordered_BV.cumsum(-1, dtype=torch.float64) - ordered_BV) < plan.top_p
    if plan.top_k:
        keep_BV[:, plan.top_k :] = False
    return torch.zeros_like(probs_BV).scatter(-1, order_BV, torch.where(keep_BV, ordered_BV, 0.0))
