"""Folders that were named -> the runs in them, looked for again as time goes by."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Lock

from sirl.errors import RunError, SirlError
from sirl.rundir import RunDir, read_run

DEEPEST = 6  # folders below the one that was named
MOST_FOLDERS, MOST_RUNS = 20_000, 1_000  # looked into, shown
_PARTS = ("config.json", "environment.json")


@dataclass(frozen=True, slots=True)
class Found:
    """A run, by an id that stands for its path; `run` is None where it cannot be read, and `error` says why."""

    id: str
    name: str
    group: str
    path: Path
    run: RunDir | None
    error: str = ""


@dataclass(slots=True)
class Catalogue:
    """The runs in some folders: each a run itself, or a folder that is searched for runs.

    Links below a folder are not followed.
    """

    roots: Sequence[Path]
    _found: dict[str, Found] = field(default_factory=dict)
    _stamps: dict[str, object] = field(default_factory=dict)
    _again: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Raise RunError if a folder is not there."""
        for root in self.roots:
            if not root.is_dir():
                found = f"no folder {root}"
                raise RunError(found, "a run folder, or a folder of them", "name one that is there")

    def runs(self) -> dict[str, Found]:
        """Return the runs by id, as they were at most a few seconds ago."""
        with self._lock:
            if time.monotonic() >= self._again:
                start = time.monotonic()
                self._look()
                spent = time.monotonic() - start
                self._again = time.monotonic() + max(1.0, 10 * spent)
            return dict(self._found)

    def find(self, identity: str) -> Found:
        """Return one run. Raises KeyError."""
        return self.runs()[identity]

    def _look(self) -> None:
        kept: dict[str, Found] = {}
        for root in self.roots:
            for path in _run_folders(root):
                identity = sha256(os.fsencode(path.absolute())).hexdigest()[:12]
                if len(kept) < MOST_RUNS:
                    kept.setdefault(identity, self._open(identity, root, path))
        self._found = kept
        self._stamps = {identity: self._stamps[identity] for identity in kept}

    def _open(self, identity: str, root: Path, path: Path) -> Found:
        """Return a run, read again only where its settings were written anew."""
        stamp = tuple((path / part).lstat().st_mtime_ns for part in _PARTS if (path / part).exists())
        if identity in self._found and self._stamps.get(identity) == stamp:
            return self._found[identity]
        self._stamps[identity] = stamp
        inside = path.relative_to(root)
        name = str(inside) if inside.parts else path.absolute().name
        group = str(root if len(inside.parts) < 2 else root / inside.parent)
        try:
            return Found(identity, name, group, path, read_run(path))
        except (SirlError, OSError, TypeError, ValueError, LookupError, AttributeError) as error:
            return Found(identity, name, group, path, None, str(error))


def _run_folders(root: Path) -> list[Path]:
    found = []
    for looked, (here, folders, files) in enumerate(os.walk(root, followlinks=False), 1):
        path = Path(here)
        if all(part in files for part in _PARTS):
            found.append(path)
            folders.clear()
        elif looked >= MOST_FOLDERS or len(path.relative_to(root).parts) >= DEEPEST:
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return found
