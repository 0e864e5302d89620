"""What this process has asked of each server: requests, how many of them again, and the tokens it was told of.

A server bills what it serves, so what is asked again may be paid twice. Tokens are those that answers state
under `usage`; an answer that states none is counted as such, and nothing is guessed. Counts are of the whole
process, whoever asked: the model under test, an attacker, a judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from threading import Lock
from typing import Any

from sirl.errors import RunError
from sirl.rundir import COSTS, RunDir

_TOKENS = {"tokens_in": ("prompt_tokens", "input_tokens"), "tokens_out": ("completion_tokens", "output_tokens")}
_MOST = 2**53  # of tokens: more is no count


@dataclass(slots=True)
class Bill:
    """What one server was asked.

    requests    how many left, those without an answer among them
    again       of these, how many repeat one that had failed
    tokens_in   read by the model, and tokens_out drawn by it, as the answers say
    untold      answers with a reply that state no tokens
    """

    requests: int = 0
    again: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    untold: int = 0


_COUNTS = tuple(one.name for one in fields(Bill))


@dataclass(slots=True)
class _Bills:
    """The bills by the name of the endpoint, filled by many threads."""

    held: dict[str, Bill] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)


_BILLS = _Bills()


def count_request(name: str, again: bool) -> None:
    """Count a request that leaves for an endpoint."""
    with _BILLS.lock:
        bill = _BILLS.held.setdefault(name, Bill())
        bill.requests += 1
        bill.again += again


def count_tokens(name: str, answer: Any) -> None:
    """Count the tokens that an answer states, or that it has a reply and states none."""
    answer = answer if isinstance(answer, Mapping) else {}
    usage = answer.get("usage")
    found = {part: _stated(usage, names) for part, names in _TOKENS.items()}
    with _BILLS.lock:
        bill = _BILLS.held.setdefault(name, Bill())
        if None in found.values():
            bill.untold += bool(answer.get("choices"))
        else:
            bill.tokens_in += found["tokens_in"] or 0
            bill.tokens_out += found["tokens_out"] or 0


@contextmanager
def costs_of(run: RunDir) -> Iterator[Callable[[], None]]:
    """Count what servers are asked while a run works; each call of what is given writes it, as leaving does.

    What was asked before, as opening questions are, belongs to no run.
    """
    _take()

    def write() -> None:
        if rows := _take():
            run.append(COSTS, rows)

    try:
        yield write
    finally:
        write()


def costs(run: RunDir) -> dict[str, dict[str, int]]:
    """Return what a run has asked, by endpoint; empty if it asked none. Raises RunError on a foreign line."""
    total: dict[str, dict[str, int]] = {}
    for row in run.rows(COSTS):
        counts: list[Any] = [row.get(name) for name in _COUNTS]
        if not isinstance(row.get("endpoint"), str) or not all(map(_is_count, counts)):
            found = f"{run.path / COSTS} holds a line that tells no costs"
            raise RunError(found, f"an endpoint and {', '.join(_COUNTS)}", "remove that line")
        held = total.setdefault(row["endpoint"], dict.fromkeys(_COUNTS, 0))
        for name, value in zip(_COUNTS, counts, strict=True):
            held[name] += value
    return dict(sorted(total.items()))


def _take() -> list[dict[str, Any]]:
    """Return what was counted since the last call, one row an endpoint, and begin anew."""
    with _BILLS.lock:
        rows = [{"endpoint": name, **asdict(bill)} for name, bill in sorted(_BILLS.held.items())]
        _BILLS.held.clear()
    return rows


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _stated(usage: Any, names: tuple[str, ...]) -> int | None:
    """Return the first of some counts that an answer states; None if it states none."""
    for name in names if isinstance(usage, Mapping) else ():
        value = usage.get(name)
        if _is_count(value):
            return int(value)
    return None
