"""Texts of prompts: when two are alike, and an order that no label decides."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from hashlib import sha256

from sirl.records import Prompt


def normalised(text: str) -> str:
    """Return the text without case, spacing, look-alike characters and outer punctuation."""
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    start, end = 0, len(words)
    # Only the outer marks: inside a sum or a line of code punctuation is the meaning.
    while start < end and not words[start].isalnum():
        start += 1
    while end > start and not words[end - 1].isalnum():
        end -= 1
    return words[start:end] or words


def likeness(prompt: Prompt) -> tuple[str, str]:
    """Return what two prompts share that ask the same thing and want the same answer."""
    return normalised(prompt.text), prompt.answer


def draw(prompt: Prompt, seed: int) -> float:
    """Return a number from 0 to 1 that depends on the seed and the prompt's id alone."""
    return int.from_bytes(sha256(f"{seed}|{prompt.id}".encode()).digest()[:8], "big") / 2**64


def shuffled_once(prompts: Sequence[Prompt], seed: int) -> list[Prompt]:
    """Return each text once, nearly alike ones too, in an order of the seed and the ids; no label is read."""
    order = sorted(prompts, key=lambda prompt: draw(prompt, seed))
    return list({normalised(prompt.text): prompt for prompt in reversed(order)}.values())[::-1]
