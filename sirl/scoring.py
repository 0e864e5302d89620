"""The only teacher-forced forward pass: completions to entropies and log-probs, recomputed.

What `generation` recorded while drawing must be what this room finds afterwards. Beginnings of replies are
scored for many variants of one prompt at once, so what the variants share is put through the model once. It
samples nothing and differentiates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from sirl.entropy import self_certainty, token_entropy, token_logprob
from sirl.errors import DataError
from sirl.lm import LM, encode, left_pad, render, slots_of
from sirl.lm.abilities import abilities
from sirl.lm.limits import require_finite, unreadable
from sirl.lm.passes import inputs, last_logits, last_states
from sirl.lm.token_budget import TokenBudget, fitted
from sirl.records import SLOT, Attempt, Message, Prompt, Rows

WORTH_SHARING = 0.2  # share of all tokens that a cache must save to be worth its copying


def teacher_forced(
    lm: LM, prompts: Rows, replies: Rows, batch: int = 32, attempts: Sequence[Attempt] = ()
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (entropy_T, logprob_T) of each reply's tokens after its prompt, same order, float32 nats.

    `attempts` are needed where prompts hold soft vectors. Raises DataError on logits that are NaN or infinite.
    """
    for logits_TV, ids_T in _reply_logits(lm, prompts, replies, batch, attempts):
        entropy_T = token_entropy(logits_TV)
        require_finite(entropy_T.tolist(), lm.name)
        yield entropy_T, token_logprob(logits_TV, ids_T)


def certainties(lm: LM, prompts: Rows, replies: Rows, batch: int = 32) -> Iterator[Tensor]:
    """Yield the self-certainty (T,) of each reply's tokens after its prompt, same order, float32 nats."""
    for logits_TV, _ in _reply_logits(lm, prompts, replies, batch, ()):
        yield self_certainty(logits_TV)


