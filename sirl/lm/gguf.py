"""A GGUF file as a model: a file on the disk, or OWNER/NAME/FILE.gguf of the hub, and nothing beside it.

Its weights are unpacked by transformers into an ordinary model, which is trained, saved and exported as any
other. What lies around the file is not read. A file states more than transformers reads: how the rotary
embeddings are stretched is put into the config, and what else may change the logits is told.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from huggingface_hub import hf_hub_download
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from sirl.errors import ConfigError, DataError, SirlError
from sirl.lm.gguf_tokens import Vocabulary, build_tokenizer
from sirl.plugins import load_extra

LOG = logging.getLogger("sirl")
SUFFIX = ".gguf"
_NAME = "model.gguf"
_FACTORS = "rope_freqs.weight"
# Llama 3.1 to 3.3 as published; a file keeps only what becomes of these
_LLAMA3 = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_PLAIN = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Stated:
    """What a file says: its statements by key, and of each tensor the kind and how many numbers it holds."""

    file: Path
    fields: Mapping[str, Any]
    tensors: Mapping[str, tuple[str, int]]
    stretch: tuple[float, ...] = ()  # by what each rotary frequency is divided

    @property
    def own(self) -> dict[str, Any]:
        """What it says of its architecture, by the keys behind the architecture's name."""
        prefix = f"{self.fields['general.architecture']}."
        return {key.removeprefix(prefix): value for key, value in self.fields.items() if key.startswith(prefix)}

    @property
    def vocabulary(self) -> Vocabulary:
        prefix = "tokenizer.ggml."
        told = {key.removeprefix(prefix): value for key, value in self.fields.items() if key.startswith(prefix)}
        return Vocabulary(self.file.name, told)

    @property
    def dtype(self) -> str:
        """The precision of its weights; float32 where they are packed, which holds what they unpack to."""
        kinds = {kind for kind, _ in self.tensors.values()}
        plain = [_PLAIN[kind] for kind in ("BF16", "F16") if kind in kinds]
        return plain[0] if plain and kinds <= set(_PLAIN) else "float32"


def is_gguf(source: str | Path) -> bool:
    """Say whether a source names a GGUF file."""
    return str(source).lower().endswith(SUFFIX)


def gguf_file(source: str | Path) -> Path:
    """Return where the file is, fetched if it is on the hub. Raises DataError if it is not there."""
    path = Path(source).expanduser()
    if path.is_file():
        return path.absolute()
    owner, *rest = str(source).split("/")
    if len(rest) < 2 or owner in ("", ".", "..", "~"):
        expected = "a file on this machine, or OWNER/NAME/FILE.gguf of the hub"
        raise DataError(f"there is no file {source}", expected, "check the path or the name")
    return Path(hf_hub_download(f"{owner}/{rest[0]}", "/".join(rest[1:])))


def refuse_gguf(source: str | Path) -> None:
    """Raise ConfigError on a GGUF file, which an engine of its own would read with a tokenizer of its own."""
    if is_gguf(source):
        expected, advice = "a folder or a hub id for this engine", "leave model.engine at transformers"
        raise ConfigError(f"the GGUF file {source}", expected, advice)


def read_stated(file: Path) -> Stated:
    """Read what a file states. Raises DataError if it is no whole GGUF file, or a part of several."""
    stat = file.stat()
    return _read(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)  # tokenizer and model are loaded one after the other, and reading takes seconds
def _read(file: Path, *_: int) -> Stated:
    reader_of = load_extra("gguf", "gguf").GGUFReader
    try:
        reader = reader_of(file)
        fields = {key: field.contents() for key, field in reader.fields.items()}
        tensors = {t.name: (t.tensor_type.name, int(t.n_elements)) for t in reader.tensors}
        stretch = tuple(next((t.data.tolist() for t in reader.tensors if t.name == _FACTORS), ()))
    except Exception as error:  # the reader checks nothing: a torn file fails anywhere
        reason = " ".join(str(error).split())[:200]
        found = f"{file} cannot be read as GGUF ({type(error).__name__}: {reason})"
        raise DataError(found, "a whole GGUF file", "fetch or convert it again") from error
    if int(fields.get("split.count") or 1) > 1:
        found = f"{file} is one of {fields['split.count']} parts"
        raise DataError(found, "a model in one file", "join them with llama-gguf-split --merge")
    for key in ("general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.tokens"):
        if not fields.get(key):
            expected = "a language model with its tokenizer"
            raise DataError(f"{file} states no {key}", expected, "convert it again")
    return Stated(file, fields, tensors, stretch)


def load_gguf_tokenizer(source: str | Path) -> Any:
    """Return the tokenizer of a file with its chat template, which may be None. Raises DataError."""
    stated = read_stated(gguf_file(source))
    with _linked(stated) as (folder, name):
        template = stated.fields.get("tokenizer.chat_template")
        convert = lambda: AutoTokenizer.from_pretrained(folder, gguf_file=name)  # noqa: E731
        return build_tokenizer(stated.vocabulary, template, convert)


