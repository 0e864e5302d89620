"""What a power cut would leave: which files and folders have been synced, as what, and what was renamed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

Image = Mapping[str, bytes | None]  # what a folder holds after a power cut, by path; None is a folder


class Disk:
    """Watches os.fsync and os.replace; a rename of what the disk does not have yet fails on the spot."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: dict[int, bytes] = {}  # what is on disk, by inode
        self.folders: dict[int, dict[str, int]] = {}  # likewise: the inodes behind names
        self.renamed: list[Path] = []
        fsync, replace = os.fsync, os.replace

        def watched_fsync(number: int) -> None:
            self.before_sync()
            fsync(number)
            path = Path(os.readlink(f"/proc/self/fd/{number}"))
            if path.is_dir():
                self.folders[path.stat().st_ino] = {one.name: one.lstat().st_ino for one in path.iterdir()}
            else:
                self.files[path.stat().st_ino] = path.read_bytes()

        def watched_replace(part: os.PathLike[str] | str, path: os.PathLike[str] | str) -> None:
            self._check_files(Path(part))
            self.before_sync()
            replace(part, path)
            self.renamed.append(Path(path))

        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "replace", watched_replace)

    def before_sync(self) -> None:
        """Look at the disk before something is synced or renamed."""

    def check(self, folder: Path) -> None:
        """Fail unless everything in a folder is on disk, by its name and as it is."""
        self._check_files(folder)
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                names = self.folders.get(path.stat().st_ino, {})
                assert names.keys() == set(os.listdir(path)), f"names in {path}"

    def _check_files(self, path: Path) -> None:
        for file in (path, *path.rglob("*")) if path.is_dir() else (path,):
            if file.is_file() and file.name != ".lock":
                assert self.files.get(file.stat().st_ino) == file.read_bytes(), f"{file} is not on disk"


class PowerCuts(Disk):
    """Takes an image of a folder before every sync and rename: what a power cut at that moment leaves.

    Once with all that was not synced gone, names and deletions too, and once with the names as they are and
    half of what was written since. Each that differs from the one before is kept in `images`.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = folder
        self.images: list[Image] = []
        self.held: dict[int, int] = {}  # an open handle to each inode, so that no number is given again
        super().__init__(monkeypatch)

    def before_sync(self) -> None:
        if not self.folder.is_dir():
            return
        for path in (self.folder, *self.folder.rglob("*")):
            if (inode := path.stat().st_ino) not in self.held:
                self.held[inode] = os.open(path, os.O_RDONLY)
        for torn in (False, True):
            image: dict[str, bytes | None] = {}
            self._image(self.folder.stat().st_ino, "", torn, image)
            if image not in self.images[-2:]:
                self.images.append(image)

    def _image(self, inode: int, name: str, torn: bool, image: dict[str, bytes | None]) -> None:
        path = Path(f"/proc/self/fd/{self.held[inode]}") if inode in self.held else None
        if path is None:  # it has come since it was looked for
            return
        if path.is_dir():
            image[name] = None
            now = {one: os.lstat(path / one).st_ino for one in os.listdir(path)}
            for below, child in (now if torn else self.folders.get(inode, {})).items():
                self._image(child, f"{name}/{below}".lstrip("/"), torn, image)
            return
        synced = self.files.get(inode, b"")
        image[name] = synced
        if torn and (current := path.read_bytes()) != synced:
            kept = len(synced) if current.startswith(synced) else 0
            image[name] = current[: kept + (len(current) - kept) // 2]

    def close(self) -> None:
        for number in self.held.values():
            os.close(number)


def restore(image: Image, folder: Path) -> Path:
    """Make a folder as an image has it."""
    for name, content in image.items():
        if content is None:
            (folder / name).mkdir(parents=True)
        else:
            (folder / name).write_bytes(content)
    return folder
