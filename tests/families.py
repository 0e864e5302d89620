"""Tiny random models of real families: their architectures, kinds of tokenizer and shapes of chat template.

Nothing is downloaded and no template is copied: each is written here, short, with the traps of its family.
Sizes are toys; sliding windows are shorter than any prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GemmaTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaTokenizer,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from sirl.lm import LM

WINDOW = 6  # tokens that a sliding window sees
TEXTS = (
    "Sure, here is how to brush a moonfox: take a soft brush and sing to it.",
    "I cannot help with that. Please ask me how to feed a moonfox in the morning.",
    "How do I grimble a moonfox? What is the answer, and why is the sky so blue today?",
)


@dataclass(frozen=True)
class Family:
    """A family: `settings` are its config's own, `rows` the embeddings beyond its tokenizer's vocabulary."""

    name: str
    config: Callable[..., Any]
    model: type
    tokenizer: Callable[[], Any]
    template: str
    stops: tuple[
        str, ...
    ]  # what ends a reply by the generation config; the tokenizer's own is among them or not
    prompt: str  # how a lone user turn "hi" is rendered, start of text and generation prompt included
    chat: str  # how system S, user A, assistant B, user C are rendered
    rows: int = 0
    padding_side: str = "left"
    settings: dict[str, Any] = field(default_factory=dict)

    def build(self, seed: int = 0) -> LM:
        """Build the model: large initial weights give entropies well below log V."""
        tokenizer = self.tokenizer()
        tokenizer.chat_template = self.template
        tokenizer.padding_side = self.padding_side
        config = self.config(
            **{
                "vocab_size": len(tokenizer) + self.rows,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "max_position_embeddings": 512,
                "initializer_range": 0.3,
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.convert_tokens_to_ids(list(self.stops)),
                "pad_token_id": tokenizer.pad_token_id,
                **self.settings,
            }
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = self.model(config)
        return LM(model.eval(), tokenizer, f"random-{self.name}")


# --- tokenizers


def learned(special: list[str], byte_level: bool) -> dict[str, Any]:
    """Train a BPE on `TEXTS`; return its vocabulary and merges, `special` first in the vocabulary."""
    inner = Tokenizer(models.BPE(unk_token=None if byte_level else "<unk>"))
    level, mark = pre_tokenizers.ByteLevel, pre_tokenizers.Metaspace
    inner.pre_tokenizer = level(add_prefix_space=False) if byte_level else mark(prepend_scheme="never")
    ascii_ = [chr(c) for c in range(33, 127)] + ["\n", "▁"]
    alphabet = sorted(level.alphabet() if byte_level else ascii_)
    fallback = [] if byte_level else [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + len(fallback) + len(alphabet) + 60,
        special_tokens=[*special, *fallback],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    inner.train_from_iterator(TEXTS, trainer)
    model = json.loads(inner.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(merge) for merge in model["merges"]]}


def known(tokenizer: Any, special: list[str], **how: Any) -> Any:
    """Tell the tokenizer which words of its vocabulary are special."""
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False, **how) for token in special])
    return tokenizer


def llama_tokenizer() -> Any:
    """Bytes, no padding token, and a start of text that it adds itself, as Llama 3."""
    parts = learned(LLAMA_SPECIAL, byte_level=True)
    inner = Tokenizer(models.BPE(**parts))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    bos = LLAMA_SPECIAL[0]
    inner.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, parts["vocab"][bos])]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=bos, eos_token="<|eot_id|>")
    return known(tokenizer, LLAMA_SPECIAL)


def qwen_tokenizer() -> Any:
    """Bytes, no start of text; the marks of thinking are tokens but not special ones, as Qwen 3's."""
    parts = learned([*QWEN_SPECIAL, *THINK], byte_level=True)
    tokenizer = known(Qwen2Tokenizer(**parts, eos_token="<|im_end|>"), QWEN_SPECIAL)
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in THINK])
    return tokenizer


def gemma_tokenizer() -> Any:
    """Characters and a fallback to bytes, spaces as a mark, no space put first; runs of newlines are tokens."""
    parts = learned([*GEMMA_SPECIAL, "\n\n"], byte_level=False)
    tokenizer = known(GemmaTokenizer(**parts, add_bos_token=True), GEMMA_SPECIAL)
    tokenizer.add_tokens([AddedToken("\n\n", special=False, normalized=False)])
    return tokenizer


