"""Training at toy size: a random model, six prompts, a second a run; shared by the tests of training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from conftest import random_lm

from sirl.config import TrainConfig
from sirl.config.sections import decode
from sirl.lm import LM
from sirl.records import Completion, Prompt, Verdict
from sirl.rundir import STEPS, open_run
from sirl.training import Hooks, harden, plainly

PROMPTS = [Prompt(f"p{i}", "x" * i + " how?") for i in range(6)]
CONFIG = TrainConfig(
    steps=4,
    group=4,
    prompts_per_step=4,
    max_reply_tokens=6,
    max_prompt_tokens=40,
    micro_batch=8,
    learning_rate=3e-3,
    save_every=2,
)


def changed(config: TrainConfig, **settings) -> TrainConfig:
    """The settings with some of them changed; those of a table as a mapping: gate={"kind": "start"}."""
    return decode(config, settings, "train")


def toy_lm(arch: str = "llama") -> LM:
    """A random model whose tokenizer has no padding token, as many have none."""
    lm = random_lm(arch)
    lm.tokenizer.pad_token = None
    lm.model.config.pad_token_id = lm.model.generation_config.pad_token_id = None
    return replace(lm, name="toy")


def train(folder: Path, config=CONFIG, prompts=PROMPTS, seed=0, hooks=None, lm=None) -> LM:
    run = open_run(folder, "train", asdict(config), {})
    return harden(lm or toy_lm(), [plainly(p) for p in prompts], config, run, seed, hooks)


def refuses(completions: Sequence[Completion]) -> list[Verdict]:
    """A judge that takes the start to refuse all but the prompt without an x."""
    answers = [not c.attempt.prompt.text or "x" in c.attempt.prompt.text for c in completions]
    return [Verdict("refused", answer, "", "by x") for answer in answers]


def weights(lm: LM) -> dict[str, torch.Tensor]:
    return dict(lm.model.state_dict())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def rows(folder: Path, file: str = STEPS) -> list[dict]:
    lines = (folder / file).read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


class StopHere(Exception):  # noqa: N818  # a signal, not an error
    pass


def stop_at(step: int) -> Hooks:
    def on_step(row):
        if row["step"] == step:
            raise StopHere

    return Hooks(on_step=on_step)
