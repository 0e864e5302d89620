"""JSON in the files of a run: whole objects, and lines of them read one at a time.

A folder may be a stranger's: no line and no object is read that is longer than any that a run writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from sirl.errors import RunError
from sirl.rundir.files import open_plain, write_synced

LONGEST = 64 * 2**20  # bytes of a line; a record of 32 thousand tokens has some 2 MiB
_BLOCK = 2**20  # bytes that are looked through at once
LARGEST = 512 * 2**20  # bytes of a file that is one object; the plan of a million attempts has some 60 MiB


def each_line(path: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield each whole line from byte `start` on, with the byte it begins at; a torn last line does not count.

    Raises RunError on a line that is too long, OSError as `open`.
    """
    with open_plain(path) as handle:
        handle.seek(start)
        at = start
        while line := _whole_line(handle, path):
            yield at, line
            at += len(line)


def lines_at(path: Path, starts: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines that begin at some bytes, with these. Raises as `each_line`, and on none."""
    with open_plain(path) as handle:
        for start in starts:
            handle.seek(start)
            if not (line := _whole_line(handle, path)):
                raise RunError(f"{path} ends before byte {start}", "a line there", "read it again")
            yield start, line


def _whole_line(handle: BinaryIO, path: Path) -> bytes:
    """Return the next line; nothing at the end, or where a kill has torn it."""
    line = handle.readline(LONGEST + 1)
    if len(line) > LONGEST:
        found = f"{path} holds a line of more than {LONGEST} bytes"
        raise RunError(found, "lines that sirl wrote", "remove that line")
    return line if line.endswith(b"\n") else b""


def cut_torn_line(path: Path) -> None:
    """Cut off a last line that a kill has torn: one without a line break at its end."""
    if not path.exists():
        return
    with open_plain(path, "r+b") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - 1))
        if handle.read(1) not in (b"", b"\n"):
            end = size
            while end:  # from the end, a block at a time: a run may be larger than the memory
                start = max(0, end - _BLOCK)
                handle.seek(start)
                if (place := handle.read(end - start).rfind(b"\n")) >= 0:
                    handle.truncate(start + place + 1)
                    return
                end = start
            handle.truncate(0)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds. Raises RunError."""
    try:
        with open_plain(path) as handle:
            size = os.fstat(handle.fileno()).st_size  # read(n) takes memory for n bytes, however few there are
            text = handle.read() if size <= LARGEST else b""
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error})", "a JSON object", "use another folder") from error
    if size > LARGEST:
        raise RunError(f"{path} has more than {LARGEST} bytes", "a file that sirl wrote", "use another folder")
    return json_object(text, str(path), "use another folder")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object as a file; a kill or a power cut leaves the old file or the new."""
    write_synced(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def json_object(text: bytes, where: str, advice: str) -> dict[str, Any]:
    """Return a JSON object. Raises RunError, which says `where` the text stands."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{where} is not JSON", "one JSON object", advice) from error
    if not isinstance(value, dict):
        raise RunError(f"{where} is JSON but no object", "one JSON object", advice)
    return value
