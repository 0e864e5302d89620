"""The only room that differentiates a model's input: gradients at a slot, in embeddings and in logits.

Every function takes what stands in the slot of each attempt and how the hoped-for reply begins, and gives the
likelihood of that beginning (mean log-prob, nats a token; higher is better for an attack) or its gradient.
Of a prompt that the model cannot read, such as one too long, the likelihood is -inf and the gradient zeros.
Weights are neither changed nor given gradients. What an attack does with a gradient is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sirl.entropy import token_logprob
from sirl.lm import LM, encode, left_pad, slots_of
from sirl.lm.limits import unreadable
from sirl.lm.passes import last_logits
from sirl.lm.token_budget import TokenBudget, fitted
from sirl.records import Attempt, Rows

_BACKWARD = 3  # a pass that is differentiated holds about this many times the memory of one that is not


def slot_vectors(lm: LM, ids: Rows) -> list[np.ndarray]:
    """Return the embeddings of each row's tokens, vectors_LH, float32."""
    return [_embedded(lm, row).float().cpu().numpy() for row in ids]


def slot_substitutes(
    lm: LM, attempts: Sequence[Attempt], ids: Rows, beginnings: Sequence[str], count: int, fit: TokenBudget
) -> list[np.ndarray]:
    """Return, a place of the slot, the `count` usable tokens whose embeddings lie furthest up the gradient.

    The gradient for a one-hot row of tokens is the gradient for its embedding, times every token's embedding;
    so no one-hot row is made. Source: arXiv 2307.15043, algorithm 1.
    """
    usable_U, table_UH = torch.tensor(lm.usable_ids, device=lm.device), _embedded(lm, lm.usable_ids)
    ascent = _Ascent(lm, attempts, [_embedded(lm, row) for row in ids], beginnings)
    tops = [
        usable_U[(gradient_LH @ table_UH.T).topk(min(count, len(usable_U)), dim=-1).indices]
        for _, gradient_LH in ascent.gradients(fit)
    ]
    return [top_LK.cpu().numpy() for top_LK in tops]


def slot_gradients(
    lm: LM,
    attempts: Sequence[Attempt],
    vectors: Sequence[np.ndarray],
    beginnings: Sequence[str],
    fit: TokenBudget,
) -> list[tuple[float, np.ndarray]]:
    """Return the likelihood and its gradient for the vectors in the slot, gradient_LH, float32."""
    ascent = _Ascent(lm, attempts, _tensors(lm, vectors, lm.model.dtype), beginnings)
    return [(value, gradient_LH.float().cpu().numpy()) for value, gradient_LH in ascent.gradients(fit)]


def slot_energies(
    lm: LM,
    attempts: Sequence[Attempt],
    logits: Sequence[np.ndarray],
    beginnings: Sequence[str],
    fluency: float,
    fit: TokenBudget,
) -> list[tuple[float, np.ndarray]]:
    """Return an objective and its gradient for the logits_LU of each soft text, gradient_LU, float32.

    The soft text is the mean embedding under softmax(logits). The objective is the likelihood plus `fluency`
    times the mean over places of the log-prob that the model gives the soft token there, averaged over tokens
    by softmax(logits). Source: arXiv 2402.08679, energies of section 4.
    """
    ascent = _Ascent(lm, attempts, _tensors(lm, logits, torch.float32), beginnings, fluency)
    return [(value, gradient_LU.cpu().numpy()) for value, gradient_LU in ascent.gradients(fit)]


