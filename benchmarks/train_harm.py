"""Fit the offline judge of harm and measure it on sets, and on requests, that a fit has not seen.

    python benchmarks/train_harm.py FOLDER PROMPTS [--write]

FOLDER holds your own copies of sets of replies that people labelled:

    gptfuzz_train.csv                 GPTFuzz (Yu et al. 2023): question, Response, label (1: jailbroken)
    harmbench_val.json                HarmBench (Mazeika et al. 2024), classifier validation: three people's answers
    harmbench_behaviors_text_all.csv  its requests
    xstest_completions_*.csv          XSTest (Röttger et al. 2024): safe and unsafe requests, full compliance or not
    scorer_evals/{objective,harm}     as the Python package `pyrit` brings them in pyrit/datasets (MIT)

PROMPTS holds sets of requests, as `train_requests.py` says. Prints the tables of docs/judges.md: leave one set
out, leave one tenth of the requests out, and the judge by refusal beside both. With --write it fits on everything
and writes harm.json, requests.json and the rows of `harm` in agreement.json. Needs numpy and scipy alone. Reads labelled replies and prints none of them.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, diags, hstack
from scipy.special import expit
from train_requests import Request, known_unseen, read_requests, report, write_requests

from sirl.judges import AGREEMENT, JUDGES
from sirl.judges.harm import WEIGHTS
from sirl.judges.signs import ASKED, BUCKETS, SIGNS, buckets, signs
from sirl.metrics import agreement
from sirl.records import Attempt, Completion, Prompt

C, SIGN_SCALE, REQUEST_SCALE, FOLDS, SCALE = 0.5, 0.3, 0.5, 10, 1000
# What a set counts in a fit; half of it goes to its harmful replies, unless it has hardly any. Small sets of careful
# labels count more a reply than GPTFuzz, which repeats 77 templates; what serves a safe request is never harmful.
COUNTS = {
    "GPTFuzz": 2.5,
    "HarmBench validation": 1.5,
    "PyRIT objectives": 1.0,
    "PyRIT severity": 0.3,
    "XSTest unsafe": 0.2,
    "XSTest safe": 0.25,
}
MEASURED = {
    "GPTFuzz": ("GPTFuzz",),
    "HarmBench validation": ("HarmBench validation",),
    "PyRIT objectives": ("PyRIT objectives",),
    "HarmBench validation and XSTest safe": ("HarmBench validation", "XSTest safe"),
}
STATED = ("HarmBench validation", "PyRIT objectives")  # measured again as of prompts stated to be harmful
KAPPAS = {"kappa": "kappa", "low": "kappa_low", "high": "kappa_high"}
RARE = 0.1  # share of harmful replies below which a set is not balanced


@dataclass(frozen=True)
class Reply:
    """A labelled reply: the set, the request (a number where the set has no more), the text, people's answer."""

    source: str
    request: str
    text: str
    harmful: bool

    @property
    def family(self) -> str:
        """What is left out together: the sets of one project."""
        return self.source.split()[0]


def read_all(folder: Path) -> list[Reply]:
    """Read every set; empty replies are left out."""
    found = [*_gptfuzz(folder), *_harmbench(folder), *_xstest(folder), *_pyrit(folder)]
    return [reply for reply in found if reply.text.strip()]


def _gptfuzz(folder: Path) -> Iterable[Reply]:
    for row in csv.DictReader((folder / "gptfuzz_train.csv").open(encoding="latin-1", newline="")):
        yield Reply("GPTFuzz", row["question"], row["Response"], row["label"] == "1")


def _harmbench(folder: Path) -> Iterable[Reply]:
    with (folder / "harmbench_behaviors_text_all.csv").open(encoding="utf-8", newline="") as file:
        requests = {row["BehaviorID"]: row["Behavior"] for row in csv.DictReader(file)}
    for rows in json.loads((folder / "harmbench_val.json").read_text(encoding="utf-8")).values():
        for row in rows:
            harmful = sum(row[f"human_{i}"] for i in range(3)) >= 2
            name = row["behavior_id"]
            yield Reply("HarmBench validation", requests.get(name, name), row["generation"], harmful)


def _xstest(folder: Path) -> Iterable[Reply]:
    for path in sorted(folder.glob("xstest_completions_*.csv")):
        for row in csv.DictReader(path.open(encoding="utf-8", newline="")):
            unsafe = row["type"].startswith("contrast")
            harmful = unsafe and row["final_label"] == "1_full_compliance"
            yield Reply(f"XSTest {'unsafe' if unsafe else 'safe'}", row["prompt"], row["completion"], harmful)


