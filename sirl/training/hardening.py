"""Train a model on the prompts' text into an ordinary model beside it."""

from __future__ import annotations

import gc
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sirl.config import TrainConfig
from sirl.config.train import require_trainable
from sirl.errors import ConfigError
from sirl.lm import LM
from sirl.lm.abilities import abilities
from sirl.phases import phase
from sirl.plugins import load_extra
from sirl.ranks import is_first, refuse_shards
from sirl.records import Attempt
from sirl.rewards import find_reward
from sirl.rundir import RunDir
from sirl.training.asking import ask_base
from sirl.training.baselines import teach
from sirl.training.distilling import distill
from sirl.training.distributed import from_first, join, wait
from sirl.training.instincts import BaseConduct
from sirl.training.isolation import own_randomness, quiet
from sirl.training.progress import GRPO_COLUMNS, Hooks, Stage
from sirl.training.rollout import admit
from sirl.training.setup import build_trainer
from sirl.training.training_run import TrainingRun, run_through
from sirl.training.weights import reload, write_whole

_LOG = logging.getLogger("sirl")


def harden(
    lm: LM, attempts: Sequence[Attempt], config: TrainConfig, run: RunDir, seed: int, hooks: Hooks | None = None
) -> LM:
    """Train as `write_hardened` does and return the model, at rest, loaded from run/model."""
    folder = write_hardened(lm, attempts, config, run, seed, hooks)
    with quiet():
        return reload(lm, folder)


def write_hardened(
    lm: LM, attempts: Sequence[Attempt], config: TrainConfig, run: RunDir, seed: int, hooks: Hooks | None = None
) -> Path:
    """Train what `lm` is to become by `config.method` on what is sent; return its folder, run/model.

    `sirl` and `distill` read an attempt's messages and its prompt's text, which is the plain request; the
    baselines read labels too, through `hooks.good`. `disguise` makes attempts of prompts.

    A run killed at any moment continues from its last checkpoint and ends as an unbroken one; a finished run
    returns its folder at once. `lm` and the global random states are left as they were; with an adapter its
    weights are the only ones in memory. Raises ConfigError on an unknown reward, untrainable weights, a gate
    without a judge of refusals, a search without a searcher or a baseline without labels, DataError if no
    prompt fits or no label can be learnt from, RunError on a reward or loss that is not finite. Source: arXiv
    2510.01088; the room's docstring lists each departure.
    """
    join()
    hooks = hooks or Hooks()
    admitted = check(lm, attempts, config)
    if config.search.attacks and hooks.search is None:
        named = f"train.search.attacks = {config.search.attacks}"
        raise ConfigError(f"{named}, nobody searches", "Hooks(search=...)", "pass it")
    left_out = len(attempts) - len(admitted)
    if left_out and is_first():
        why = f"longer than train.max_prompt_tokens = {config.max_prompt_tokens} or than the model's context"
        _LOG.info("%d of %d prompts are left out: %s", left_out, len(attempts), why)
    training = TrainingRun(lm, admitted, config, run, seed, hooks, left_out)
    folder = run.path / "model"
    if not from_first(folder.exists):
        with quiet(), own_randomness():
            _write_trained(training, attempts, folder)
            gc.collect()  # trainers are cyclic: their model and moments must not lie beside what is loaded next
    wait()  # until nobody reads a checkpoint any more
    if is_first():
        shutil.rmtree(run.checkpoint, ignore_errors=True)  # the model is whole: nothing is left to continue
    return folder


def _write_trained(training: TrainingRun, attempts: Sequence[Attempt], folder: Path) -> None:
    """Train and write the model; once this returns nobody holds it."""
    trained = _train(training, attempts)
    with phase("save the model"):
        from_first(lambda: write_whole(trained, training.lm, folder))


def _train(training: TrainingRun, labelled: Sequence[Attempt]) -> Any:
    """Train by the method that the settings name and return the model; only a baseline sees the labels."""
    label_free = {"sirl": _by_certainty, "distill": distill}
    method = training.config.method
    return label_free[method](training) if method in label_free else teach(training, labelled)


def _by_certainty(training: TrainingRun) -> Any:
    """Train by SIRL and return the model."""
    base = BaseConduct() if training.config.gate.kind == "none" else ask_base(training)
    training = replace(training, base=base)
    trainer = build_trainer(training)
    return run_through(trainer, training, Stage(GRPO_COLUMNS, {"left_out": training.left_out}))


def check(lm: LM, attempts: Sequence[Attempt], config: TrainConfig) -> tuple[Attempt, ...]:
    """Return what will be sent, if this can be trained at all; nothing is written.

    Raises ConfigError on an unknown reward, an absent tracker, untrainable weights, bfloat16 weights without an
    adapter, weights that would be sharded where that cannot be or a model that padding disturbs; DataError if
    no prompt fits.
    """
    find_reward(config.reward.kind)
    if config.method == "reward_model":
        refuse_shards("train.method = 'reward_model'")
    for tracker in config.trackers:
        load_extra(tracker, tracker)
    if lm.model.dtype not in (torch.float32, torch.bfloat16):
        raise ConfigError(
            f"weights in {lm.model.dtype}", "float32 or bfloat16 for training", "use --set model.dtype=float32"
        )
    require_trainable(str(lm.model.dtype).removeprefix("torch."), config)
    if abilities(lm).company != "any":
        raise ConfigError(
            f"{type(lm.base).__name__}, which padding on the left disturbs",
            "a model that rows of unequal length can go through together: training pads them",
            "train another model; this one can be evaluated",
        )
    return admit(lm, attempts, config)
