"""Tiny random models of every causal-LM architecture that the installed transformers knows, made by one rule.

A config is made small by the names of its settings: `RULES` say what a setting so named comes down to, `LIKE`
what an architecture asks beyond them. Settings that tell layers apart are cut to one layer of each kind.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

NAMES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
LAYERS, VOCABULARY = 2, 261
TOKENS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}

RULES: tuple[tuple[str, int | None], ...] = (  # the first that a name matches; None leaves the setting alone
    (r"_index$|^seed$|conv|kernel|iters|period|offset|step_rank$|dt_rank|interval|pattern|scale_emb", None),
    (r"num_codebooks|expand|start_n|end_n|L_cache|_cycles|n_shared|num_shared|first_k", None),
    (r"vocab", VOCABULARY),
    (r"rotary_dim|rope_dim|qk_rope_head_dim", 4),
    (r"(n_group|topk_group|expert_group|n_groups)s?$", 1),
    (r"index_topk|index_top_k", 512),  # all: a few of equal scores would be an arbitrary choice
    (r"top_?k|experts_per_tok|moe_k$", 2),
    (r"experts|expert_num", 4),
    (r"^(num|n)_(.*_)?layers?$|(encoder|decoder)_layers$|max_window_layers|num_blocks", LAYERS),
    (r"mamba.*heads|linear_num_heads", 8),
    (r"kv_heads|key_value_heads|query_groups|linear_num_key_heads", 2),
    (r"heads?$|_heads_|heads_per", 4),
    (r"head_?dim|head_size|d_head|dim_head|kv_channels", 8),
    (r"position|n_ctx|context_length|max_seq_len|max_length", 512),
    (r"chunk|block_size|window|local_attention|floor", 6),
    (r"", 32),
)
MISSING = {"head_dim": 8, "num_key_value_heads": 4, "num_experts": 4, "num_experts_per_tok": 2}  # where None
HYBRID = ["linear_attention", "full_attention"]
LIKE: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("axk1", "deepseek_v3", "youtu"),
        {"qk_head_dim": 12, "head_dim": 4, "n_routed_experts": 8} | {"n_group": 1, "topk_group": 1},
    ),
    **{name: {"qk_head_dim": 12} for name in ("axk2", "glm4_moe_lite")},
    "longcat_flash": {"qk_head_dim": 12, "head_dim": 4},
    "deepseek_v32": {"qk_head_dim": 12, "n_routed_experts": 8},
    "bailing_hybrid": {"num_experts": 8},
    "bamba": {"attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 8},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "granitemoehybrid": {
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "layers_block_type": ["mamba", "attention"],
    },
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
    },
    "kimi_linear": {"layer_types": HYBRID},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "reformer": {"axial_pos_embds_dim": [8, 24], "axial_pos_shape": [16, 32]},
    "dots1": {"n_routed_experts": 4},
    "qwen4_exp_text": {"indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 8}
    | {"indexer_budget": 8, "indexer_compress_ratio": 4},
    "recurrent_gemma": {"num_hidden_layers": 3, "block_types": ["recurrent", "recurrent", "attention"]},
    "xlnet": {"d_head": 8},
    "xlstm": {"chunk_size": 16, "qk_dim_factor": 1.0, "v_dim_factor": 1.0},
    "zamba": {"attention_hidden_size": 64, "attention_head_dim": 16, "n_mamba_heads": 2},
    "zamba2": {
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "mamba_headdim": 8,
        "n_mamba_heads": 8,
        "hybrid_layer_ids": [1, 3],
    },
}
for _name in ("zamba", "zamba2"):
    LIKE[_name] |= {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2}


def build(name: str, seed: int = 0) -> Any:
    """Return a small random model; raises whatever its code raises if the rule does not fit it."""
    config = shrunk(CONFIG_MAPPING[name]())
    config.is_decoder = True
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config).eval()
        for weight in model.parameters():
            if weight.dim() > 1 and weight.std() < 0.1:
                torch.nn.init.normal_(weight, std=0.15)
    with torch.no_grad():
        model(input_ids=torch.tensor([[10, 11, 12]]), use_cache=False)
    return model


def shrunk(config: PreTrainedConfig) -> PreTrainedConfig:
    """Return a small config of the same architecture."""
    given = {k: v for k, v in config.to_dict().items() if k not in _NOT_GIVEN}
    layers = next((given[n] for n in _LAYER_COUNTS if isinstance(given.get(n), int)), 0)
    each = {n: v for n, v in given.items() if isinstance(v, list) and len(v) == layers > LAYERS}
    picked = _picked(next((v for v in each.values() if isinstance(v[0], str)), [0] * layers))
    small: dict[str, Any] = {}
    for place, (name, value) in enumerate(sorted(given.items()), 3):
        inner = getattr(config, name) if isinstance(value, dict) else None
        if name.endswith("token_id"):
            small[name] = TOKENS.get(name, place % 8 + 3)
        elif name in each:
            small[name] = [value[i] for i in picked]
        elif isinstance(inner, PreTrainedConfig):
            small[name] = shrunk(inner)
        elif type(value) is int and value > 1:
            small[name] = _size(name, value)
        elif value is not None:
            small[name] = value
        elif name in MISSING:
            small[name] = MISSING[name]
    if small.get("kv_lora_rank"):
        small["num_key_value_heads"] = small["num_attention_heads"]
    return type(config)(**(small | LIKE.get(config.model_type, {})))


_NOT_GIVEN = {"id2label", "label2id", "architectures", "transformers_version", "model_type", "dtype"}
_NOT_GIVEN |= {"_name_or_path", "per_layer_config"}
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def _size(name: str, value: int) -> int:
    size = next(size for pattern, size in RULES if re.search(pattern, name))
    return value if size is None else min(value, size)


def _picked(kinds: list[Any]) -> list[int]:
    """Return which layers to keep: the first of each kind, then others from the front."""
    first = sorted({kinds.index(kind) for kind in kinds})[:LAYERS]
    rest = [i for i in range(len(kinds)) if i not in first]
    return sorted(first + rest[: LAYERS - len(first)])
