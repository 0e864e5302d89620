"""Records -> the entropy gap between replies that comply and replies that refuse.

Entropies are nats a token, as recorded while the reply was drawn; this room adds them up and knows no model.
Two figures answer two questions. *Within an attempt*: of several replies to the very same message, are those
that refuse the surer ones? GRPO compares replies to one message and no others, so this is what training acts
on. *Pooled*: are refusing replies surer on the whole? This is the published figure; it also holds what tells
requests and attacks apart, which training never sees. Intervals are clustered by request.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from sirl.metrics.estimates import (
    Interval,
    Row,
    auroc,
    cluster_sums,
    clustered,
    cohens_d,
    share_interval,
)
from sirl.records import Completion, Record

Group = Literal["complied", "refused", "neither"]
Measured = tuple[str, str, float]  # a reply: its request, its attempt (of that request), its entropy in nats
CLASSES = ("risk", "general", "compliance")
_PLACES = 48  # of a reply, from its first token, whose entropies are told apart
_UNIT = 2**64  # of a sum: one nat
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
    """Return the numbers of `compare_entropies`, with n_neither and unscored beside them.

    n_neither   replies that are neither harmful nor refused; unscored: without a verdict or recorded entropy
    """
    groups = gap_groups(records)
    refused, complied = ([_measured(r) for r in groups[name]] for name in ("refused", "complied"))
    known = sum(len(held) for held in groups.values())
    return compare_entropies(refused, complied) | {
        "n_neither": len(groups["neither"]),
        "unscored": sum(r.prompt.kind == "harmful" for r in records) - known,
    }


def compare_entropies(refused: Sequence[Measured], complied: Sequence[Measured]) -> dict[str, Any]:
    """Return the entropy gap, complied - refused in nats a token. Positive is what SIRL needs.

    difference, low, high     within an attempt: mean over the attempts that hold both kinds of (mean entropy of
                              their complying - of their refusing replies), each attempt counting once
    auroc, auroc_low, _high   within an attempt: mean of the chance that a complying reply is the less certain
    n_mixed, mixed_requests   attempts that hold both kinds, and the requests that these belong to
    n_attempts, most_replies  attempts with a reply of either kind; the most such replies to one of them
    n_refused, n_complied     replies of each kind; requests_refused, requests_complied: their requests
    pooled                    the published figure: difference, low, high, auroc and cohens_d over all replies
                              whatever they reply to, mean_refused and mean_complied
    Intervals are 95 %, clustered by request. None: no attempt is mixed (pooled: a kind is missing), or no
    variance can be seen.
    """
    attempts: dict[tuple[str, str], tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for side, held in enumerate((refused, complied)):
        for request, attempt, entropy in sorted(held):
            attempts[request, attempt][side].append(entropy)
    mixed = {key: pair for key, pair in sorted(attempts.items()) if all(pair)}
    gaps = [(request, "", _known(high) - _known(low), 1) for (request, _), (low, high) in mixed.items()]
    orders = [(request, "", auroc(high, low) or 0.0, 1) for (request, _), (low, high) in mixed.items()]
    difference, (low, high) = _mean_over(gaps)
    ends = share_interval(*cluster_sums(orders, [""]))
    return {
        "difference": difference,
        "low": low,
        "high": high,
        "auroc": _mean([order for _, _, order, _ in orders]),
        "auroc_low": ends[0],
        "auroc_high": ends[1],
        "n_mixed": len(mixed),
        "mixed_requests": len({request for request, _ in mixed}),
        "n_attempts": len(attempts),
        "most_replies": max((len(low) + len(high) for low, high in attempts.values()), default=0),
        "n_refused": len(refused),
        "n_complied": len(complied),
        "requests_refused": len({request for request, _, _ in refused}),
        "requests_complied": len({request for request, _, _ in complied}),
        "pooled": _pooled(refused, complied),
    }


def _pooled(refused: Sequence[Measured], complied: Sequence[Measured]) -> dict[str, Any]:
    """Return the published gap: all complying replies against all refusing ones."""
    refusing, complying = (sorted(entropy for _, _, entropy in held) for held in (refused, complied))
    columns = (("complied", complied), ("refused", refused))
    rows = [(request, name, entropy, 1) for name, held in columns for request, _, entropy in held]
    found = clustered(*cluster_sums(rows, ["complied", "refused"]), [1.0, -1.0])
    low, high = found.interval if found else (None, None)
    return {
        "difference": found.value if found else None,
        "low": low,
        "high": high,
        "auroc": auroc(complying, refusing),
        "cohens_d": cohens_d(complying, refusing),
        "mean_refused": _mean(refusing),
        "mean_complied": _mean(complying),
    }


class TokenFigures:
    """Entropies by place in the reply and by class of word, of whole records that are read once and let go.

    Sums are kept exactly, in units of 2^-64 nats: the order of the records changes nothing.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        """Read the records; of replies to harmful prompts those count whose group and entropies are known."""
        self._along: dict[Group, list[_Sum]] = {"refused": [], "complied": []}
        self._classes: dict[tuple[str, str], _Sum] = defaultdict(_Sum)  # by request and class
        for record in records:
            name = group(record)
            if record.prompt.kind == "harmful" and name and record.completion.entropies:
                self._add(name, record)

    def _add(self, name: Group, record: Record) -> None:
        entropies = record.completion.entropies or ()
        if (places := self._along.get(name)) is not None:
            places += [_Sum() for _ in range(min(len(entropies), _PLACES) - len(places))]
            for place, value in zip(places, entropies, strict=False):
                place.add(value)
        if len(record.completion.pieces) != len(entropies):
            return  # tokens without a text of their own cannot be sorted by word
        for word, span in words(record.completion):
            if word:
                held = self._classes[record.prompt.id, word_class(word)]
                for token in span:
                    held.add(entropies[token])

    def along(self, positions: int = _PLACES) -> dict[str, Any]:
        """Return the mean entropy (nats) of the 1st, 2nd, ... token of refusing and of complying replies.

        Lists of one length: position (from 1), refused, complied, n_refused, n_complied. None where no reply
        is that long; ends with the longest reply, or after `positions`, of which `_PLACES` are known.
        """
        longest = min(positions, max(map(len, self._along.values())))
        table: dict[str, Any] = {"position": list(range(1, longest + 1))}
        for name in ("refused", "complied"):
            held = [*self._along[name], *(_Sum() for _ in range(longest))][:longest]
            table[name], table[f"n_{name}"] = [one.mean for one in held], [one.n for one in held]
        return table

    def by_class(self) -> dict[str, dict[str, Any]]:
        """Return the mean token entropy of words that state a risk, signal compliance, or neither.

        For each class: mean, low, high (nats; clustered by prompt), n tokens. The paper finds risk
        lowest and compliance highest. None: no such token. Source: arXiv 2510.01088, analysis of token classes.
        """
        table = {}
        for name in CLASSES:
            mine = [
                (asked, kind, one.total, one.n) for (asked, kind), one in self._classes.items() if kind == name
            ]
            mean, (low, high) = _mean_over(mine)
            table[name] = {"mean": mean, "low": low, "high": high, "n": sum(row[3] for row in mine)}
        return table


class _Sum:
    """A sum of entropies, exact in units of 2^-64 nats, and how many."""

    __slots__ = ("n", "units")

    def __init__(self) -> None:
        self.units, self.n = 0, 0

    def add(self, nats: float) -> None:
        self.units += int(nats * _UNIT)
        self.n += 1

    @property
    def total(self) -> float:
        return self.units / _UNIT

    @property
    def mean(self) -> float | None:
        return self.units / (self.n * _UNIT) if self.n else None


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


def _measured(record: Record) -> Measured:
    return record.prompt.id, record.attempt.attack, record.mean_entropy or 0.0


def _mean_over(rows: Sequence[Row]) -> tuple[float | None, Interval]:
    """Return the mean of rows of one column, and its interval over their clusters."""
    found = clustered(*cluster_sums(rows, sorted({row[1] for row in rows})), [1.0]) if rows else None
    return (found.value, found.interval) if found else (None, (None, None))


def _entropies(records: Sequence[Record]) -> list[float]:
    return [r.mean_entropy for r in records if r.mean_entropy is not None]


def _known(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _mean(values: Sequence[float]) -> float | None:
    return _known(values) if len(values) else None
