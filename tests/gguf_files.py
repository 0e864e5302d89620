"""A GGUF file from a model of ours, as llama.cpp's converter writes one: names, permutations, vocabulary."""

import json
from pathlib import Path

import gguf
import numpy
import torch

from sirl.lm import LM

CONTROL, NORMAL = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL


def write_gguf(
    lm: LM, path: Path, pre: str | None = "smollm", dtype=torch.float32, template: bool = True, extra=None
) -> Path:
    """Write a Llama or Qwen2 with a byte-level vocabulary; `extra(writer)` adds what a test wants."""
    config, arch = lm.model.config, lm.model.config.model_type
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(f"a tiny {arch}")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    if arch == "llama":
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    _add_vocabulary(writer, lm, pre)
    if template:
        writer.add_chat_template(lm.tokenizer.chat_template)
    if extra:
        extra(writer)
    _add_weights(writer, lm, dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer, lm: LM, pre: str | None) -> None:
    told = json.loads(lm.tokenizer.backend_tokenizer.to_str())
    special = {token["id"] for token in told["added_tokens"]}
    tokens = lm.tokenizer.convert_ids_to_tokens(range(lm.model.config.vocab_size))
    tokens = [token if token is not None else f"[PAD{i}]" for i, token in enumerate(tokens)]
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if i in special else NORMAL for i in range(len(tokens))])
    pairs = told["model"]["merges"]
    writer.add_token_merges(
        [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs] or ["\u0120 \u0120"]
    )
    for name in ("bos", "eos", "pad", "unk"):
        if (number := getattr(lm.tokenizer, f"{name}_token_id")) is not None:
            getattr(writer, f"add_{name}_token_id")(number)


def _add_weights(writer, lm: LM, dtype) -> None:
    config = lm.model.config
    arch = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2}[config.model_type]
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in lm.model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        part = name.split(".")[-2]
        if config.model_type == "llama" and part in heads:
            tensor = _permuted(tensor, heads[part])
        own = torch.float32 if tensor.dim() == 1 else dtype
        values = tensor.to(own)
        kind = gguf.GGMLQuantizationType.BF16 if own is torch.bfloat16 else None
        array = values.view(torch.uint8).numpy() if kind else values.numpy()
        writer.add_tensor(
            names.get_name(name, (".weight", ".bias")), numpy.ascontiguousarray(array), raw_dtype=kind
        )


def _permuted(weight, heads: int):
    """Return rotary weights in llama.cpp's order: the two halves of a head's dimensions interleaved."""
    shape = weight.shape
    return weight.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)
