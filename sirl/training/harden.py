"""Build TRL's trainer from our settings, train, and hand back an ordinary model."""

from __future__ import annotations

import copy
import logging
import os
import random
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback
from transformers.utils import logging as transformers_logging
from trl import GRPOConfig, GRPOTrainer

from sirl.config import TrainConfig
from sirl.errors import ConfigError
from sirl.lm import LM, load_lm, save_lm
from sirl.records import Attempt, Prompt
from sirl.rewards import find_reward
from sirl.rundir import RunDir
from sirl.training.checkpoints import rewind
from sirl.training.progress import StepLog
from sirl.training.rollout import admit, make_reward, make_rollout, step_prompts

_RECOMPUTE_ABOVE = 1_000_000_000  # parameters; from here activations, not arithmetic, are what is scarce


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on while a model trains.

    `probe` measures the model every `probe_every` steps and after the last; what it returns goes into the
    step's row. `on_step` gets each row as it is written.
    """

    probe: Callable[[LM], Mapping[str, float]] | None = None
    on_step: Callable[[Mapping[str, Any]], None] | None = None


def harden(
    lm: LM, prompts: Sequence[Prompt], config: TrainConfig, run: RunDir, seed: int, watch: Watch | None = None
) -> LM:
    """Train a copy of `lm` by SIRL on the prompts' text; return it in evaluation mode, saved in run/model.

    A run killed at any moment continues from its last checkpoint and ends as an unbroken one; a finished
    run returns its model at once. `lm` and the global random state are left as they were. Raises ConfigError
    on an unknown reward or untrainable weights, DataError if no prompt fits, RunError on a reward or loss
    that is not finite. Source: arXiv 2510.01088; the module lists each departure.
    """
    find_reward(config.reward)
    _refuse_untrainable(lm)
    folder = run.path / "model"
    if not folder.exists():
        attempts = admit(lm, prompts, config)
        with _quiet(), _own_randomness():
            log = StepLog(lm, config, run, watch or Watch(), len(prompts) - len(attempts))
            trainer = _trainer(lm, attempts, config, run, seed)
            trainer.add_callback(log)
            trainer.train(resume_from_checkpoint=_resume(run))
            _save(trainer.model, lm, folder)
    shutil.rmtree(run.checkpoint, ignore_errors=True)  # the model is whole: nothing is left to continue
    with _quiet():
        return load_lm(folder, dtype=str(lm.model.dtype).removeprefix("torch."), trust_remote_code=_remote(lm))


def _resume(run: RunDir) -> str | None:
    checkpoint = rewind(run)
    return str(checkpoint) if checkpoint else None


def _refuse_untrainable(lm: LM) -> None:
    if lm.model.dtype not in (torch.float32, torch.bfloat16):
        raise ConfigError(
            f"weights in {lm.model.dtype}", "float32 or bfloat16 for training", "load with --dtype float32"
        )


def _trainer(lm: LM, attempts: Sequence[Attempt], config: TrainConfig, run: RunDir, seed: int) -> Any:
    model = copy.deepcopy(lm.model)
    model.config._name_or_path = str(_reference(lm, run))  # where TRL loads the frozen starting model from
    steps = [step_prompts(len(attempts), config.prompts_per_step, seed, s) for s in range(config.steps)]
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=make_reward(config.reward),
        args=_arguments(lm, config, run, seed),
        train_dataset=Dataset.from_dict({"prompt": [str(number) for step in steps for number in step]}),
        processing_class=copy.deepcopy(lm.tokenizer),
        peft_config=_adapter(config),
        rollout_func=make_rollout(lm, attempts, config, seed),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(lm: LM, config: TrainConfig, run: RunDir, seed: int) -> GRPOConfig:
    on_cpu = lm.device.type == "cpu"
    return GRPOConfig(
        output_dir=str(run.checkpoint),
        seed=seed % 2**32,
        max_steps=config.steps,
        num_generations=config.group,
        per_device_train_batch_size=config.micro_batch,
        gradient_accumulation_steps=_accumulation(config),
        shuffle_dataset=False,  # the rows already stand in the order of the steps
        max_completion_length=config.max_reply_tokens,
        temperature=config.temperature,
        beta=config.kl,
        epsilon=config.clip,
        num_iterations=1,
        loss_type="grpo",
        scale_rewards="group",
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        disable_dropout=True,
        gradient_checkpointing=lm.model.num_parameters() > _RECOMPUTE_ABOVE,
        use_cpu=on_cpu,
        bf16=not on_cpu and lm.model.dtype == torch.float32 and torch.cuda.is_bf16_supported(),
        trust_remote_code=_remote(lm),
        dataloader_num_workers=0,
        dataloader_pin_memory=not on_cpu,
        save_strategy="steps",
        save_steps=config.save_every,
        save_total_limit=2,  # a checkpoint torn by a kill leaves the one before it
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )


def _accumulation(config: TrainConfig) -> int:
    """Return how many backward passes each process makes a step. Raises ConfigError if it is not whole."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    rows = config.group * config.prompts_per_step
    if rows % (config.micro_batch * processes):
        raise ConfigError(
            f"train.micro_batch = {config.micro_batch} on {processes} processes",
            f"their product to divide group x prompts_per_step = {rows}",
            "change train.micro_batch or the number of processes",
        )
    return rows // (config.micro_batch * processes)


def _adapter(config: TrainConfig) -> LoraConfig | None:
    if not config.lora_rank:
        return None
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _reference(lm: LM, run: RunDir) -> Path:
    """Write the starting model where TRL can load it: TRL takes the reference from a path, not from memory."""
    folder = run.checkpoint / "reference"
    if not folder.exists():
        _write_whole(lm, folder)
    return folder


def _save(trained: Any, lm: LM, folder: Path) -> None:
    """Save the trained weights as an ordinary folder with the caller's own config and tokenizer."""
    model = trained.merge_and_unload() if hasattr(trained, "merge_and_unload") else trained
    model.config = copy.deepcopy(lm.model.config)  # TRL set a pad token in its copies
    model.generation_config = copy.deepcopy(lm.model.generation_config)
    _write_whole(LM(model, lm.tokenizer, lm.name), folder)


def _write_whole(lm: LM, folder: Path) -> None:
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    save_lm(lm, part)
    part.replace(folder)


def _remote(lm: LM) -> bool:
    """Return True if the model runs code from its own repository: whoever loaded it has allowed that."""
    return type(lm.model).__module__.startswith("transformers_modules")


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Let TRL seed the global generators, and give the caller's states back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the libraries' progress bars, chatter and the notice that rollout_func is experimental."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    trl = logging.getLogger("trl")
    trl_level = trl.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    trl.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'", category=UserWarning)
            # TRL still sets the name that the newest transformers 5 renames; the new one is unknown to 5.17
            warnings.filterwarnings("ignore", message="`\\w*gradient_checkpointing", category=FutureWarning)
            yield
    finally:
        trl.setLevel(trl_level)
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
