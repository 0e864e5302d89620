"""Numbers -> estimates: Wilson and clustered intervals, exact tests, effect sizes.

Knows numbers only, not records. Items that share a prompt are not independent, so intervals take whole
prompts ("clusters"), with everything that belongs to them, for what was drawn. No input gives NaN: what
cannot be estimated is None. Every result is the same whatever the order of the input.

One variance serves every interval over clusters: CR2, the sum of squared pulls of the clusters, each enlarged
by 1 / sqrt(1 - its share of the replies), with Satterthwaite's degrees of freedom for Student's t. It holds
from five clusters on, also where one cluster has most of the replies; how that was checked is in
docs/metrics.md. Source: Bell and McCaffrey 2002; Pustejovsky and Tipton 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special  # not scipy.stats: that looks for torch, and this room works without it

from sirl.records import Rate

Floats = npt.NDArray[np.float64]
Interval = tuple[float | None, float | None]
Row = tuple[str, str, float, int]  # cluster, column, sum of values, number of values

Z95 = 1.959963984540054  # the normal quantile of a two-sided 95 % interval
DRAWS = 2000


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
    """Count as `rate` does; the interval is of clusters, `rate`'s where none has more than one answer."""
    plain = rate(answers, wanted)
    rows = [(c, "", float(a == wanted), 1) for a, c in zip(answers, clusters, strict=True) if a is not None]
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


def percentiles(draws_D: Floats) -> Interval:
    """Return the 2.5th and 97.5th percentile; None where the draws are missing or do not vary.

    Draws without a value are left out; if they are the majority there is no interval.
    """
    known = draws_D[~np.isnan(draws_D)]
    if len(known) * 2 <= len(draws_D) or np.ptp(known) <= 1e-12 * (1 + abs(float(known[0]))):
        return None, None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Clustered:
    """A weighted sum of the columns' means, its variance over clusters, and that variance's degrees of freedom.

    The variance is 0 where none can be seen: fewer than two clusters, or all alike.
    """

    value: float
    variance: float
    degrees: float

    @property
    def t(self) -> float:
        """Student's quantile of a two-sided 95 % interval."""
        return float(special.stdtrit(self.degrees, 0.975))

    @property
    def interval(self) -> Interval:
        """The 95 % interval by Student's t; (None, None) where no variance can be seen."""
        if not self.variance > 0:
            return None, None
        half = self.t * math.sqrt(self.variance)
        return self.value - half, self.value + half


def clustered(sum_CK: Floats, count_CK: Floats, weight_K: Sequence[float]) -> Clustered | None:
    """Estimate `weight_K` times the means of the columns; None if a column has no value.

    A column that stands on one cluster alone shows no variance between clusters, so the whole has none to show.

    Weights 1: a mean. Weights 1, -1: a difference of two means over the same clusters, of which each may have
    values in both columns or in one. Source: at the head of this module.
    """
    total_K = count_CK.sum(axis=0)
    if not total_K.size or not total_K.all():
        return None
    weights = np.asarray(weight_K, dtype=float)
    ratio_K, share_CK = sum_CK.sum(axis=0) / total_K, count_CK / total_K
    if share_CK.max() == 1:
        return Clustered(float(weights @ ratio_K), 0.0, 0.0)
    grown_CK = 1 / np.sqrt(1 - share_CK)
    pull_C = ((sum_CK - ratio_K * count_CK) / total_K * grown_CK * weights).sum(axis=1)
    variance = float((pull_C**2).sum())
    own_C = (weights**2 * grown_CK**2 * share_CK / total_K).sum(axis=1)
    shared_CK = weights * grown_CK * share_CK / np.sqrt(total_K)
    cross = float((own_C**2).sum() - 2 * (own_C @ (shared_CK**2).sum(axis=1)))
    cross += float(((shared_CK.T @ shared_CK) ** 2).sum())
    trace = float(own_C.sum() - (shared_CK**2).sum())
    seen = variance > 1e-20 and cross > 0
    degrees = trace**2 / cross if seen else 0.0
    return Clustered(float(weights @ ratio_K), variance if seen else 0.0, degrees)


def effective_counts(sum_CK: Floats, count_CK: Floats) -> tuple[float, float]:
    """Return a share, or the mean over columns of shares, and how many independent replies it is worth.

    Those are the replies that would vary as the clusters do. Few clusters near the ends of the scale show too
    little of their variance: the design effect is estimated as if one cluster more had been seen, all of whose
    replies agree, and the quantile of t stands for the normal one. Where every cluster agrees no variance can
    be seen at all; each then counts as one reply, as it does where it has one. Nothing counted: (0, 0).
    Source: effective size, Korn and Graubard 1998; the cluster more is ours.
    """
    used = count_CK.sum(axis=0) > 0
    sum_CK, count_CK = sum_CK[:, used], count_CK[:, used]
    found = clustered(sum_CK, count_CK, [1 / max(1, used.sum())] * int(used.sum()))
    if found is None:
        return 0.0, 0.0
    clusters, point = len(sum_CK), found.value
    if count_CK.shape[1] == 1 and count_CK.max() == 1:
        return point, float(clusters)  # one reply a cluster: nothing goes together
    if not found.variance > 0 or not 0 < point < 1:
        return point, float(clusters)
    replies_C = count_CK.sum(axis=1)
    replies = float(replies_C.sum())
    seen = max(1.0, found.variance * replies / (point * (1 - point)))
    design = (clusters * seen + float((replies_C**2).sum()) / replies) / (clusters + 1)
    return point, replies / design * (Z95 / found.t) ** 2