def load_gguf_model(source: str | Path, dtype: torch.dtype) -> Any:
    """Return the model of a file, unpacked. Raises DataError if weights are missing."""
    stated = read_stated(gguf_file(source))
    # where transformers has no GgufConfig it unpacks in any case
    packing = getattr(transformers, "GgufConfig", None)
    unpack: dict[str, Any] = {"quantization_config": packing(dequantize=True)} if packing else {}
    with _linked(stated) as (folder, name):
        if stated.stretch or stated.own.get("rope.scaling.type"):
            config = AutoConfig.from_pretrained(folder, gguf_file=name)
            unpack["config"] = _stretched(stated, config)
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=name, dtype=dtype, output_loading_info=True, **unpack
        )
    if missing := sorted(loading["missing_keys"]):
        found = f"{stated.file} has no weights for {missing[0]} and {len(missing) - 1} more"
        advice = "convert it again, or use the original weights"
        raise DataError(found, "all weights of its architecture", advice)
    _tell_unread(stated, model)
    is_file = Path(source).expanduser().is_file()
    # an adapter's record names its base by this
    model.name_or_path = model.config._name_or_path = str(stated.file if is_file else source)
    return model


@contextmanager
def _linked(stated: Stated) -> Iterator[tuple[str, str]]:
    """Give the file alone in a folder, where there is no config and no tokenizer but its own, and its name.

    Raises DataError for whatever transformers raises: its reader of these files checks little.
    """
    with TemporaryDirectory() as folder:
        (Path(folder) / _NAME).symlink_to(stated.file.resolve())
        try:
            yield folder, _NAME
        except SirlError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            arch = stated.fields["general.architecture"]
            raise DataError(
                f"{stated.file} of the architecture {arch} cannot be loaded ({type(error).__name__}: {reason})",
                "an architecture and a tokenizer that transformers reads from GGUF",
                "use the model's original weights",
            ) from error


def _stretched(stated: Stated, config: Any) -> Any:
    """Return a config with the stretch of its rotary embeddings, which transformers reads from no file."""
    own, plain = stated.own, getattr(config, "rope_parameters", None) or {}
    kind, found = own.get("rope.scaling.type"), None
    if plain.get("rope_type") == "default" and kind in ("linear", "yarn"):
        found = {**plain, "rope_type": kind, "factor": float(own["rope.scaling.factor"])}
        if kind == "yarn":
            length = own.get("rope.scaling.original_context_length", config.max_position_embeddings)
            found["original_max_position_embeddings"] = length
    elif plain.get("rope_type") == "default" and stated.stretch:
        tried = copy.deepcopy(config)
        tried.rope_parameters = {**plain, **_LLAMA3, "factor": max(stated.stretch)}
        stretched, _ = ROPE_INIT_FUNCTIONS["llama3"](tried, None)
        places = torch.arange(len(stretched)) / len(stretched)
        factors = plain["rope_theta"] ** -places / stretched
        given = torch.tensor(stated.stretch)
        same = given.shape == factors.shape and torch.allclose(factors, given, rtol=1e-3)
        found = tried.rope_parameters if same else None
    if found:
        config.rope_parameters = found
    return config


def _tell_unread(stated: Stated, model: Any) -> None:
    """Warn of what a file holds and the model has not: statements, and weights."""
    config = model.config.to_dict()
    values = list(_leaves(config))
    if heads := config.get("num_attention_heads"):
        values.append(config["hidden_size"] // heads)
    unread = [f"{key} = {told}" for key, told in stated.own.items() if not any(_same(told, v) for v in values)]
    placed = (config.get("rope_parameters") or {}).get("rope_type") == "llama3"
    unread += [
        name for name in stated.tensors if name.startswith("rope_") and not (placed and name == _FACTORS)
    ]
    held = sum(count for name, (_, count) in stated.tensors.items() if not name.startswith("rope_"))
    if (more := held - sum(p.numel() for p in model.parameters())) > 0:
        unread.append(f"{more:,} weights")
    if unread:
        told = "transformers does not read all of %s: %s. The model may not compute what was intended"
        LOG.warning(told, stated.file.name, ", ".join(unread))


def _leaves(value: Any) -> Iterator[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict | list):
        for one in inner:
            yield from _leaves(one)
    else:
        yield value


def _same(told: Any, value: Any) -> bool:
    """Say whether a statement is a value of a config; of a list, one a layer, its greatest is."""
    if isinstance(told, list):
        told = max(told, default=None)
    if isinstance(told, bool | str | None) or isinstance(value, bool | str | None):
        return bool(told == "none" or (type(told) is type(value) and told == value))
    return isinstance(told, int | float) and math.isclose(told, value, rel_tol=1e-6)
