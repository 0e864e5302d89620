"""The only teacher-forced forward pass: completions to entropies and log-probs, recomputed.

What `generation` recorded while drawing must be what this room finds afterwards. It samples nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sirl.entropy import token_entropy, token_logprob
from sirl.lm import LM, encode, left_pad, render
from sirl.records import Attempt, Completion, Score


def score(lm: LM, completions: Sequence[Completion], batch: int = 32) -> list[Score]:
    """Return the mean entropy and log-prob (nats a token) of each reply, same order; EOS counts.

    Raises ValueError on a completion without tokens: it has no mean.
    """
    prompts = render(lm, [c.attempt for c in completions])
    replies = [list(c.token_ids) for c in completions]
    return [
        Score(float(entropy_T.mean()), float(logprob_T.mean()), len(entropy_T))
        for entropy_T, logprob_T in teacher_forced(lm, prompts, replies, batch)
    ]


def log_likelihood(
    lm: LM, attempts: Sequence[Attempt], beginnings: Sequence[str], batch: int = 64
) -> list[float]:
    """Return the mean log-prob (nats a token) of each beginning as the reply to its attempt, same order."""
    pairs = teacher_forced(lm, render(lm, attempts), encode(lm, beginnings), batch)
    return [float(logprob_T.mean()) for _, logprob_T in pairs]


@torch.inference_mode()
def teacher_forced(
    lm: LM, prompts: Sequence[Sequence[int]], replies: Sequence[Sequence[int]], batch: int = 32
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (entropy_T, logprob_T) of each reply's tokens after its prompt, same order, float32 nats."""
    if not all(map(len, replies)):
        raise ValueError("a reply without tokens cannot be scored")
    for start in range(0, len(prompts), batch):
        chunk = range(start, min(start + batch, len(prompts)))
        ids_BS, mask_BS = left_pad(lm, [[*prompts[i], *replies[i]] for i in chunk])
        longest = max(len(replies[i]) for i in chunk)
        keep = {"logits_to_keep": longest + 1} if lm.keeps_last_logits else {}
        logits_BSV = lm.model(
            input_ids=ids_BS,
            attention_mask=mask_BS.long(),
            position_ids=(mask_BS.long().cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
            **keep,
        ).logits[:, -longest - 1 :]
        for row, i in enumerate(chunk):
            length = len(replies[i])
            logits_TV = logits_BSV[row, -length - 1 : -1]
            yield token_entropy(logits_TV), token_logprob(logits_TV, ids_BS[row, -length:])
