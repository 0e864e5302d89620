"""A published set by name -> a prompt set, from the Hugging Face hub through `datasets`.

The commit that was read is recorded, so that a run can be repeated: `NAME@REVISION` asks for it. Without the
hub nothing is guessed: the error says how to give a file.
"""

from __future__ import annotations

from importlib import import_module

from sirl.errors import DataError, suggest
from sirl.prompts.cells import Row
from sirl.prompts.files import select
from sirl.prompts.hub import commit_of, digest
from sirl.prompts.rows import Origin, PromptSet, read_rows
from sirl.prompts.sets import SETS, SetInfo


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
        commit = commit_of(info.hub, revision)
        load_dataset = import_module("datasets").load_dataset
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
    source = ", ".join(part for part in (info.hub, info.config, info.split) if part)
    origin = Origin(source, digest(rows), "datasets", commit or revision)
    return read_rows(rows, info.shape, origin, selection)
