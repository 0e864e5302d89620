"""The section [shape]: which model a recipe is for, and how large that model is. Only `sirl plan` reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sirl.config.sections import Section, require

SIZES = ("parameters", "layers", "hidden", "heads", "kv_heads", "head_dim", "intermediate", "vocabulary")


@dataclass(frozen=True, slots=True)
class ShapeConfig(Section):
    """The sizes of a decoder with gated feed-forward layers; all zero where a recipe is for any model."""

    NAME: ClassVar[str] = "shape"

    model: str = ""  # hub id
    parameters: int = 0  # all of them, a tied head counted once
    layers: int = 0
    hidden: int = 0  # width of the residual stream
    heads: int = 0
    kv_heads: int = 0  # heads of keys and values; fewer than `heads` where queries share them
    head_dim: int = 0
    intermediate: int = 0  # width inside a feed-forward layer
    vocabulary: int = 0  # rows of the embedding, often padded beyond the tokenizer's
    tied: bool = False  # the head is the embedding

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        given = {name: getattr(self, name) for name in SIZES}
        known = any(given.values())
        for name, value in given.items():
            require(value >= 1 if known else value == 0, f"shape.{name}", value, "1 or more, as all sizes")
