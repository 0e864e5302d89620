"""Numbers -> estimates: Wilson, clustered and bootstrap intervals, exact tests, effect sizes.

Knows numbers only, not records. Items that share a prompt are not independent, so intervals take whole
prompts ("clusters"), with everything that belongs to them, for what was drawn. No input gives NaN: what
cannot be estimated is None. Every result is the same whatever the order of the input.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import special  # not scipy.stats: that looks for torch, and this room works without it

from sirl.records import Rate

Floats = npt.NDArray[np.float64]
Interval = tuple[float | None, float | None]
Row = tuple[str, str, float, int]  # cluster, column, sum of values, number of values

Z95 = 1.959963984540054  # the normal quantile of a two-sided 95 % interval
DRAWS = 2000
_BLOCK = 2_000_000  # picks held in memory at once


def wilson(hits: float, total: float) -> Interval:
    """Return the 95 % interval of a share. Nothing counted: (None, None). Source: Wilson 1927."""
    if total <= 0:
        return None, None
    share, zz = hits / total, Z95 * Z95
    centre = (share + zz / (2 * total)) / (1 + zz / total)
    half = Z95 * math.sqrt(share * (1 - share) / total + zz / (4 * total * total)) / (1 + zz / total)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def rate(answers: Sequence[bool | None], wanted: bool = True) -> Rate:
    """Count the answers that equal `wanted`, with the Wilson 95 % interval.

    None is counted as unscored and never scored. Use only where answers are independent.
    """
    scored = [answer for answer in answers if answer is not None]
    hits = sum(answer == wanted for answer in scored)
    return Rate(hits, len(scored), len(answers) - len(scored), *wilson(hits, len(scored)))


def clustered_rate(answers: Sequence[bool | None], clusters: Sequence[str], wanted: bool = True) -> Rate:
    """Count as `rate` does; the interval is of clusters when any of them has more than one answer."""
    plain = rate(answers, wanted)
    rows = [(c, "", float(a == wanted), 1) for a, c in zip(answers, clusters, strict=True) if a is not None]
    if len({row[0] for row in rows}) == len(rows):
        return plain
    return Rate(plain.hits, plain.total, plain.unscored, *share_interval(*cluster_sums(rows, [""])))


def cluster_sums(rows: Iterable[Row], columns: Sequence[str]) -> tuple[Floats, Floats]:
    """Add rows up to `sum_CK` and `count_CK`: C clusters in sorted order, K columns as given."""
    ordered = sorted(rows)  # floating sums depend on the order: fix it
    index_C = {name: i for i, name in enumerate(dict.fromkeys(row[0] for row in ordered))}
    index_K = {name: i for i, name in enumerate(columns)}
    sum_CK, count_CK = (np.zeros((len(index_C), len(columns))) for _ in range(2))
    for cluster, column, value, number in ordered:
        sum_CK[index_C[cluster], index_K[column]] += value
        count_CK[index_C[cluster], index_K[column]] += number
    return sum_CK, count_CK


def ratios(sum_RK: Floats, count_RK: Floats) -> Floats:
    """Divide sums by counts; NaN, for internal use only, where nothing was counted."""
    quotient: Floats = np.full(sum_RK.shape, np.nan)
    np.divide(sum_RK, count_RK, out=quotient, where=count_RK > 0)
    return quotient


def resample(sum_CK: Floats, count_CK: Floats, seed: int = 0) -> Floats:
    """Draw clusters with replacement and return `ratio_DK`: DRAWS x columns, NaN where nothing was drawn.

    Source: cluster bootstrap, Davison and Hinkley 1997, section 3.8.
    """
    clusters, columns = sum_CK.shape
    if clusters == 0:
        return np.full((DRAWS, columns), np.nan)
    rng = np.random.Generator(np.random.Philox(seed))
    both, blocks = np.hstack([sum_CK, count_CK]), []
    size = max(1, _BLOCK // clusters)
    for start in range(0, DRAWS, size):
        draws = min(size, DRAWS - start)
        picks = rng.integers(clusters, size=(draws, clusters)) + clusters * np.arange(draws)[:, None]
        times_DC = np.bincount(picks.ravel(), minlength=draws * clusters).reshape(draws, clusters)
        blocks.append(times_DC @ both)
    drawn = np.concatenate(blocks)
    return ratios(drawn[:, :columns], drawn[:, columns:])


def percentiles(draws_D: Floats) -> Interval:
    """Return the 2.5th and 97.5th percentile; None where the draws are missing or do not vary.

    Draws without a value are left out; if they are the majority there is no interval.
    """
    known = draws_D[~np.isnan(draws_D)]
    if len(known) * 2 <= len(draws_D) or np.ptp(known) <= 1e-12 * (1 + abs(float(known[0]))):
        return None, None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def share_interval(sum_CK: Floats, count_CK: Floats) -> Interval:
    """Return the 95 % interval of a share, or of the mean over columns of shares, from C clusters.

    Wilson's with the effective sample size, that of independent replies which would vary as the clusters do.
    Few clusters near the ends of the scale show too little of their variance: the design effect is estimated
    as if one cluster more had been seen, all of whose replies agree, and Student's t with C - 1 degrees stands
    for the normal quantile. Where every cluster agrees no variance can be seen at all; each then counts as one
    observation. Nothing counted: (None, None). Coverage by simulation: docs/metrics.md.
    Source: modified Wilson interval, Dean and Pagano 2015; effective size, Korn and Graubard 1998; the
    cluster more is ours.
    """
    clusters = len(sum_CK)
    point, variance = _clustered_mean(sum_CK, count_CK)
    if np.isnan(point):
        return None, None
    if not variance > 0:
        return wilson(point * clusters, clusters)
    replies_C = count_CK.sum(axis=1)
    replies = float(replies_C.sum())
    seen = max(1.0, variance * replies / (point * (1 - point)))
    design = (clusters * seen + float((replies_C**2).sum()) / replies) / (clusters + 1)
    effective = replies / design * (Z95 / t95(clusters)) ** 2
    return wilson(point * effective, effective)


def difference_interval(sum_C1: Floats, count_C1: Floats) -> Interval:
    """Return the 95 % interval of a mean of paired differences, from C clusters.

    Student's t on the variance between clusters; (None, None) where it cannot be seen: fewer than two
    clusters, or all alike. Source: clustered standard errors, Miller 2024 (arXiv 2411.00640).
    """
    mean, variance = _clustered_mean(sum_C1, count_C1)
    if not variance > 0:
        return None, None
    half = t95(len(sum_C1)) * math.sqrt(variance)
    return max(-1.0, mean - half), min(1.0, mean + half)


def t95(clusters: int) -> float:
    """Return Student's quantile of a two-sided 95 % interval, with clusters - 1 degrees of freedom."""
    return float(special.stdtrit(clusters - 1, 0.975))