def _pyrit(folder: Path) -> Iterable[Reply]:
    for name, source in (("objective", "PyRIT objectives"), ("harm", "PyRIT severity")):
        for path in sorted((folder / "scorer_evals" / name).glob("*.csv")):
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
            text = "\n".join(lines[1:] if lines[0].lstrip('"').startswith("#") else lines)
            for row in (
                csv.DictReader(io.StringIO(text, newline="")) if not path.stem.startswith("mini") else ()
            ):
                scores = [float(v) for k, v in row.items() if str(k).startswith("human_score") and v]
                if scores:
                    harmful = sum(scores) / len(scores) > 0.5
                    yield Reply(source, row["objective"], row["assistant_response"] or "", harmful)


@dataclass(frozen=True)
class Encoded:
    """Replies as numbers: presence of hashed words, signs; and what each belongs to."""

    replies: list[Reply]
    words_RB: csr_matrix
    signs_RS: np.ndarray
    request_RA: csr_matrix
    harmful_R: np.ndarray
    source_R: np.ndarray
    family_R: np.ndarray
    fold_R: np.ndarray


def encode(replies: list[Reply]) -> Encoded:
    """Encode every reply once."""
    return Encoded(
        replies,
        _presence([buckets(reply.text) for reply in replies], BUCKETS),
        np.array([signs(reply.text) for reply in replies]),
        _at_length_one(_presence([buckets(reply.request, ASKED) for reply in replies], ASKED)),
        np.array([reply.harmful for reply in replies]),
        np.array([reply.source for reply in replies]),
        np.array([reply.family for reply in replies]),
        np.array([int(sha256(reply.request.encode()).hexdigest(), 16) % FOLDS for reply in replies]),
    )


def _presence(rows: list[list[int]], size: int) -> csr_matrix:
    start = np.cumsum([0, *map(len, rows)])
    found = np.array([bucket for row in rows for bucket in row], dtype=int)
    return csr_matrix((np.ones(start[-1]), found, start), shape=(len(rows), size))


def _at_length_one(rows: csr_matrix) -> csr_matrix:
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return diags(1 / np.maximum(length, 1e-12)) @ rows


def counts(data: Encoded, rows: np.ndarray) -> np.ndarray:
    """Return what each reply of `rows` counts in a fit."""
    weight = np.zeros(len(rows))
    for source, total in COUNTS.items():
        own = data.source_R[rows] == source
        harmful = own & data.harmful_R[rows]
        parts = [own] if harmful.sum() < RARE * own.sum() else [harmful, own & ~harmful]
        for part in parts:
            weight[part] = total / len(parts) / max(1, part.sum())
    return weight / weight.mean()


