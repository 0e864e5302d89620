"""A file of any common shape -> rows of cells, and how it was read. Knows no column's meaning.

CSV, TSV, JSON, JSON lines, text with one prompt a line, Parquet, Arrow, and the folders of `save_to_disk` of
datasets; each file may be compressed by gzip, bzip2 or xz. FILE@SPLIT chooses one split of several. Other
folders of data files, and what is spelled `hf:...`, are read by `hub`. A file is held in memory, so its size is
bounded.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import pyarrow
import pyarrow.parquet

from sirl.errors import DataError
from sirl.prompts.cells import Row, bare
from sirl.prompts.delimited import SEPARATORS, read_delimited
from sirl.prompts.encodings import decode
from sirl.prompts.hub import MOST_ROWS, Address, address, is_hub, load
from sirl.prompts.objects import Wanted, choose, lines_of, parse, read_lines, read_value

FORMATS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow")
KNOWN = "CSV, TSV, JSON, JSON lines, Parquet, Arrow or text"
_Bytes = IO[bytes] | gzip.GzipFile
LARGEST = 1 << 30  # bytes of a file, unpacked
_PACKED: Mapping[str, tuple[bytes, Callable[[IO[bytes]], _Bytes]]] = {
    ".gz": (b"\x1f\x8b", lambda packed: gzip.GzipFile(fileobj=packed)),
    ".bz2": (b"BZh", bz2.BZ2File),
    ".xz": (b"\xfd7zXZ", lzma.LZMAFile),
}
_ADVICE = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), "save the sheet as CSV UTF-8"),
    **dict.fromkeys((".pkl", ".pickle"), "a pickle can run code: write it as JSON lines or Parquet"),
    **dict.fromkeys((".zip", ".zst", ".7z", ".tar", ".tgz"), "unpack it"),
}
_POINTER = b"version https://git-lfs"
_HEADER = re.compile(r"[A-Za-z_]\w*(?:[,;\t|]\s*[A-Za-z_]\w*)*")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file as they stand there, and how they were read.

    name      of the file, with the split that was chosen
    sha256    of the file's bytes
    columns   in the order of their first row; no two are equal but for case
    encoding  of the text, or the format where that is no text
    about     what a JSON object says beside its one list of rows
    notes     what a user should know of the reading
    revision  the hub's commit; None for a file
    """

    name: str
    sha256: str
    rows: Sequence[Row]
    columns: tuple[str, ...]
    encoding: str
    about: Mapping[str, Any]
    notes: tuple[str, ...]
    revision: str | None = None


def read_table(source: str | Path, columns: Sequence[str] = (), together: bool = False) -> Table:
    """Read FILE or FILE@SPLIT by its suffix, or `hf:...`. `columns` and `together`, see `objects.Wanted`.

    Raises DataError if it is missing, unreadable, too large, of unknown format or shape, without rows, has
    several splits and none is chosen, or has columns whose names differ in case alone.
    """
    place = address(source) if is_hub(source) else None
    path, split = (Path(place.path), place.split) if place else part(source)
    wanted = Wanted(columns, split, together)
    if path.is_dir() and any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return _folder(path, wanted)
    if place or path.is_dir():
        return _loaded(place or Address(str(path), split=split))
    data, content = _unpacked(path)
    return _table(path, sha256(data).hexdigest(), _read(path, content, wanted), split)


def part(source: str | Path) -> tuple[Path, str]:
    """Part FILE@SPLIT; the split is empty where none is named, as in a file whose own name holds an @."""
    file, at, split = str(source).rpartition("@")
    named = at and file and not Path(source).exists() and not {"/", "\\", "."} & set(split)
    return (Path(file), split) if named else (Path(source), "")


def is_table(path: Path) -> bool:
    """Say whether the name of a file is that of a table."""
    return _suffix(path) in FORMATS


Reading = tuple[
    list[Row], Sequence[str], str, Mapping[str, Any], list[str]
]  # rows, header, encoding, about, notes