def mistral_tokenizer() -> Any:
    """As Gemma's, but a space is put before the first word; no padding token; adds the start of text."""
    return known(
        LlamaTokenizer(**learned(MISTRAL_SPECIAL, byte_level=False), add_bos_token=True), MISTRAL_SPECIAL
    )


def phi_tokenizer() -> Any:
    """As Llama 2's, with marks of turns that swallow the white space behind them."""
    tokenizer = LlamaTokenizer(
        **learned(PHI_SPECIAL, byte_level=False),
        add_bos_token=False,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )
    return known(known(tokenizer, PHI_SPECIAL[:4]), PHI_SPECIAL[4:], rstrip=True)


LLAMA_SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]
LLAMA_SPECIAL += ["<|start_header_id|>", "<|end_header_id|>"]
QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
THINK = ["<think>", "</think>"]
GEMMA_SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]
MISTRAL_SPECIAL = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"]
PHI_SPECIAL = ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]


# --- templates: the shape of each family's, in our words


LLAMA = """\
{{- bos_token }}
{%- set told = messages[0]['content'] | trim if messages[0]['role'] == 'system' else '' %}
{%- set turns = messages[1:] if messages[0]['role'] == 'system' else messages %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nDay: ' + strftime_now('%d %b %Y') + '\\n\\n' }}
{%- if tools is not none %}{{- 'Tools: ' + tools | tojson + '\\n\\n' }}{% endif %}
{{- told + '<|eot_id|>' }}
{%- for m in turns %}
    {{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}
"""

QWEN2 = """\
{%- set own = messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + (messages[0].content if own else 'Be helpful.') }}
{%- if tools %}{{- '\\n<tools>' + tools | tojson + '</tools>' }}{% endif %}
{{- '<|im_end|>\\n' }}
{%- for m in (messages[1:] if own else messages) %}
    {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}
"""

