"""The only teacher-forced forward pass: completions to entropies and log-probs, recomputed.

What `generation` recorded while drawing must be what this room finds afterwards. Beginnings of replies are
scored for many variants of one prompt at once, so what the variants share is put through the model once. It
samples nothing and differentiates nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from sirl.entropy import self_certainty, token_entropy, token_logprob
from sirl.lm import LM, encode, inputs, left_pad, render, slots_of
from sirl.lm.fit import Fit, fitted
from sirl.records import Attempt, Completion, Rows, Score

WORTH_SHARING = 0.2  # share of all tokens that a cache must save to be worth its copying


def score(lm: LM, completions: Sequence[Completion], batch: int = 32) -> list[Score]:
    """Return the mean entropy and log-prob (nats a token) of each reply, same order; EOS counts.

    Raises ValueError on a completion without tokens: it has no mean.
    """
    attempts = [c.attempt for c in completions]
    replies = [list(c.token_ids) for c in completions]
    return [
        Score(float(entropy_T.mean()), float(logprob_T.mean()), len(entropy_T))
        for entropy_T, logprob_T in teacher_forced(lm, render(lm, attempts), replies, batch, attempts)
    ]


def teacher_forced(
    lm: LM, prompts: Rows, replies: Rows, batch: int = 32, attempts: Sequence[Attempt] = ()
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (entropy_T, logprob_T) of each reply's tokens after its prompt, same order, float32 nats.

    `attempts` are needed where prompts hold soft vectors.
    """
    for logits_TV, ids_T in _reply_logits(lm, prompts, replies, batch, attempts):
        yield token_entropy(logits_TV), token_logprob(logits_TV, ids_T)


def certainties(lm: LM, prompts: Rows, replies: Rows, batch: int = 32) -> Iterator[Tensor]:
    """Yield the self-certainty (T,) of each reply's tokens after its prompt, same order, float32 nats."""
    for logits_TV, _ in _reply_logits(lm, prompts, replies, batch, ()):
        yield self_certainty(logits_TV)


