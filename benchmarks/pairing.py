"""What the benchmarks share: two sides timed in turns, a ratio with its spread, a table, a JSON file.

A ratio of two times from one run means something on another machine; a time alone does not. The sides take
turns, so that a busy machine slows both, and each round gives one ratio.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import torch

from sirl.workflows.demo import product_seconds

Side = Callable[[], object]


@dataclass(frozen=True)
class Claim:
    """One row: what was compared with what, the ratio (ours / theirs), and what we aim at."""

    what: str
    peer: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    low: float  # quartiles of the rounds' ratios
    high: float
    rounds: int
    aim: str

    @property
    def line(self) -> str:
        """Return the row as Markdown."""
        figures = (
            f"{self.ours:.3g} | {self.theirs:.3g} | **{self.ratio:.2f}** [{self.low:.2f}, {self.high:.2f}]"
        )
        return f"| {self.what} | {self.peer} | {self.unit} | {figures} | {self.rounds} | {self.aim} |"


HEAD = """| claim | peer | unit | ours | theirs | ratio [quartiles] | rounds | aim |
|---|---|---|---:|---:|---:|---:|---|"""


def seconds(side: Side) -> float:
    """Return how long one call takes."""
    start = perf_counter()
    side()
    return perf_counter() - start


def timed(what: str, peer: str, ours: Side, theirs: Side, rounds: int, aim: str, unit: str = "s") -> Claim:
    """Time two sides in turns after one call each to warm up; return the claim, in seconds."""
    ours(), theirs()
    pairs = []
    for number in range(rounds):
        first, second = (ours, theirs) if number % 2 == 0 else (theirs, ours)
        one, other = seconds(first), seconds(second)
        pairs.append((one, other) if number % 2 == 0 else (other, one))
    return claim(what, peer, pairs, aim, unit)


def claim(what: str, peer: str, pairs: list[tuple[float, float]], aim: str, unit: str) -> Claim:
    """Return the claim of pairs (ours, theirs), one a round."""
    ratios = [ours / theirs for ours, theirs in pairs]
    low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
    ours, theirs = (median(side) for side in zip(*pairs, strict=True))
    return Claim(what, peer, unit, ours, theirs, median(ratios), low, high, len(pairs), aim)


def machine() -> Mapping[str, object]:
    """Describe the machine, with the time of a fixed matrix product on it, to which times may be related."""
    names = ("torch", "transformers", "trl", "peft")
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "matrix_product_gflops": round(2 * 1024**3 / product_seconds() / 1e9, 1),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def report(name: str, claims: list[Claim], out: Path) -> None:
    """Print the table and write OUT/NAME.json."""
    about = machine()
    print("\n".join([f"{name}: {json.dumps(about)}", "", HEAD, *(one.line for one in claims), ""]), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    told = {"machine": about, "claims": [asdict(one) for one in claims]}
    (out / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
