"""The shards of one run put together: one folder, one summary, as if one process had done it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sirl.cli.summaries import finish, numbers
from sirl.errors import RunError
from sirl.rundir import RECORDS, locked, open_run
from sirl.shards import merged_records, merged_versions, open_shards


def merge(paths: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write the merged run to OUT; return its summary, whose seconds are those of all shards together.

    Raises RunError if the shards are not of one run or do not hold the whole of it, or OUT is in use.
    """
    runs = open_shards(paths)
    records = merged_records(runs)
    first = runs[0]
    config = {name: value for name, value in first.config.items() if name not in ("kind", "shard")}
    run = open_run(out, first.kind, config, first.environment["hashes"], merged_versions(runs))
    with locked(run):
        if run.rows(RECORDS):
            raise RunError(f"{out} holds records already", "a new folder", "name another --out")
        run.append_records(records)
    spent: Counter[str] = Counter()
    for shard in runs:
        spent.update(shard.summary().get("seconds", {}))
    return finish(run, numbers(run, records), spent)
