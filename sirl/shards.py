"""One run's work shared by several processes: which part is whose, and the parts put together again.

The plan of a run is a list of chunks; shard i of n does those whose place leaves i when divided by n, so that
every attack is spread over all shards. A shard's folder holds the keys of the whole plan beside its records:
what is missing, twice or foreign is then seen without the model. This room knows keys and folders, not what a
record proves.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sirl.errors import ConfigError, RunError
from sirl.rundir import RECORDS, RunDir, read_run
from sirl.rundir.lines import lines_at

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` (from 0) of `of`."""

    index: int
    of: int

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def take(self, chunks: Sequence[T]) -> list[T]:
        """Return this shard's chunks, in the plan's order."""
        return list(chunks[self.index :: self.of])


def parse_shard(text: str) -> Shard | None:
    """Read `i/n`; empty is the whole run. Raises ConfigError."""
    if not text:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not found or not int(found[1]) < int(found[2]):
        expected = "i/n with i from 0 to n - 1"
        raise ConfigError(f"--shard {text!r}", expected, "for two processes: --shard 0/2 and --shard 1/2")
    return Shard(int(found[1]), int(found[2]))


def open_shards(paths: Sequence[Path]) -> list[RunDir]:
    """Open the folders of all shards of one run, in the order of their index.

    Raises RunError if one is no shard, one is missing or there twice, or two were made under other protocols.
    """
    runs = [read_run(path) for path in paths]
    shards = [parse_shard(str(run.config.get("shard") or "")) for run in runs]
    for run, shard in zip(runs, shards, strict=True):
        if shard is None:
            raise RunError(f"{run.path} is no shard", "folders made with --shard", "leave it out")
    pairs = [(shard, run) for shard, run in zip(shards, runs, strict=True) if shard is not None]
    pairs.sort(key=lambda pair: (pair[0].of, pair[0].index))
    names = [str(shard) for shard, _ in pairs]
    wanted = [str(Shard(i, pairs[0][0].of)) for i in range(pairs[0][0].of)] if pairs else []
    if names != wanted or not names:
        found = f"the shards {', '.join(names)}" if names else "no shard"
        raise RunError(found, f"each of {', '.join(wanted)} once", "name the folder of every shard once")
    first = pairs[0][1]
    for _, run in pairs[1:]:
        _refuse_other_protocol(first, run)
    return [run for _, run in pairs]


def merged_lines(runs: Sequence[RunDir]) -> Iterator[str]:
    """Return an iterator over the records of all shards, as `open_shards` gave them, in the plan's order.

    They are lines as they stand on disk, of which one is in memory at a time, beside the keys of the plan.
    Raises RunError, before the first, unless the shards hold the whole plan exactly once, each its own part.
    """
    plan, of = runs[0].plan(), len(runs)
    parts = ([key for chunk in Shard(i, of).take(plan) for key in chunk] for i in range(of))
    lines = [lines_at(run.path / RECORDS, _places(run, keys)) for run, keys in zip(runs, parts, strict=True)]
    return (next(lines[i % of])[1].decode() for i, chunk in enumerate(plan) for _ in chunk)


def _places(run: RunDir, keys: Sequence[str]) -> Sequence[int]:
    """Return where the lines of some keys begin, in bytes. Raises RunError unless a shard holds each once."""
    order = {key: place for place, key in enumerate(keys)}
    starts = array("q", [-1]) * len(keys)
    for start, _, record in run.records_from(0):
        key = record.attempt.key
        place = order.get(key)
        if place is None or starts[place] >= 0:
            why = "of another shard or plan" if place is None else "twice"
            raise RunError(f"{run.path} holds a record {why} ({key})", "its own part once", "run it anew")
        starts[place] = start
    if lacking := starts.count(-1):
        lack = f"{run.path} lacks {lacking} of {len(keys)} records"
        raise RunError(lack, "finished shards", "repeat its command, which continues it, then merge")
    return starts


def merged_versions(runs: Sequence[RunDir]) -> dict[str, str]:
    """Return the versions of all shards; where they differ, each of them."""
    tables = [run.environment.get("versions", {}) for run in runs]
    names = dict.fromkeys(name for table in tables for name in table)
    return {
        name: " | ".join(dict.fromkeys(str(table.get(name, "absent")) for table in tables)) for name in names
    }


def _refuse_other_protocol(one: RunDir, other: RunDir) -> None:
    pairs = (
        (one.config, other.config),
        (one.environment["hashes"], other.environment["hashes"]),
        ({"plan": one.plan()}, {"plan": other.plan()}),
    )
    for first, second in pairs:
        for name in sorted({*first, *second} - {"shard"}):
            if first.get(name) != second.get(name):
                told = "" if name == "plan" else f": {first.get(name)!r} and {second.get(name)!r}"
                raise RunError(
                    f"{one.path} and {other.path} differ in {name}{told}",
                    "shards of one run",
                    "make both with the same command but for --shard and --out",
                )
