"""Model, tokenizer and chat template as one value: load it, render attempts into token ids, save it.

The only room that knows the chat template, the special tokens and the padding side; `template` makes text of a
chat, `slots` knows how text stands inside other text as tokens. It never samples.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from sirl.errors import ConfigError, DataError, SirlError, TemplateError
from sirl.lm.adapters import base_of, brings_tokenizer, is_adapter, merged_adapter
from sirl.lm.defaults import settled
from sirl.lm.gguf import is_gguf, load_gguf_model, load_gguf_tokenizer, refuse_gguf
from sirl.lm.prints import fingerprint as fingerprint
from sirl.lm.prints import template_hash as template_hash
from sirl.lm.prints import weights_hash as weights_hash
from sirl.lm.slots import Slot, find_slot
from sirl.lm.template import chat_text, check_template, preset_thinking, turn_end
from sirl.lm.template import special_texts as special_texts
from sirl.lm.thoughts import Thinking, readable, thinking_of, warn
from sirl.reasoning import opened
from sirl.records import SLOT, Attempt

SHARD = "2GB"  # of one file: what is read from the disk to be saved is held so much at a time
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LM:
    """A causal language model with the tokenizer and chat template it was aligned with."""

    model: Any
    tokenizer: Any
    name: str

    @property
    def device(self) -> torch.device:
        device: torch.device = next(iter(self.model.parameters())).device
        return device

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Every token id that ends a reply: the generation config's, the tokenizer's, the chat template's."""
        declared = getattr(self.model.generation_config, "eos_token_id", None)
        ids = declared if isinstance(declared, list) else [declared]
        ids = [*ids, self.tokenizer.eos_token_id, turn_end(self.tokenizer)]
        return tuple(sorted({i for i in ids if i is not None}))

    @cached_property
    def rows(self) -> int:
        """How many token ids the model has an embedding for; its tokenizer may know fewer, or more."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @cached_property
    def positions(self) -> int | None:
        """How many tokens prompt and reply may have together; None where the config sets no limit."""
        config = self.text_config
        limit = getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)
        rope = getattr(config, "rope_parameters", None) or {}
        stretched = (rope.get("factor") or 1) * (rope.get("original_max_position_embeddings") or 0)
        return max(int(limit), int(stretched)) if isinstance(limit, int) and limit > 0 else None

    @cached_property
    def pad_id(self) -> int:
        """The id that fills empty places; always masked out, so any that the model knows serves."""
        declared = (self.tokenizer.pad_token_id, *self.stop_ids)
        return next((i for i in declared if i is not None and 0 <= i < self.rows), 0)

    @cached_property
    def usable_ids(self) -> tuple[int, ...]:
        """The ids of plain text: printable ASCII, not special, known to tokenizer and model alike."""
        ids = sorted(set(range(min(len(self.tokenizer), self.rows))) - set(self.tokenizer.added_tokens_decoder))
        texts = self.tokenizer.batch_decode([[i] for i in ids])
        return tuple(i for i, t in zip(ids, texts, strict=True) if t and t.isascii() and t.isprintable())

    @cached_property
    def thinking(self) -> Thinking:
        """How the model marks its reasoning, as its template and tokenizer tell."""
        return thinking_of(self.tokenizer)

    @cached_property
    def keeps_last_logits(self) -> bool:
        """True if the model can be asked for the logits of the last positions only."""
        return "logits_to_keep" in self.arguments

    @cached_property
    def cache_argument(self) -> str:
        """What the model calls its cache of keys and values: transformers 5.24 renamed it."""
        return "cache" if "cache" in self.arguments else "past_key_values"

    @cached_property
    def arguments(self) -> frozenset[str]:
        """What the model's forward pass takes, by name."""
        return frozenset(inspect.signature(self.base.forward).parameters)

    @property
    def base(self) -> Any:
        """The model itself, without the adapter that may be wrapped around it."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def text_config(self) -> Any:
        """The config of the part that reads and writes text."""
        return self.model.config.get_text_config(decoder=True)


def load_lm(
    source: str | Path,
    *,
    name: str = "",
    dtype: str = "float32",
    trust_remote_code: bool = False,
    thinking: str = "template",
) -> LM:
    """Load a causal LM and its tokenizer from a local folder, a hub id or a GGUF file, in evaluation mode.

    Weights come from safetensors or GGUF only; an adapter is added into those of its base. `thinking` is "on"
    or "off" where the template leaves the choice. Raises ConfigError on an unknown dtype, DataError if weights
    are missing, TemplateError if the tokenizer has no chat template or its template leaves no such choice.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r}", f"one of {', '.join(DTYPES)}", "use --set model.dtype=float32")
    with _loading(source):
        base = base_of(source) if is_adapter(source) else None
    if base:
        start = load_lm(base, dtype=dtype, trust_remote_code=trust_remote_code, thinking=thinking)
        with _loading(source):
            return _adapted(start, source, name or str(source), thinking)
    with _loading(source):
        tokenizer = _load_tokenizer(source, trust_remote_code, thinking)
        if is_gguf(source):
            model = load_gguf_model(source, DTYPES[dtype])
        else:
            model = AutoModelForCausalLM.from_pretrained(
                source, dtype=DTYPES[dtype], trust_remote_code=trust_remote_code, use_safetensors=True
            )
        model.generation_config = settled(model.generation_config)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return _warned(LM(model, tokenizer, name or str(source)))