@dataclass(frozen=True, slots=True)
class _Ascent:
    """An objective to be differentiated; `leaves` are vectors_LH, or logits_LU where fluency is not None."""

    lm: LM
    attempts: Sequence[Attempt]
    leaves: Sequence[Tensor]
    beginnings: Sequence[str]
    fluency: float | None = None

    def gradients(self, fit: TokenBudget) -> list[tuple[float, Tensor]]:
        """Return each attempt's objective and its gradient, same order; -inf and zeros if it is unreadable."""
        slots, replies = slots_of(self.lm, self.attempts), encode(self.lm, self.beginnings)
        rows = [
            _Row([*s.before, *[-1] * len(leaf), *s.after, *reply[:-1]], len(s.before), len(leaf), reply)
            for s, leaf, reply in zip(slots, self.leaves, replies, strict=True)
        ]
        widths = [_BACKWARD * len(row.ids) for row in rows]
        able = [i for i, row in enumerate(rows) if not unreadable(self.lm, row.ids)]
        order = sorted(able, key=lambda i: widths[i])
        runs = fitted(fit, order, widths, lambda run: self._differentiate(run, rows))
        found = {i: pair for run, pairs in runs for i, pair in zip(run, pairs, strict=True)}
        return [found.get(i, (-math.inf, torch.zeros_like(leaf))) for i, leaf in enumerate(self.leaves)]

    def _differentiate(self, run: Sequence[int], rows: Sequence[_Row]) -> list[tuple[float, Tensor]]:
        leaves = [self.leaves[i].detach().requires_grad_() for i in run]
        with torch.enable_grad():
            values = self._objectives([rows[i] for i in run], leaves)
            gradients = torch.autograd.grad(torch.stack(values).sum(), leaves)  # no row depends on another
        return [(float(value.detach()), gradient) for value, gradient in zip(values, gradients, strict=True)]

    def _objectives(self, rows: Sequence[_Row], leaves: Sequence[Tensor]) -> list[Tensor]:
        usable_U = torch.tensor(self.lm.usable_ids, device=self.lm.device)
        table_UH = _embedded(self.lm, self.lm.usable_ids) if self.fluency is not None else None
        weights = [leaf.softmax(-1) for leaf in leaves]
        vectors = leaves if table_UH is None else [w_LU.to(table_UH.dtype) @ table_UH for w_LU in weights]
        logits_BSV = self._logits(rows, vectors)
        values = []
        for place, (row, logits_SV) in enumerate(zip(rows, logits_BSV, strict=True)):
            reply_T = torch.tensor(row.reply, device=self.lm.device)
            value = token_logprob(logits_SV[-len(row.reply) :], reply_T).mean()
            if self.fluency is not None:
                start = row.start - 1 - len(row.ids)  # the position before a place predicts it
                said_LV = logits_SV[start : start + row.length].float().log_softmax(-1)
                fluent = (weights[place] * said_LV[:, usable_U]).sum(-1).mean()
                value = value + self.fluency * fluent
            values.append(value)
        return values

    def _logits(self, rows: Sequence[_Row], vectors: Sequence[Tensor]) -> Tensor:
        """Return the last logits, as many as the objective reads."""
        lm = self.lm
        ids_BS, mask_BS = left_pad(lm, [row.ids for row in rows])
        embedded_BSH = lm.model.get_input_embeddings()(ids_BS.clamp(min=0)).detach()
        reach = max(
            len(row.ids) - row.start + 1 if self.fluency is not None else len(row.reply) for row in rows
        )
        vectors_BSH = embedded_BSH.index_put((ids_BS < 0).nonzero(as_tuple=True), torch.cat(list(vectors)))
        return last_logits(lm, {"inputs_embeds": vectors_BSH}, mask_BS, reach)


@dataclass(frozen=True, slots=True)
class _Row:
    """One sequence: -1 stands in the slot, which begins at `start`; the last token of the reply is not read."""

    ids: list[int]
    start: int
    length: int
    reply: Sequence[int]


def _embedded(lm: LM, ids: Sequence[int]) -> Tensor:
    with torch.no_grad():
        vectors_LH: Tensor = lm.model.get_input_embeddings()(
            torch.tensor(list(ids), dtype=torch.long, device=lm.device)
        )
    return vectors_LH


def _tensors(lm: LM, arrays: Sequence[np.ndarray], dtype: torch.dtype) -> list[Tensor]:
    return [torch.from_numpy(np.asarray(array)).to(lm.device, dtype) for array in arrays]
