"""What a killed run continues from: checkpoints known to be whole, and step rows that belong to them.

A checkpoint is whole if it holds a list of its files, written when all of them are on disk, and each is as long
and reads as it did then. Any other, torn by a kill or damaged since, is deleted, said, and made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

from sirl.errors import RunError
from sirl.ranks import sharded
from sirl.rundir import STEPS, RunDir
from sirl.rundir.files import sync, write_synced

_WHOLE = "whole"  # written into a checkpoint when everything else in it is
_LOG = logging.getLogger("sirl")


def mark_whole(checkpoint: Path) -> None:
    """Declare a checkpoint complete; called after its last file was written. Its files are on disk then."""
    sync(checkpoint)
    listed = {name: _digest(checkpoint / name) for name in _files(checkpoint)}
    write_synced(checkpoint / _WHOLE, json.dumps(listed, indent=1) + "\n")


def damage(checkpoint: Path) -> str:
    """Say what is wrong with a checkpoint; empty if it is whole."""
    try:
        listed = json.loads((checkpoint / _WHOLE).read_text(encoding="utf-8"))
        missing = sorted(listed.keys() - set(_files(checkpoint)))
    except (OSError, ValueError, AttributeError, RecursionError):
        return "it was never finished"
    if missing:
        return f"{missing[0]} is missing"
    changed = (name for name, digest in listed.items() if _digest(checkpoint / name) != digest)
    return next((f"{name} is not what was written" for name in changed), "")


def check_form(checkpoint: Path) -> None:
    """Raise RunError if whole copies are to continue from shards, or shards from whole copies."""
    forms = {True: "whole copies (DDP, or one process)", False: "shards (FSDP2 or ZeRO-3)"}
    whole = (checkpoint / "optimizer.pt").exists()  # the optimiser of shards has files of its own
    if whole == sharded():
        found = f"{checkpoint} was written by a run with {forms[whole]}"
        raise RunError(found, "the same when a run continues", "launch it as before, or name another --out")


def rewind(run: RunDir, stage: str = "", first: int = 0) -> Path | None:
    """Take the run back to its newest whole checkpoint and return it; None means start anew.

    So that a stop can still go back, the last one within the budgets must be whole too, else an older one is
    taken. Other checkpoints are deleted, and so are the step rows written after the one returned: they will be
    written again, the same. A run in stages keeps each one's checkpoints in a folder `stage`, and `first`
    steps came before this stage.
    """
    folders = {int(f.name.rpartition("-")[2]): f for f in (run.checkpoint / stage).glob("checkpoint-*")}
    harm = {step: damage(folder) for step, folder in sorted(folders.items())}
    for step in [step for step, what in harm.items() if what]:
        _LOG.warning("checkpoint %s cannot be used: %s", folders[step], harm[step])
        shutil.rmtree(folders.pop(step))
    rows = run.rows(STEPS)

    def fallen_back_on(step: int) -> int:
        """Return the step that a stop at this one would keep, of this stage; 0 is the base."""
        within = [row["step"] - first for row in rows if "over_budget" in row and not row["over_budget"]]
        return max((n for n in within if 0 < n <= step), default=0)

    usable = [step for step in folders if fallen_back_on(step) in (0, *folders)]
    newest = max(usable, default=0)
    if any(harm.values()):
        _LOG.warning("training continues from step %d", first + newest)
    run.keep_rows(STEPS, lambda row: row["step"] <= first + newest)
    return folders.get(newest)


def _files(folder: Path) -> list[str]:
    """Return the files of a checkpoint, in order, but for the list of them."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name.removesuffix(".part") != _WHOLE)


def _digest(path: Path) -> str:
    """Return what a file holds in short."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "blake2b").hexdigest()[:24]
