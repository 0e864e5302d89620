"""Our settings in TRL's words: which trainer, which arguments, which rows in which order."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from sirl.config import TrainConfig
from sirl.config.train import RECOMPUTE_ABOVE
from sirl.errors import ConfigError
from sirl.lm import LM
from sirl.ranks import count, sharded
from sirl.training.copies import as_reference, frozen, policy_of
from sirl.training.cpu_trainer import CpuGRPOTrainer
from sirl.training.precision import mixes
from sirl.training.rewarding import TrlReward, make_reward
from sirl.training.rollout import make_rollout
from sirl.training.training_run import TrainingRun, schedule_of
from sirl.training.weights import has_own_code, write_start


def build_trainer(training: TrainingRun, instead: TrlReward | None = None) -> GRPOTrainer:
    """Return TRL's trainer, which leaves the base model alone and writes into the run's folder of checkpoints.

    `instead` takes the place of the reward that the settings name. Raises ConfigError if the rows of a step
    cannot be dealt out evenly.
    """
    lm, config, run = training.lm, training.config, training.run
    model = policy_of(lm, config)
    if sharded():  # TRL spreads its reference as it loads it, from where the model says it is from
        model.config._name_or_path = str(write_start(lm, run))
    steps = schedule_of(training)
    kind = CpuGRPOTrainer if _plain_on_cpu(lm) else GRPOTrainer
    with nullcontext() if sharded() else as_reference(lambda: frozen(lm)):
        trainer = kind(
            model=model,
            reward_funcs=instead or make_reward(config, training.base.judge),
            args=_arguments(lm, config, run.checkpoint, training.seed),
            train_dataset=Dataset.from_dict({"prompt": [str(number) for step in steps for number in step]}),
            processing_class=copy.deepcopy(lm.tokenizer),
            peft_config=adapter(config),
            rollout_func=make_rollout(training),
        )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(lm: LM, config: TrainConfig, folder: Path, seed: int) -> GRPOConfig:
    return GRPOConfig(
        **common_arguments(lm, config, folder, seed),
        **loss_arguments(config),
        per_device_train_batch_size=config.micro_batch,
        gradient_accumulation_steps=_accumulation(config),
        shuffle_dataset=False,  # the rows already stand in the order of the steps
    )


def loss_arguments(config: TrainConfig) -> dict[str, Any]:
    """Return every argument of TRL's own that touches the loss; none is left to a default, which may change.

    docs/method.md says why each has its value. A test compares the names with those of the installed TRL.
    """
    return {
        "num_generations": config.group,
        "max_completion_length": config.max_reply_tokens,
        "temperature": config.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": None,
        "repetition_penalty": 1.0,
        "beta": config.grpo.kl,
        "use_bias_correction_kl": False,  # TRL's default is True: its KL then has another gradient than k3
        "epsilon": config.grpo.clip,
        "epsilon_high": None,
        "delta": None,
        "num_iterations": 1,
        "steps_per_generation": None,
        "generation_batch_size": None,
        "loss_type": "grpo",
        "importance_sampling_level": "token",
        "off_policy_mask_threshold": None,
        "scale_rewards": "none" if config.grpo.scale_rewards == "side" else config.grpo.scale_rewards,
        "reward_weights": None,
        "multi_objective_aggregation": "sum_then_normalize",
        "mask_truncated_completions": False,
        "sync_ref_model": False,
        "top_entropy_quantile": 1.0,
        "entropy_coef": 0.0,
        "use_adaptive_entropy": False,
        "router_aux_loss_coef": None,
        "disable_dropout": True,
        "cast_lm_head_to_fp32": False,
    }


def common_arguments(lm: LM, config: TrainConfig, folder: Path, seed: int) -> dict[str, Any]:
    """Return the arguments that every trainer of TRL gets alike, whatever its loss."""
    on_cpu = lm.device.type == "cpu"
    return {
        "output_dir": str(folder),
        "seed": seed % 2**32,
        "max_steps": config.steps,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": lm.model.num_parameters() > RECOMPUTE_ABOVE,
        "use_cpu": on_cpu,
        "bf16": mixes(lm),
        "trust_remote_code": has_own_code(lm),
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not on_cpu,
        "save_strategy": "steps",
        "save_steps": config.save_every,
        "save_total_limit": 3,  # the newest, one before it should it be torn, the last within the budgets
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would put an average in the place of a loss that is not finite
        "report_to": [tracker for tracker in config.trackers if tracker != "tensorboard"] or "none",
        "disable_tqdm": True,
        "accelerator_config": {"use_configured_state": count() > 1},  # `distributed.join` has made the state
    }


def _plain_on_cpu(lm: LM) -> bool:
    """Return True if the cheaper log-probs of `cpu_trainer` serve: no routers, whose loss TRL adds itself."""
    routed = hasattr(lm.model.config.get_text_config(), "output_router_logits")
    return lm.device.type == "cpu" and lm.keeps_last_logits and not routed


def _accumulation(config: TrainConfig) -> int:
    """Return how many backward passes each process makes a step. Raises ConfigError if it is not whole."""
    processes = count()
    rows = config.group * config.prompts_per_step
    if rows % (config.micro_batch * processes):
        raise ConfigError(
            f"train.micro_batch = {config.micro_batch} on {processes} processes",
            f"a product that divides group x prompts_per_step = {rows}",
            "change train.micro_batch or the number of processes",
        )
    return rows // (config.micro_batch * processes)


def adapter(config: TrainConfig, task: str = "CAUSAL_LM") -> Any:
    """Return LoRA's settings in PEFT's words; None where every weight is trained."""
    if not config.lora_rank:
        return None
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type=task,
    )
