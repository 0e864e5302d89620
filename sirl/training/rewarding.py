"""The reward of a step's replies, as TRL's reward function: signal and gate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from sirl.config import TrainConfig
from sirl.errors import RunError
from sirl.records import Attempt, Completion, Judge, Prompt
from sirl.rewards import Consistency, Scored, divided_by_side, find_reward, gated_reward, repetition
from sirl.training.distributed import own_rows, whole_step

TrlReward = Callable[..., list[float]]
RECORDED = (  # the columns of a rollout that a reward reads
    *("reply_entropies", "reply_logprobs", "reply_certainties", "reply_finished"),
    *("reply_seeds", "reply_keys", "reply_texts", "reply_sides", "reply_anchored"),
)


def make_reward(config: TrainConfig, judge: Judge | None) -> TrlReward:
    """Return TRL's reward function: what the rollout recorded to one number a reply.

    What looks at a whole step sees the replies of all processes. `judge` says which replies refuse; None
    without a gate. It also tells TRL's log what the step's row shows. Raises RunError on a reward that is not
    finite.
    """
    reward = find_reward(config.reward.kind)

    def reward_step(completion_ids: list[list[int]], log_metric: Any, **recorded: Any) -> list[float]:
        columns = {name: recorded[f"reply_{name}"] for name in ("entropies", "logprobs", "certainties")}
        rewards = reward.of(Scored(**columns, seeds=recorded["reply_seeds"]))
        _refuse_nonfinite(rewards, recorded["reply_keys"])
        finished = recorded["reply_finished"]
        entropies = [fmean(row) for row in recorded["reply_entropies"]]
        for name, value in _look(completion_ids, entropies, finished).items():
            log_metric(f"reply/{name}", value)
        sides = recorded["reply_sides"]
        if judge:
            refused = _refusals(judge, recorded["reply_texts"], finished)
            for side, share in refusal_shares(sides, refused, recorded["reply_anchored"]).items():
                log_metric(f"refused/{side}", share)
            worth = Consistency(config.reward.penalty, config.reward.bonus)
            rewards = gated_reward(rewards, sides, refused, recorded["reply_anchored"], worth)
        if config.grpo.scale_rewards == "side":
            return divided_by_side(rewards, sides, config.group)
        return list(rewards)

    def reward_replies(completion_ids: list[list[int]], log_metric: Any, **recorded: Any) -> list[float]:
        step = whole_step({"completion_ids": completion_ids} | {name: recorded[name] for name in RECORDED})
        return own_rows(reward_step(log_metric=log_metric, **step))

    return reward_replies


def _look(
    completion_ids: Sequence[Sequence[int]], entropies: Sequence[float], finished: Sequence[bool]
) -> dict[str, float]:
    """Return what the step's row shows of its replies."""
    return {
        "entropy": fmean(entropies),
        "tokens": fmean(len(ids) for ids in completion_ids),
        "distinct": len({tuple(ids) for ids in completion_ids}) / len(completion_ids),
        "repeated": fmean(repetition(ids) for ids in completion_ids),
        "truncated": finished.count(False) / len(completion_ids),
    }


def refusal_shares(
    sides: Sequence[str], refused: Sequence[bool | None], anchored: Sequence[bool]
) -> dict[str, float]:
    """Return the share of a step's own draws that refuse, by the base's side; a side without any is absent."""
    rows = [(s, r is True) for s, r, given in zip(sides, refused, anchored, strict=True) if not given]
    found = {side: [no for s, no in rows if s == side] for side in ("refuse", "answer")}
    return {side: sum(answers) / len(answers) for side, answers in found.items() if answers}


def _refusals(judge: Judge, texts: Sequence[str], finished: Sequence[bool]) -> list[bool | None]:
    """Ask a judge of refusals about bare replies: it sees no prompt."""
    nothing = Attempt(Prompt("", ""), "direct", ())
    replies = [Completion(nothing, t, (), (), done) for t, done in zip(texts, finished, strict=True)]
    return [verdict.answer for verdict in judge(replies)]


def _refuse_nonfinite(rewards: Sequence[float], keys: Sequence[str]) -> None:
    for key, value in zip(keys, rewards, strict=True):
        if not math.isfinite(value):
            raise RunError(
                f"the reward of the reply to {key} is {value}",
                "a finite number",
                "lower train.learning_rate: the weights have very likely diverged",
            )