def _table(path: Path, digest: str, read: Reading, split: str) -> Table:
    rows, header, encoding, about, notes = read
    if not rows:
        raise DataError(f"{path} has no rows", "at least one row", "name another file")
    if len(rows) > MOST_ROWS:
        raise DataError(f"{path} has {len(rows):,} rows", f"at most {MOST_ROWS:,}", "write a part of it")
    names = list(dict.fromkeys(header or [name for _, row in rows for name in row]))
    clean = {name: bare(name) for name in names}
    _check_names(path, [bare(name) for name in header or names])
    if any(name != spelled for name, spelled in clean.items()):
        rows = [(number, {clean[name]: cell for name, cell in row.items()}) for number, row in rows]
    name = f"{path.name}@{split}" if split else path.name
    columns = tuple(filter(None, clean.values()))
    return Table(name, digest, rows, columns, encoding, about, tuple(notes))


def _check_names(path: Path, names: Sequence[str]) -> None:
    times = Counter(name.casefold() for name in names if name)
    twice = [name for name in names if times[name.casefold()] > 1]
    if twice:
        found = f"{path} has two columns {' and '.join(map(repr, twice[:2]))}"
        raise DataError(found, "names that differ in more than case", "rename or remove one of them")


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in _PACKED else suffix


def _unpacked(path: Path) -> tuple[bytes, bytes]:
    """Return the bytes of a file as they are and without compression."""
    suffix = _suffix(path)
    if suffix not in FORMATS:
        advice = _ADVICE.get(suffix, f"write it as {KNOWN}, with one of the suffixes {', '.join(FORMATS)}")
        raise DataError(f"{path} is of unknown format", "a table", advice)
    try:
        data = _bytes(path)
        packed = next((open_ for mark, open_ in _PACKED.values() if data.startswith(mark)), None)
        content = _whole(path, packed(BytesIO(data))) if packed else data
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"{path} cannot be read ({why})", "a file that is whole", "check the path and the file"
        ) from error
    if content.startswith(_POINTER):
        raise DataError(f"{path} is a pointer of Git LFS", "the file that it stands for", "run git lfs pull")
    return data, content


