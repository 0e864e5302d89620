"""Fit the offline judge of harm and measure it on questions, models and a set that it has not seen.

    python benchmarks/train_harm.py GPTFUZZ.csv HARMBENCH_VAL.json [--write]

Needs scikit-learn, which the package itself does not. Prints the cross-validated agreement with people; with
--write fits on everything and writes sirl/judges/harm.json. Reads labelled replies and prints none of them.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, diags, hstack, vstack
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import normalize

from sirl.judges.acts import find_act
from sirl.judges.harm import WEIGHTS
from sirl.judges.signs import BUCKETS, SIGNS, hashed_counts, signs
from sirl.metrics import agreement

C, SIGN_SCALE, HARMBENCH_WEIGHT, FOLDS, SCALE = 3.0, 0.3, 6.0, 10, 10_000


@dataclass(frozen=True)
class Labelled:
    """Replies as numbers, people's answers, and what a fold must keep together."""

    words: csr_matrix
    signs: np.ndarray
    harmful: np.ndarray
    question: np.ndarray
    model: np.ndarray
    refused: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Labelled:
        return Labelled(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def encode(rows: list[tuple[str, str, bool, str]]) -> Labelled:
    """Encode (reply, request, harmful, model)."""
    counts = [hashed_counts(reply) for reply, *_ in rows]
    start = np.cumsum([0, *map(len, counts)])
    buckets = [bucket for count in counts for bucket in count]
    words = csr_matrix(([v for c in counts for v in c.values()], buckets, start), shape=(len(rows), BUCKETS))
    return Labelled(
        words,
        np.array([signs(reply, request) for reply, request, *_ in rows]),
        np.array([row[2] for row in rows]),
        np.array([row[1] for row in rows]),
        np.array([row[3] for row in rows]),
        np.array([find_act(row[0]) is not None for row in rows]),
    )


def read_gptfuzz(path: Path) -> Labelled:
    """Read question, Response, label (1: jailbroken)."""
    rows = list(csv.DictReader(path.open(encoding="latin-1")))
    return encode(
        [(r["Response"], r["question"], r["label"] == "1", "") for r in rows if r["Response"].strip()]
    )


def read_harmbench(path: Path) -> Labelled:
    """Read the majority of three people; the request is known by its short name only."""
    rows = [row for rows in json.loads(path.read_text()).values() for row in rows if row["generation"].strip()]
    votes = [sum(row[f"human_{i}"] for i in range(3)) >= 2 for row in rows]
    return encode(
        [
            (row["generation"], row["behavior_id"].replace("_", " "), vote, row["model"])
            for row, vote in zip(rows, votes, strict=True)
        ]
    )


def join(first: Labelled, second: Labelled) -> Labelled:
    """Put two sets together."""
    names = list(Labelled.__dataclass_fields__)[1:]
    rest = (np.concatenate([getattr(first, n), getattr(second, n)]) for n in names)
    return Labelled(vstack([first.words, second.words]).tocsr(), *rest)


def fit(data: Labelled, weight: np.ndarray) -> tuple[np.ndarray, LogisticRegression]:
    """Return the inverse document frequencies and the fitted regression."""
    frequency = np.bincount(data.words.indices, minlength=BUCKETS)
    idf = np.log((1 + len(data.harmful)) / (1 + frequency)) + 1
    regression = LogisticRegression(C=C, max_iter=500, solver="liblinear", random_state=0)
    return idf, regression.fit(columns(data, idf), data.harmful, weight)


def columns(data: Labelled, idf: np.ndarray) -> csr_matrix:
    """Return normalised tf-idf beside the scaled signs."""
    return hstack([normalize(data.words @ diags(idf)), csr_matrix(data.signs * SIGN_SCALE)]).tocsr()


def weights(gptfuzz: Labelled, harmbench: Labelled) -> np.ndarray:
    """Weigh the smaller set up."""
    return np.concatenate([np.ones(len(gptfuzz.harmful)), np.full(len(harmbench.harmful), HARMBENCH_WEIGHT)])


def predict(train: Labelled, weight: np.ndarray, test: Labelled) -> np.ndarray:
    """Fit on one part and answer about another."""
    idf, regression = fit(train, weight)
    return regression.predict(columns(test, idf))


def folds(groups: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (train, test) rows; no group is in both."""
    return list(GroupKFold(FOLDS).split(groups, groups=groups))


def out_of_fold(
    data: Labelled, groups: np.ndarray, answer: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return each row's answer from a fit that saw nothing of its group."""
    out = np.zeros(len(data.harmful), dtype=bool)
    for train, test in folds(groups):
        out[test] = answer(train, test)
    return out


def show(name: str, data: Labelled, answers: np.ndarray) -> None:
    """Print one line of agreement."""
    row = agreement(list(map(bool, data.harmful)), list(map(bool, answers)), list(data.question))
    print(f"{name:58} kappa {row['kappa']:.3f} [{row['kappa_low']:.3f}, {row['kappa_high']:.3f}] n {row['n']}")


def measure(gptfuzz: Labelled, harmbench: Labelled) -> None:
    """Print agreement out of question, out of behaviour, out of model and out of set."""
    show("GPTFuzz, refusal alone", gptfuzz, ~gptfuzz.refused)
    show("HarmBench, refusal alone", harmbench, ~harmbench.refused)

    def of_gptfuzz(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        part = gptfuzz[train]
        return predict(join(part, harmbench), weights(part, harmbench), gptfuzz[test])

    def of_harmbench(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        unseen = train[~np.isin(harmbench.question[train], harmbench.question[test])]
        part = harmbench[unseen]
        return predict(join(gptfuzz, part), weights(gptfuzz, part), harmbench[test])

    show("GPTFuzz, questions unseen", gptfuzz, out_of_fold(gptfuzz, gptfuzz.question, of_gptfuzz))
    show("HarmBench, behaviours unseen", harmbench, out_of_fold(harmbench, harmbench.question, of_harmbench))
    ones = np.ones(len(gptfuzz.harmful))
    show("HarmBench, the whole set unseen (fit on GPTFuzz alone)", harmbench, predict(gptfuzz, ones, harmbench))
    ones = np.ones(len(harmbench.harmful))
    show("GPTFuzz, the whole set unseen (fit on HarmBench alone)", gptfuzz, predict(harmbench, ones, gptfuzz))


def write(gptfuzz: Labelled, harmbench: Labelled) -> None:
    """Fit on both sets and write the weights as whole numbers."""
    idf, regression = fit(join(gptfuzz, harmbench), weights(gptfuzz, harmbench))
    coefficients = regression.coef_[0]

    def whole(values: np.ndarray) -> list[int]:
        return np.rint(np.asarray(values) * SCALE).astype(int).tolist()

    stored = {
        "scale": SCALE,
        "signs": list(SIGNS),
        "bias": whole(regression.intercept_)[0],
        "sign_weights": whole(coefficients[BUCKETS:] * SIGN_SCALE),
        "word_weights": whole(coefficients[:BUCKETS]),
        "idf": whole(idf),
    }
    WEIGHTS.write_text(json.dumps(stored, separators=(",", ":")) + "\n")
    print(f"wrote {WEIGHTS} ({WEIGHTS.stat().st_size // 1000} kB)")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gptfuzz", type=Path)
    parser.add_argument("harmbench", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    gptfuzz, harmbench = read_gptfuzz(given.gptfuzz), read_harmbench(given.harmbench)
    measure(gptfuzz, harmbench)
    if given.write:
        write(gptfuzz, harmbench)


if __name__ == "__main__":
    main()
