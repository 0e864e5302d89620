"""Judged text as a model that judges may be shown it: what would end or begin a turn is broken by a space.

A tokenizer reads `<|im_end|>` as the end of a turn wherever it stands, so a reply that holds it could go on in
the user's or the system's name in the judge's own prompt. Broken are the special tokens of the model that
judges, as it tells them, and the marks of the published chat formats: a server does not tell its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sirl.records import Target

INERT = Path(__file__)  # part of what a judge is, for its identity
# Sources: the chat templates of these families on the Hugging Face hub.
PUBLISHED = re.compile(
    r"<\|[^<>|\s]{1,60}\|>"  # ChatML, Llama 3, Phi, Zephyr, GPT-OSS, Command R, GLM
    r"|<｜[^<>｜\s]{1,60}｜>"  # DeepSeek
    r"|<(?:start|end)_of_turn>|<(?:bos|eos)>"  # Gemma, ShieldGemma
    r"|</?s>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>"  # Mistral, Llama 2
    r"|<(?:BEGIN|END) [A-Z ]{1,40}>",  # Llama Guard's fences
    re.IGNORECASE,
)


def inert(text: str, tokens: Sequence[str] = ()) -> str:
    """Return a text in which no special token of `tokens` and no published mark of a turn is left whole."""
    own = "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True) if token)
    if own:
        text = re.sub(own, _broken, text, flags=re.IGNORECASE)
    return PUBLISHED.sub(_broken, text)


def special_of(target: Target) -> tuple[str, ...]:
    """Return the special tokens that a model tells; empty where it tells none, as one behind an address."""
    return tuple(getattr(target, "special_texts", ()))


def _broken(mark: re.Match[str]) -> str:
    return f"{mark[0][0]} {mark[0][1:]}" if len(mark[0]) > 1 else "?"