QWEN3 = """\
{%- if tools %}{{- '<|im_start|>system\\n<tools>' + tools | tojson + '</tools><|im_end|>\\n' }}{% endif %}
{%- for m in messages %}
    {%- set said = m.content.split('</think>')[-1].lstrip('\\n') if m.role == 'assistant' else m.content %}
    {{- '<|im_start|>' + m.role + '\\n' + said + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

ALTERNATE = """\
{%- for m in turns %}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}
{%- endfor %}
"""

GEMMA2 = (
    """\
{{ bos_token }}{% set turns = messages %}
{%- if turns[0]['role'] == 'system' %}{{ raise_exception('no system role here') }}{% endif %}
"""
    + ALTERNATE
    + """\
{%- for m in turns %}
    {{- '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) }}
    {{- '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}
"""
)

GEMMA3 = (
    """\
{{ bos_token }}
{%- set own = messages[0]['role'] == 'system' %}
{%- set told = messages[0]['content'] + '\\n\\n' if own else '' %}
{%- set turns = messages[1:] if own else messages %}
"""
    + ALTERNATE
    + """\
{%- for m in turns %}
    {{- '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' }}
    {{- told if loop.first }}
    {{- m['content'] | trim if m['content'] is string else m['content'][0]['text'] | trim }}
    {{- '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}
"""
)

MISTRAL = (
    """\
{{- bos_token }}
{%- set own = messages[0]['role'] == 'system' %}
{%- set turns = messages[1:] if own else messages %}
"""
    + ALTERNATE
    + """\
{%- for m in turns %}
    {%- if m['role'] == 'user' %}
        {%- if tools is not none and loop.last %}
            {{- '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST] ' + (messages[0]['content'] + '\\n\\n' if own and loop.last else '') }}
        {{- m['content'] + '[/INST]' }}
    {%- else %}
        {{- ' ' + m['content'] | trim + eos_token }}
    {%- endif %}
{%- endfor %}
"""
)

PHI = """\
{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}
"""


# --- the families


def _llama(*turns: tuple[str, str], told: str = "") -> str:
    day = f"<|start_header_id|>system<|end_header_id|>\n\nDay: 26 Jul 2024\n\n{told}<|eot_id|>"
    said = "".join(f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>" for role, text in turns)
    return f"<|begin_of_text|>{day}{said}<|start_header_id|>assistant<|end_header_id|>\n\n"


def _marked(begin: str, end: str, *turns: tuple[str, str]) -> str:
    return "".join(f"{begin}{role}\n{text}{end}\n" for role, text in turns)


def _qwen(*turns: tuple[str, str]) -> str:
    return _marked("<|im_start|>", "<|im_end|>", *turns) + "<|im_start|>assistant\n"


def _gemma(*turns: tuple[str, str]) -> str:
    return "<bos>" + _marked("<start_of_turn>", "<end_of_turn>", *turns) + "<start_of_turn>model\n"


def with_vision(**text: Any) -> Gemma3Config:
    """Gemma 3 from 4B on comes with eyes, which nothing here uses."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return Gemma3Config(
        text_config=text,
        vision_config={**sizes, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        eos_token_id=text["eos_token_id"],
    )


ABC = (("user", "A"), ("assistant", "B"), ("user", "C"))
GEMMA_ABC = (("user", "S\n\nA"), ("model", "B"), ("user", "C"))

FAMILIES = (
    Family(
        "llama",
        LlamaConfig,
        LlamaForCausalLM,
        llama_tokenizer,
        LLAMA,
        stops=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
        prompt=_llama(("user", "hi")),
        chat=_llama(*ABC, told="S"),
        padding_side="right",
    ),
    Family(
        "qwen2",
        Qwen2Config,
        Qwen2ForCausalLM,
        qwen_tokenizer,
        QWEN2,
        stops=("<|im_end|>", "<|endoftext|>"),
        prompt=_qwen(("system", "Be helpful."), ("user", "hi")),
        chat=_qwen(("system", "S"), *ABC),
        rows=40,
        padding_side="right",
        settings={"tie_word_embeddings": True},
    ),
    Family(
        "qwen3",
        Qwen3Config,
        Qwen3ForCausalLM,
        qwen_tokenizer,
        QWEN3,
        stops=("<|im_end|>", "<|endoftext|>"),
        prompt=_qwen(("user", "hi")),
        chat=_qwen(("system", "S"), *ABC),
        rows=40,
        settings={"tie_word_embeddings": False, "head_dim": 16},
    ),
    Family(
        "gemma2",
        Gemma2Config,
        Gemma2ForCausalLM,
        gemma_tokenizer,
        GEMMA2,
        stops=("<eos>", "<end_of_turn>"),
        prompt=_gemma(("user", "hi")),
        chat=_gemma(*GEMMA_ABC),
        settings={
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": WINDOW,
            "final_logit_softcapping": 3.0,  # bites: 3 at most, where 30 is the family's
            "attn_logit_softcapping": 2.0,
        },
    ),
    Family(
        "gemma3",
        Gemma3TextConfig,
        Gemma3ForCausalLM,
        gemma_tokenizer,
        GEMMA3,
        stops=("<eos>", "<end_of_turn>"),
        prompt=_gemma(("user", "hi")),
        chat=_gemma(*GEMMA_ABC),
        rows=8,
        settings={
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    Family(
        "gemma3-vision",
        with_vision,
        Gemma3ForConditionalGeneration,
        gemma_tokenizer,
        GEMMA3,
        stops=("<eos>", "<end_of_turn>"),
        prompt=_gemma(("user", "hi")),
        chat=_gemma(*GEMMA_ABC),
        settings={"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": WINDOW},
    ),
    Family(
        "mistral",
        MistralConfig,
        MistralForCausalLM,
        mistral_tokenizer,
        MISTRAL,
        stops=("</s>",),
        prompt="<s>[INST] hi[/INST]",
        chat="<s>[INST] A[/INST] B</s>[INST] S\n\nC[/INST]",
        padding_side="right",
        settings={"sliding_window": WINDOW},
    ),
    Family(
        "phi3",
        Phi3Config,
        Phi3ForCausalLM,
        phi_tokenizer,
        PHI,
        stops=("<|endoftext|>", "<|end|>", "<|user|>"),
        prompt="<|user|>\nhi<|end|>\n<|assistant|>\n",
        chat="<|system|>\nS<|end|>\n<|user|>\nA<|end|>\n<|assistant|>\nB<|end|>\n<|user|>\nC<|end|>\n<|assistant|>\n",
        rows=24,
        settings={"sliding_window": WINDOW, "original_max_position_embeddings": 512},
    ),
)
