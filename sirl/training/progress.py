"""What a run says about itself while it trains: one row a step, probes, whole checkpoints, when to stop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from sirl.config import TrainConfig
from sirl.errors import RunError
from sirl.lm import LM
from sirl.phases import phase
from sirl.ranks import is_first
from sirl.records import Attempt, Completion, Judge
from sirl.rundir import STEPS, RunDir
from sirl.training.checkpoints import mark_whole
from sirl.training.distributed import from_first, wait, whole
from sirl.training.instincts import Draw
from sirl.training.isolation import eval_mode, own_randomness
from sirl.training.precision import computing
from sirl.training.stopping import PATIENCE, Values, breach, lost_refusals, mends, unguarded

_LOG = logging.getLogger("sirl")
GRPO_COLUMNS = {  # row's name <- TRL's name
    "reward": "reward",
    "entropy": "reply/entropy",
    "kl": "kl",
    "loss": "loss",
    "reply_tokens": "reply/tokens",
    "distinct": "reply/distinct",
    "repeated": "reply/repeated",
    "truncated": "reply/truncated",
}
_GATED = {"refused_where_refused": "refused/refuse", "refused_where_answered": "refused/answer"}
_SHOWN = {
    "reward": "reward",
    "entropy": "entropy",
    "kl": "KL",
    "refusal_probe": "refused",
    "benign_probe": "benign refused",
}

Labeller = Callable[[Sequence[Completion]], Sequence[bool | None]]  # good, bad, or undecided
Search = Callable[[LM, Sequence[Attempt], int], list[Attempt]]


@dataclass(frozen=True, slots=True)
class Hooks:
    """Who looks on while a model trains.

    `probe` measures a model, the base model first, then the policy every `save_every` steps and after the
    last; what it returns goes into the step's row, and `stopping.breach` reads it. `on_step` gets each row as
    it is written. Of several processes all probe and one writes.

    `refused` says which replies refuse, where `train.gate` asks. `good` says which replies are good, and knows
    what each was asked for: only where `train.method` is one that reads labels. `search` is given the moving
    model, some attempts and the number of the step (from 1), where `train.search` asks; it returns as many,
    same order, each the one given or another for that prompt. `drawing` opens what draws the base model's
    replies to plain requests in the place of `generate`; it is closed before the first step.
    """

    probe: Callable[[LM], Values] | None = None
    on_step: Callable[[Mapping[str, Any]], None] | None = None
    refused: Judge | None = None
    good: Labeller | None = None
    search: Search | None = None
    drawing: Callable[[], AbstractContextManager[Draw]] | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """The steps of a run that one trainer takes.

    `columns` are what it shows, row's name to TRL's name; `constant` is the same in every row; `first` steps
    came before it.
    """

    columns: Mapping[str, str]
    constant: Mapping[str, Any]
    first: int = 0


class StepLog(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Write one row a step as TRL logs it, before the checkpoint of that step is saved.

    So the rows on disk always reach at least as far as the newest checkpoint. A run that is over budget at
    `stopping.PATIENCE` probes in a row and does not mend, or at its last, ends there, and its row names the
    step to keep: the last within the budgets, whose checkpoint no newer one pushes out.
    """

    def __init__(
        self, trainer: Any, config: TrainConfig, run: RunDir, hooks: Hooks, stage: Stage, base: LM
    ) -> None:
        self.trainer, self.config, self.run, self.hooks, self.stage = trainer, config, run, hooks, stage
        self.base = base
        self.started = time.perf_counter()
        self.of_base: Values = {}

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        if self.hooks.probe:
            self.of_base = self._measure(self.hooks.probe, self.base.model)
            for what in unguarded(self.of_base, self.config.stop) if is_first() else ():
                _LOG.warning("the stop rule cannot detect %s", what)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        """Refuse an update that overflowed before a checkpoint, a snapshot or the result is made of it."""
        _refuse_broken_weights(given["model"], self.stage.first + state.global_step + 1)

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        logs = given["logs"]
        if "loss" not in logs:  # TRL's closing line
            return
        step = self.stage.first + state.global_step
        row = {"step": step, **{ours: _number(logs.get(name)) for ours, name in self.stage.columns.items()}}
        row |= {ours: logs[name] for ours, name in _GATED.items() if name in logs}
        row["seconds"] = round(time.perf_counter() - self.started, 3)
        row |= self.stage.constant
        _refuse_nonfinite(row, logs)
        if self.hooks.probe and (state.global_step % self.config.save_every == 0 or _last(state)):
            with whole(self.trainer) as model:
                now = self._measure(self.hooks.probe, model)
            # The first process decides, so that all stop or none.
            within, weighed = from_first(lambda: self._weigh(now, step, _last(state)))
            row |= weighed
            control.should_training_stop |= "kept_step" in row
            state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{within - self.stage.first}")
        if is_first():
            self.run.append(STEPS, [row])
            if self.hooks.on_step:
                self.hooks.on_step(row)

    def _weigh(self, now: Values, step: int, last: bool) -> tuple[int, dict[str, Any]]:
        """Return the newest step within the budgets, 0 for the base, and what a probe adds to its row."""
        over = breach(self.of_base, now, self.config.stop)
        row: dict[str, Any] = {**now, "over_budget": over}
        if not_seen := unguarded(self.of_base, self.config.stop):
            row["unguarded"] = not_seen
        if said := over or lost_refusals(now):
            _LOG.warning("step %d: %s", step, said)
        if not over:
            return step, row
        probed = [row for row in self.run.rows(STEPS) if "over_budget" in row]
        within = max((row["step"] for row in probed if not row["over_budget"]), default=0)
        many = sum(row["step"] > within for row in probed) + 1 >= PATIENCE
        if last or (many and not mends(self.of_base, probed[-1], now, self.config.stop)):
            row["kept_step"] = within
            _LOG.warning("training stops; the model of step %d is kept: %s", within, over)
        return within, row

    def on_save(self, args: Any, state: Any, control: Any, **__: Any) -> None:  # noqa: ARG002
        wait()  # until every process has written its part
        if is_first():
            mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def _measure(self, probe: Callable[[LM], Values], model: Any) -> Values:
        with eval_mode(model), own_randomness(), torch.no_grad(), computing(self.base):
            return dict(probe(LM(model, self.base.tokenizer, self.base.name)))


