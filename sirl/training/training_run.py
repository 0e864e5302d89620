"""One training run as every method gets it, and what the runs of TRL's trainers have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback
from transformers.integrations import TensorBoardCallback

from sirl.config import TrainConfig
from sirl.errors import ConfigError
from sirl.lm import LM
from sirl.lm.limits import memory_for
from sirl.plugins import load_extra
from sirl.ranks import count, is_first, sharded
from sirl.records import Attempt
from sirl.rundir import STEPS, RunDir
from sirl.training.checkpoints import check_form, rewind
from sirl.training.distributed import from_first
from sirl.training.instincts import BaseConduct
from sirl.training.progress import Hooks, Search, Stage, StepLog
from sirl.training.schedule import schedule
from sirl.training.unpickling import check_shards, data_only
from sirl.training.weights import Snapshots, load_checkpoint

_LOWER = (
    "lower train.micro_batch, which decides memory only, with a new --out; or set train.lora_rank; sirl plan "
    "tells what a recipe needs"
)


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What one run trains, on what, and where; `left_out` prompts were too long for it.

    `base` is what the base model does with plain requests, where a gate asked it.
    """

    lm: LM
    attempts: tuple[Attempt, ...]
    config: TrainConfig
    run: RunDir
    seed: int
    hooks: Hooks
    left_out: int
    base: BaseConduct = field(default_factory=BaseConduct)

    @property
    def search(self) -> Search | None:
        """Who searches against the moving model; None where the settings ask for nobody."""
        return self.hooks.search if self.config.search.attacks else None


def schedule_of(training: TrainingRun) -> list[list[int]]:
    """Return which of the course's attempts each step takes, whatever the method."""
    return schedule(len(training.attempts), training.config, training.seed)


def in_order(rows: Sequence[Mapping[str, Any]], config: TrainConfig, seed: int) -> Dataset:
    """Return the rows as the steps take them: each once, in shuffled order, before any is taken again."""
    return Dataset.from_list([dict(rows[i]) for step in schedule(len(rows), config, seed) for i in step])


def dealt(config: TrainConfig, replies: int) -> dict[str, int | str]:
    """Return TRL's arguments for a step of `prompts_per_step` rows of so many replies each.

    Raises ConfigError if the rows of a step cannot be dealt out evenly among the processes.
    """
    processes, rows = count(), config.prompts_per_step
    if rows % processes:
        raise ConfigError(
            f"train.prompts_per_step = {rows} on {processes} processes",
            "a multiple of the number of processes",
            "change one of them",
        )
    micro = gcd(max(1, config.micro_batch // replies), rows // processes)
    return {
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": rows // processes // micro,
        "train_sampling_strategy": "sequential",  # the rows already stand in the order of the steps
    }


def run_through(trainer: Any, training: TrainingRun, stage: Stage, folder: str = "") -> Any:
    """Train to the end or to a stop, from the newest whole checkpoint in `folder` if there is one.

    Return TRL's model, with its adapter; after a stop that of the last checkpoint within the budgets, or the
    base model.
    """
    lm, run = training.lm, training.run
    newest = from_first(lambda: rewind(run, folder, stage.first))
    if newest:
        check_form(newest)
        check_shards(newest)
    trainer.remove_callback(PrinterCallback)
    trainer.create_model_card = lambda **_: None  # TRL would write one into each checkpoint, which nobody reads
    if "tensorboard" in training.config.trackers and is_first():  # TRL would write into the checkpoints' folder
        writer = load_extra("torch.utils.tensorboard", "tensorboard").SummaryWriter
        trainer.add_callback(TensorBoardCallback(writer(run.path / "tensorboard" / folder)))
    trainer.add_callback(Snapshots(lm, training.config, run, stage.first))
    trainer.add_callback(
        StepLog(trainer, training.config, run, training.hooks, stage, lm)
    )  # last: it marks checkpoints whole
    with data_only(), memory_for(f"a step of training {lm.name}", _LOWER):
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    last = from_first(lambda: run.rows(STEPS)[-1])
    kept = last.get("kept_step")
    if kept is None and not sharded():
        return trainer.model
    kept = last["step"] if kept is None else kept  # shards stand together in a checkpoint only
    return (
        load_checkpoint(lm, run.checkpoint / folder / f"checkpoint-{kept - stage.first}") if kept else lm.model
    )