def _clustered_mean(sum_CK: Floats, count_CK: Floats) -> tuple[float, float]:
    """Return the mean over columns of their ratios, and its variance by linearisation over clusters.

    The variance is 0 with fewer than two clusters or where rounding is all that varies. NaN: nothing counted.
    """
    total_K = count_CK.sum(axis=0)
    used = total_K > 0
    if not used.any():
        return math.nan, math.nan
    ratio_K = sum_CK[:, used].sum(axis=0) / total_K[used]
    pull_C = ((sum_CK[:, used] - ratio_K * count_CK[:, used]) / total_K[used]).mean(axis=1)
    clusters = len(sum_CK)
    variance = clusters / (clusters - 1) * float((pull_C**2).sum()) if clusters > 1 else 0.0
    return float(ratio_K.mean()), variance if variance > 1e-20 else 0.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values of one family so that the chance of any false finding stays below the level.

    None is no test: it takes no part and stays None. Source: Holm 1979.
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        adjusted[i] = highest
    return adjusted


def sign_flip_p(totals: Sequence[int]) -> float | None:
    """Return the exact two-sided p of "each cluster's total is as likely negative as positive".

    With one pair a cluster this is McNemar's exact test. None if there is no cluster at all.
    Source: Fisher's randomisation test; McNemar 1947. The null distribution is built by convolution.
    """
    if not totals:
        return None
    steps = sorted(abs(total) for total in totals if total)
    reach, observed = sum(steps), abs(sum(totals))
    weight = np.zeros(2 * reach + 1)
    weight[reach] = 1.0
    for step in steps:  # the ends stay empty until the last step, so rolling never wraps weight round
        weight = 0.5 * (np.roll(weight, step) + np.roll(weight, -step))
    far = np.abs(np.arange(-reach, reach + 1)) >= observed
    return float(min(1.0, weight[far].sum()))


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """Return the chance that a positive exceeds a negative, ties counting half. None if a group is empty."""
    if not len(positive) or not len(negative):
        return None
    low = np.sort(np.asarray(negative, dtype=float))
    below = np.searchsorted(low, positive, side="left") + np.searchsorted(low, positive, side="right")
    return float(below.sum()) / (2 * len(positive) * len(negative))


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the two-sided p of "neither group tends to be larger"; None if empty or constant.

    Exact for up to 8 a side without ties, else normal with tie correction. Takes every value as
    independent; the clustered interval beside it does not. Source: Mann and Whitney 1947.
    """
    both = sorted([*first, *second])
    if not len(first) or not len(second) or both[0] == both[-1]:
        return None
    m, n = len(first), len(second)
    wins = (auroc(first, second) or 0.0) * m * n  # the U statistic
    far = abs(wins - m * n / 2)
    if max(m, n) <= 8 and len(set(both)) == len(both):  # few enough to try every order of the two groups
        orders = [sum(places) - m * (m - 1) / 2 for places in combinations(range(m + n), m)]
        return sum(abs(u - m * n / 2) >= far - 1e-9 for u in orders) / len(orders)
    ties = np.unique(both, return_counts=True)[1].astype(float)
    spread = m * n / 12 * (m + n + 1 - float((ties**3 - ties).sum()) / ((m + n) * (m + n - 1)))
    z = max(0.0, far - 0.5) / math.sqrt(spread)  # half a step for continuity
    return float(min(1.0, 2 * special.ndtr(-z)))


def cohens_d(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return (mean of first - mean of second) / pooled standard deviation; None where that is 0 or unknown."""
    if min(len(first), len(second)) < 2:
        return None
    a, b = np.sort(np.asarray(first, dtype=float)), np.sort(np.asarray(second, dtype=float))
    pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2)
    return float((a.mean() - b.mean()) / math.sqrt(pooled)) if pooled > 0 else None