@contextmanager
def stepping(steps: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show the steps of training; yield the function that takes each step's row."""
    latest: dict[str, float] = {}  # probes come seldom: the last ones stay in sight
    with phase("train") as advance:

        def on_step(row: Mapping[str, Any]) -> None:
            latest.update({name: row[name] for name in _SHOWN if row.get(name) is not None})
            note = "  ".join(f"{_SHOWN[name]} {value:.3g}" for name, value in latest.items())
            advance(row["step"], steps, note)

        yield on_step


def _last(state: Any) -> bool:
    return bool(state.global_step >= state.max_steps)


def _number(value: float | None) -> float | None:
    """Return a logged value; None where it is the mean of nothing."""
    return None if value is None or math.isnan(value) else value


@torch.no_grad()
def _refuse_broken_weights(model: Any, step: int) -> None:
    for name, weight in model.named_parameters():
        own = weight.to_local() if hasattr(weight, "to_local") else weight  # of a shard, this process's part
        if weight.requires_grad and not bool(torch.isfinite(own).all()):
            found = f"the update made {name} NaN or infinite, as a loss or a gradient that overflows does,"
            raise _nonfinite(found, step)


def _nonfinite(found: str, step: int) -> RunError:
    advice = "lower train.learning_rate; the run continues from its last checkpoint"
    return RunError(f"{found} at step {step}", "a finite number", advice)


def _refuse_nonfinite(row: Mapping[str, Any], logs: Mapping[str, Any]) -> None:
    for name in ("loss", "grad_norm"):
        if not math.isfinite(logs.get(name, 0.0)):
            raise _nonfinite(f"{name} is {logs[name]}", row["step"])
