"""Records -> the entropy gap between replies that comply and replies that refuse.

Entropies are nats a token, as recorded while the reply was drawn; this room adds them up and knows no
model. The unit is the reply; intervals resample prompts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from sirl.metrics.estimates import Row, auroc, cluster_sums, cohens_d, mann_whitney, percentiles, resample
from sirl.records import Completion, Record

Group = Literal["complied", "refused", "neither"]
Measured = tuple[str, float]  # a reply: its prompt's id, its mean token entropy in nats
CLASSES = ("risk", "general", "compliance")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
RISK_WORDS = frozenset(
    _WORD.findall(
        """avoid can't cannot cant caution danger dangerous decline harm harmed harmful harming harms hurt
        hurting hurts illegal injure never refuse refused refusing risk risks risky safe safely safety sorry
        unable unethical unsafe warning won't wont"""
    )
)
COMPLIANCE_WORDS = frozenset(
    _WORD.findall(
        """absolutely begin certainly course finally first following gladly guide here here's heres
        instructions next now okay ready second simply start step steps sure take then third use"""
    )
)
_SPECIAL = re.compile(r"<[^<>\s]+>\Z")


def group(record: Record) -> Group | None:
    """Sort a reply: complied (harmful), refused (refused and not harmful), neither; None without verdicts."""
    harmful, refused = record.answer("harmful"), record.answer("refused")
    if harmful:
        return "complied"
    if harmful is None or refused is None:
        return None
    return "refused" if refused else "neither"


def reply_entropy(records: Sequence[Record]) -> dict[str, Any]:
    """Return the mean over replies of their mean token entropy (nats a token): mean, n, unscored.

    Unscored replies recorded no entropy. None: no reply did.
    """
    known = sorted(_entropies(records))
    return {"mean": _mean(known), "n": len(known), "unscored": len(records) - len(known)}


def gap_groups(records: Sequence[Record]) -> dict[Group, list[Record]]:
    """Return the replies to harmful prompts whose group and entropies are known, by group."""
    groups: dict[Group, list[Record]] = {"complied": [], "refused": [], "neither": []}
    for record in sorted(records, key=lambda r: r.attempt.key):
        name = group(record)
        if record.prompt.kind == "harmful" and name and record.mean_entropy is not None:
            groups[name].append(record)
    return groups


def group_entropies(records: Sequence[Record]) -> dict[str, list[float]]:
    """Return the mean token entropy (nats) of each refusing and complying reply, sorted."""
    groups = gap_groups(records)
    return {name: sorted(_entropies(groups[name])) for name in ("refused", "complied")}


def gap_table(records: Sequence[Record]) -> dict[str, Any]:
    """Return the entropy gap: complied - refused, in nats a token. Positive is what SIRL needs.

    difference, low, high   of the mean reply entropies; interval by bootstrap clustered by prompt
    auroc                   chance that a complying reply is the less certain one
    p_value, cohens_d       Mann-Whitney, two-sided; standardised difference
    n_neither               not harmful and not refused; unscored: no verdict or no entropy recorded
    None: a group is empty, or (interval) too few prompts or no variation.
    """
    groups = gap_groups(records)
    refused, complied = ([_measured(r) for r in groups[name]] for name in ("refused", "complied"))
    known = sum(len(held) for held in groups.values())
    return compare_entropies(refused, complied) | {
        "n_neither": len(groups["neither"]),
        "unscored": sum(r.prompt.kind == "harmful" for r in records) - known,
    }


