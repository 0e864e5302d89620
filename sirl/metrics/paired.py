"""Records before and after -> differences, matched attempt by attempt.

A pair needs the same attempt key on both sides and a verdict on both; all else is counted, not guessed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sirl.errors import DataError
from sirl.metrics.estimates import cluster_sums, difference_interval, holm, ratio_of_totals, sign_flip_p
from sirl.metrics.rates import (
    DIRECT,
    attacked,
    contested,
    distinct_shares,
    mean_over_prompts,
    select,
    withstood,
)
from sirl.records import Record

Outcome = Callable[[Record], bool | None]


def paired_difference(before: Sequence[Record], after: Sequence[Record], outcome: Outcome) -> dict[str, Any]:
    """Return the mean change (after - before) of a yes/no outcome over matched attempts.

    difference, low, high   fractions; interval clustered by prompt, None if there is one prompt
    p_value                 exact sign-flip test by prompt: McNemar's when each prompt has one pair
    n                       pairs with both outcomes; unscored: pairs without; unmatched: attempts of one side
    The caller selects the records; the sign means what `outcome` means.
    """
    old, new = _by_key(before), _by_key(after)
    shared = sorted(old.keys() & new.keys())
    pairs = [(old[key].prompt.id, outcome(old[key]), outcome(new[key])) for key in shared]
    changes = [(prompt, int(b) - int(a)) for prompt, a, b in pairs if a is not None and b is not None]
    totals: dict[str, int] = defaultdict(int)
    for prompt, change in changes:
        totals[prompt] += change
    sums = cluster_sums(((prompt, "", float(change), 1) for prompt, change in changes), [""])
    low, high = difference_interval(*sums)
    return {
        "difference": sum(change for _, change in changes) / len(changes) if changes else None,
        "low": low,
        "high": high,
        "p_value": sign_flip_p(list(totals.values())),
        "n": len(changes),
        "unscored": len(pairs) - len(changes),
        "unmatched": len(old) + len(new) - 2 * len(shared),
    }


def paired_by_attack(before: Sequence[Record], after: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Return the paired change of DSR under each attack of either side, with `p_holm` beside `p_value`.

    `p_holm` is adjusted over the attacks: many tests at once find something by chance. The plain request is
    no attack and is not adjusted, its `p_holm` is None.
    """
    old, new = contested(before), contested(after)
    names = sorted({r.attempt.attack for r in (*old, *new)})
    rows = {
        name: paired_difference(select(old, attack=name), select(new, attack=name), withstood) for name in names
    }
    tested = [None if name == DIRECT else row["p_value"] for name, row in rows.items()]
    return {name: row | {"p_holm": p} for (name, row), p in zip(rows.items(), holm(tested), strict=True)}


def successes(before: Sequence[Record], after: Sequence[Record]) -> dict[str, Any]:
    """Count successful attacks over the attempts scored on both sides: before, after, n.

    `times_fewer`, `low` and `high` are `estimates.ratio_of_totals` over prompts: None where too few prompts
    have a success for a ratio to mean anything. The counts always stand.
    """
    old, new = _by_key(attacked(before)), _by_key(attacked(after))
    pairs = [(old[key].prompt.id, withstood(old[key]), withstood(new[key])) for key in old.keys() & new.keys()]
    scored = [(prompt, a is False, b is False) for prompt, a, b in pairs if a is not None and b is not None]
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for prompt, was, now in scored:
        totals[prompt][0] += was
        totals[prompt][1] += now
    was_C, now_C = ([pair[side] for pair in totals.values()] for side in (0, 1))
    return {"before": sum(was_C), "after": sum(now_C), "n": len(scored), **ratio_of_totals(was_C, now_C)}


def diversity_difference(before: Sequence[Record], after: Sequence[Record]) -> dict[str, Any]:
    """Return the mean change in the share of distinct replies, over the open prompts sampled on both sides."""
    old, new = distinct_shares(before), distinct_shares(after)
    return mean_over_prompts({name: new[name] - old[name] for name in old.keys() & new.keys()}, "difference")


def _by_key(records: Sequence[Record]) -> dict[str, Record]:
    by_key = {record.attempt.key: record for record in records}
    if len(by_key) < len(records):
        keys, counts = np.unique([record.attempt.key for record in records], return_counts=True)
        raise DataError(
            f"several records of the attempt {str(keys[counts > 1][0])!r}",
            "one record an attempt",
            "compare runs that hold each attempt once",
        )
    return by_key
