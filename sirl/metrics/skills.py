"""Scores of tasks -> means with intervals, paired changes, and what a change consists of.

A document is a task's question with its right answer. Its score is the task's own, mostly 0 or 1. Beside it
stands how the reply went, so that a fall in a score can be told apart: refused, cut off, answered wrongly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sirl.metrics.estimates import (
    cluster_sums,
    clustered,
    difference_interval,
    holm,
    share_interval,
    sign_flip_p,
)

WAYS = ("refused", "cut off", "answered", "by likelihood")  # how a scored reply went; likelihoods have no reply
LOST = ("no reply", "blocked")  # how one went that has no score


@dataclass(frozen=True, slots=True)
class Graded:
    """One document: its key, the same in both runs of a pair, its task, its score, how its reply went."""

    key: str
    task: str
    score: float | None
    went: str


def by_task(graded: Sequence[Graded]) -> dict[str, list[Graded]]:
    """Part documents by task, in the order in which tasks come."""
    parted: dict[str, list[Graded]] = {}
    for one in graded:
        parted.setdefault(one.task, []).append(one)
    return parted


def skill(graded: Sequence[Graded]) -> dict[str, Any]:
    """Return the mean score of one task: rate, low, high, n, unscored, blocked, and `audit`.

    `audit` are shares of the documents scored: right, and of the rest how the reply went. Right is a score of 1
    or more; they add up to 1. The interval is Wilson's where every score is 0 or 1, else Student's t.
    """
    scored = [one for one in graded if one.score is not None]
    values = [float(one.score) for one in scored if one.score is not None]
    sums = cluster_sums(((one.key, "", v, 1) for one, v in zip(scored, values, strict=True)), [""])
    found = clustered(*sums, [1.0])
    low, high = (
        share_interval(*sums) if set(values) <= {0.0, 1.0} else found.interval if found else (None, None)
    )
    blocked = sum(one.went == "blocked" for one in graded)
    return {
        "rate": found.value if found else None,
        "low": low,
        "high": high,
        "n": len(scored),
        "unscored": len(graded) - len(scored) - blocked,
        "blocked": blocked,
        "audit": _audit(scored),
    }


def _audit(scored: Sequence[Graded]) -> dict[str, float]:
    right = [one.score is not None and one.score >= 1 for one in scored]
    counts = Counter("right" if ok else one.went for one, ok in zip(scored, right, strict=True))
    return {name: counts[name] / len(scored) for name in ("right", *WAYS) if counts[name]}


def skill_change(before: Sequence[Graded], after: Sequence[Graded]) -> dict[str, Any]:
    """Return the mean change of one task's score, after - before, over documents scored on both sides.

    difference, low, high   as the scores; Student's t between documents
    p_value                 exact sign-flip test, McNemar's where scores are 0 or 1; None where they are not
    n, unscored, unmatched  as of `paired_difference`
    lost, gained            documents whose score fell, and rose
    audit                   the difference by how the reply went: a fall counts under the reply after, a rise
                            under the reply before; the parts add up to the difference
    """
    old, new = ({one.key: one for one in side} for side in (before, after))
    shared = sorted(old.keys() & new.keys())
    pairs = [(old[key], new[key]) for key in shared]
    changes = [(a, b, b.score - a.score) for a, b in pairs if a.score is not None and b.score is not None]
    sums = cluster_sums(((a.key, "", change, 1) for a, _, change in changes), [""])
    moves = [change for *_, change in changes]
    whole = all(change in (-1, 0, 1) for change in moves)
    found = clustered(*sums, [1.0])
    low, high = difference_interval(*sums) if whole else found.interval if found else (None, None)
    parts: dict[str, float] = defaultdict(float)
    for a, b, change in changes:
        parts[(b if change < 0 else a).went] += change / len(changes)
    return {
        "difference": sum(moves) / len(moves) if moves else None,
        "low": low,
        "high": high,
        "p_value": sign_flip_p([int(change) for change in moves]) if whole else None,
        "n": len(changes),
        "unscored": len(pairs) - len(changes),
        "unmatched": len(old) + len(new) - 2 * len(shared),
        "lost": sum(change < 0 for change in moves),
        "gained": sum(change > 0 for change in moves),
        "audit": {name: parts[name] for name in WAYS if parts.get(name)},
    }


def skill_changes(before: Sequence[Graded], after: Sequence[Graded]) -> dict[str, dict[str, Any]]:
    """Return the paired change of each task that both sides have, with `p_holm`, adjusted over them."""
    old, new = by_task(before), by_task(after)
    rows: Mapping[str, dict[str, Any]] = {
        name: skill_change(old[name], new[name]) for name in old if name in new
    }
    adjusted = holm([row["p_value"] for row in rows.values()])
    return {name: row | {"p_holm": p} for (name, row), p in zip(rows.items(), adjusted, strict=True)}
