"""The files of a run folder: opened so that they lead nowhere else, written so that a power cut keeps them.

A folder may come from a stranger. A symbolic link in it would let a run write over any file of the user's, or a
page show one; a pipe or a device would never end. So only plain files are opened, and links are never followed.
What is renamed into place was on disk before, and the rename is on disk when the call returns.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO, cast

from sirl.errors import RunError

PRIVATE = 0o700  # of a run folder: it may hold what harmful requests were answered with
_MODES = {
    "rb": os.O_RDONLY,
    "r+b": os.O_RDWR,
    "ab": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "wb": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
}


def open_plain(path: Path, mode: str = "rb") -> BinaryIO:
    """Open a plain file: rb, r+b, ab or wb. Raises RunError on a link, pipe or device, OSError as `open`."""
    if path.is_symlink():
        raise _linked(path)
    number = os.open(path, _MODES[mode] | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise RunError(f"{path} is a pipe, a device or a folder", "a plain file", "use another folder")
    return cast(BinaryIO, os.fdopen(number, mode))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise RunError where the disk is full, or the folder may not be written to."""
    try:
        yield
    except OSError as error:
        found = f"{path} cannot be written ({error.strerror})"
        advice = "make room, or name another --out; given again, the command goes on from what is there"
        raise RunError(found, "room on the disk, and a folder that may be written to", advice) from error


@contextmanager
def held(path: Path, patience: float) -> Iterator[None]:
    """Hold a folder, waiting up to `patience` seconds for it. Raises RunError if it stays busy."""
    last = monotonic() + patience
    with writing(path / ".lock"):
        lock = open_plain(path / ".lock", "ab")
    with lock as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    found = f"{path} cannot be locked ({error.strerror})"
                    advice = "use a local folder, or mount the file system with locks"
                    raise RunError(found, "a file system with locks", advice) from error
                if monotonic() >= last:
                    found = f"{path} is being written by another process"
                    raise RunError(found, "one writer a run folder", "wait for it") from error
                sleep(0.05)
        yield


def refuse_links(folder: Path) -> None:
    """Raise RunError if anything in a folder that is to be written to is a symbolic link."""
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (path := Path(here, name)).is_symlink():
                raise _linked(path)


def replace_synced(part: Path, path: Path) -> None:
    """Rename a file or a whole folder into its place; a power cut leaves what was there before or all of it."""
    sync(part)
    part.replace(path)
    _sync(path.parent)


def sync(path: Path) -> None:
    """Let the disk have a file, or everything in a folder."""
    for here, _, files in os.walk(path, topdown=False):
        for name in files:
            _sync(Path(here, name))
        _sync(Path(here))
    if path.is_file():
        _sync(path)


def write_synced(path: Path, text: str) -> None:
    """Write a text file anew: a kill or a power cut leaves the old or the new. Raises RunError as `writing`."""
    part = path.with_name(path.name + ".part")
    with writing(path):
        part.unlink(missing_ok=True)
        with open_plain(part, "wb") as handle:
            handle.write(text.encode())
        replace_synced(part, path)


def append_synced(path: Path, text: str) -> None:
    """Add to a file with one write, and let the disk have it; a file that is new is on disk by its name too.

    Raises RunError as `writing`.
    """
    new = not path.exists()
    with writing(path), open_plain(path, "ab") as handle:
        handle.write(text.encode())
        handle.flush()
        os.fsync(handle.fileno())
    if new:
        _sync(path.parent)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _linked(path: Path) -> RunError:
    found = f"{path} is a symbolic link to {os.readlink(path)}"
    return RunError(found, "plain files and folders in a run folder", "put the file itself there")
