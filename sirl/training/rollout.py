"""Which prompts a step takes, what is drawn from them, and the reward of what was drawn.

These are the two functions handed to TRL's GRPOTrainer. Labels are dropped at the door: an attempt made here
holds a prompt's id and text and nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
from trl.models import unwrap_model_for_generation

from sirl.config import TrainConfig
from sirl.errors import AttackError, DataError, RunError
from sirl.generation import Draw, draw
from sirl.lm import LM, decode, render
from sirl.records import Attempt, Completion, Decoding, Judge, Prompt
from sirl.rewards import find_reward, gated_reward
from sirl.training.instincts import Instinct
from sirl.training.progress import Search
from sirl.training.surroundings import at_rest

Rollout = Callable[[list[str], Any], dict[str, list[Any]]]
TrlReward = Callable[..., list[float]]


@dataclass(frozen=True, slots=True)
class Drill:
    """What a run trains on: what is sent, and where a gate decides, the start's conduct on plain requests."""

    attempts: tuple[Attempt, ...]
    instincts: Mapping[str, Instinct]  # by the text of the plain request; empty without a gate
    judge: Judge | None
    seed: int
    search: Search | None = None


def stable_seed(*parts: object) -> int:
    """Return a 64-bit number that depends on the parts alone, the same on every machine."""
    text = "|".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def admit(lm: LM, attempts: Sequence[Attempt], config: TrainConfig) -> tuple[Attempt, ...]:
    """Return the attempts that fit the length limit, same order, stripped of labels; the rest is left out.

    What is left of a prompt is its id and its text, the plain request. Raises DataError if none fits.
    """
    bare = [
        Attempt(Prompt(id=a.prompt.id, text=a.prompt.text), a.attack, a.messages, a.prefill) for a in attempts
    ]
    lengths = [len(ids) for ids in render(lm, bare)]
    kept = tuple(a for a, n in zip(bare, lengths, strict=True) if n <= config.max_prompt_tokens)
    if not kept:
        raise DataError(
            f"none of {len(attempts)} prompts has at most {config.max_prompt_tokens} tokens",
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


def schedule(count: int, config: TrainConfig, seed: int) -> list[list[int]]:
    """Return which of `count` prompts each step of a run takes."""
    return [step_prompts(count, config.prompts_per_step, seed, step) for step in range(config.steps)]


def make_rollout(lm: LM, drill: Drill, config: TrainConfig) -> Rollout:
    """Return TRL's rollout function: prompt numbers to token ids, log-probs and entropies, one a row.

    TRL repeats each prompt G times; a reply is told from its siblings by its row within the whole step. The
    first `config.anchors` replies to a prompt are not drawn: they are the start's own to the plain request.
    """
    decoding = Decoding(temperature=config.temperature, max_new_tokens=config.max_reply_tokens)
    attempts, instincts, seed = drill.attempts, drill.instincts, drill.seed

    def rollout(numbers: list[str], trainer: Any) -> dict[str, list[Any]]:
        step = trainer.state.global_step
        first = trainer.accelerator.process_index * len(numbers)
        wrapped = unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator)
        with wrapped as policy, at_rest(policy), trainer.accelerator.autocast():
            policy_lm = LM(policy, lm.tokenizer, lm.name)
            found = search_step(policy_lm, drill, config, step)
            sent = [
                replace(found.get(int(n), attempts[int(n)]), sample=first + row)
                for row, n in enumerate(numbers)
            ]
            anchored = [is_anchor(a, instincts.get(a.prompt.text), config) for a in sent]
            fresh = [a for a, given in zip(sent, anchored, strict=True) if not given]
            drawn = iter(draw(policy_lm, fresh, decoding, stable_seed("draw", seed, step)))
        rows = render(lm, sent)
        draws = [
            anchor(row, instincts[a.prompt.text]) if given else next(drawn)
            for a, row, given in zip(sent, rows, anchored, strict=True)
        ]
        return {
            "prompt_ids": [list(d.prompt_ids) for d in draws],
            "completion_ids": [list(d.token_ids) for d in draws],
            "logprobs": [list(d.logprobs) for d in draws],
            "reply_entropies": [d.entropies for d in draws],
            "reply_logprobs": [d.logprobs for d in draws],
            "reply_finished": [d.finished for d in draws],
            "reply_seeds": [stable_seed("reward", seed, step, a.key) for a in sent],
            "reply_keys": [a.key for a in sent],
            "reply_texts": [decode(lm, d.token_ids) for d in draws],
            "reply_sides": [instincts[a.prompt.text].side if instincts else "refuse" for a in sent],
            "reply_anchored": anchored,
        }

    return rollout