def _bytes(path: Path) -> bytes:
    """Return a file's bytes. Raises DataError on a pipe or a device, which may never end, OSError as `open`."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is a pipe, a device or a folder", "a file", "write what it holds to a file")
    with path.open("rb") as file:
        return _whole(path, file)


def _whole(path: Path, file: _Bytes) -> bytes:
    """Read all of a file, packed or not. Raises DataError as soon as it is larger than it may be."""
    parts, size = [], 0
    while part_ := file.read(1 << 20):
        size += len(part_)
        if size > LARGEST:
            found = f"{path} holds more than {LARGEST:,} bytes"
            raise DataError(found, "a table that fits in memory", "write the rows and columns that are needed")
        parts.append(part_)
    return b"".join(parts)


def _read(path: Path, data: bytes, wanted: Wanted) -> Reading:
    suffix = _suffix(path)
    if suffix in (".parquet", ".arrow"):
        rows, names = _arrow(path, data, suffix)
        _no_splits(path, wanted)
        return rows, names, suffix[1:], {}, []
    text, encoding = decode(str(path), data, suffix in (".csv", ".tsv", ".txt"))
    notes = [f"read as {encoding}; save it as UTF-8 if letters are wrong"] if encoding == "windows-1252" else []
    if suffix in (".json", ".jsonl", ".ndjson"):
        rows, about = _json(path, text, wanted)
        if isinstance(all_ := about.get("num_rows_total"), int) and all_ > len(rows):
            notes.append(f"the file holds {len(rows)} of the {all_} rows of its data set")
        return rows, [], encoding, about, notes
    _no_splits(path, wanted)
    if suffix == ".txt":
        return _text_lines(path, text), ["prompt"], encoding, {}, notes
    header, rows, separator = read_delimited(str(path), text, "\t" if suffix == ".tsv" else "")
    if separator not in (",", "\t"):
        notes.append(f"cells are separated by {SEPARATORS.get(separator, separator)}")
    return rows, header, encoding, {}, notes


def _json(path: Path, text: str, wanted: Wanted) -> tuple[list[Row], Mapping[str, Any]]:
    """Read JSON or JSON lines by what stands there: datasets and pandas write lines into .json, too."""
    first = next((line for line in lines_of(text) if line.strip()), "").strip()
    alone, named_lines = first == text.strip(), _suffix(path) != ".json"
    if first.startswith("["):
        one_value = alone or not named_lines or not _parses(first, list)
    else:
        one_value = not named_lines and (alone or not _parses(first, dict))
    if one_value or not first:
        return read_value(str(path), parse(text, str(path)) if first else [], wanted)
    _no_splits(path, wanted)
    return read_lines(str(path), text), {}


def _parses(line: str, kind: type) -> bool:
    try:
        return isinstance(json.loads(line), kind)
    except (ValueError, RecursionError):
        return False


def _text_lines(path: Path, text: str) -> list[Row]:
    """Return one prompt a line. Raises DataError if the first line is the header of a table."""
    lines = [(number, line) for number, line in enumerate(lines_of(text), 1) if bare(line)]
    if lines and _HEADER.fullmatch(bare(lines[0][1])):
        found = f"{path} begins with what looks like a header ({bare(lines[0][1])[:80]})"
        raise DataError(found, "one prompt a line", "name the file .csv or .tsv, or remove that line")
    return [(number, {"prompt": line}) for number, line in lines]


def _arrow(path: Path, data: bytes, suffix: str) -> tuple[list[Row], list[str]]:
    source = pyarrow.BufferReader(data)
    try:
        if suffix == ".parquet":
            file = pyarrow.parquet.ParquetFile(source)
            groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
            _require_size(path, file.metadata.num_rows, sum(group.total_byte_size for group in groups))
            table = file.read()
        elif data.startswith(b"ARROW1"):
            table = pyarrow.ipc.open_file(source).read_all()
        else:
            table = pyarrow.ipc.open_stream(source).read_all()
    except (pyarrow.ArrowException, OSError) as error:
        found = f"{path} is not {suffix[1:].capitalize()}"
        raise DataError(found, f"{suffix[1:].capitalize()}, whole", "write the file again") from error
    _require_size(path, table.num_rows, table.nbytes)
    return list(enumerate(table.to_pylist(), 1)), list(table.column_names)


def _require_size(path: Path, rows: int, size: int) -> None:
    """Raise DataError if a table has too many rows or bytes: few bytes on the disk can stand for many."""
    if rows > MOST_ROWS or size > LARGEST:
        found = f"{path} has {rows:,} rows of {size:,} bytes"
        raise DataError(found, f"at most {MOST_ROWS:,} rows and {LARGEST:,} bytes", "write a part of it")


def _no_splits(path: Path, wanted: Wanted) -> None:
    if wanted.split:
        raise DataError(
            f"{path} has no split {wanted.split!r}", "a file with splits", "leave out what follows the @"
        )


def _folder(path: Path, wanted: Wanted) -> Table:
    """Read what datasets' `save_to_disk` wrote: one set, or a folder of splits."""
    try:
        if (path / "dataset_dict.json").is_file():
            splits = json.loads(_bytes(path / "dataset_dict.json"))["splits"]
            if wanted.split not in splits:
                raise choose(str(path), splits)
            table = _saved(path / wanted.split)
        else:
            table = _saved(path)
            _no_splits(path, wanted)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        found = f"{path} is a folder and cannot be read"
        raise DataError(found, f"a {KNOWN} file, or a folder of datasets", "name a file in it") from error
    data, rows, names = table
    return _table(path, sha256(data).hexdigest(), (rows, names, "arrow", {}, []), wanted.split)


def _loaded(place: Address) -> Table:
    """Read a data set through `datasets`."""
    loaded = load(place)
    read: Reading = (loaded.rows, loaded.columns, "datasets", {}, list(loaded.notes))
    table = _table(Path(place.path), loaded.sha256, read, "")
    return replace(table, name=place.name, revision=loaded.revision)


def _saved(folder: Path) -> tuple[bytes, list[Row], list[str]]:
    state = json.loads(_bytes(folder / "state.json"))
    parts = [_bytes(folder / Path(file["filename"]).name) for file in state["_data_files"]]
    read = [_arrow(folder, part_, ".arrow") for part_ in parts]
    rows = [row for found, _ in read for _, row in found]
    return b"".join(parts), list(enumerate(rows, 1)), read[0][1] if read else []
