"""What a killed run continues from: checkpoints known to be whole, and step rows that belong to them."""

from __future__ import annotations

import shutil
from pathlib import Path

from sirl.errors import RunError
from sirl.ranks import sharded
from sirl.rundir import STEPS, RunDir

_WHOLE = "whole"  # written into a checkpoint when everything else in it is


def mark_whole(checkpoint: Path) -> None:
    """Declare a checkpoint complete; called after its last file was written."""
    (checkpoint / _WHOLE).touch()


def check_form(checkpoint: Path) -> None:
    """Raise RunError if whole copies are to continue from shards, or shards from whole copies."""
    forms = {True: "whole copies (DDP, or one process)", False: "shards (FSDP2 or ZeRO-3)"}
    whole = (checkpoint / "optimizer.pt").exists()  # the optimiser of shards has files of its own
    if whole == sharded():
        found = f"{checkpoint} was written by a run with {forms[whole]}"
        raise RunError(found, "the same when a run continues", "launch it as before, or name another --out")


def rewind(run: RunDir, stage: str = "", first: int = 0) -> Path | None:
    """Take the run back to its newest whole checkpoint and return it; None means start anew.

    Torn checkpoints are deleted, and so are the step rows written after the checkpoint: they will be
    written again, the same. A run in stages keeps each one's checkpoints in a folder `stage`, and `first` steps
    came before this stage.
    """
    whole: dict[int, Path] = {}
    for folder in (run.checkpoint / stage).glob("checkpoint-*"):
        if (folder / _WHOLE).exists():
            whole[int(folder.name.rpartition("-")[2])] = folder
        else:
            shutil.rmtree(folder)
    step = max(whole, default=0)
    run.keep_rows(STEPS, lambda row: row["step"] <= first + step)
    return whole.get(step)