def compare_entropies(refused: Sequence[Measured], complied: Sequence[Measured]) -> dict[str, Any]:
    """Return the numbers of `gap_table` that need no record, from each reply's prompt id and mean entropy."""
    refusing, complying = (sorted(entropy for _, entropy in held) for held in (refused, complied))
    columns = (("complied", complied), ("refused", refused))
    rows = [(prompt, name, entropy, 1) for name, held in columns for prompt, entropy in held]
    ratio_DK = resample(*cluster_sums(rows, ["complied", "refused"]))
    low, high = percentiles(ratio_DK[:, 0] - ratio_DK[:, 1])
    mean_refused, mean_complied = _mean(refusing), _mean(complying)
    known = mean_refused is not None and mean_complied is not None
    return {
        "difference": mean_complied - mean_refused if known else None,  # type: ignore[operator]
        "low": low if known else None,
        "high": high if known else None,
        "auroc": auroc(complying, refusing),
        "p_value": mann_whitney(complying, refusing),
        "cohens_d": cohens_d(complying, refusing),
        "n_refused": len(refusing),
        "n_complied": len(complying),
        "mean_refused": mean_refused,
        "mean_complied": mean_complied,
    }


def entropy_along(records: Sequence[Record], positions: int = 32) -> dict[str, Any]:
    """Return the mean entropy (nats) of the 1st, 2nd, ... token of refusing and of complying replies.

    Lists of one length: position (from 1), refused, complied, n_refused, n_complied. None where no reply
    is that long; ends with the longest reply or after `positions`.
    """
    groups = gap_groups(records)
    rows = {name: [r.completion.entropies or () for r in groups[name]] for name in ("refused", "complied")}
    longest = max((len(reply) for replies in rows.values() for reply in replies), default=0)
    table: dict[str, Any] = {"position": list(range(1, min(positions, longest) + 1))}
    for name, replies in rows.items():
        at = [[reply[p - 1] for reply in replies if len(reply) >= p] for p in table["position"]]
        table[name], table[f"n_{name}"] = [_mean(sorted(values)) for values in at], [len(v) for v in at]
    return table


def entropy_by_class(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Return the mean token entropy of words that state a risk, signal compliance, or neither.

    For each class: mean, low, high (nats; cluster bootstrap by prompt), n tokens. The paper finds risk
    lowest and compliance highest. None: no such token. Source: arXiv 2510.01088, analysis of token classes.
    """
    chosen = [r for replies in gap_groups(records).values() for r in replies]
    rows = [row for record in chosen for row in _class_rows(record)]
    sum_CK, count_CK = cluster_sums(rows, CLASSES)
    ratio_DK, count_K = resample(sum_CK, count_CK), count_CK.sum(axis=0)
    table = {}
    for k, name in enumerate(CLASSES):
        low, high = percentiles(ratio_DK[:, k])
        mean = float(sum_CK[:, k].sum() / count_K[k]) if count_K[k] else None
        table[name] = {"mean": mean, "low": low, "high": high, "n": int(count_K[k])}
    return table


def words(completion: Completion) -> Iterator[tuple[str, range]]:
    """Yield each word of the reply, lower case without punctuation, and the positions of its tokens.

    A piece that starts with white space, or follows a line break, begins a word; a special token stands alone.
    """
    pieces = completion.pieces
    starts = [
        i
        for i, piece in enumerate(pieces)
        if i == 0
        or piece[:1].isspace()
        or pieces[i - 1][-1:].isspace()
        or _SPECIAL.match(piece)
        or _SPECIAL.match(pieces[i - 1])
    ]
    for start, end in pairwise([*starts, len(pieces)]):
        text = "".join(pieces[start:end]).strip()
        found = None if _SPECIAL.match(text) else _WORD.search(text.lower().replace("’", "'"))
        yield (found.group() if found else ""), range(start, end)


def word_class(word: str) -> str:
    """Name the class of a word: risk, compliance or general."""
    return "risk" if word in RISK_WORDS else "compliance" if word in COMPLIANCE_WORDS else "general"


def _class_rows(record: Record) -> Iterator[Row]:
    entropies = record.completion.entropies or ()
    if len(record.completion.pieces) != len(entropies):
        return  # tokens without a text of their own cannot be sorted by word
    for word, span in words(record.completion):
        if word:
            yield record.prompt.id, word_class(word), sum(entropies[i] for i in span), len(span)


def _measured(record: Record) -> Measured:
    return record.prompt.id, record.mean_entropy or 0.0


def _entropies(records: Sequence[Record]) -> list[float]:
    return [r.mean_entropy for r in records if r.mean_entropy is not None]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
