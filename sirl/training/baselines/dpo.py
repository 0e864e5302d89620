"""Prefer good replies to bad ones by TRL's DPOTrainer. Source: arXiv 2305.18290."""

from __future__ import annotations

import copy
from typing import Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from sirl.training.baselines.samples import paired, read_lessons, tally
from sirl.training.copies import frozen, policy_of
from sirl.training.progress import Stage
from sirl.training.setup import adapter, common_arguments
from sirl.training.training_run import TrainingRun, dealt, in_order, run_through

COLUMNS = {"loss": "loss", "margin": "rewards/margins", "accuracy": "rewards/accuracies"}
BETA = 0.1  # how strongly DPO holds to the base: TRL's default, and the middle of the source's


class TokenDPOTrainer(DPOTrainer):  # type: ignore[misc]  # TRL is untyped here
    """DPOTrainer on rows that are tokens already, as TRL's other two trainers take them.

    TRL 1.16 would turn text into tokens, which need not be the tokens that the base drew.
    """

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:  # private in TRL
        return dataset


def prefer(training: TrainingRun) -> Any:
    """Train on a good and a bad reply to each prompt; return the model. Raises DataError without a pair."""
    lm, config = training.lm, training.config
    lessons = read_lessons(training, config.steps)
    pairs = paired(lessons)
    rows = [
        {"prompt_ids": list(p.prompt_ids), "chosen_ids": list(p.good or ()), "rejected_ids": list(p.bad or ())}
        for p in pairs
    ]
    trainer = TokenDPOTrainer(
        model=policy_of(lm, config),
        ref_model=None if config.lora_rank else frozen(lm),  # TRL turns an adapter off
        args=DPOConfig(
            **common_arguments(lm, config, training.run.checkpoint, training.seed),
            **dealt(config, replies=2),
            beta=BETA,
            max_length=None,
        ),
        train_dataset=in_order(rows, config, training.seed),
        processing_class=copy.deepcopy(lm.tokenizer),
        peft_config=adapter(config),
    )
    return run_through(trainer, training, Stage(COLUMNS, tally(training, lessons, pairs)))
