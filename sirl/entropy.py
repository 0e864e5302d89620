"""Logits to entropy and log-prob, per token. Pure: no model, no tokenizer, no mask it was not given.

One formula each, used wherever a logit becomes a number: the whole vocabulary, raw logits at temperature 1,
float32, nats a token; a logit of -inf contributes nothing. Source: arXiv 2510.01088, eq. for H_t.
"""

from __future__ import annotations

import torch
from torch import Tensor


def token_entropy(logits_NV: Tensor) -> Tensor:
    """Return the entropy of each row's next-token distribution, nats, float32, shape `logits.shape[:-1]`.

    Uniform logits give log V, a one-hot distribution 0; -inf logits are impossible tokens and add 0.
    """
    logprobs_NV = torch.log_softmax(logits_NV.float(), dim=-1)
    terms_NV = logprobs_NV.exp() * logprobs_NV
    return -torch.where(logprobs_NV.isneginf(), 0.0, terms_NV).sum(-1)  # 0 x -inf would be NaN


def token_logprob(logits_NV: Tensor, ids_N: Tensor) -> Tensor:
    """Return the log-prob of each given token, nats, float32, shape of `ids`."""
    logits_NV = logits_NV.float()
    chosen_N = logits_NV.gather(-1, ids_N.unsqueeze(-1)).squeeze(-1)
    return chosen_N - logits_NV.logsumexp(-1)


def self_certainty(logits_NV: Tensor) -> Tensor:
    """Return logsumexp(z) - mean(z) of each row, nats, float32, shape `logits.shape[:-1]`; at least log V.

    It is log V where all logits are equal. Impossible tokens (-inf) are left out of the mean. Source: Intuitor,
    arXiv 2505.19590.
    """
    logits_NV = logits_NV.float()
    possible_NV = ~logits_NV.isneginf()
    mean_N = logits_NV.masked_fill(~possible_NV, 0.0).sum(-1) / possible_NV.sum(-1)
    return logits_NV.logsumexp(-1) - mean_N


def divergence(from_NV: Tensor, to_NV: Tensor) -> Tensor:
    """Return KL(p || q) of each row, nats, float32, shape `logits.shape[:-1]`; p and q are given as logits.

    0 where both are the same distribution; a token that is impossible in p adds 0.
    """
    from_NV, to_NV = torch.log_softmax(from_NV.float(), -1), torch.log_softmax(to_NV.float(), -1)
    terms_NV = from_NV.exp() * (from_NV - to_NV)
    return torch.where(from_NV.isneginf(), 0.0, terms_NV).sum(-1)
