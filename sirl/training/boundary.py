"""Requests near where the base model begins to refuse, made of halves of the training prompts: no label.

What is carried teaches refusing, which spreads first to plain requests that the base model refuses now and
then. Sets of clearly harmful and clearly harmless prompts hold none of these. The first half of one prompt and
the second half of another often are one: it need not make sense, as only the base model's own conduct on it is
held. Of many such pairs those are taken on which the base model is least decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sirl.training.schedule import stable_seed

TRIED = 3  # pairs of halves scored for each one taken


def boundary_requests(
    texts: Sequence[str], count: int, seed: int, propensities: Callable[[Sequence[str]], Sequence[float]]
) -> list[str]:
    """Return up to `count` requests of halves of two texts, the least decided first.

    `propensities` gives the probability that the reply to each request begins with a refusal. The least decided
    has the largest p (1 - p).
    """
    rng = np.random.default_rng(stable_seed("boundary", seed))
    halves = [halved(text) for text in texts]
    pairs = rng.integers(len(halves), size=(TRIED * count, 2)) if halves else np.empty((0, 2), int)
    joined = dict.fromkeys(halves[i][0] + halves[j][1] for i, j in pairs.tolist() if i != j)
    made = [text for text in joined if text not in set(texts)]
    if not made:
        return []
    p = np.asarray(propensities(made))
    order = np.argsort(-p * (1 - p), kind="stable")
    return [made[i] for i in order[:count]]


def halved(text: str) -> tuple[str, str]:
    """Cut a text before the space nearest to its middle, or, without a space inside, in its middle."""
    middle = len(text) // 2
    spaces = [i for i, c in enumerate(text) if c.isspace() and text[:i].strip() and text[i:].strip()]
    cut = min(spaces, key=lambda i: abs(i - middle), default=middle)
    return text[:cut], text[cut:]
