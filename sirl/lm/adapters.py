"""An adapter of PEFT as a model: its base, with the adapter added into the weights.

Whoever is given a folder of adapter weights measures, trains and exports the merged model, which is an ordinary
one. The base is where `adapter_config.json` says, looked for from the current folder, as PEFT does, and then
from the adapter's own.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from huggingface_hub import file_exists, snapshot_download
from peft import PeftConfig, PeftModel
from safetensors import safe_open
from transformers.utils.peft_utils import find_adapter_config_file

from sirl.errors import DataError
from sirl.lm.gguf import is_gguf

_WEIGHTS = "adapter_model.safetensors"
_TOKENIZER = "tokenizer_config.json"
_EMBEDDING = (".embed_tokens.weight", ".lm_head.weight", ".wte.weight", ".embed_out.weight")


def is_adapter(source: str | Path) -> bool:
    """Say whether a folder or a hub id holds an adapter, which is not a model without its base."""
    if Path(source).is_dir():
        return (Path(source) / "adapter_config.json").is_file()
    return not is_gguf(source) and find_adapter_config_file(str(source)) is not None


def brings_tokenizer(source: str | Path) -> bool:
    """Say whether an adapter was saved with a tokenizer of its own."""
    if Path(source).is_dir():
        return (Path(source) / _TOKENIZER).is_file()
    return file_exists(str(source), _TOKENIZER)


def base_of(source: str | Path) -> str:
    """Return the folder or hub id of an adapter's base. Raises DataError if it is not told or not there."""
    config = PeftConfig.from_pretrained(str(source))
    if config.task_type not in (None, "CAUSAL_LM"):
        found = f"the adapter {source} is for the task {config.task_type}"
        raise DataError(found, "an adapter of a causal LM", "name another model")
    named = str(config.base_model_name_or_path or "")
    if not named:
        found = f"adapter_config.json of {source} names no base_model_name_or_path"
        raise DataError(found, "the model that the adapter was trained on", "write it into that file")
    if not (base := _found(named, Path(source))):
        found = f"the adapter {source} was trained on {named}, which is not there"
        raise DataError(found, "its base model", "put the base there, or correct adapter_config.json")
    if Path(base).is_dir() and Path(source).is_dir() and Path(base).samefile(source):
        found = f"adapter_config.json of {source} names the adapter itself as its base"
        raise DataError(found, "the model that the adapter was trained on", "write it into that file")
    return base


def _found(named: str, source: Path) -> str:
    """Return where the base is; empty if it names a folder that is not there. A hub id stays as it is."""
    folders = (Path(named).expanduser(), source / named)
    there = Path.is_file if is_gguf(named) else Path.is_dir
    here = next((str(folder) for folder in folders if there(folder)), "")
    no_id = named.count("/") < 2 if is_gguf(named) else named.count("/") > 1
    is_path = Path(named).is_absolute() or named.startswith((".", "~")) or no_id
    return here or ("" if is_path else named)


def merged_adapter(model: Any, source: str | Path, tokens: int) -> Any:
    """Return the base `model` with the adapter of `source` added into its weights.

    `tokens` are those that the tokenizer knows. Where the adapter brings embeddings for more tokens than the
    base has, the base gets as many. Raises DataError if the adapter's weights are not there, do not fit, or
    cannot be added into weights.
    """
    folder = Path(source) if Path(source).is_dir() else Path(snapshot_download(str(source)))
    if not (folder / _WEIGHTS).is_file():
        found = f"no {_WEIGHTS} in the adapter {source}"
        raise DataError(found, "weights as safetensors", "save the adapter as safetensors")
    if rows := _embedding_rows(folder / _WEIGHTS):
        model.resize_token_embeddings(rows, mean_resizing=False)
    rows = model.get_input_embeddings().weight.shape[0]
    if tokens > rows:
        raise DataError(
            f"the tokenizer of {source} knows {tokens} tokens and the base has embeddings for {rows}",
            "an adapter that was saved with its embeddings",
            "save it again with save_embedding_layers=True, or use the base's own tokenizer",
        )
    try:
        with warnings.catch_warnings():
            # PEFT still uses the name that transformers 5.23 renames
            warnings.filterwarnings("ignore", message=r"`\w*gradient_checkpointing", category=FutureWarning)
            warnings.filterwarnings("error", message="Found missing adapter keys")  # it would change nothing
            merged = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
            return merged.requires_grad_(True)  # PEFT has frozen the base; whoever gets this may train it
    except (RuntimeError, UserWarning, AttributeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"the adapter {source} cannot be added to its base ({reason})",
            "an adapter of this base that can be merged, as LoRA",
            "check base_model_name_or_path in adapter_config.json",
        ) from error


def _embedding_rows(weights: Path) -> int:
    """Return how many tokens the adapter brings embeddings for; 0 if it brings none."""
    with safe_open(weights, "pt") as tensors:
        sizes = [tensors.get_slice(name).get_shape()[0] for name in tensors.keys() if name.endswith(_EMBEDDING)]  # noqa: SIM118
    return max(sizes, default=0)