@torch.inference_mode()
def _reply_logits(
    lm: LM, prompts: Rows, replies: Rows, batch: int, attempts: Sequence[Attempt]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (logits_TV, ids_T) of each reply's tokens, same order."""
    if not all(map(len, replies)):
        raise ValueError("a reply without tokens cannot be scored")
    for start in range(0, len(prompts), batch):
        chunk = range(start, min(start + batch, len(prompts)))
        ids_BS, mask_BS = left_pad(lm, [[*prompts[i], *replies[i]] for i in chunk])
        longest = max(len(replies[i]) for i in chunk)
        keep = {"logits_to_keep": longest + 1} if lm.keeps_last_logits else {}
        logits_BSV = lm.model(
            **inputs(lm, ids_BS, attempts[start : start + batch]),
            attention_mask=mask_BS.long(),
            position_ids=(mask_BS.long().cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
            **keep,
        ).logits[:, -longest - 1 :]
        for row, i in enumerate(chunk):
            length = len(replies[i])
            yield logits_BSV[row, -length - 1 : -1], ids_BS[row, -length:]


def log_likelihood(
    lm: LM, attempts: Sequence[Attempt], beginnings: Sequence[str], fit: Fit | None = None
) -> list[float]:
    """Return the mean log-prob (nats a token) of each beginning as the reply to its attempt, same order."""
    replies = encode(lm, beginnings)
    if any(attempt.soft for attempt in attempts):
        pairs = teacher_forced(lm, render(lm, attempts), replies, attempts=attempts)
        return [float(logprob_T.mean()) for _, logprob_T in pairs]
    return mean_logprobs(lm, render(lm, attempts), replies, [a.prompt.id for a in attempts], fit or Fit())


def slot_likelihood(
    lm: LM, attempts: Sequence[Attempt], ids: Rows, beginnings: Sequence[str], fit: Fit
) -> list[float]:
    """Return the mean log-prob (nats a token) of each beginning with these tokens in its attempt's slot."""
    rows = [[*s.before, *row, *s.after] for s, row in zip(slots_of(lm, attempts), ids, strict=True)]
    return mean_logprobs(lm, rows, encode(lm, beginnings), [a.prompt.id for a in attempts], fit)


@torch.inference_mode()
def mean_logprobs(lm: LM, prompts: Rows, replies: Rows, owners: Sequence[str], fit: Fit) -> list[float]:
    """Return the mean log-prob (nats a token) of each reply after its prompt, same order.

    Prompts of one owner are taken for variants of each other: what they share goes through the model once.
    Raises ValueError on a reply without tokens.
    """
    if not all(map(len, replies)):
        raise ValueError("a reply without tokens cannot be scored")
    work = _Work(lm, prompts, replies)
    families = list(_families(prompts, owners))
    saved = sum(int(f.agree.sum()) - len(f.head) for f in families)
    if saved < WORTH_SHARING * sum(map(len, prompts)) or not _can_share(lm):
        widths = [len(p) + len(r) for p, r in zip(prompts, replies, strict=True)]
        order = sorted(range(len(prompts)), key=lambda i: widths[i])
        runs = fitted(fit, order, widths, work.alone)
    else:
        lengths = [len(f.head) for f in families]
        order = sorted(range(len(families)), key=lambda i: lengths[i])
        blocks = fitted(fit, order, lengths, lambda block: _share(work, [families[i] for i in block], fit))
        runs = [run for _, found in blocks for run in found]
    found = {i: float(x) for run, values_B in runs for i, x in zip(run, values_B, strict=True)}
    return [found[i] for i in range(len(prompts))]


@torch.inference_mode()
def hidden_states(lm: LM, attempts: Sequence[Attempt], fit: Fit) -> np.ndarray:
    """Return the last position's hidden state after each layer, states_NLH, float32."""
    rows = render(lm, attempts)

    def work(run: Sequence[int]) -> Tensor:
        ids_BS, mask_BS = left_pad(lm, [rows[i] for i in run])
        found = lm.model(
            **inputs(lm, ids_BS, [attempts[i] for i in run]),
            attention_mask=mask_BS.long(),
            position_ids=(mask_BS.long().cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
            output_hidden_states=True,
            **({"logits_to_keep": 1} if lm.keeps_last_logits else {}),
        ).hidden_states[1:]
        return torch.stack([layer_BSH[:, -1] for layer_BSH in found], dim=1).float().cpu()

    runs = fitted(fit, range(len(rows)), list(map(len, rows)), work)
    return torch.cat([states for _, states in runs]).numpy()


@torch.inference_mode()
def next_tokens(
    lm: LM, attempts: Sequence[Attempt], ids: Rows, count: int, fit: Fit
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the `count` likeliest usable tokens after those in each slot and their log-probs, K each."""
    rows = [[*slot.before, *row] for slot, row in zip(slots_of(lm, attempts), ids, strict=True)]
    usable_U = torch.tensor(lm.usable_ids, device=lm.device)

    def work(run: Sequence[int]) -> tuple[Tensor, Tensor]:
        ids_BS, mask_BS = left_pad(lm, [rows[i] for i in run])
        logits_BV = _logits(lm, ids_BS, mask_BS, 1)[:, -1]
        top = torch.log_softmax(logits_BV.float(), -1)[:, usable_U].topk(min(count, len(usable_U)))
        return usable_U[top.indices].cpu(), top.values.cpu()

    runs = fitted(fit, range(len(rows)), list(map(len, rows)), work)
    return [pair for _, (a, b) in runs for pair in zip(a.numpy(), b.numpy(), strict=True)]


@dataclass(frozen=True, slots=True)
class _Family:
    """Variants of one prompt: `head` is what most begin with, `agree` how much of it each begins with."""

    rows: tuple[int, ...]
    head: tuple[int, ...]
    agree: np.ndarray


def _families(prompts: Rows, owners: Sequence[str]) -> Iterator[_Family]:
    """Yield the variants of each owner's prompt; the head leaves every variant at least one token of its own.

    The middle of each sorted column is the token that more than half of the variants hold, where there is one.
    """
    rows: dict[str, list[int]] = {}
    for i, owner in enumerate(owners):
        rows.setdefault(owner, []).append(i)
    for members in rows.values():
        length = min(len(prompts[i]) for i in members) - 1
        ids_NS = np.array([prompts[i][:length] for i in members], dtype=np.int64).reshape(len(members), length)
        head_S = np.sort(ids_NS, axis=0)[len(members) // 2]
        same_NS = np.cumprod(ids_NS == head_S, axis=1)
        yield _Family(tuple(members), tuple(head_S.tolist()), same_NS.sum(axis=1))


def _can_share(lm: LM) -> bool:
    """Say whether the model's cache is of plain attention alone: windows and states cannot be cut back."""
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=lm.model.config).layers)


def _share(work: _Work, families: Sequence[_Family], fit: Fit) -> list[tuple[Sequence[int], Tensor]]:
    """Put the heads through the model once, then what is left of every row, rows that agree longest first."""
    lm = work.lm
    heads_FS, mask_FS = left_pad(lm, [f.head for f in families])
    cache = DynamicCache(config=lm.model.config)
    _logits(lm, heads_FS, mask_FS, 1, cache)
    family, dropped = {}, {}
    for number, f in enumerate(families):
        for i, length in zip(f.rows, f.agree.tolist(), strict=True):
            family[i], dropped[i] = number, len(f.head) - length

    def branch(run: Sequence[int]) -> Tensor:
        """Cut the heads back to what every row of the run agrees with."""
        cut = max(dropped[i] for i in run)
        rows_B = torch.tensor([family[i] for i in run], device=lm.device)
        width = heads_FS.shape[1] - cut
        own = DynamicCache(config=lm.model.config)
        for number, layer in enumerate(cache.layers):
            own.update(layer.keys[rows_B, :, :width], layer.values[rows_B, :, :width], number)
        starts = [len(families[family[i]].head) - cut for i in run]
        return work.after(run, starts, mask_FS[rows_B, :width], own)

    order = sorted(dropped, key=lambda i: (dropped[i], i))
    widths = {i: len(work.prompts[i]) + len(work.replies[i]) for i in order}
    return fitted(fit, order, [widths.get(i, 0) for i in range(len(work.prompts))], branch)


@dataclass(frozen=True, slots=True)
class _Work:
    """Rows to score: each reply after its prompt, or after what a cache already holds of the prompt."""

    lm: LM
    prompts: Rows
    replies: Rows

    def alone(self, run: Sequence[int]) -> Tensor:
        return self._means(run, [0] * len(run), None, None)

    def after(self, run: Sequence[int], starts: Sequence[int], mask_BP: Tensor, cache: DynamicCache) -> Tensor:
        return self._means(run, starts, mask_BP, cache)

    def _means(
        self, run: Sequence[int], starts: Sequence[int], mask_BP: Tensor | None, cache: DynamicCache | None
    ) -> Tensor:
        """Return the mean log-prob of each reply of the run; its last token is predicted and never read."""
        rows = [[*self.prompts[i][start:], *self.replies[i][:-1]] for i, start in zip(run, starts, strict=True)]
        ids_BS, mask_BS = left_pad(self.lm, rows)
        reply_BT, counts_BT = left_pad(self.lm, [self.replies[i] for i in run])
        whole_BS = mask_BS if mask_BP is None else torch.cat([mask_BP, mask_BS], dim=1)
        logits_BTV = _logits(self.lm, ids_BS, whole_BS, reply_BT.shape[1], cache)
        logprob_BT = token_logprob(logits_BTV, reply_BT) * counts_BT
        return (logprob_BT.sum(-1) / counts_BT.sum(-1)).cpu()


def _logits(lm: LM, ids_BS: Tensor, mask_BS: Tensor, last: int, cache: DynamicCache | None = None) -> Tensor:
    """Return the logits of the last positions; the mask also covers what the cache holds."""
    positions_BS = (mask_BS.long().cumsum(-1) - 1).clamp(min=0)[:, -ids_BS.shape[1] :]
    keep = {"logits_to_keep": last} if lm.keeps_last_logits else {}
    logits_BSV: Tensor = lm.model(
        input_ids=ids_BS,
        attention_mask=mask_BS.long(),
        position_ids=positions_BS,
        use_cache=cache is not None,
        **({} if cache is None else {lm.cache_argument: cache}),
        **keep,
    ).logits
    return logits_BSV[:, -last:]
