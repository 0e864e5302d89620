"""What a power cut would leave: which files and folders have been synced, as what, and what was renamed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


class Disk:
    """Watches os.fsync and os.replace; a rename of what the disk does not have yet fails on the spot."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: dict[int, bytes] = {}  # what is on disk, by inode
        self.folders: dict[int, set[str]] = {}  # likewise
        self.renamed: list[Path] = []
        fsync, replace = os.fsync, os.replace

        def watched_fsync(number: int) -> None:
            fsync(number)
            path = Path(os.readlink(f"/proc/self/fd/{number}"))
            if path.is_dir():
                self.folders[path.stat().st_ino] = set(os.listdir(path))
            else:
                self.files[path.stat().st_ino] = path.read_bytes()

        def watched_replace(part: os.PathLike[str] | str, path: os.PathLike[str] | str) -> None:
            self._check_files(Path(part))
            replace(part, path)
            self.renamed.append(Path(path))

        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "replace", watched_replace)

    def check(self, folder: Path) -> None:
        """Fail unless everything in a folder is on disk, by its name and as it is."""
        self._check_files(folder)
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                assert self.folders.get(path.stat().st_ino) == set(os.listdir(path)), f"names in {path}"

    def _check_files(self, path: Path) -> None:
        for file in (path, *path.rglob("*")) if path.is_dir() else (path,):
            if file.is_file() and file.name != ".lock":
                assert self.files.get(file.stat().st_ino) == file.read_bytes(), f"{file} is not on disk"
