"""Write models as ordinary folders: a kill leaves all of one or none."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

from sirl.lm import LM, save_lm
from sirl.rundir import RunDir


def write_reference(lm: LM, run: RunDir) -> Path:
    """Write the starting model where TRL can load it: TRL takes the reference from a path, not from memory."""
    folder = run.checkpoint / "reference"
    if not folder.exists():
        write_whole(lm.model, lm, folder)
    return folder


def write_whole(model: Any, lm: LM, folder: Path) -> None:
    """Write weights with `lm`'s config and tokenizer as an ordinary folder; a kill leaves none or all of it."""
    model = copy.copy(model)  # shares the weights; saving writes into the configs, and TRL has set a pad token
    model.config = copy.deepcopy(lm.model.config)
    model.generation_config = copy.deepcopy(lm.model.generation_config)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    save_lm(LM(model, lm.tokenizer, lm.name), part)
    part.replace(folder)
