"""A run that may still be at work -> how far it is: what is on disk, read on from where it was read to.

Whether its process lives cannot be told from a folder; when it last wrote can.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sirl.errors import RunError
from sirl.reporting.training import CURVES, show
from sirl.rundir import RECORDS, SCORES, STEPS, SUMMARY, RunDir
from sirl.rundir.lines import each_line, json_object

FILES = {"train": (STEPS, "steps"), "skills": (SCORES, "documents")}  # of other kinds: records
_TOLD = ("reward", "divergence", "entropy", "kl", "refusal_probe", "benign_probe")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    done, total  in the unit named, as far as has been read; total 0: not known
    latest       what training logged last, in words; empty of other kinds
    written      when it last wrote, in seconds since 1970
    finished     whether it has written its summary
    """

    done: int
    total: int
    unit: str
    latest: str
    written: float
    finished: bool

    @property
    def note(self) -> str:
        """Say what was logged last, and how long nothing has come if that is more than a minute."""
        silent = time.time() - self.written
        told = [self.latest] if self.latest else []
        if not self.finished and silent > 60:
            told.append(f"nothing written for {silent / 60:.0f} min")
        return "; ".join(told)


@dataclass(slots=True)
class Follower:
    """Counts what a run has written; each call of `progress` reads what came since the last."""

    run: RunDir
    _file: int = 0  # what tells the file from another of its name
    _at: int = 0
    _lines: int = 0
    _latest: dict[str, Any] = field(default_factory=dict)

    def progress(self, seconds: float = math.inf) -> Progress:
        """Return how far the run is now, reading for at most so long. Raises RunError on a damaged file."""
        name, unit = FILES.get(self.run.kind, (RECORDS, "replies"))
        stamp = self.run.stamp(name)
        if stamp:
            self._follow(name, *stamp[:2], time.monotonic() + seconds)
        total = self.run.expected(name) or 0
        done = self._lines
        if name == STEPS:
            done, total = _whole(self._latest.get("step")), _steps(self.run.config)
        last = max((s[2] for n in (name, "config.json", SUMMARY) if (s := self.run.stamp(n))), default=0.0)
        finished = self.run.stamp(SUMMARY) is not None
        known = {name: self._latest[name] for name in _TOLD if _finite(self._latest.get(name))}
        told = [f"{CURVES[name][0].lower()} {show(name, value)}" for name, value in known.items()]
        return Progress(done, total, unit, "; ".join(told), last, finished)

    def _follow(self, name: str, file: int, size: int, end: float) -> None:
        if file != self._file or size < self._at:  # replaced, as by a run that is continued
            self._file, self._at, self._lines = file, 0, 0
            self._latest.clear()
        path = self.run.path / name
        try:
            for at, line in each_line(path, self._at):
                self._at = at + len(line)
                self._lines += 1
                if name == STEPS:
                    row = json_object(line, f"the line at byte {at} of {path}", "remove that line")
                    self._latest |= {key: value for key, value in row.items() if value is not None}
                if time.monotonic() > end:
                    return
        except OSError as error:
            raise RunError(f"{path} cannot be read ({error})", "a file of a run", "try again") from error


def _steps(config: Mapping[str, Any]) -> int:
    settings = config.get("train")
    return _whole(settings.get("steps")) if isinstance(settings, Mapping) else 0


def _whole(value: Any) -> int:
    return int(value) if _finite(value) and 0 <= value < 10**12 else 0


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < math.inf
