"""What a verb returns: a run folder with its headline figures, its evidence and its model."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sirl.config import ModelConfig
from sirl.errors import RunError
from sirl.records import Record, Transcripts
from sirl.rundir import RunDir, read_run
from sirl.tables import frame, write_table
from sirl.workflows.models import Model, open_model

Share = float | None  # a fraction; None: nothing could be scored
FAILING = ("refused", "cut off")  # ways of a document to fail that are not a wrong answer


class Summary(Protocol):
    """The figures of a run: `json` is all of its summary.json, the other fields are what one asks first."""

    @property
    def json(self) -> Mapping[str, Any]: ...

    def lines(self) -> dict[str, str]:
        """Return the headline: what is told, and how."""


@dataclass(frozen=True, slots=True)
class GapSummary:
    """The entropy gap: nats a token that complying replies have more than refusing ones, with 95 % interval."""

    json: Mapping[str, Any] = field(repr=False)
    difference: float | None
    low: float | None
    high: float | None
    auroc: float | None
    verdict: str
    hardening: str
    incomplete: bool

    @classmethod
    def read(cls, json: Mapping[str, Any]) -> GapSummary:
        gap = json["gap"]
        figures = (gap["difference"], gap["low"], gap["high"], gap["auroc"])
        return cls(json, *figures, gap["verdict"], json["frontier"]["verdict"], json["incomplete"])

    def lines(self) -> dict[str, str]:
        interval = f"[{_number(self.low)}, {_number(self.high)}]"
        told = f"{_number(self.difference)} {interval} nats a token, AUROC {_number(self.auroc)}"
        return {"entropy gap": told, "instinct": self.verdict, "hardening": self.hardening}


@dataclass(frozen=True, slots=True)
class EvaluationSummary:
    """Shares of requests: attacks withstood (mean and lowest over attacks), safe ones refused, tasks solved."""

    json: Mapping[str, Any] = field(repr=False)
    withstood: Share
    lowest: Share
    by_attack: Mapping[str, Share]
    over_refusal: Mapping[str, Share]
    capability: Mapping[str, Share]
    diversity: Share
    incomplete: bool

    @classmethod
    def read(cls, json: Mapping[str, Any]) -> EvaluationSummary:
        dsr = json["dsr"]
        by_attack = {name: row["rate"] for name, row in dsr["per_attack"].items()}
        shares = (json[name] for name in ("over_refusal", "capability", "diversity", "incomplete"))
        return cls(json, dsr["mean"], dsr["worst"], by_attack, *shares)

    def lines(self) -> dict[str, str]:
        told = {"attacks withstood": f"{_percent(self.withstood)} (lowest {_percent(self.lowest)})"}
        told |= {f"{kind} refused": _percent(share) for kind, share in self.over_refusal.items()}
        return told | {f"{skill} right": _percent(share) for skill, share in self.capability.items()}


@dataclass(frozen=True, slots=True)
class SkillsSummary:
    """Mean score of each task, how its documents went as shares, and which tasks were not measured, and why."""

    json: Mapping[str, Any] = field(repr=False)
    scores: Mapping[str, float | None]
    audit: Mapping[str, Mapping[str, float]]
    left_out: Mapping[str, str]
    incomplete: bool

    @classmethod
    def read(cls, json: Mapping[str, Any]) -> SkillsSummary:
        skills = json["skills"]
        scores, audit = ({name: row[key] for name, row in skills.items()} for key in ("rate", "audit"))
        return cls(json, scores, audit, json["left_out"], json["incomplete"])

    def lines(self) -> dict[str, str]:
        told = {
            name: ", ".join(
                [_number(score), *(f"{_percent(ways[way])} {way}" for way in FAILING if way in ways)]
            )
            for (name, score), ways in zip(self.scores.items(), self.audit.values(), strict=True)
        }
        return told | {name: f"left out: {why}" for name, why in self.left_out.items()}


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """How training went; `less_safe` says that the model refuses less than its base, `stopped` why it ended."""

    json: Mapping[str, Any] = field(repr=False)
    method: str
    steps: int
    kept_step: int
    stopped: str | None
    less_safe: str | None

    @classmethod
    def read(cls, json: Mapping[str, Any]) -> TrainingSummary:
        names = ("method", "steps", "kept_step", "stopped", "less_safe")
        return cls(json, *(json[name] for name in names))

    def lines(self) -> dict[str, str]:
        told = {"method": self.method, "steps": f"{self.steps} (model of step {self.kept_step})"}
        told |= {"stopped": self.stopped} if self.stopped else {}
        return told | ({"less safe": self.less_safe} if self.less_safe else {})


@dataclass(frozen=True, slots=True)
class StudySummary:
    """How many cells of a study are in each state: done, failed, partly, missing, held by another process."""

    json: Mapping[str, Any]

    def lines(self) -> dict[str, str]:
        return {state: str(number) for state, number in self.json.items() if number}


S = TypeVar("S", bound=Summary, covariant=True)


@dataclass(frozen=True)
class Run(Generic[S]):
    """A finished run: its folder, its kind (gap, train, evaluate, skills, study) and its headline figures."""

    path: Path
    kind: str
    summary: S
    config: ModelConfig = field(default_factory=ModelConfig, repr=False)

    @classmethod
    def open(cls, path: str | Path) -> Run[Any]:
        """Return a finished run of gap, train, evaluate or skills. Raises RunError if the folder holds none."""
        return finished(read_run(Path(path)))

    @cached_property
    def model(self) -> Model:
        """The model that training made, loaded once. Raises RunError if the run made none."""
        if self.kind != "train":
            raise RunError(
                f"{self.path} is of kind {self.kind}", "a training run", "use .model of a sirl.train run"
            )
        return open_model(str(self.path), self.config)

    def records(self) -> Records:
        """Return what was sent, what came back and what the judges said. Raises RunError on a study."""
        return Records.read(read_run(self.path))

    def __repr__(self) -> str:
        told = "".join(f"\n  {what:<20} {value}" for what, value in self.summary.lines().items())
        return f"{self.kind} run in {self.path}{told}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(what)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for what, value in self.summary.lines().items()
        )
        told = f"{html.escape(self.kind)} run in <code>{html.escape(str(self.path))}</code>"
        return f"<table><caption>{told}</caption>{rows}</table>"


class Records(tuple[Record, ...]):
    """Evidence, in order. As a table (`sirl.tables`) it has one row a reply and verdict; see docs/tables.md.

    `transcripts` says which texts a table holds: redacted, without what may harm; all; or none.
    """

    run: RunDir

    @classmethod
    def read(cls, run: RunDir) -> Records:
        """Return the records of a run."""
        found = cls(run.records())
        found.run = run
        return found

    def to_pandas(self, transcripts: Transcripts = "redacted") -> Any:
        """Return a pandas DataFrame."""
        return frame([self.run], transcripts)

    def to_parquet(self, path: str | Path, transcripts: Transcripts = "redacted") -> int:
        """Write a Parquet file, or CSV, by the suffix; return how many rows."""
        return write_table([self.run], Path(path), transcripts)

    def __repr__(self) -> str:
        return f"{len(self)} records; .to_pandas() and .to_parquet(path) make a table"


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Summary]] = {
    "gap": GapSummary.read,
    "evaluate": EvaluationSummary.read,
    "skills": SkillsSummary.read,
    "train": TrainingSummary.read,
}


def finished(run: RunDir, config: ModelConfig | None = None) -> Run[Any]:
    """Return a run that has its summary. Raises RunError if it has none or one of another version of sirl."""
    try:
        summary = _READERS[run.kind](run.summary())
    except (KeyError, TypeError) as error:
        found = f"{run.path} holds no summary that this version reads ({error!r})"
        raise RunError(
            found, "a finished run of gap, train, evaluate or skills", "repeat its command"
        ) from error
    return Run(run.path, run.kind, summary, config or ModelConfig())


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _percent(share: Share) -> str:
    return "unknown" if share is None else f"{share:.1%}"
