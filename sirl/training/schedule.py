"""Which prompts a step takes, and seeds that are the same on every machine."""

from __future__ import annotations

import hashlib

import numpy as np

from sirl.config import TrainConfig


def stable_seed(*parts: object) -> int:
    """Return a 64-bit number that depends on the parts alone, the same on every machine."""
    text = "|".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def step_prompts(count: int, size: int, seed: int, step: int) -> list[int]:
    """Return which of `count` prompts step number `step` (from 0) takes: a function of seed and step alone.

    All prompts are taken once, in shuffled order, before any is taken again in a new order.
    """
    places = range(step * size, (step + 1) * size)
    passes = {place // count for place in places}
    order = {p: np.random.default_rng(stable_seed("order", seed, p)).permutation(count) for p in passes}
    return [int(order[place // count][place % count]) for place in places]


def schedule(count: int, config: TrainConfig, seed: int) -> list[list[int]]:
    """Return which of `count` prompts each step of a run takes."""
    return [step_prompts(count, config.prompts_per_step, seed, step) for step in range(config.steps)]
