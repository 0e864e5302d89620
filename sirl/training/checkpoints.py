"""What is kept of a model in training: whole checkpoints, the step rows that belong to them, snapshots."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import TrainerCallback

from sirl.config import TrainConfig
from sirl.lm import LM, load_lm, save_lm
from sirl.rundir import STEPS, RunDir

_WHOLE = "whole"  # written into a checkpoint when everything else in it is


def mark_whole(checkpoint: Path) -> None:
    """Declare a checkpoint complete; called after its last file was written."""
    (checkpoint / _WHOLE).touch()


def rewind(run: RunDir) -> Path | None:
    """Take the run back to its newest whole checkpoint and return it; None means start anew.

    Torn checkpoints are deleted, and so are the step rows written after the checkpoint: they will be
    written again, the same.
    """
    whole: dict[int, Path] = {}
    for folder in run.checkpoint.glob("checkpoint-*"):
        if (folder / _WHOLE).exists():
            whole[int(folder.name.rpartition("-")[2])] = folder
        else:
            shutil.rmtree(folder)
    step = max(whole, default=0)
    run.keep_rows(STEPS, lambda row: row["step"] <= step)
    return whole.get(step)


class Snapshots(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Leave the model as it is after some steps in run/snapshots/STEP, an ordinary model folder each."""

    def __init__(self, lm: LM, config: TrainConfig, run: RunDir) -> None:
        self.lm, self.steps, self.folder = lm, config.snapshots, run.path / "snapshots"

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        folder = self.folder / str(state.global_step)
        if state.global_step in self.steps and state.is_world_process_zero and not folder.exists():
            model = given["model"]
            write_whole(
                merged(copy.deepcopy(model)) if isinstance(model, PeftModel) else model, self.lm, folder
            )


def load_checkpoint(lm: LM, run: RunDir, step: int) -> Any:
    """Return the model of a whole checkpoint, an adapter merged into a copy of the start."""
    folder = run.checkpoint / f"checkpoint-{step}"
    if (folder / "adapter_config.json").exists():
        return merged(PeftModel.from_pretrained(copy.deepcopy(lm.model), folder))
    own_code = type(lm.model).__module__.startswith("transformers_modules")
    return load_lm(folder, dtype=str(lm.model.dtype).removeprefix("torch."), trust_remote_code=own_code).model


def merged(trained: Any) -> Any:
    """Return the model with its adapter, if it has one, added into its weights."""
    return trained.merge_and_unload() if isinstance(trained, PeftModel) else trained


def write_whole(model: Any, lm: LM, folder: Path) -> None:
    """Write weights with `lm`'s config and tokenizer as an ordinary folder; a kill leaves none or all of it."""
    model = copy.copy(model)  # shares the weights; saving writes into the configs, and TRL has set a pad token
    model.config = copy.deepcopy(lm.model.config)
    model.generation_config = copy.deepcopy(lm.model.generation_config)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    save_lm(LM(model, lm.tokenizer, lm.name), part)
    part.replace(folder)