def search_step(policy: LM, drill: Drill, config: TrainConfig, step: int) -> dict[int, Attempt]:
    """Return what is sent in place of some of the step's attempts, by number: found against `policy` now.

    Searched for are, every `search_every` steps, at most `search_prompts` requests that the frozen start
    always refuses; which, is a function of seed and step. What is longer than the limit is not sent. Raises
    AttackError on an attempt that is no plain text: TRL could not score it again.
    """
    if drill.search is None or step % config.search_every:
        return {}
    numbers = dict.fromkeys(step_prompts(len(drill.attempts), config.prompts_per_step, drill.seed, step))
    refused = [n for n in numbers if drill.instincts[drill.attempts[n].prompt.text].side == "refuse"]
    rank = {n: stable_seed("searched", drill.seed, step, drill.attempts[n].prompt.id) for n in refused}
    chosen = sorted(refused, key=rank.__getitem__)[: config.search_prompts]
    given = [drill.attempts[n] for n in chosen]
    made = drill.search(policy, given, step + 1)
    for attempt in made:
        if attempt.soft or attempt.decoding:
            found = f"attack {attempt.attack!r} in train.search sends vectors or sets the sampler"
            raise AttackError(found, "an attack that sends text", "drop it")
    fits = [len(ids) <= config.max_prompt_tokens for ids in render(policy, made)]
    return {n: attempt for n, attempt, fit in zip(chosen, made, fits, strict=True) if fit}


def is_anchor(attempt: Attempt, instinct: Instinct | None, config: TrainConfig) -> bool:
    """Say whether this row of its group is the start's own reply to the plain request: never a split one's."""
    place = attempt.sample % config.group
    return instinct is not None and instinct.side != "split" and place < config.anchors


def anchor(prompt_ids: Sequence[int], instinct: Instinct) -> Draw:
    """Return the start's reply to the plain request as if it had been drawn behind these tokens."""
    return Draw(tuple(prompt_ids), instinct.token_ids, instinct.entropies, instinct.logprobs, instinct.finished)


def make_reward(config: TrainConfig, judge: Judge | None) -> TrlReward:
    """Return TRL's reward function: what the rollout recorded to one number a reply.

    `judge` says which replies refuse; it is asked only where `config.gate` needs to know. It also tells TRL's
    log what the step's row shows. Raises RunError on a reward that is not finite.
    """
    reward = find_reward(config.reward)

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
        if judge is None:
            return rewards
        refused = _refusals(judge, recorded["reply_texts"], finished)
        for side, share in refusal_shares(recorded["reply_sides"], refused, recorded["reply_anchored"]).items():
            log_metric(f"refused/{side}", share)
        return gated_reward(rewards, recorded["reply_sides"], refused, config.penalty)

    return reward_replies


def refusal_shares(
    sides: Sequence[str], refused: Sequence[bool | None], anchored: Sequence[bool]
) -> dict[str, float]:
    """Return the share of a step's own draws that refuse, by the start's side; a side without any is absent."""
    rows = [(s, r is True) for s, r, given in zip(sides, refused, anchored, strict=True) if not given]
    found = {side: [no for s, no in rows if s == side] for side in ("refuse", "answer")}
    return {side: sum(answers) / len(answers) for side, answers in found.items() if answers}


def _refusals(judge: Judge, texts: Sequence[str], finished: Sequence[bool]) -> list[bool | None]:
    """Ask a judge of refusals about bare replies: it sees no prompt."""
    nothing = Attempt(Prompt("", ""), "direct", ())
    replies = [Completion(nothing, t, (), (), done) for t, done in zip(texts, finished, strict=True)]
    return [verdict.answer for verdict in judge(replies)]