def share_interval(sum_CK: Floats, count_CK: Floats) -> Interval:
    """Return the 95 % interval of a share, or of the mean over columns of shares, from C clusters.

    Wilson's with the effective number of replies. Nothing counted: (None, None).
    Source: modified Wilson interval, Dean and Pagano 2015.
    """
    point, effective = effective_counts(sum_CK, count_CK)
    return wilson(point * effective, effective)


def difference_interval(sum_C1: Floats, count_C1: Floats) -> Interval:
    """Return the 95 % interval of a mean of paired differences between -1 and 1, from C clusters.

    Where no cluster differs from another no variance can be seen: the interval then reaches as far as a change
    of one reply in C could hide, by Wilson's upper end of none in C. Fewer than two clusters: (None, None).
    Source: clustered standard errors, Miller 2024 (arXiv 2411.00640).
    """
    found = clustered(sum_C1, count_C1, [1.0])
    if found is None or len(sum_C1) < 2:
        return None, None
    low, high = found.interval
    if low is None or high is None:
        hidden = wilson(0, len(sum_C1))[1] or 0.0
        low, high = found.value - hidden, found.value + hidden
    return max(-1.0, low), min(1.0, high)


FEWEST_FOR_RATIO = 3  # clusters with a success on each side


def ratio_of_totals(before_C: Sequence[float], after_C: Sequence[float]) -> dict[str, Any]:
    """Return how many times smaller a total of paired counts has become: times_fewer, low, high.

    Above 1 is fewer. The interval is of the logarithm, by linearisation over the clusters, with Student's t of
    as many degrees of freedom as clusters have a success on the rarer side, less one: a ratio is known as
    badly as its smaller count. With fewer than `FEWEST_FOR_RATIO` such clusters all three are None.
    Source: Woodruff 1971 (linearisation); the degrees of freedom are ours, see docs/metrics.md.
    """
    pairs = sorted(zip(before_C, after_C, strict=True))
    before, after = (np.array([pair[side] for pair in pairs], dtype=float) for side in (0, 1))
    fewest = int(min((before > 0).sum(), (after > 0).sum())) if pairs else 0
    if fewest < FEWEST_FOR_RATIO:
        return {"times_fewer": None, "low": None, "high": None}
    ratio, pull_C = before.sum() / after.sum(), before / before.sum() - after / after.sum()
    error = math.sqrt(len(pairs) / (len(pairs) - 1) * float((pull_C**2).sum()))
    reach = math.exp(float(special.stdtrit(fewest - 1, 0.975)) * error)
    return {"times_fewer": float(ratio), "low": float(ratio / reach), "high": float(ratio * reach)}


def lowest_share(counts: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """Return the lowest of several shares, whose it is, and a 95 % interval of the lowest true share.

    `counts` are attack -> (share, independent replies behind it). The lowest observed share of many is low by
    luck as well: the ends are the lowest of the Clopper-Pearson ends of all shares, each at the level that
    makes all of them hold at once (Bonferroni), so that the interval holds whichever is the lowest. Nothing:
    all None.
    Source: Clopper and Pearson 1934; Bonferroni 1936.
    """
    known = {name: pair for name, pair in sorted(counts.items()) if pair[1] > 0}
    if not known:
        return {"attack": None, "rate": None, "low": None, "high": None}
    level = 0.025 / len(known)
    ends = [_clopper_pearson(share, size, level) for share, size in known.values()]
    name = min(known, key=lambda one: known[one][0])
    low, high = (min(end[side] for end in ends) for side in (0, 1))
    return {"attack": name, "rate": known[name][0], "low": low, "high": high}


def _clopper_pearson(share: float, size: float, level: float) -> tuple[float, float]:
    hits = share * size
    low = float(special.betaincinv(hits, size - hits + 1, level)) if hits > 0 else 0.0
    high = float(special.betaincinv(hits + 1, size - hits, 1 - level)) if hits < size else 1.0
    return low, high


def t95(values: int) -> float:
    """Return Student's quantile of a two-sided 95 % interval, with values - 1 degrees of freedom."""
    return float(special.stdtrit(values - 1, 0.975))


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


def cohens_d(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return (mean of first - mean of second) / pooled standard deviation; None where that is 0 or unknown."""
    if min(len(first), len(second)) < 2:
        return None
    a, b = np.sort(np.asarray(first, dtype=float)), np.sort(np.asarray(second, dtype=float))
    pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2)
    return float((a.mean() - b.mean()) / math.sqrt(pooled)) if pooled > 0 else None
