"""Small real models built on the spot: no download, no shipped weights, random numbers in two architectures."""

from __future__ import annotations

import gc

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.utils.logging import disable_progress_bar

from sirl.lm import LM
from sirl.records import Attempt, Message, Prompt

disable_progress_bar()  # as the command line does, by a variable of the environment
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'system' and no_system %}{{ raise_exception('no system role') }}"
    "{% endif %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
RAISES = TEMPLATE.replace("and no_system", "")  # no system role, as Gemma's
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]


def byte_tokenizer(template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes: 5 special tokens and 256 others, so any text can be written."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(SPECIAL)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", pad_token="<|pad|>")
    tokenizer.chat_template = template
    return tokenizer


def spaced_tokenizer(template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    """As Llama 2's: bytes behind a word mark, and a space put in front of every stretch of text."""
    names = [*SPECIAL, "▁", *(f"<0x{i:02X}>" for i in range(256))]
    vocabulary = {token: i for i, token in enumerate(names)}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    inner.add_special_tokens(SPECIAL)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", pad_token="<|pad|>")
    tokenizer.chat_template = template
    return tokenizer


def random_lm(arch: str, seed: int = 0, tokenizer: PreTrainedTokenizerFast | None = None, **changes: int) -> LM:
    """A random model of about 60 thousand weights; large initial weights give entropies well below log V."""
    classes = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}
    config_class, model_class = classes[arch]
    tokenizer = tokenizer or byte_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = config_class(
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        **{**sizes, "vocab_size": len(tokenizer), **changes},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(config)
    return LM(model.eval(), tokenizer, f"random-{arch}")


def attempts(texts: list[str], attack: str = "direct", prefill: str = "") -> list[Attempt]:
    return [
        Attempt(Prompt(f"p{i}", text), attack, (Message("user", text),), prefill)
        for i, text in enumerate(texts)
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trace no slow test: what it runs is libraries, at twice their time, and what it covers others cover."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker("no_cover")


def pytest_collection_finish() -> None:
    """Leave what the imports made out of later collections: a training asks for two, of a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", params=["llama", "qwen2"])
def lm(request: pytest.FixtureRequest) -> LM:
    return random_lm(request.param)
