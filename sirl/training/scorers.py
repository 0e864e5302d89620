"""Who scores the replies of a step: the sampler as it drew, or a forward pass of another model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from sirl.generation import Draw
from sirl.lm import LM
from sirl.rewards import Scorer
from sirl.scoring import certainties, teacher_forced
from sirl.training.average import Average

Columns = dict[str, list[Any]]


def rescored(
    scorer: Scorer,
    draws: Sequence[Draw],
    anchored: Sequence[bool],
    policy: LM,
    start: LM,
    average: Average | None,
) -> Columns:
    """Return what the scorer finds at each token, as columns of a rollout, one row a reply.

    The start's own replies that stand in for draws keep what was recorded where they were drawn.
    """
    recorded: Columns = {
        "scored_entropies": [d.entropies for d in draws],
        "scored_logprobs": [d.logprobs for d in draws],
        "scored_certainties": [()] * len(draws),
    }
    if scorer == "sampler":
        return recorded
    prompts, replies = [d.prompt_ids for d in draws], [d.token_ids for d in draws]
    if scorer == "policy":
        return recorded | {"scored_certainties": [c.tolist() for c in certainties(policy, prompts, replies)]}
    with average.in_place(policy.model) if average else nullcontext():
        found = list(teacher_forced(start if scorer == "start" else policy, prompts, replies))
    fresh = [i for i, given in enumerate(anchored) if not given]
    for i in fresh:
        entropy_T, logprob_T = found[i]
        recorded["scored_entropies"][i] = entropy_T.tolist()
        recorded["scored_logprobs"][i] = logprob_T.tolist()
    return recorded
