"""Train a copy of a model on the prompts' text, and hand it back as an ordinary model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sirl.config import TrainConfig
from sirl.errors import ConfigError
from sirl.lm import LM, load_lm
from sirl.records import Attempt, Judge
from sirl.rewards import find_reward
from sirl.rundir import STEPS, RunDir
from sirl.training.average import Average
from sirl.training.checkpoints import Snapshots, load_checkpoint, merged, rewind, write_whole
from sirl.training.instincts import read_instincts, take_sides
from sirl.training.progress import StepLog, Watch
from sirl.training.rollout import Drill, admit, schedule
from sirl.training.setup import build_trainer, has_own_code
from sirl.training.surroundings import own_randomness, quiet


def harden(
    lm: LM, attempts: Sequence[Attempt], config: TrainConfig, run: RunDir, seed: int, watch: Watch | None = None
) -> LM:
    """Train a copy of `lm` by SIRL on what is sent; return it in evaluation mode, saved in run/model.

    Of an attempt the messages are read, and its prompt's text, which is the plain request. `disguise` makes
    attempts of prompts.

    A run killed at any moment continues from its last checkpoint and ends as an unbroken one; a finished
    run returns its model at once. `lm` and the global random states are left as they were. Raises ConfigError
    on an unknown reward, untrainable weights or a gate without a judge of refusals, DataError if no prompt
    fits, RunError on a reward or loss that is not finite. Source: arXiv 2510.01088; the room's docstring lists
    each departure.
    """
    watch = watch or Watch()
    admitted = check(lm, attempts, config)
    judge = _gatekeeper(config, watch)
    folder = run.path / "model"
    if not folder.exists():
        log = StepLog(lm, config, run, watch, len(attempts) - len(admitted))
        with quiet(), own_randomness():
            newest = rewind(run)
            drill = _drill(lm, admitted, judge, config, run, seed)
            average = Average(newest) if find_reward(config.reward).scorer == "average" else None
            trainer = build_trainer(lm, drill, config, _reference(lm, run), average)
            for callback in filter(
                None, (average, Snapshots(lm, config, run), log)
            ):  # the log marks checkpoints whole
                trainer.add_callback(callback)
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
            write_whole(_kept(trainer, lm, run), lm, folder)
    shutil.rmtree(run.checkpoint, ignore_errors=True)  # the model is whole: nothing is left to continue
    with quiet():
        return load_lm(
            folder, dtype=str(lm.model.dtype).removeprefix("torch."), trust_remote_code=has_own_code(lm)
        )


def _drill(
    lm: LM, admitted: tuple[Attempt, ...], judge: Judge | None, config: TrainConfig, run: RunDir, seed: int
) -> Drill:
    """Ask the frozen start about the plain requests that this run will meet, where a gate wants to know."""
    if config.gate == "none":
        return Drill(admitted, {}, {}, None, seed)
    used = sorted({i for step in schedule(len(admitted), config, seed) for i in step})
    instincts = read_instincts(lm, [admitted[i].prompt.text for i in used], judge, config, run, seed)
    return Drill(admitted, instincts, take_sides(instincts, config.gate), judge, seed)


def _gatekeeper(config: TrainConfig, watch: Watch) -> Judge | None:
    """Return the judge that the gate asks, None where none is asked. Raises ConfigError if it is missing."""
    if config.gate != "start":
        return None
    if watch.refused is None:
        raise ConfigError(
            f"train.gate = {config.gate!r} and no judge of refusals", "Watch(refused=...)", "pass a judge"
        )
    return watch.refused


def check(lm: LM, attempts: Sequence[Attempt], config: TrainConfig) -> tuple[Attempt, ...]:
    """Return what will be sent, if this can be trained at all; nothing is written.

    Raises ConfigError on an unknown reward or untrainable weights, DataError if no prompt fits.
    """
    find_reward(config.reward)
    if lm.model.dtype not in (torch.float32, torch.bfloat16):
        raise ConfigError(
            f"weights in {lm.model.dtype}", "float32 or bfloat16 for training", "use --set model.dtype=float32"
        )
    return admit(lm, attempts, config)


def _reference(lm: LM, run: RunDir) -> Path:
    """Write the starting model where TRL can load it: TRL takes the reference from a path, not from memory."""
    folder = run.checkpoint / "reference"
    if not folder.exists():
        write_whole(lm.model, lm, folder)
    return folder


def _kept(trainer: Any, lm: LM, run: RunDir) -> Any:
    """Return the trained model; after a stop, that of the last checkpoint within the budgets, or the start."""
    kept = run.rows(STEPS)[-1].get("kept_step")
    if kept is None:
        return merged(trainer.model)
    return load_checkpoint(lm, run, kept) if kept else lm.model
