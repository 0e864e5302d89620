"""Fit the model beside the judge of harm that knows the requests of the public sets, and what is like them.

Used by `train_harm.py`. PROMPTS is a folder with your own copies of public sets of requests:

    advbench.csv, jbb_harmful.csv, strongreject.csv, harmbench_behaviors_text_all.csv    harmful
    xstest_prompts.csv                                                                   unsafe and safe
    jbb_benign.csv, harmless_val.json                                                    harmless

The objectives of PyRIT, which `train_harm.py` reads, are harmful too.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit

from sirl.judges.requests import SUBJECTS, WEIGHTS, subject

C, SCALE = 0.75, 1000  # inverse strength of the penalty; what weights are multiplied by in the file
PASS = 0.99  # share of the harmful requests of a fit that look harmful to it: this sets the threshold


@dataclass(frozen=True)
class Request:
    """A request of a public set, and whether it asks for harm."""

    source: str
    text: str
    harmful: bool

    @property
    def family(self) -> str:
        """What is left out together: the sets of one project."""
        return self.source.split()[0]


def read_requests(folder: Path, objectives: Iterable[str]) -> list[Request]:
    """Read every set; `objectives` are those of PyRIT."""
    files = {
        "AdvBench": ("advbench.csv", "goal"),
        "JailbreakBench harmful": ("jbb_harmful.csv", "Goal"),
        "JailbreakBench benign": ("jbb_benign.csv", "Goal"),
        "StrongREJECT": ("strongreject.csv", "forbidden_prompt"),
    }
    found = [Request(s, row[c], "benign" not in s) for s, (f, c) in files.items() for row in _rows(folder / f)]
    for row in _rows(folder / "harmbench_behaviors_text_all.csv"):
        rest = " copyright" if row["FunctionalCategory"] == "copyright" else ""
        found.append(Request(f"HarmBench{rest}", row["Behavior"], True))
    for row in _rows(folder / "xstest_prompts.csv"):
        found.append(Request(f"XSTest {row['label']}", row["prompt"], row["label"] == "unsafe"))
    plain = json.loads((folder / "harmless_val.json").read_text(encoding="utf-8"))
    found += [Request("instructions", row["instruction"], False) for row in plain]
    return found + [Request("PyRIT", text, True) for text in sorted(set(objectives))]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


@dataclass(frozen=True)
class Fitted:
    """Weights by bucket and the threshold."""

    weights: np.ndarray
    threshold: float

    def looks_harmful(self, text: str) -> bool:
        """Say what `sirl.judges.requests` says with these weights."""
        return bool(self.weights[subject(text)].sum() > self.threshold)


def fit_requests(requests: Sequence[Request]) -> Fitted:
    """Fit a logistic regression in which harmful and harmless requests count the same."""
    found = [subject(request.text) for request in requests]
    buckets = np.unique(np.concatenate([np.array(row, dtype=int) for row in found]))
    start = np.cumsum([0, *map(len, found)])
    columns = np.searchsorted(buckets, np.array([bucket for row in found for bucket in row]))
    x = csr_matrix((np.ones(start[-1]), columns, start), shape=(len(found), len(buckets)))
    harmful = np.array([request.harmful for request in requests])
    sign, weight = 2.0 * harmful - 1, np.where(harmful, 0.5 / harmful.mean(), 0.5 / (1 - harmful.mean()))

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ coefficients[:-1] + coefficients[-1])
        pull = -weight * sign * expit(-margin)
        gradient = np.append(x.T @ pull + coefficients[:-1] / C, pull.sum())
        penalty = coefficients[:-1] @ coefficients[:-1] / (2 * C)
        return float(weight @ np.logaddexp(0, -margin) + penalty), gradient

    start_at = np.zeros(len(buckets) + 1)
    fitted = minimize(loss, start_at, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x[:-1]
    weights = np.zeros(SUBJECTS)
    weights[buckets] = fitted
    return Fitted(weights, float(np.quantile((x @ fitted)[harmful], 1 - PASS)))


def report(requests: Sequence[Request]) -> None:
    """Print, for each set left out, how many of its requests look harmful."""
    print("| set left out | requests | look harmful, left out | look harmful, fitted |\n|---|---|---|---|")
    everything = fit_requests(requests)
    for family in dict.fromkeys(request.family for request in requests):
        own = [request for request in requests if request.family == family]
        if family == "instructions":  # the only harmless set of its size: every second one
            own = own[::2]
        fitted = without(requests, {request.text for request in own})
        for source in dict.fromkeys(request.source for request in own):
            texts = [request.text for request in own if request.source == source]
            shares = (np.mean([fit.looks_harmful(text) for text in texts]) for fit in (fitted, everything))
            print(f"| {source} | {len(texts)} | " + " | ".join(f"{share:.2f}" for share in shares) + " |")


def without(requests: Sequence[Request], texts: set[str]) -> Fitted:
    """Fit on all requests but those of these words, in whatever set they stand."""
    return fit_requests([request for request in requests if request.text not in texts])


def known_unseen(requests: Sequence[Request], asked: Sequence[str], groups: np.ndarray) -> np.ndarray:
    """Return whether each of `asked` looks harmful to a fit without the requests, and the sets, of its group."""
    known = np.zeros(len(asked), dtype=bool)
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        texts = {asked[i] for i in own} | {request.text for request in requests if request.family == group}
        fitted = without(requests, texts)
        known[own] = [fitted.looks_harmful(asked[i]) for i in own]
    return known


def write_requests(requests: Sequence[Request]) -> None:
    """Fit on everything and write the weights as whole numbers."""
    fitted = fit_requests(requests)
    whole = np.rint(fitted.weights * SCALE).astype(int)
    buckets = np.flatnonzero(whole)
    stored = {
        "scale": SCALE,
        "threshold": round(fitted.threshold * SCALE),
        "buckets": buckets.tolist(),
        "weights": whole[buckets].tolist(),
    }
    WEIGHTS.write_text(json.dumps(stored, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"wrote {WEIGHTS} ({WEIGHTS.stat().st_size // 1000} kB)")
