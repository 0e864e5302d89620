"""Fine-tune on good replies by TRL's SFTTrainer: rejection sampling, judged by labels."""

from __future__ import annotations

import copy
from typing import Any

from trl import SFTConfig, SFTTrainer

from sirl.errors import DataError
from sirl.training.baselines.samples import Lesson, read_lessons, tally
from sirl.training.copies import policy_of
from sirl.training.progress import Stage
from sirl.training.setup import adapter, common_arguments
from sirl.training.training_run import TrainingRun, dealt, in_order, run_through

COLUMNS = {"loss": "loss"}


def imitate(training: TrainingRun) -> Any:
    """Train on a good reply to each prompt; return the model. Raises DataError if there is no good reply."""
    lm, config = training.lm, training.config
    lessons = read_lessons(training, config.steps)
    taught = [lesson for lesson in lessons.rows if lesson.good]
    if not taught:
        raise DataError(
            f"no good reply to any of {len(lessons.rows)} prompts",
            "at least one to fine-tune on",
            "raise train.group, or see whether the prompts' labels are right",
        )
    trainer = SFTTrainer(
        model=policy_of(lm, config),
        args=SFTConfig(
            **common_arguments(lm, config, training.run.checkpoint, training.seed),
            **dealt(config, replies=1),
            max_length=None,  # prompts that are too long are left out, and replies are bounded
            dataset_kwargs={"skip_prepare_dataset": True},  # the rows are tokens already
        ),
        train_dataset=in_order([_row(lesson) for lesson in taught], config, training.seed),
        processing_class=copy.deepcopy(lm.tokenizer),
        peft_config=adapter(config),
    )
    return run_through(trainer, training, Stage(COLUMNS, tally(training, lessons, taught)))


def _row(lesson: Lesson) -> dict[str, list[int]]:
    """Return prompt and reply as tokens; only the reply's count in the loss."""
    prompt, reply = list(lesson.prompt_ids), list(lesson.good or ())
    return {"input_ids": prompt + reply, "labels": [-100] * len(prompt) + reply}
