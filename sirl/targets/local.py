"""A model in this process, loaded by transformers: replies with entropy, scores, and open weights.

Brings the sampler, the scorer and the gradients together behind `records.Target` and `records.WhiteBox`, so
that no room knows the other and a test can put a fake in the model's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf
from random import Random
from statistics import fmean

import numpy as np

from sirl import gradients, scoring
from sirl.generation import generate
from sirl.lm import LM, fingerprint, render, slots_of, special_texts
from sirl.lm.slots import read_in, write_in
from sirl.lm.splitting import split_tokens
from sirl.lm.token_budget import TokenBudget
from sirl.records import Access, Attempt, Completion, Decoding, Rows


@dataclass(frozen=True, slots=True)
class LocalTarget:
    """A model in this process. `decoding` serves attempts that bring none of their own.

    With `best_of` above 1 it draws that many replies to each attempt and gives the one of lowest mean token
    entropy, to a search as to the judge: one query, whatever it costs. Scores and gradients are the model's.
    """

    lm: LM
    decoding: Decoding
    batch: int = 64
    best_of: int = 1
    fit: TokenBudget = field(default_factory=TokenBudget, repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.lm.name

    @property
    def access(self) -> Access:
        return "white-box"

    @property
    def special_texts(self) -> tuple[str, ...]:
        """The texts that its tokenizer reads as special tokens wherever they stand."""
        return special_texts(self.lm.tokenizer)

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        draws = [
            generate(self.lm, attempts, self.decoding, _draw_seed(seed, number), self.batch)
            for number in range(self.best_of)
        ]
        return [surest(replies) for replies in zip(*draws, strict=True)]

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        return scoring.log_likelihood(self.lm, attempts, beginnings, self.fit)

    def continuations(self, attempts: Sequence[Attempt], texts: Sequence[str]) -> list[tuple[float, bool]]:
        return scoring.continuations(self.lm, attempts, texts, self.fit)

    def fingerprint(self) -> dict[str, str]:
        """Return short hashes of the weights and of the chat template."""
        return fingerprint(self.lm)

    def prompt_lengths(self, attempts: Sequence[Attempt]) -> list[int]:
        """Return how many tokens each attempt is to the model, prefill included."""
        return [len(row) for row in render(self.lm, attempts)]

    def message_logprobs(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """Return the log-prob (nats) of each token of each text as the user's first message."""
        return scoring.message_logprobs(self.lm, texts)

    def split_tokens(self, texts: Sequence[str], share: float, randoms: Sequence[Random]) -> list[list[int]]:
        """Return the tokens of each text, about `share` of them split in two: see `lm.splitting`."""
        return [split_tokens(self.lm, text, share, rng) for text, rng in zip(texts, randoms, strict=True)]

    def usable_tokens(self) -> np.ndarray:
        return np.array(self.lm.usable_ids)

    def slot_ids(self, attempts: Sequence[Attempt], texts: Sequence[str]) -> list[tuple[int, ...] | None]:
        return read_in(self.lm.tokenizer, slots_of(self.lm, attempts), texts)

    def slot_texts(self, attempts: Sequence[Attempt], ids: Rows) -> list[str | None]:
        return write_in(self.lm.tokenizer, slots_of(self.lm, attempts), ids)

    def slot_likelihood(self, attempts: Sequence[Attempt], ids: Rows, beginnings: Sequence[str]) -> list[float]:
        return scoring.slot_likelihood(self.lm, attempts, ids, beginnings, self.fit)

    def slot_substitutes(
        self, attempts: Sequence[Attempt], ids: Rows, beginnings: Sequence[str], count: int
    ) -> list[np.ndarray]:
        return gradients.slot_substitutes(self.lm, attempts, ids, beginnings, count, self.fit)

    def slot_vectors(self, ids: Rows) -> list[np.ndarray]:
        return gradients.slot_vectors(self.lm, ids)

    def slot_gradients(
        self, attempts: Sequence[Attempt], vectors: Sequence[np.ndarray], beginnings: Sequence[str]
    ) -> list[tuple[float, np.ndarray]]:
        return gradients.slot_gradients(self.lm, attempts, vectors, beginnings, self.fit)

    def slot_energies(
        self,
        attempts: Sequence[Attempt],
        logits: Sequence[np.ndarray],
        beginnings: Sequence[str],
        fluency: float,
    ) -> list[tuple[float, np.ndarray]]:
        return gradients.slot_energies(self.lm, attempts, logits, beginnings, fluency, self.fit)

    def next_tokens(
        self, attempts: Sequence[Attempt], ids: Rows, count: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        return scoring.next_tokens(self.lm, attempts, ids, count, self.fit)

    def hidden_states(self, attempts: Sequence[Attempt]) -> np.ndarray:
        return scoring.hidden_states(self.lm, attempts, self.fit)


def surest(replies: Sequence[Completion]) -> Completion:
    """Return the reply of lowest mean token entropy, the earliest of equals.

    Source: best-of-16 by entropy, a baseline without training, arXiv 2510.01088.
    """
    return min(replies, key=lambda reply: fmean(reply.entropies or (inf,)))


def _draw_seed(seed: int, number: int) -> int:
    """Return the seed of a draw; the first has the run's own, so that more draws only add to fewer."""
    return int.from_bytes(sha256(f"{seed}|draw {number}".encode()).digest()[:8], "big") if number else seed
