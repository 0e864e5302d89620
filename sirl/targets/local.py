"""A model in this process, loaded by transformers: replies with entropy, scores, and open weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sirl.generation import generate
from sirl.lm import LM, fingerprint
from sirl.records import Access, Attempt, Completion, Decoding
from sirl.scoring import log_likelihood


@dataclass(frozen=True, slots=True)
class LocalTarget:
    """A model in this process. `decoding` serves attempts that bring none of their own."""

    lm: LM
    decoding: Decoding
    batch: int = 64

    @property
    def name(self) -> str:
        return self.lm.name

    @property
    def access(self) -> Access:
        return "white-box"

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        return generate(self.lm, attempts, self.decoding, seed, self.batch)

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        return log_likelihood(self.lm, attempts, beginnings, self.batch)

    def fingerprint(self) -> dict[str, str]:
        """Return short hashes of the weights and of the chat template."""
        return fingerprint(self.lm)
