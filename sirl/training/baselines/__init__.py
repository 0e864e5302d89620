"""What SIRL must be compared with: the usual ways to make a model safer, which read labels.

TRL's own trainers, on the same prompts, with the same budget: `train.group` replies to each prompt of a step,
and `train.steps` updates of `train.prompts_per_step` prompts. What a label is, this room does not know:
`Hooks.good` says which replies are good, and is handed in.

    sft           fine-tuning on a good reply to each prompt (rejection sampling)
    dpo           direct preference optimisation on a good and a bad reply to each prompt (arXiv 2305.18290)
    reward_model  a reward model learnt from such pairs, then GRPO on its score (as arXiv 2203.02155)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sirl.errors import ConfigError
from sirl.records import Attempt
from sirl.training.baselines.dpo import prefer
from sirl.training.baselines.reward_model import reinforce
from sirl.training.baselines.sft import imitate
from sirl.training.training_run import TrainingRun

_METHODS: Mapping[str, Callable[[TrainingRun], Any]] = {
    "sft": imitate,
    "dpo": prefer,
    "reward_model": reinforce,
}


def teach(training: TrainingRun, labelled: Sequence[Attempt]) -> Any:
    """Train by the method that `training.config` names and return the model as TRL leaves it.

    `labelled` are the attempts as they were before their labels were taken off, among them those of the run.
    Raises ConfigError if nobody can say which replies are good, DataError if no reply can be learnt from.
    """
    method = training.config.method
    if training.hooks.good is None:
        raise ConfigError(f"train.method = {method!r} and no labels", "Hooks(good=...)", "pass a labeller")
    admitted = {attempt.key for attempt in training.attempts}
    attempts = tuple(attempt for attempt in labelled if attempt.key in admitted)
    return _METHODS[method](replace(training, attempts=attempts))
