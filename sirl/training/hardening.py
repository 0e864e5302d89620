"""Train a copy of a model on the prompts' text, and hand it back as an ordinary model."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sirl.config import TrainConfig
from sirl.errors import ConfigError
from sirl.lm import LM, load_lm, save_lm
from sirl.records import Attempt, Judge
from sirl.rewards import find_reward
from sirl.rundir import RunDir
from sirl.training.checkpoints import rewind
from sirl.training.instincts import read_instincts
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
    on an unknown reward, untrainable weights, a gate without a judge of refusals or a search without a
    searcher, DataError if no prompt fits, RunError on a reward or loss that is not finite. Source: arXiv
    2510.01088; the room's docstring lists each departure.
    """
    watch = watch or Watch()
    admitted = check(lm, attempts, config)
    judge = _gatekeeper(config, watch)
    if config.search and watch.search is None:
        raise ConfigError(f"train.search = {config.search}, nobody searches", "Watch(search=...)", "pass it")
    folder = run.path / "model"
    if not folder.exists():
        log = StepLog(lm, config, run, watch, len(attempts) - len(admitted))
        with quiet(), own_randomness():
            newest = rewind(run)
            used = sorted({i for step in schedule(len(admitted), config, seed) for i in step})
            texts = [admitted[i].prompt.text for i in used] if judge else []
            instincts = read_instincts(lm, texts, judge, config, run, seed) if judge else {}
            drill = Drill(admitted, instincts, judge, seed, watch.search if config.search else None)
            trainer = build_trainer(lm, drill, config, _reference(lm, run))
            trainer.add_callback(log)
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
            _save(trainer.model, lm, folder)
    shutil.rmtree(run.checkpoint, ignore_errors=True)  # the model is whole: nothing is left to continue
    with quiet():
        return load_lm(
            folder, dtype=str(lm.model.dtype).removeprefix("torch."), trust_remote_code=has_own_code(lm)
        )


def _gatekeeper(config: TrainConfig, watch: Watch) -> Judge | None:
    """Return the judge that the gate asks, None where there is no gate. Raises ConfigError if it is missing."""
    if config.gate == "none":
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
        _write_whole(lm.model, lm, folder)
    return folder


def _save(trained: Any, lm: LM, folder: Path) -> None:
    merged = trained.merge_and_unload() if hasattr(trained, "merge_and_unload") else trained
    _write_whole(merged, lm, folder)


def _write_whole(model: Any, lm: LM, folder: Path) -> None:
    """Write weights with `lm`'s config and tokenizer as an ordinary folder; a kill leaves none or all of it."""
    model = copy.copy(model)  # shares the weights; saving writes into the configs, and TRL has set a pad token
    model.config = copy.deepcopy(lm.model.config)
    model.generation_config = copy.deepcopy(lm.model.generation_config)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    save_lm(LM(model, lm.tokenizer, lm.name), part)
    part.replace(folder)
