"""Which prompts a step takes, what is drawn from them, and the reward of what was drawn.

These are the two functions handed to TRL's GRPOTrainer. Labels are dropped at the door: an attempt made here
holds a prompt's id and text and nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
from trl.models import unwrap_model_for_generation

from sirl.config import TrainConfig
from sirl.errors import DataError, RunError
from sirl.generation import draw
from sirl.lm import LM, render
from sirl.records import Attempt, Decoding, Message, Prompt
from sirl.rewards import find_reward
from sirl.training.surroundings import at_rest

Rollout = Callable[[list[str], Any], dict[str, list[Any]]]
TrlReward = Callable[..., list[float]]


def stable_seed(*parts: object) -> int:
    """Return a 64-bit number that depends on the parts alone, the same on every machine."""
    text = "|".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def admit(lm: LM, prompts: Sequence[Prompt], config: TrainConfig) -> tuple[Attempt, ...]:
    """Return what will be sent for each prompt that fits the length limit, same order; the rest is left out.

    Raises DataError if none fits.
    """
    bare = [Prompt(id=p.id, text=p.text) for p in prompts]
    attempts = [Attempt(p, "direct", (Message("user", p.text),)) for p in bare]
    lengths = [len(ids) for ids in render(lm, attempts)]
    kept = tuple(a for a, n in zip(attempts, lengths, strict=True) if n <= config.max_prompt_tokens)
    if not kept:
        raise DataError(
            f"none of {len(prompts)} prompts has at most {config.max_prompt_tokens} tokens",
            "at least one prompt to train on",
            "give more prompts or raise train.max_prompt_tokens",
        )
    return kept


def step_prompts(count: int, size: int, seed: int, step: int) -> list[int]:
    """Return which of `count` prompts step number `step` (from 0) takes: a function of seed and step alone.

    All prompts are taken once, in shuffled order, before any is taken again in a new order.
    """
    places = range(step * size, (step + 1) * size)
    passes = {place // count for place in places}
    order = {p: np.random.default_rng(stable_seed("order", seed, p)).permutation(count) for p in passes}
    return [int(order[place // count][place % count]) for place in places]


def make_rollout(lm: LM, attempts: Sequence[Attempt], config: TrainConfig, seed: int) -> Rollout:
    """Return TRL's rollout function: prompt numbers to token ids, log-probs and entropies, one a row.

    TRL repeats each prompt G times; a reply is told from its siblings by its row within the whole step.
    """
    decoding = Decoding(temperature=config.temperature, max_new_tokens=config.max_reply_tokens)

    def rollout(numbers: list[str], trainer: Any) -> dict[str, list[Any]]:
        step = trainer.state.global_step
        first = trainer.accelerator.process_index * len(numbers)
        sent = [replace(attempts[int(n)], sample=first + row) for row, n in enumerate(numbers)]
        wrapped = unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator)
        with wrapped as policy, at_rest(policy), trainer.accelerator.autocast():
            draws = draw(LM(policy, lm.tokenizer, lm.name), sent, decoding, stable_seed("draw", seed, step))
        return {
            "prompt_ids": [list(d.prompt_ids) for d in draws],
            "completion_ids": [list(d.token_ids) for d in draws],
            "logprobs": [list(d.logprobs) for d in draws],
            "reply_entropies": [d.entropies for d in draws],
            "reply_logprobs": [d.logprobs for d in draws],
            "reply_finished": [d.finished for d in draws],
            "reply_seeds": [stable_seed("reward", seed, step, a.key) for a in sent],
            "reply_keys": [a.key for a in sent],
        }

    return rollout


def make_reward(name: str) -> TrlReward:
    """Return TRL's reward function: what the rollout recorded to one number a reply.

    It also tells TRL's log what the step's row shows. Raises RunError on a reward that is not finite.
    """
    reward = find_reward(name)

    def reward_replies(completion_ids: list[list[int]], log_metric: Any, **recorded: Any) -> list[float]:
        entropies, finished = recorded["reply_entropies"], recorded["reply_finished"]
        rewards = reward(entropies, recorded["reply_logprobs"], recorded["reply_seeds"])
        for key, value in zip(recorded["reply_keys"], rewards, strict=True):
            if not math.isfinite(value):
                raise RunError(
                    f"the reward of the reply to {key} is {value}",
                    "a finite number",
                    "lower train.learning_rate: the weights have very likely diverged",
                )
        lengths = [len(ids) for ids in completion_ids]
        log_metric("reply/entropy", sum(map(fmean, entropies)) / len(lengths))
        log_metric("reply/tokens", sum(lengths) / len(lengths))
        log_metric("reply/distinct", len({tuple(ids) for ids in completion_ids}) / len(lengths))
        log_metric("reply/truncated", finished.count(False) / len(lengths))
        return rewards

    return reward_replies
