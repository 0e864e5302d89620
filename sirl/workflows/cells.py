"""One cell of a study: a model, a method and a seed, from training to numbers, in one folder.

    MODEL/METHOD/seed-N/            config.json (what was asked for), measured.jsonl, summary.json when done
    MODEL/METHOD/seed-N/train       the training run; none for the base and for ways to answer, one for each
                                    number of steps (train-STEP) where a method splits its budget
    MODEL/METHOD/seed-N/at-STEP     an evaluate run of the model after STEP steps

What is finished is kept, what was killed continues. One process works on a cell at a time; what goes wrong in
it is written down as its outcome, and the study goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from traceback import print_exception
from typing import Any, Literal

from sirl.config import load_recipe, settings_of
from sirl.config.requests import without_logins
from sirl.config.sections import nested, unusual
from sirl.config.study import ANSWERING, START, StudyConfig
from sirl.config.train import reads
from sirl.errors import ConfigError, RunError, SirlError, suggest
from sirl.metrics import attacked, reply_entropy, select, split_draws
from sirl.records import Record
from sirl.rundir import MEASURED, SNAPSHOTS, SUMMARY, RunDir, locked, open_run, read_run
from sirl.workflows import measure, training
from sirl.workflows.measure import SIZES, Measurement
from sirl.workflows.models import ORGANISM
from sirl.workflows.request import Request
from sirl.workflows.sources import PromptSources

KIND = "study"
WHOLE = "settings"  # of a cell's config.json: every setting, defaults too
_SPLIT = (
    "reward_model",
)  # its first steps make another model, how many depends on all: one run a number of steps
State = Literal["done", "failed", "partly", "missing"]
_KEPT = (
    "dsr",
    "over_refusal_detail",
    "capability_detail",
    "diversity_detail",
    "unscored",
    "incomplete",
    "judges",
    "defence",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One model, method and seed of a study."""

    study: StudyConfig
    model: str
    method: str
    seed: int

    @property
    def path(self) -> Path:
        """Its folder below the study's."""
        model = re.sub(r"[^\w.-]+", "-", without_logins(self.model)).strip("-.")
        return Path(model or "-", self.method, f"seed-{self.seed}")

    @property
    def steps(self) -> tuple[int, ...]:
        """After which steps it is measured: a method that does not train, as it is."""
        trained = self.study.trains(self.method)
        return tuple(sorted(step for step in self.study.steps if step)) if trained else (0,)

    @property
    def courses(self) -> dict[str, tuple[int, ...]]:
        """The training runs by folder, and the steps at which each is measured."""
        if not self.study.trains(self.method):
            return {}
        if self._method in _SPLIT:
            return {f"train-{step}": (step,) for step in self.steps}
        return {"train": self.steps}

    def training(self, out: Path, steps: Sequence[int]) -> Request:
        """Return a training run that leaves a model at each of the steps."""
        shared = {k: v for k, v in settings_of({"train": self.study.train}) if reads(self._method, k[1:])}
        own = settings_of({"train": {k: v for k, v in self._own.items() if k not in ANSWERING}})
        between = {SNAPSHOTS: list(steps[:-1])} if steps[:-1] else {}
        settings = {".".join(keys): value for keys, value in {**shared, **dict(own)}.items()}
        settings |= _changes("train", {"steps": steps[-1], **between})
        return Request(self.model, out, recipe=self.study.recipe, settings=settings, seed=self.seed)

    def measurement(self, model: str, out: Path, role: str = "") -> Measurement:
        """Return the measurement of a model."""
        trained = self.study.trains(self.method)
        answering = {k: v for k, v in self._own.items() if k in ANSWERING or not trained}
        changes = _changes("evaluate", {**self.study.evaluate, **answering})
        asked = (PromptSources(self.study.prompts), self._recipe, changes, self.seed)
        return Measurement(model, out, *asked, judges=self.study.judges, sizes=self._sizes, role=role)

    def protocol(self) -> dict[str, Any]:
        """Return what the cell was asked to do, as its config.json holds it.

        `evaluate` and `train` are the settings that are no defaults, to be read. `WHOLE` has them all: where
        a default changes, a cell of before is not taken for one of now. Raises ConfigError if a setting is
        unknown or out of range.
        """
        here = Path()
        measured = self.measurement(self.model, here).settle().evaluate
        trained = {folder: self.training(here, steps).read().train for folder, steps in self.courses.items()}
        told = {
            "model": self.model,
            "method": self.method,
            "seed": self.seed,
            "steps": self.steps,
            "sizes": dict(self._sizes),
            "prompts": self.study.prompts,
            "judges": self.study.judges,
        }
        told["evaluate"] = nested(dict(unusual(measured)))
        told |= {folder: nested(dict(unusual(train))) for folder, train in trained.items()}
        whole = {folder: asdict(train) for folder, train in trained.items()}
        return told | {WHOLE: {"evaluate": asdict(measured), **whole}}

    @property
    def _method(self) -> str:
        """How it trains: as the study says, or else the recipe."""
        named = {**self.study.train, **self._own}.get("method")
        return str(named or load_recipe(self._recipe).train.method)

    @property
    def _recipe(self) -> str:
        return self.study.recipe or ("organism" if self.model.startswith(ORGANISM) else "default")

    @property
    def _own(self) -> Mapping[str, Any]:
        return {} if self.method == START else self.study.methods[self.method]

    @property
    def _sizes(self) -> Mapping[str, int]:
        for sort in self.study.sizes.keys() - SIZES.keys():
            raise ConfigError(
                f"study.sizes.{sort} is unknown", "a kind of the organism's prompts", suggest(sort, SIZES)
            )
        return {**SIZES, **self.study.sizes}


