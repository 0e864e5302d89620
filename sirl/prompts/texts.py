"""Texts and lists of prompts: when two are alike, what two lists share, how one list is parted."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from hashlib import sha256

from sirl.errors import DataError
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


def split_prompts(prompts: Sequence[Prompt], share: float, seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """Part prompts into about `share` and the rest, each by its own id: adding one never moves another.

    Raises DataError if `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise DataError(f"share {share}", "a fraction between 0 and 1", "for example 0.5")
    parts: tuple[list[Prompt], list[Prompt]] = ([], [])
    for prompt in prompts:
        parts[draw(prompt, seed) >= share].append(prompt)
    return parts


def without_overlap(prompts: Sequence[Prompt], others: Sequence[Prompt]) -> tuple[list[Prompt], int]:
    """Drop the prompts that `others` also holds, word for word or nearly; return the rest and the count."""
    seen = {normalised(other.text) for other in others}
    kept = [prompt for prompt in prompts if normalised(prompt.text) not in seen]
    return kept, len(prompts) - len(kept)