@torch.inference_mode()
def _reply_logits(
    lm: LM, prompts: Rows, replies: Rows, batch: int, attempts: Sequence[Attempt]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (logits_TV, ids_T) of each reply's tokens, same order.

    Raises ValueError on a reply without tokens, DataError on tokens that the model cannot read.
    """
    if not all(map(len, replies)):
        raise ValueError("a reply without tokens cannot be scored")
    for prompt, reply in zip(prompts, replies, strict=True):
        if problem := unreadable(lm, [*prompt, *reply[:-1]]):
            raise DataError(problem, "a prompt and reply that it can read", "leave them out")
    for start in range(0, len(prompts), batch):
        chunk = range(start, min(start + batch, len(prompts)))
        ids_BS, mask_BS = left_pad(lm, [[*prompts[i], *replies[i]] for i in chunk])
        longest = max(len(replies[i]) for i in chunk)
        read = inputs(lm, ids_BS, attempts[start : start + batch])
        logits_BSV = last_logits(lm, read, mask_BS, longest + 1)
        for row, i in enumerate(chunk):
            length = len(replies[i])
            yield logits_BSV[row, -length - 1 : -1], ids_BS[row, -length:]


def log_likelihood(
    lm: LM, attempts: Sequence[Attempt], beginnings: Sequence[str], fit: TokenBudget | None = None
) -> list[float]:
    """Return the mean log-prob (nats a token) of each beginning as the reply to its attempt, same order."""
    replies = encode(lm, beginnings)
    if any(attempt.soft for attempt in attempts):
        pairs = teacher_forced(lm, render(lm, attempts), replies, attempts=attempts)
        return [float(logprob_T.mean()) for _, logprob_T in pairs]
    return mean_logprobs(
        lm, render(lm, attempts), replies, [a.prompt.id for a in attempts], fit or TokenBudget()
    )


def message_logprobs(lm: LM, texts: Sequence[str]) -> list[tuple[float, ...]]:
    """Return the log-prob (nats) of each token of each text, as the first message of a user, same order.

    Raises DataError on a text that the model cannot read.
    """
    [slot] = slots_of(lm, [Attempt(Prompt("", SLOT), "", (Message("user", SLOT),))])
    rows = encode(lm, [text.strip() for text in texts])
    found = teacher_forced(lm, [list(slot.before)] * len(rows), rows)
    return [tuple(logprob_T.tolist()) for _, logprob_T in found]


def slot_likelihood(
    lm: LM, attempts: Sequence[Attempt], ids: Rows, beginnings: Sequence[str], fit: TokenBudget
) -> list[float]:
    """Return the mean log-prob (nats a token) of each beginning with these tokens in its attempt's slot."""
    rows = [[*s.before, *row, *s.after] for s, row in zip(slots_of(lm, attempts), ids, strict=True)]
    return mean_logprobs(lm, rows, encode(lm, beginnings), [a.prompt.id for a in attempts], fit)


@torch.inference_mode()
def mean_logprobs(lm: LM, prompts: Rows, replies: Rows, owners: Sequence[str], fit: TokenBudget) -> list[float]:
    """Return the mean log-prob (nats a token) of each reply after its prompt, same order.

    Prompts of one owner are taken for variants of each other: what they share goes through the model once. It
    is -inf where the model cannot read prompt and reply: no attack can send that. Raises ValueError on a reply
    without tokens.
    """
    return [mean for mean, _ in _scored(lm, prompts, replies, owners, fit)]


@torch.inference_mode()
def continuations(
    lm: LM, attempts: Sequence[Attempt], texts: Sequence[str], fit: TokenBudget
) -> list[tuple[float, bool]]:
    """Return the summed log-prob (nats) of each text as the reply's next words, and whether greedy says them.

    -inf, and no, where the model cannot read prompt and text. Raises ValueError on a text without tokens.
    """
    replies, owners = encode(lm, texts), [attempt.prompt.id for attempt in attempts]
    found = _scored(lm, render(lm, attempts), replies, owners, fit)
    return [(mean * len(reply), greedy) for (mean, greedy), reply in zip(found, replies, strict=True)]


def _scored(
    lm: LM, prompts: Rows, replies: Rows, owners: Sequence[str], fit: TokenBudget
) -> list[tuple[float, bool]]:
    """Return the mean log-prob of each reply after its prompt, and whether greedy says it."""
    if not all(map(len, replies)):
        raise ValueError("a reply without tokens cannot be scored")
    rows = [[*prompt, *reply[:-1]] for prompt, reply in zip(prompts, replies, strict=True)]
    able = [i for i, row in enumerate(rows) if not unreadable(lm, row)]
    work = _Work(lm, [prompts[i] for i in able], [replies[i] for i in able])
    found = dict(zip(able, _by_less(work, [owners[i] for i in able], fit), strict=True))
    return [found.get(i, (-math.inf, False)) for i in range(len(prompts))]


def _by_less(work: _Work, owners: Sequence[str], fit: TokenBudget) -> list[tuple[float, bool]]:
    """Score each reply of the work, by whichever way is less of it."""
    prompts, replies = work.prompts, work.replies
    families = list(_families(prompts, owners))
    saved = sum(int(f.agree.sum()) - len(f.head) for f in families)
    if saved < WORTH_SHARING * sum(map(len, prompts)) or not abilities(work.lm).shares:
        widths = [len(p) + len(r) for p, r in zip(prompts, replies, strict=True)]
        order = sorted(range(len(prompts)), key=lambda i: widths[i])
        runs = fitted(fit, order, widths, work.alone)
    else:
        lengths = [len(f.head) for f in families]
        order = sorted(range(len(families)), key=lambda i: lengths[i])
        blocks = fitted(fit, order, lengths, lambda block: _share(work, [families[i] for i in block], fit))
        runs = [run for _, found in blocks for run in found]
    found = {
        i: (mean, bool(greedy))
        for run, values_B2 in runs
        for i, (mean, greedy) in zip(run, values_B2.tolist(), strict=True)
    }
    return [found[i] for i in range(len(prompts))]


@torch.inference_mode()
def hidden_states(lm: LM, attempts: Sequence[Attempt], fit: TokenBudget) -> np.ndarray:
    """Return the last position's hidden state after each layer, states_NLH, float32.

    Of a prompt that is longer than the model's positions only its end is read.
    """
    rows = [row[-(lm.positions or len(row)) :] for row in render(lm, attempts)]

    def work(run: Sequence[int]) -> Tensor:
        ids_BS, mask_BS = left_pad(lm, [rows[i] for i in run])
        return last_states(lm, inputs(lm, ids_BS, [attempts[i] for i in run]), mask_BS).float().cpu()

    runs = fitted(fit, range(len(rows)), list(map(len, rows)), work)
    return torch.cat([states for _, states in runs]).numpy()


@torch.inference_mode()
def next_tokens(
    lm: LM, attempts: Sequence[Attempt], ids: Rows, count: int, fit: TokenBudget
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the `count` likeliest usable tokens after those in each slot and their log-probs, K each.

    Where the model cannot read what comes before, they are any tokens, of log-prob -inf.
    """
    rows = [[*slot.before, *row] for slot, row in zip(slots_of(lm, attempts), ids, strict=True)]
    usable_U = torch.tensor(lm.usable_ids, device=lm.device)

    def work(run: Sequence[int]) -> tuple[Tensor, Tensor]:
        ids_BS, mask_BS = left_pad(lm, [rows[i] for i in run])
        logits_BV = last_logits(lm, {"input_ids": ids_BS}, mask_BS, 1)[:, -1]
        top = torch.log_softmax(logits_BV.float(), -1)[:, usable_U].topk(min(count, len(usable_U)))
        return usable_U[top.indices].cpu(), top.values.cpu()

    able = [i for i, row in enumerate(rows) if not unreadable(lm, row)]
    runs = fitted(fit, able, list(map(len, rows)), work)
    found = {
        i: pair
        for run, (a, b) in runs
        for i, pair in zip(run, zip(a.numpy(), b.numpy(), strict=True), strict=True)
    }
    any_K = np.array(lm.usable_ids[:count])
    return [found.get(i, (any_K, np.full(len(any_K), -np.inf, np.float32))) for i in range(len(rows))]


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


def _share(work: _Work, families: Sequence[_Family], fit: TokenBudget) -> list[tuple[Sequence[int], Tensor]]:
    """Put the heads through the model once, then what is left of every row, rows that agree longest first."""
    lm = work.lm
    heads_FS, mask_FS = left_pad(lm, [f.head for f in families])
    cache = DynamicCache(config=lm.text_config)
    last_logits(lm, {"input_ids": heads_FS}, mask_FS, 1, cache)
    family, dropped = {}, {}
    for number, f in enumerate(families):
        for i, length in zip(f.rows, f.agree.tolist(), strict=True):
            family[i], dropped[i] = number, len(f.head) - length

    def branch(run: Sequence[int]) -> Tensor:
        """Cut the heads back to what every row of the run agrees with."""
        cut = max(dropped[i] for i in run)
        rows_B = torch.tensor([family[i] for i in run], device=lm.device)
        width = heads_FS.shape[1] - cut
        own = DynamicCache(config=lm.text_config)
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
        """Return the mean log-prob of each reply of the run and 1 where it is greedy's: values_B2.

        Its last token is predicted and never read.
        """
        rows = [[*self.prompts[i][start:], *self.replies[i][:-1]] for i, start in zip(run, starts, strict=True)]
        ids_BS, mask_BS = left_pad(self.lm, rows)
        reply_BT, counts_BT = left_pad(self.lm, [self.replies[i] for i in run])
        whole_BS = mask_BS if mask_BP is None else torch.cat([mask_BP, mask_BS], dim=1)
        logits_BTV = last_logits(self.lm, {"input_ids": ids_BS}, whole_BS, reply_BT.shape[1], cache)
        logprob_BT = token_logprob(logits_BTV, reply_BT) * counts_BT
        greedy_B = ((logits_BTV.argmax(-1) == reply_BT) | ~counts_BT).all(-1)
        mean_B = logprob_BT.sum(-1) / counts_BT.sum(-1)
        return torch.stack([mean_B, greedy_B.to(mean_B)], dim=-1).cpu()
