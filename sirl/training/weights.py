"""Models as ordinary folders: the base, snapshots, what is kept. A kill leaves all of a folder or none."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback

from sirl.config import TrainConfig
from sirl.errors import RunError
from sirl.lm import LM, load_lm, save_lm
from sirl.ranks import is_first, sharded
from sirl.rundir import RunDir
from sirl.rundir.files import replace_synced
from sirl.training.checkpoints import damage, mark_whole
from sirl.training.copies import sharing
from sirl.training.distributed import from_first


def write_start(lm: LM, run: RunDir) -> Path:
    """Write the base model where TRL can load it."""
    folder = run.checkpoint / "start"
    from_first(lambda: _keep_whole(lm, folder))
    return folder


def _keep_whole(lm: LM, folder: Path) -> None:
    """Write the model unless it is there as it was written."""
    if not folder.exists() or damage(folder):
        shutil.rmtree(folder, ignore_errors=True)
        write_whole(lm.model, lm, folder)
        mark_whole(folder)


def write_whole(model: Any, lm: LM, folder: Path) -> None:
    """Write weights with `lm`'s config and tokenizer as an ordinary folder; a kill leaves none or all of it.

    An adapter is added into the weights on their way to the disk: those in memory stay as they are.
    """
    part = folder.with_name(folder.name + ".part")
    merged = folder.with_name(folder.name + ".merged")
    for left_over in (part, merged):
        shutil.rmtree(left_over, ignore_errors=True)
    weights = None
    if isinstance(model, PeftModel):
        model, weights = _merged(model, merged)
    model = copy.copy(model)  # shares the weights; saving writes into the configs, and TRL has set a pad token
    model.config = copy.deepcopy(lm.model.config)
    model.generation_config = copy.deepcopy(lm.model.generation_config)
    save_lm(LM(model, lm.tokenizer, lm.name), part, weights)
    shutil.rmtree(merged, ignore_errors=True)
    replace_synced(part, folder)


def _merged(trained: PeftModel, folder: Path) -> tuple[Any, dict[str, Tensor]]:
    """Return the base, without its adapter, and the weights of both together, which it does not hold.

    Those that the adapter changes are worked out layer by layer and wait in `folder`: they are read from there,
    a part at a time, when they are saved, so that there is never a second copy of the model in memory.
    """
    folder.mkdir(parents=True)
    changed: dict[int, Tensor] = {}  # by where the base's own lies, whatever names it goes by
    for number, layer in enumerate(module for module in trained.modules() if isinstance(module, LoraLayer)):
        file, own = folder / f"{number}.safetensors", layer.get_base_layer().weight.detach()
        weight = own.clone()
        for adapter in layer.active_adapters:
            weight += layer.get_delta_weight(adapter).detach()
        save_file({"weight": weight.contiguous()}, file)
        changed[own.data_ptr()] = load_file(file)["weight"]
    base = sharing(trained).unload()
    return base, {name: changed.get(own.data_ptr(), own) for name, own in base.state_dict().items()}


class Snapshots(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Leave the model as it is after some steps in run/snapshots/STEP, an ordinary model folder each."""

    def __init__(self, lm: LM, config: TrainConfig, run: RunDir, first: int) -> None:
        self.lm, self.steps, self.first, self.folder = lm, config.snapshots, first, run.path / "snapshots"

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        step = self.first + state.global_step
        if step in self.steps and sharded():
            control.should_save = True  # shards stand together in a checkpoint only
        elif step in self.steps:
            self._write(step, lambda: given["model"])

    def on_save(self, args: Any, state: Any, control: Any, **__: Any) -> None:  # noqa: ARG002
        step = self.first + state.global_step
        if step in self.steps and sharded():
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            self._write(step, lambda: load_checkpoint(self.lm, checkpoint))

    def _write(self, step: int, model: Callable[[], Any]) -> None:
        folder = self.folder / str(step)
        if is_first() and not folder.exists():
            write_whole(model(), self.lm, folder)


def load_checkpoint(lm: LM, folder: Path) -> Any:
    """Return the model of a whole checkpoint, an adapter on the weights of the base."""
    if (folder / "adapter_config.json").exists():
        if not (folder / "adapter_model.safetensors").is_file():  # PEFT would unpickle an adapter_model.bin
            found = f"no adapter_model.safetensors in {folder}"
            raise RunError(found, "weights as safetensors", "delete that checkpoint")
        return PeftModel.from_pretrained(sharing(lm.model), folder)
    return reload(lm, folder).model


def reload(lm: LM, folder: Path) -> LM:
    """Load a folder in the precision of `lm`, and with its own code if `lm` runs such code."""
    dtype = str(lm.model.dtype).removeprefix("torch.")
    return load_lm(folder, dtype=dtype, trust_remote_code=has_own_code(lm))


def has_own_code(lm: LM) -> bool:
    """Return True if the model runs code from its own repository: whoever loaded it has allowed that."""
    return type(lm.model).__module__.startswith("transformers_modules")