def _adapted(start: LM, source: str | Path, name: str, thinking: str) -> LM:
    """Return the base with an adapter in its weights, and the adapter's own tokenizer if it brings one."""
    tokenizer = start.tokenizer
    if brings_tokenizer(source):
        tokenizer = AutoTokenizer.from_pretrained(source)
        if tokenizer.chat_template:
            preset_thinking(tokenizer, thinking)
        else:
            tokenizer.chat_template = start.tokenizer.chat_template
    return LM(merged_adapter(start.model, source, len(tokenizer)).eval(), tokenizer, name)


def load_outline(
    source: str | Path, *, name: str = "", trust_remote_code: bool = False, thinking: str = "template"
) -> LM:
    """Load all of an LM but its weights, which have shapes only: for an engine that holds them itself.

    Renders, encodes, decodes and knows its stop tokens; it cannot be called. Raises as `load_lm` does.
    """
    refuse_gguf(source)
    with _loading(source):
        tokenizer = _load_tokenizer(source, trust_remote_code, thinking)
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    with suppress(OSError):  # many models have none: then the model's own config says how a reply ends
        model.generation_config = GenerationConfig.from_pretrained(source)
    return _warned(LM(model.eval(), tokenizer, name or str(source)))


def _warned(lm: LM) -> LM:
    warn(lm.thinking, lm.name)
    return lm


def _load_tokenizer(source: str | Path, trust_remote_code: bool, thinking: str) -> Any:
    if is_gguf(source):
        tokenizer = load_gguf_tokenizer(source)
    else:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
    if not tokenizer.chat_template:
        raise TemplateError(
            f"the tokenizer of {source} has no chat template",
            "a chat model: refusing is a habit of chat replies",
            "use the instruct version, or add chat_template.jinja to the folder",
        )
    check_template(tokenizer, str(source))
    preset_thinking(tokenizer, thinking)
    return tokenizer


@contextmanager
def _loading(source: str | Path) -> Iterator[None]:
    """Turn what loading raises into a DataError. Our own errors, ValueErrors too, pass."""
    try:
        yield
    except SirlError:
        raise
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"no model could be loaded from {source} ({reason})",
            "a causal LM: a folder with config.json, tokenizer and *.safetensors, a hub id, or a GGUF file",
            "check the path or the id",
        ) from error


