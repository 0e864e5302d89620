"""Checkpoints are read as data: no pickle in one may run anything, whoever sent the folder.

Transformers reads its own files with `weights_only`. Shards it leaves to torch, which unpickles `.metadata` as
it stands, and each value that is no tensor too. So the first is read here before torch reads it, and only what
describes tensors may be named in it; for the second torch is told to take data alone.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sirl.errors import RunError
from sirl.rundir.files import open_plain

_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_METADATA = "torch.distributed.checkpoint.metadata"
_KNOWN = {
    ("collections", "OrderedDict"),
    ("pathlib", "PosixPath"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    *((_METADATA, name) for name in ("BytesStorageMetadata", "ChunkStorageMetadata", "Metadata")),
    *((_METADATA, name) for name in ("MetadataIndex", "StorageMeta", "TensorProperties")),
    *((_METADATA, name) for name in ("TensorStorageMetadata", "_MEM_FORMAT_ENCODING")),
}


def check_shards(checkpoint: Path) -> None:
    """Raise RunError if the list of a checkpoint's shards names anything but tensors in its own folder."""
    for path in sorted(checkpoint.rglob(".metadata")):
        try:
            with open_plain(path) as handle:
                found = _DataOnly(handle).load()
            names = {str(part.relative_path) for part in found.storage_data.values()}
        except Exception as error:  # whatever a forged pickle raises
            raise _forged(path, " ".join(f"{type(error).__name__}: {error}".split())) from error
        if outside := sorted(name for name in names if Path(name).name != name):
            raise _forged(path, f"it leads to {outside[0]}")


@contextmanager
def data_only() -> Iterator[None]:
    """While this holds, `torch.load` makes tensors and plain values and nothing else, whoever calls it."""
    before = os.environ.get(_FORCED)
    os.environ[_FORCED] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FORCED]
        else:
            os.environ[_FORCED] = before


class _DataOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        kind = getattr(torch, name, None) if module == "torch" else None
        if (module, name) in _KNOWN or isinstance(kind, (torch.dtype, torch.layout, torch.memory_format)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _forged(path: Path, why: str) -> RunError:
    return RunError(
        f"{path} is no list of shards ({why})",
        "a checkpoint that training wrote: it is read as data and runs nothing",
        "delete that checkpoint, and training continues from the one before",
    )