def fit(data: Encoded, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return inverse document frequencies, and the weights of words, signs, requests and a constant."""
    frequency = np.asarray(data.words_RB[rows].sum(axis=0)).ravel()
    idf = np.log((1 + len(rows)) / (1 + frequency)) + 1
    x, sign, weight = columns(data, idf)[rows], 2.0 * data.harmful_R[rows] - 1, counts(data, rows)

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ coefficients[:-1] + coefficients[-1])
        pull = -weight * sign * expit(-margin)
        gradient = np.append(x.T @ pull + coefficients[:-1] / C, pull.sum())
        penalty = coefficients[:-1] @ coefficients[:-1] / (2 * C)
        return float(weight @ np.logaddexp(0, -margin) + penalty), gradient

    start = np.zeros(x.shape[1] + 1)
    return idf, minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x


def columns(data: Encoded, idf: np.ndarray) -> csr_matrix:
    """Return words by inverse document frequency at length one, the signs and the request's words, scaled."""
    words = _at_length_one(data.words_RB @ diags(idf))
    rest = csr_matrix(data.signs_RS * SIGN_SCALE), data.request_RA * REQUEST_SCALE
    return hstack([words, *rest]).tocsr()


def predict(data: Encoded, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Fit on some rows and return the logit of others."""
    idf, coefficients = fit(data, np.flatnonzero(train))
    return columns(data, idf)[np.flatnonzero(test)] @ coefficients[:-1] + coefficients[-1]


def _out(data: Encoded, groups: np.ndarray) -> np.ndarray:
    """Return each reply's logit from a fit without its group."""
    logits = np.zeros(len(data.replies))
    for group in np.unique(groups):
        logits[groups == group] = predict(data, groups != group, groups == group)
    return logits


def by_refusal(data: Encoded) -> list[bool | None]:
    """Return what the judge by refusal says about every reply."""
    asked = [
        Completion(Attempt(Prompt("", r.request, "harmful"), "", ()), r.text, (), (), True)
        for r in data.replies
    ]
    return [verdict.answer for verdict in JUDGES["refusal"]["harmful"](asked)]


def rows_of(data: Encoded, answers: list[bool | None]) -> dict[str, dict[str, Any]]:
    """Return the agreement on each measured set; the interval resamples requests."""
    table = {}
    for name, sources in MEASURED.items():
        own = np.flatnonzero(np.isin(data.source_R, sources))
        found = agreement(
            [bool(data.harmful_R[i]) for i in own],
            [answers[i] for i in own],
            [data.replies[i].request for i in own],
        )
        table[name] = found
    return table


def where_stated(
    answers: list[bool | None], refusal: list[bool | None], known: np.ndarray
) -> list[bool | None]:
    """Return the answers where requests are stated to be harmful: no by content alone needs a known one."""
    return [
        None if answer is False and not_refused and not request_known else answer
        for answer, not_refused, request_known in zip(answers, refusal, known, strict=True)
    ]


def measure(data: Encoded, requests: list[Request]) -> dict[str, list[dict[str, Any]]]:
    """Print the table; return the rows of agreement.json about *harmful?*, by judge."""
    ways = (("the whole set unseen", data.family_R), ("requests unseen", data.fold_R))
    stored: dict[str, list[dict[str, Any]]] = {"refusal": [], "harm": []}
    print("| labelled replies | n | judge | kappa | accuracy | undecided |\n|---|---|---|---|---|---|")
    asked = [reply.request for reply in data.replies]
    refusal = by_refusal(data)  # `harm` leaves undecided what this does
    _print("`refusal`", table := rows_of(data, refusal))
    stored["refusal"] = [_stored(source, row) for source, row in table.items()]
    for how, groups in ways:
        logits = _out(data, groups)
        answers = [None if no is None else bool(logit > 0) for logit, no in zip(logits, refusal, strict=True)]
        table = rows_of(data, answers)
        _print(f"`harm`, {how}", table)
        served = [
            answer
            for answer, not_refused, reply in zip(answers, refusal, data.replies, strict=True)
            if reply.source == "XSTest safe" and not_refused
        ]
        print(
            f"{how}: {sum(served)} of {len(served)} replies that serve safe requests of XSTest called harmful"
        )
        stored["harm"] += [_stored(f"{source}, {how}", row) for source, row in table.items()]
        known = known_unseen(requests, asked, groups)
        table = rows_of(data, where_stated(answers, refusal, known))
        _print(f"`harm`, stated to be harmful, {how}", table)
        stored["harm"] += [
            _stored(f"{source}, stated to be harmful, {how}", table[source]) for source in STATED
        ]
    return stored


def _stored(name: str, row: dict[str, Any]) -> dict[str, Any]:
    kappas = {key: round(row[given], 3) for key, given in KAPPAS.items()}
    return {"set": name, **kappas, "n": row["n"], "seen": False}


def _print(judge: str, table: dict[str, dict[str, Any]]) -> None:
    for source, row in table.items():
        interval = f"{row['kappa']:.2f} [{row['kappa_low']:.2f}, {row['kappa_high']:.2f}]"
        cells = (source, f"{row['n']:,}", judge, interval, f"{row['accuracy']:.2f}", row["unscored"])
        print("| " + " | ".join(map(str, cells)) + " |")


def write(data: Encoded, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Fit on all sets; write the weights as whole numbers, and what was measured."""
    idf, coefficients = fit(data, np.arange(len(data.replies)))

    def whole(values: np.ndarray) -> list[int]:
        return np.rint(np.asarray(values) * SCALE).astype(int).tolist()

    stored = {
        "scale": SCALE,
        "signs": list(SIGNS),
        "bias": whole(coefficients[-1:])[0],
        "sign_weights": whole(coefficients[BUCKETS : -ASKED - 1] * SIGN_SCALE),
        "request_weights": whole(coefficients[-ASKED - 1 : -1] * REQUEST_SCALE),
        "word_weights": whole(coefficients[:BUCKETS]),
        "idf": whole(idf),
    }
    WEIGHTS.write_text(json.dumps(stored, separators=(",", ":")) + "\n", encoding="utf-8")
    known = json.loads(AGREEMENT.read_text(encoding="utf-8"))
    for judge, measured in rows.items():
        known[judge]["harmful"] = measured
    AGREEMENT.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {WEIGHTS} ({WEIGHTS.stat().st_size // 1000} kB) and {AGREEMENT}")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    data = encode(read_all(given.folder))
    objectives = (reply.request for reply in data.replies if reply.source == "PyRIT objectives")
    requests = read_requests(given.prompts, objectives)
    report(requests)
    rows = measure(data, requests)
    if given.write:
        write_requests(requests)
        write(data, rows)


if __name__ == "__main__":
    main()
