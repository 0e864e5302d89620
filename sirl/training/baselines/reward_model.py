"""Learn a reward model from good and bad replies by TRL's RewardTrainer, then raise its score by GRPO.

The budget is split: the first half of the steps, with their prompts and samples, teaches the reward model; the
rest are SIRL's own steps on the remaining prompts, with the score in the place of certainty. So both together
draw as many replies and make as many updates as any other method.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer

from sirl.errors import ConfigError
from sirl.lm import render
from sirl.rundir.files import replace_synced
from sirl.training.baselines.samples import paired, read_lessons, tally
from sirl.training.distributed import from_first
from sirl.training.progress import GRPO_COLUMNS, Hooks, Stage
from sirl.training.rewarding import TrlReward, make_reward
from sirl.training.setup import adapter, build_trainer, common_arguments
from sirl.training.training_run import TrainingRun, dealt, in_order, run_through, schedule_of
from sirl.training.weights import has_own_code, write_start

COLUMNS = {"loss": "loss", "margin": "margin", "accuracy": "accuracy"}
_TOGETHER = 16  # rows a forward pass, of like length


def reinforce(training: TrainingRun) -> Any:
    """Train a reward model, then the policy on its score; return the policy.

    Raises ConfigError if there are not two steps to share out, DataError if there is no pair to learn from.
    """
    config = training.config
    if config.steps < 2:
        raise ConfigError("train.steps = 1", "2 or more: the reward model takes half", "raise train.steps")
    first = config.steps // 2
    folder = training.run.checkpoint / "scorer"
    if not from_first(folder.exists):
        _learn_scorer(training, first, folder)
    scorer = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=training.lm.model.dtype, trust_remote_code=has_own_code(training.lm)
    )
    scorer.to(training.lm.device).eval()
    later = [training.attempts[i] for step in schedule_of(training)[first:] for i in step]
    rest = replace(config, steps=config.steps - first)
    reward = score_reward(scorer, render(training.lm, later), make_reward(rest, None))
    trainer = build_trainer(replace(training, attempts=tuple(later), config=rest), reward)
    return run_through(trainer, training, Stage(GRPO_COLUMNS, {"left_out": training.left_out}, first))


def _learn_scorer(training: TrainingRun, steps: int, folder: Path) -> None:
    """Train the base with a head for one number on pairs and write it to `folder`, all of it or nothing."""
    lm, config = training.lm, replace(training.config, steps=steps)
    lessons = read_lessons(training, steps)
    pairs = paired(lessons)
    rows = [
        {"chosen_ids": [*p.prompt_ids, *(p.good or ())], "rejected_ids": [*p.prompt_ids, *(p.bad or ())]}
        for p in pairs
    ]
    trainer = RewardTrainer(
        model=str(write_start(lm, training.run)),
        args=RewardConfig(
            **common_arguments(lm, config, training.run.checkpoint / "scorer-steps", training.seed),
            **dealt(config, replies=2),
            model_init_kwargs={"dtype": str(lm.model.dtype).removeprefix("torch.")},
            max_length=None,
        ),
        train_dataset=in_order(rows, config, training.seed),
        processing_class=copy.deepcopy(lm.tokenizer),
        peft_config=adapter(config, "SEQ_CLS"),
    )
    plain = replace(training.config, snapshots=())
    blind = replace(
        training, config=plain, hooks=Hooks(on_step=training.hooks.on_step)
    )  # a scorer gives no reply to probe
    stage = Stage(COLUMNS, tally(training, lessons, pairs))
    model = run_through(trainer, blind, stage, "scorer-steps")
    from_first(lambda: _write(model, folder))


def _write(model: Any, folder: Path) -> None:
    part = folder.with_name(folder.name + ".part")
    plain = model.merge_and_unload() if isinstance(model, PeftModel) else model
    plain.save_pretrained(part)
    replace_synced(part, folder)


def score_reward(scorer: Any, prompt_ids: Sequence[Sequence[int]], told: TrlReward) -> TrlReward:
    """Return TRL's reward function: the score of each reply behind its prompt, which TRL names by number.

    `told` is the reward of SIRL, called for what it tells the log and for nothing else.
    """

    def reward_replies(prompts: list[str], completion_ids: list[list[int]], **recorded: Any) -> list[float]:
        told(completion_ids=completion_ids, **recorded)
        pairs = zip(prompts, completion_ids, strict=True)
        return scores(scorer, [[*prompt_ids[int(number)], *reply] for number, reply in pairs])

    return reward_replies


@torch.inference_mode()
def scores(scorer: Any, rows: Sequence[Sequence[int]]) -> list[float]:
    """Return the reward model's number for each row of tokens, same order."""
    pad = scorer.config.get_text_config().pad_token_id
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), i))
    found: dict[int, float] = {}
    for start in range(0, len(rows), _TOGETHER):
        chunk = order[start : start + _TOGETHER]
        width = max(len(rows[i]) for i in chunk)
        ids_BS = torch.tensor([[*rows[i], *[pad] * (width - len(rows[i]))] for i in chunk])
        mask_BS = torch.tensor([[1] * len(rows[i]) + [0] * (width - len(rows[i])) for i in chunk])
        device = scorer.device
        logits_B1 = scorer(input_ids=ids_BS.to(device), attention_mask=mask_BS.to(device)).logits
        found.update(zip(chunk, logits_B1[:, 0].float().tolist(), strict=True))
    return [found[i] for i in range(len(rows))]
