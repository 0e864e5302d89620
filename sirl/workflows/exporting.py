"""Publish: what training made, as an ordinary model folder with its measured model card."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from huggingface_hub import snapshot_download
from transformers import AutoConfig

from sirl.errors import DataError, RunError
from sirl.lm import DTYPES, LM, fingerprint, load_lm, save_lm
from sirl.lm.adapters import base_of
from sirl.lm.gguf import gguf_file, is_gguf, read_stated
from sirl.phases import phase
from sirl.reporting.card import Release, measured_last, model_card
from sirl.rundir import SNAPSHOTS, RunDir, read_run
from sirl.rundir.files import replace_synced
from sirl.workflows.models import resolve_model, run_of

LOG = logging.getLogger("sirl")
_LICENCES = ("LICEN[CS]E*", "COPYING*", "NOTICE*", "USE_POLICY*")


def export(spec: str, out: Path, evaluations: Sequence[Path] = (), trust_remote_code: bool = False) -> Path:
    """Write the model of a training run, of a snapshot or of a model folder to OUT, and return OUT.

    Weights keep their precision, an adapter is merged. The card is written from the training run and from
    `evaluations`: one of this model, or one before and one after. A kill leaves all of OUT or nothing of it.
    Raises RunError if OUT is in use or an evaluation is not of these weights, DataError if there is no model.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RunError(f"{out} is not empty", "a new or empty folder", "name another --out")
    folder, _, base, _ = resolve_model(spec)
    training = _training(Path(spec))
    base = str(training.config["model"]) if training else base
    step = int(Path(spec).name) if training and Path(spec).parent.name == SNAPSHOTS else None
    dtype = _stored_dtype(folder, trust_remote_code)
    runs = [read_run(path) for path in evaluations]
    card = model_card(Release(base, dtype, training, step), runs)  # first: a slip costs no loading
    load = partial(_load, folder, trust_remote_code)
    with phase(f"load {spec}"):
        lm = load(dtype)
    if runs:
        _require_same_weights(lm, dtype, measured_last(runs), load)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # of an export that was killed
    with phase(f"write {out}"):
        save_lm(lm, part)
    (part / "README.md").write_text(card, encoding="utf-8")
    if not _copy_licence(base, part):
        told = "no licence file in %s: add that model's licence to the folder before publishing"
        LOG.warning(told, base)
    replace_synced(part, out)
    return out


def _copy_licence(base: str, out: Path) -> bool:
    """Copy the licence files of the model that was the base, which bind whatever is made of it."""
    try:
        folder = Path(resolve_model(base)[0])
        if is_gguf(folder):
            folder = gguf_file(base).parent  # of the hub, in its cache
        elif not folder.is_dir():
            folder = Path(snapshot_download(base, allow_patterns=list(_LICENCES)))
    except (OSError, ValueError):  # no network, no such model any more
        return False
    found = [path for pattern in _LICENCES for path in sorted(folder.glob(pattern)) if path.is_file()]
    for path in found:
        shutil.copyfile(path, out / path.name)
    return bool(found)


def _training(path: Path) -> RunDir | None:
    """Return the training run that made the model; None if there is none around it."""
    folder = path.parent if path.name == "model" else run_of(path)
    if not (folder / "environment.json").is_file():
        return None
    run = read_run(folder)
    return run if run.kind == "train" else None


def _stored_dtype(folder: str | Path, trust_remote_code: bool) -> str:
    """Return the precision of the weights on disk, an adapter's base's; float32 if it is not told."""
    if is_gguf(folder):
        return read_stated(gguf_file(folder)).dtype
    if (Path(folder) / "adapter_config.json").is_file():
        return _stored_dtype(base_of(folder), trust_remote_code)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"no model in {folder} ({reason})", "a model folder or a run", "check the path"
        ) from error
    dtype = str(config.dtype).removeprefix("torch.")
    return dtype if dtype in DTYPES else "float32"


def _load(folder: str | Path, trust_remote_code: bool, dtype: str) -> LM:
    return load_lm(folder, dtype=dtype, trust_remote_code=trust_remote_code)


def _require_same_weights(lm: LM, dtype: str, run: RunDir, load: Callable[[str], LM]) -> None:
    """Raise RunError if the run measured other weights; one that kept no hash of them cannot be checked."""
    measured = (run.environment.get("hashes") or {}).get("weights")
    if measured is None:
        return
    as_measured = str(run.config.get("dtype", dtype))
    if fingerprint(lm if as_measured == dtype else load(as_measured))["weights"] != measured:
        raise RunError(
            f"{run.path} measured other weights ({measured})",
            "an evaluation of the exported model, or one before training and one after",
            "evaluate this model, or leave --evaluation out",
        )
