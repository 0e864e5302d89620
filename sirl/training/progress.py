"""What a run says about itself while it trains: one row a step, probes, checkpoints marked whole."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from sirl.config import TrainConfig
from sirl.errors import RunError
from sirl.lm import LM
from sirl.records import Attempt, Judge
from sirl.rundir import STEPS, RunDir
from sirl.training.checkpoints import mark_whole
from sirl.training.surroundings import at_rest, own_randomness

_COLUMNS = {  # row's name <- TRL's name
    "reward": "reward",
    "entropy": "reply/entropy",
    "kl": "kl",
    "loss": "loss",
    "reply_tokens": "reply/tokens",
    "distinct": "reply/distinct",
    "truncated": "reply/truncated",
}
_GATED = {"refused_where_refused": "refused/refuse", "refused_where_answered": "refused/answer"}

Search = Callable[[LM, Sequence[Attempt], int], list[Attempt]]


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on while a model trains.

    `probe` measures the model every `probe_every` steps and after the last; what it returns goes into the
    step's row. `on_step` gets each row as it is written. `refused` says which replies refuse, where
    `train.gate` asks. `search` is given the moving model, some attempts and the number of the step (from 1),
    where `train.search` asks; it returns as many, same order, each the one given or another for that prompt.
    """

    probe: Callable[[LM], Mapping[str, float]] | None = None
    on_step: Callable[[Mapping[str, Any]], None] | None = None
    refused: Judge | None = None
    search: Search | None = None


class StepLog(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Write one row a step as TRL logs it, before the checkpoint of that step is saved.

    So the rows on disk always reach at least as far as the newest checkpoint.
    """

    def __init__(self, lm: LM, config: TrainConfig, run: RunDir, watch: Watch, left_out: int) -> None:
        self.lm, self.config, self.run, self.watch, self.left_out = lm, config, run, watch, left_out
        self.started = time.perf_counter()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        logs = given["logs"]
        if "loss" not in logs:  # TRL's closing line
            return
        row = {"step": state.global_step, **{ours: logs.get(name) for ours, name in _COLUMNS.items()}}
        row |= {ours: logs[name] for ours, name in _GATED.items() if name in logs}
        row["seconds"] = round(time.perf_counter() - self.started, 3)
        row["left_out"] = self.left_out
        _refuse_nonfinite(row, logs)
        if self.watch.probe and (state.global_step % self.config.probe_every == 0 or _last(state)):
            row |= self._measure(self.watch.probe, given["model"])
        if state.is_world_process_zero:
            self.run.append(STEPS, [row])
        if self.watch.on_step:
            self.watch.on_step(row)

    def on_save(self, args: Any, state: Any, control: Any, **__: Any) -> None:  # noqa: ARG002
        mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def _measure(self, probe: Callable[[LM], Mapping[str, float]], model: Any) -> Mapping[str, float]:
        with at_rest(model), own_randomness(), torch.no_grad():
            return dict(probe(LM(model, self.lm.tokenizer, self.lm.name)))


def _last(state: Any) -> bool:
    return bool(state.global_step >= state.max_steps)


def _refuse_nonfinite(row: Mapping[str, Any], logs: Mapping[str, Any]) -> None:
    for name in ("loss", "grad_norm"):
        if not math.isfinite(logs.get(name, 0.0)):
            raise RunError(
                f"{name} is {logs[name]} at step {row['step']}",
                "a finite number",
                "lower train.learning_rate; the run continues from its last checkpoint",
            )
