"""A data set of the Hugging Face hub, or a folder of data files, through `datasets` -> rows of cells.

    hf:OWNER/NAME[@REVISION][?config=NAME&split=NAME&column=NAME]
    hf:FOLDER[?config=NAME&split=NAME&column=NAME]

What stands behind a = is taken as it is, up to the next &. A split may be a part of one, as `train[:1000]`. The
commit that was read is told, so that a run can be repeated. No code of a data set is run and nothing is
unpickled: `datasets` has done neither since version 4.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sirl.errors import DataError, SirlError, suggest
from sirl.prompts.cells import Row

PREFIX = "hf:"
SPELLING = "hf:OWNER/NAME?config=NAME&split=NAME&column=NAME, of which all behind the name may be left out"
PATIENCE = 20.0  # seconds to wait for the hub's answer
MOST_ROWS = 5_000_000  # of one table: it is held in memory


@dataclass(frozen=True, slots=True)
class Address:
    """A data set: a hub id or a folder, and which part of it; what is empty is not told."""

    path: str
    revision: str = ""
    config: str = ""
    split: str = ""
    column: str = ""

    @property
    def is_folder(self) -> bool:
        return Path(self.path).is_dir()

    @property
    def name(self) -> str:
        """What to call it: without its column, which is told apart."""
        return ", ".join(filter(None, (self.path, self.config, self.split)))


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows as `datasets` gives them, their columns, a digest of them, the hub's commit, what to tell a user."""

    rows: list[Row]
    columns: tuple[str, ...]
    sha256: str
    revision: str | None
    notes: tuple[str, ...]


def is_hub(source: str | Path) -> bool:
    """Say whether a source is spelled as a data set of the hub."""
    return str(source).startswith(PREFIX)


def address(source: str | Path) -> Address:
    """Read `hf:...`. Raises DataError if it is not spelled so."""
    named, asked, told = str(source).removeprefix(PREFIX).partition("?")
    path, at, revision = (named, "", "") if Path(named).is_dir() else _parted(named)
    parts = [part.partition("=") for part in told.split("&")] if asked else []
    known = ("config", "split", "column")
    for name, equals, value in parts:
        if name not in known or not equals or not value:
            found = f"{name + equals!r} in {source}"
            raise DataError(found, SPELLING, suggest(name, known))
    names = [name for name, _, _ in parts]
    if len(set(names)) < len(names):
        raise DataError(f"a part stands twice in {source}", SPELLING, "leave one out")
    if not path or (at and not revision) or not (Path(path).is_dir() or path.count("/") == 1):
        advice = "name the owner too, as it stands in the address of its page, or a folder that is there"
        raise DataError(f"{source} names no data set", SPELLING, advice)
    return Address(path, revision, **{name: value for name, _, value in parts})


def _parted(named: str) -> tuple[str, str, str]:
    path, at, revision = named.partition("@")
    return path, at, revision


def column_of(source: str | Path, column: str | None) -> str | None:
    """Return the column that a source itself names, or else `column`. Raises DataError if both differ."""
    own = address(source).column if is_hub(source) else ""
    if own and column and own != column:
        raise DataError(f"{source} and column {column!r}", "one column", "leave one of them out")
    return own or column


def load(place: Address) -> Loaded:
    """Load one split. Raises DataError if it cannot be had or several splits are to choose from."""
    commit = None
    with _told(place), TemporaryDirectory() as folder:
        if not place.is_folder:
            commit = commit_of(place.path, place.revision or None)
        builder = import_module("datasets").load_dataset_builder(
            place.path,
            place.config or None,
            revision=commit or place.revision or None,
            cache_dir=folder if place.is_folder else None,  # the copy of a folder would go stale
        )
        split = place.split or _only(place, builder)
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=split)
        if dataset.num_rows > MOST_ROWS:
            raise DataError(
                f"{place.name} has {dataset.num_rows:,} rows",
                f"at most {MOST_ROWS:,}",
                f"read a part, as split={split}[:100000]",
            )
        return _loaded(dataset, commit or place.revision or None)


def _loaded(dataset: Any, revision: str | None) -> Loaded:
    """Return the rows of a data set, classes by their names, without columns of pictures and sounds."""
    features = dataset.features
    decoding = import_module("datasets.features.features").require_decoding
    media = [name for name, feature in features.items() if decoding(feature, ignore_decode_attribute=True)]
    classes = {name: feature for name, feature in features.items() if hasattr(feature, "int2str")}
    plain = dataset.remove_columns(media)
    rows: list[Row] = [(number, _named(row, classes)) for number, row in enumerate(plain, 1)]
    notes = [f"the columns {', '.join(media)} hold pictures, sounds or the like and are not read"]
    return Loaded(rows, tuple(plain.column_names), digest(rows), revision, tuple(notes if media else ()))


def _named(row: Mapping[str, Any], classes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with the names of its classes, which are kept as numbers; below 0 there is none."""
    names = {
        name: feature.int2str(row[name]) if row[name] is not None and row[name] >= 0 else None
        for name, feature in classes.items()
    }
    return {**row, **names}


def digest(rows: Sequence[Row]) -> str:
    """Return the SHA-256 of rows, for what is no single file."""
    text = "\n".join(json.dumps(row, sort_keys=True, default=str) for _, row in rows)
    return sha256(text.encode()).hexdigest()


def commit_of(hub: str, revision: str | None) -> str | None:
    """Ask the hub which commit a revision is; None when it is not to be asked.

    It is asked first, so that a machine without network learns so at once, not after the loader's retries.
    """
    library = import_module("huggingface_hub")  # when it is needed: it and `datasets` take a second
    if library.constants.HF_HUB_OFFLINE:
        return None
    commit: str | None = library.HfApi().dataset_info(hub, revision=revision, timeout=PATIENCE).sha
    return commit


def _only(place: Address, builder: Any) -> str:
    """Return the split of a data set that has one. Raises DataError if there are several."""
    splits = list(map(str, builder.config.data_files or builder.info.splits or ["train"]))
    if len(splits) > 1:
        told = ", ".join(splits[:8]) + (f" and {len(splits) - 8} more" if len(splits) > 8 else "")
        advice = f"choose one, as {_spelled(place, splits[0])}; --prompts may be repeated"
        raise DataError(f"{place.name} has the splits {told}", "one of them", advice)
    return splits[0]


def _spelled(place: Address, split: str) -> str:
    config = f"config={place.config}&" if place.config else ""
    return f"{PREFIX}{place.path}?{config}split={split}"


@contextmanager
def _told(place: Address) -> Iterator[None]:
    """Turn what loading raises into a DataError."""
    try:
        yield
    except SirlError:
        raise
    except Exception as error:  # the hub's client and `datasets` raise errors of many libraries
        reason = " ".join(f"{error} {error.__cause__ or ''}".split())[:300]
        offline = "or set HF_HUB_OFFLINE=1 to use a copy loaded before, or give a file"
        advice = "check the folder, ?config= and ?split=" if place.is_folder else f"check the name, {offline}"
        found = f"{place.name} cannot be read ({type(error).__name__}: {reason})"
        raise DataError(found, f"a data set that `datasets` reads, named {SPELLING}", advice) from error
