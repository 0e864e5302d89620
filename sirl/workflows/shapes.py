"""How large a model is, by its config.json alone."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from sirl.errors import ConfigError, DataError
from sirl.planning import Shape
from sirl.workflows.models import resolve_model

_SIZES = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "intermediate": "intermediate_size",
    "vocabulary": "vocab_size",
}
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


def read_shape(model: str) -> Shape:
    """Return the sizes of a model: an organism, a training run, a folder, a config.json, or a hub id.

    Raises DataError if its config.json cannot be read, ConfigError if it is of no dense decoder.
    """
    try:
        config = AutoConfig.from_pretrained(str(resolve_model(model)[0]))
    except (OSError, ValueError) as error:
        raise DataError(
            f"the config.json of {model} cannot be read ({str(error).strip().splitlines()[0].rstrip('.')})",
            "a folder of weights, a config.json, or a hub id that can be fetched",
            "save config.json from the model's page on the hub (a gated one needs a login) and name that file",
        ) from error
    return shape_of(config, model)


def shape_of(config: Any, name: str) -> Shape:
    """Return the sizes of an architecture in the words of transformers; parameters are counted without weights.

    Raises ConfigError if it has no feed-forward layers of one size, as a mixture of experts has not.
    """
    text = config.get_text_config()
    found: dict[str, Any] = {ours: getattr(text, theirs, None) for ours, theirs in _SIZES.items()}
    missing = [_SIZES[ours] for ours, size in found.items() if not isinstance(size, int)]
    if missing or any(getattr(text, experts, None) for experts in _EXPERTS):
        told = f"{name} is a mixture of experts" if not missing else f"{name} without {missing[0]}"
        raise ConfigError(told, "a dense decoder", "plan another model: the formulas are for dense decoders")
    with torch.device("meta"):
        parameters = AutoModelForCausalLM.from_config(config).num_parameters()
    heads, hidden = found["heads"], found["hidden"]
    return Shape(
        **found,
        parameters=parameters,
        kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_dim=getattr(text, "head_dim", None) or hidden // heads,
    )
