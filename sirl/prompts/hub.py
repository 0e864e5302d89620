"""A published set by name -> a prompt set, from the Hugging Face hub through `datasets`.

The commit that was read is recorded, so that a run can be repeated: `NAME@REVISION` asks for it. Without the
hub nothing is guessed: the error says how to give a file. Not imported by the room's door, which must work
where `datasets` cannot be imported.
"""

from __future__ import annotations

import json
from hashlib import sha256

from datasets import load_dataset
from huggingface_hub import HfApi, constants

from sirl.errors import DataError, suggest
from sirl.prompts.cells import Row
from sirl.prompts.files import select
from sirl.prompts.rows import Origin, PromptSet, read_rows
from sirl.prompts.sets import SETS, SetInfo

PATIENCE = 20.0  # seconds to wait for the hub's answer


def load_set(spec: str, *, limit: int | None = None, seed: int = 0) -> PromptSet:
    """Load `NAME` or `NAME@REVISION`; `limit` samples so many prompts by `seed`.

    Raises DataError if the name is unknown, the hub or the set cannot be reached, or as `rows.read_rows` does.
    """
    name, _, asked = spec.partition("@")
    if name not in SETS:
        advice = f"{suggest(name, SETS)}; or give a file"
        raise DataError(f"prompt set {name!r}", "a known set or a file of prompts", advice)
    return load_info(name, SETS[name], asked or None, limit, seed)


def load_info(name: str, info: SetInfo, revision: str | None, limit: int | None, seed: int) -> PromptSet:
    """Load the set that `info` describes. Raises as `load_set` does."""
    selection = select(info.kind, limit, seed)
    try:
        commit = _commit(info.hub, revision)
        dataset = load_dataset(info.hub, info.config, split=info.split, revision=commit or revision)
    except Exception as error:  # the hub's client raises errors of many libraries: all mean no data
        reason = " ".join(str(error).split())[:200]
        found = f"prompt set {name!r} ({info.hub}) could not be loaded ({type(error).__name__}: {reason})"
        columns = ", ".join(sorted(info.shape.known_by))
        note = f" ({info.note})" if info.note else ""
        advice = (
            f"give a file instead, --prompts FILE with the columns {columns}, or set HF_HUB_OFFLINE=1 to use"
        )
        raise DataError(found, f"the Hugging Face hub{note}", f"{advice} a copy loaded before") from error
    rows: list[Row] = [(number, dict(row)) for number, row in enumerate(dataset, 1)]
    text = "\n".join(json.dumps(row, sort_keys=True, default=str) for _, row in rows)
    source = ", ".join(part for part in (info.hub, info.config, info.split) if part)
    origin = Origin(source, sha256(text.encode()).hexdigest(), "datasets", commit or revision)
    return read_rows(rows, info.shape, origin, selection)


def _commit(hub: str, revision: str | None) -> str | None:
    """Ask the hub which commit a revision is; None when it is not to be asked.

    It is asked first, so that a machine without network learns so at once, not after the loader's retries.
    """
    if constants.HF_HUB_OFFLINE:
        return None
    return HfApi().dataset_info(hub, revision=revision, timeout=PATIENCE).sha
