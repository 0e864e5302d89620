"""Numbers of several seeds -> their mean, and paired differences between two methods, with intervals.

The unit is the seed: one training run, however many replies were judged in it. An interval over seeds says how
far another run may lie, which an interval over the replies of one run cannot. What is not known is left out and
counted; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from sirl.metrics.estimates import Interval, t95

Ends = tuple[float, float]
SHARE: Ends = (0.0, 1.0)
_LINE: Ends = (-math.inf, math.inf)


def t_interval(values: Sequence[float], ends: Ends = _LINE) -> Interval:
    """Return the 95 % interval of a mean by Student's t, cut at the ends of the scale.

    (None, None) where no variance can be seen: fewer than two values, or all alike. Source: Student 1908.
    """
    if not _vary(values):
        return None, None
    ordered = sorted(values)  # floating sums depend on the order: fix it
    half = t95(len(ordered)) * stdev(ordered) / math.sqrt(len(ordered))
    return max(ends[0], fmean(ordered) - half), min(ends[1], fmean(ordered) + half)


def over_seeds(
    values: Mapping[int, float | None], ends: Ends = _LINE, within: Mapping[int, Interval] | None = None
) -> dict[str, Any]:
    """Return mean, low, high, n seeds and `unknown`, those whose value is None. No seed is known: None.

    `within` are the intervals over prompts of each seed's run. Where the seeds show no variance, being one or
    all alike, the widest of these stands for the interval, and `over` says so: "seeds", "prompts", or None
    where there is no interval. Equal seeds are not a certain value: they were asked the same few prompts.
    """
    known = [value for _, value in sorted(values.items()) if value is not None]
    low, high = t_interval(known, ends)
    over = None if low is None else "seeds"
    if known and low is None:
        low, high = _widest((within or {}).values())
        over = None if low is None else "prompts"
    mean = fmean(sorted(known)) if known else None
    told = {"mean": mean, "low": low, "high": high, "over": over}
    return told | {"n": len(known), "unknown": len(values) - len(known)}


def difference_over_seeds(
    values: Mapping[int, float | None],
    reference: Mapping[int, float | None],
    within: Mapping[int, tuple[Interval, Interval]] | None = None,
) -> dict[str, Any]:
    """Return the mean over seeds of value - reference, each pair of one seed: difference, low, high, n, over.

    `within` are the intervals over prompts of each seed's two runs. Where the differences show no variance,
    being one or all alike, the widest that these leave open stands for the interval, and `over` says so, as
    in `over_seeds`: it takes the two runs for unpaired, so it is too wide rather than too narrow. `unmatched`
    are the seeds that are known on one side at most.
    """
    seeds = values.keys() | reference.keys()
    pairs = {seed: (values.get(seed), reference.get(seed)) for seed in sorted(seeds)}
    matched = {s: one - two for s, (one, two) in pairs.items() if one is not None and two is not None}
    changes = list(matched.values())
    low, high = t_interval(changes)
    over = None if low is None else "seeds"
    if changes and low is None:
        low, high = _widest(_apart(*within[seed]) for seed in matched if within and seed in within)
        over = None if low is None else "prompts"
    mean = fmean(sorted(changes)) if changes else None
    return {
        "difference": mean,
        "low": low,
        "high": high,
        "over": over,
        "n": len(changes),
        "unmatched": len(seeds) - len(changes),
    }


def _apart(value: Interval, reference: Interval) -> Interval:
    """Return how far apart two figures may be that lie anywhere in their intervals."""
    (low, high), (below, above) = value, reference
    if low is None or high is None or below is None or above is None:
        return None, None
    return low - above, high - below


def _widest(intervals: Iterable[Interval]) -> Interval:
    """Return the interval that holds them all; (None, None) where there is none."""
    known = [(low, high) for low, high in intervals if low is not None and high is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else (None, None)


def _vary(values: Sequence[float]) -> bool:
    return len(values) > 1 and max(values) - min(values) > 1e-12
