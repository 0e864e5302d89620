"""Two raters -> how far they agree beyond chance: kappa with its interval, the confusion table, Fleiss' kappa.

Knows answers only, not who gave them. An item that either side left undecided is counted and enters no figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sirl.metrics.estimates import DRAWS, Floats, percentiles

_BLOCK = 1_000_000  # picks held in memory at once


def kappa(first: Sequence[bool | None], second: Sequence[bool | None]) -> float | None:
    """Return Cohen's kappa over the items that both decided: 1 agree on all, 0 as often as by chance.

    None if there is no such item, or both gave one and the same answer throughout: chance then explains all.
    Source: Cohen 1960.
    """
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    table = np.array([[sum(pair == (a, b) for pair in pairs) for b in (True, False)] for a in (True, False)])
    return _number(_kappas(table.reshape(1, 4).astype(float))[0])


def agreement(
    labels: Sequence[bool | None], verdicts: Sequence[bool | None], clusters: Sequence[str] | None = None
) -> dict[str, Any]:
    """Compare verdicts with people's labels: n, unscored, accuracy, precision, recall, f1, kappa, its interval.

    The 95 % interval is a bootstrap over `clusters` (None: each item by itself). `confusion` counts
    true_positive, false_positive, false_negative, true_negative; positive means yes. None: not defined.
    """
    names = list(clusters) if clusters is not None else [str(i) for i in range(len(labels))]
    rows = [
        (name, label, verdict)
        for name, label, verdict in zip(names, labels, verdicts, strict=True)
        if label is not None and verdict is not None
    ]
    order = {name: i for i, name in enumerate(sorted({row[0] for row in rows}))}
    table_C4 = np.zeros((len(order), 4))
    for name, label, verdict in rows:
        table_C4[order[name], 2 * (not label) + (not verdict)] += 1
    hit, miss, alarm, clear = (int(count) for count in table_C4.sum(axis=0))
    low, high = percentiles(_kappas(_resample(table_C4)))
    return {
        "n": len(rows),
        "unscored": len(labels) - len(rows),
        "accuracy": _share(hit + clear, len(rows)),
        "precision": _share(hit, hit + alarm),
        "recall": _share(hit, hit + miss),
        "f1": _share(2 * hit, 2 * hit + alarm + miss),
        "kappa": _number(_kappas(table_C4.sum(axis=0)[None])[0]),
        "kappa_low": low,
        "kappa_high": high,
        "confusion": {
            "true_positive": hit,
            "false_positive": alarm,
            "false_negative": miss,
            "true_negative": clear,
        },
    }


def fleiss_kappa(ratings: Sequence[Sequence[bool | None]]) -> float | None:
    """Return Fleiss' kappa of several raters, one sequence a rater, over the items that all of them decided.

    None if there is no such item, fewer than two raters, or one answer throughout. Source: Fleiss 1971.
    """
    items = [item for item in zip(*ratings, strict=True) if None not in item]
    if not items or len(ratings) < 2:
        return None
    raters = len(ratings)
    yes = np.array([sum(map(bool, item)) for item in items], dtype=float)
    agree = (yes * (yes - 1) + (raters - yes) * (raters - yes - 1)) / (raters * (raters - 1))
    share = yes.sum() / (raters * len(items))
    chance = share**2 + (1 - share) ** 2
    return None if chance == 1 else float((agree.mean() - chance) / (1 - chance))


def _kappas(table_R4: Floats) -> Floats:
    """Return kappa for each row of counts (yes-yes, yes-no, no-yes, no-no); NaN where it is not defined."""
    total = np.maximum(table_R4.sum(axis=1), 1)
    a, b, c, d = (table_R4 / total[:, None]).T
    chance = (a + b) * (a + c) + (c + d) * (b + d)
    kappas: Floats = np.full(len(table_R4), np.nan)
    np.divide(a + d - chance, 1 - chance, out=kappas, where=(chance < 1) & (table_R4.sum(axis=1) > 0))
    return kappas


def _resample(table_C4: Floats, seed: int = 0) -> Floats:
    """Draw clusters with replacement DRAWS times and add up their counts."""
    clusters = len(table_C4)
    if not clusters:
        return np.zeros((DRAWS, 4))
    rng = np.random.Generator(np.random.Philox(seed))
    size = max(1, _BLOCK // clusters)
    blocks = [
        table_C4[rng.integers(clusters, size=(min(size, DRAWS - start), clusters))].sum(axis=1)
        for start in range(0, DRAWS, size)
    ]
    return np.concatenate(blocks)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