def cells_of(study: StudyConfig) -> list[Cell]:
    """Return every cell, seed by seed, the base first. Raises ConfigError if two would share a folder."""
    methods = [*([START] if 0 in study.steps else []), *study.methods]
    cells = [Cell(study, m, method, seed) for seed in study.seeds for m in study.models for method in methods]
    if len({cell.path for cell in cells}) < len(cells):
        raise ConfigError(
            f"two of the models {', '.join(study.models)} get one folder",
            "different folder names",
            "rename one",
        )
    return cells


def work_on(cell: Cell, out: Path) -> bool:
    """Do what is missing of a cell; return False if another process is at it, and leave it alone then.

    A failure is written into its summary, and one that is no error of ours (memory that ran out, a bug) is
    tried again by the next call. Raises RunError if the folder holds a cell of other settings.
    """
    run = open_run(out / cell.path, KIND, cell.protocol(), {})
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(run))
        except RunError:
            return False
        if not run.summary() or run.summary().get("crashed"):
            _measure(cell, run)
    return True


def outcome(cell: Cell, out: Path) -> dict[str, Any]:
    """Return what is known of a cell: where it is, its state, why it failed, its numbers by step."""
    path = out / cell.path
    run = read_run(path) if (path / "config.json").exists() else None
    return _outcome(cell, run.rows(MEASURED), run.summary()) if run else missing(cell)


def missing(cell: Cell) -> dict[str, Any]:
    """Return the outcome of a cell of which nothing is known."""
    return _outcome(cell, (), {})


def _outcome(cell: Cell, found: Sequence[dict[str, Any]], summary: Mapping[str, Any]) -> dict[str, Any]:
    rows = sorted(found, key=lambda row: row["step"])
    failed = summary.get("failed", "")
    state: State = "failed" if failed else "done" if summary else "partly" if rows else "missing"
    model = without_logins(cell.model)
    told = {"path": cell.path.as_posix(), "model": model, "method": cell.method, "seed": cell.seed}
    return {**told, "state": state, "failed": failed, "rows": rows}


def model_at(train: Path, step: int) -> tuple[str, int]:
    """Return the model of a training run after some steps, and after how many it really is.

    Where training was stopped, the model that was kept stands for later steps. Raises RunError if none does.
    """
    summary = read_run(train).summary() if (train / SUMMARY).exists() else {}
    kept = summary.get("kept_step")
    last = summary.get("steps") if kept is None else kept
    snapshot = train / SNAPSHOTS / str(step)
    if snapshot.is_dir() and (last is None or last >= step):
        return str(snapshot), step
    if last is None or last > step:
        raise RunError(
            f"{train} has no model of step {step}", "a snapshot, or a run that ended there", "train it again"
        )
    return str(train), int(last)


def _measure(cell: Cell, run: RunDir) -> None:
    failures: list[Exception] = []
    for folder, steps in cell.courses.items():
        if (run.path / folder / SUMMARY).exists():
            continue
        try:
            training.train(cell.training(run.path / folder, steps))
        except Exception as error:
            failures.append(_noted(error))
    done = run.rows(MEASURED)
    for step in cell.steps:
        if step in {row["step"] for row in done}:
            continue
        try:
            row = _row(cell, run.path, step, done)
        except Exception as error:
            failures.append(_noted(error))
        else:
            done.append(row)
            run.append(MEASURED, [row])
    told = {"model": cell.model, "method": cell.method, "seed": cell.seed}
    crashed = not all(isinstance(failure, SirlError) for failure in failures)
    failed = _reason(failures[0]) if failures else ""
    run.write_summary({**told, "failed": failed, "crashed": crashed, "measured": len(done)})


def _noted(error: Exception) -> Exception:
    """Print the traceback of what is no error of ours; return the error without it, which would hold memory."""
    if not isinstance(error, SirlError):
        print_exception(error)
    return error.with_traceback(None)


def _reason(error: Exception) -> str:
    """Return a failure as one line."""
    return str(error) if isinstance(error, SirlError) else " ".join(f"{type(error).__name__}: {error}".split())


def _row(cell: Cell, path: Path, step: int, done: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Measure one model; one that stands for several steps is measured once."""
    model, really = (cell.model, 0)
    for folder, steps in cell.courses.items():
        if step in steps:
            model, really = model_at(path / folder, step)
    for row in () if len(cell.courses) > 1 else done:
        if row["of_step"] == really:
            return {**row, "step": step}
    at = path / f"at-{step}"
    run = measure.evaluate(cell.measurement(model, at, f"{cell.method} {really}"))
    summary = run.summary()
    told = {"step": step, "of_step": really, "best_of": run.config["settings"]["best_of"]}
    entropies = _entropies(run.figures(), run.config["settings"]["samples"])
    return {**told, **{name: summary[name] for name in _KEPT if name in summary}, "entropy": entropies}


def _entropies(records: Sequence[Record], samples: int) -> dict[str, dict[str, Any]]:
    """Return the mean reply entropy of harmful requests under attack, and of the plain other kinds."""
    plain, _ = split_draws(records, samples)
    kinds = {kind: select(plain, kind) for kind in ("benign", "borderline", "task")}
    return {name: reply_entropy(some) for name, some in {"attacked": attacked(plain), **kinds}.items()}


def _changes(section: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{section}.{name}": value for name, value in settings.items()}