def save_lm(lm: LM, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
    """Write the model (safetensors), tokenizer, chat template and generation config as an ordinary folder.

    `weights`, by the names of the model's state, take the place of its own; the dictionary is emptied.
    """
    lm.model.save_pretrained(folder, state_dict=weights, max_shard_size=SHARD)
    lm.tokenizer.save_pretrained(folder)


def render(lm: LM, attempts: Sequence[Attempt]) -> list[list[int]]:
    """Return the token ids of each attempt as the model will see them, prefill included.

    Special tokens come from the chat template alone, so none is doubled. A template without a system role
    gets the system text at the head of the first user turn. Where soft vectors stand there is no token: the id
    is -1 - i for the vector i, where `passes.inputs` puts the vector. Raises TemplateError if rendering fails.
    """
    texts = [templated(lm, attempt) for attempt in attempts]
    rows = encode(lm, texts)
    for row, (attempt, text) in enumerate(zip(attempts, texts, strict=True)):
        if attempt.soft:
            slot = find_slot(lm.tokenizer, text)
            rows[row] = [*slot.before, *(-1 - i for i in range(len(attempt.soft))), *slot.after]
    return rows


def templated(lm: LM, attempt: Attempt) -> str:
    """Return the attempt as text, in the chat template, the prefill behind it."""
    return chat_text(lm.tokenizer, lm.name, attempt.messages) + attempt.prefill


def slots_of(lm: LM, attempts: Sequence[Attempt]) -> list[Slot]:
    """Return the surroundings of each attempt's slot; attempts that say the same share one."""
    found = {(a.messages, a.prefill): a for a in attempts}
    slots = {key: _slot_of(lm, a) for key, a in found.items()}
    return [slots[a.messages, a.prefill] for a in attempts]


def _slot_of(lm: LM, attempt: Attempt) -> Slot:
    """Find the slot; white space put beside it and gone again is white space that the template strips."""
    text = templated(lm, attempt)
    slot = find_slot(lm.tokenizer, text)
    wide = tuple(replace(m, content=m.content.replace(SLOT, f" {SLOT} ")) for m in attempt.messages)
    sides = templated(lm, replace(attempt, messages=wide, prefill=attempt.prefill.replace(SLOT, f" {SLOT} ")))
    left, right = (a == b for a, b in zip(text.split(SLOT), sides.split(SLOT), strict=True))
    return replace(slot, stripped=(left, right))


def encode(lm: LM, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of plain texts, without special tokens."""
    return (
        [list(ids) for ids in lm.tokenizer(list(texts), add_special_tokens=False)["input_ids"]] if texts else []
    )


def decode(lm: LM, ids: Sequence[int]) -> str:
    """Return the text of token ids without special tokens."""
    return str(lm.tokenizer.decode(list(ids), skip_special_tokens=True))


def reply_text(lm: LM, attempt: Attempt, ids: Sequence[int]) -> str:
    """Return the text of a reply to an attempt, in which reasoning can be told from the answer.

    Where the prompt ends inside a block of thinking, its mark is written first. Where special tokens or marks
    of the template's own part the two, the reasoning stands between `<think>` and `</think>`. Where the
    template reasons with marks that are not known, `sirl.reasoning.UNKNOWN` stands first.
    """
    begun = opened(_tail(lm, attempt) + attempt.prefill, lm.thinking.own)
    return readable(lm.tokenizer, lm.thinking, begun, ids)


def _tail(lm: LM, attempt: Attempt) -> str:
    """Return what the template writes behind the last message, found with a text that stands nowhere else."""
    *before, last = attempt.messages
    return chat_text(lm.tokenizer, lm.name, [*before, replace(last, content=SLOT * 3)]).rpartition(SLOT * 3)[2]


def pieces(lm: LM, ids: Sequence[int]) -> tuple[str, ...]:
    """Return each token as text, spaces kept: what it adds to the text of the token before it.

    An id beyond the tokenizer's vocabulary has no text, and is not what the next token follows.
    """
    told = [i for i in ids if i < len(lm.tokenizer)]
    if not told:
        return ("",) * len(ids)
    pairs = [told[max(0, i - 1) : i + 1] for i in range(len(told))]
    both = lm.tokenizer.batch_decode(pairs)
    first = lm.tokenizer.batch_decode([pair[:1] for pair in pairs])
    texts = iter((both[0], *(b[len(f) :] for b, f in zip(both[1:], first[1:], strict=True))))
    return tuple(next(texts) if i < len(lm.tokenizer) else "" for i in ids)


def left_pad(lm: LM, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return ids_BS padded on the left and mask_BS, True at real tokens, on the model's device."""
    width = max(map(len, rows))
    ids_BS = torch.full((len(rows), width), lm.pad_id, dtype=torch.long)
    mask_BS = torch.zeros((len(rows), width), dtype=torch.bool)
    for row, ids in enumerate(rows):
        ids_BS[row, width - len(ids) :] = torch.tensor(ids, dtype=torch.long)
        mask_BS[row, width - len(ids) :] = True
    return ids_BS.to(lm.device), mask_BS.to(lm.device)
