"""What a model, an attack and a judge must offer to one another, so that they can stay strangers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from sirl.records.nouns import Access, Attempt, Completion, Prompt, Verdict


class Target(Protocol):
    """A model as an attack may see it: under test, as a surrogate, or as the writer of attacks.

    `access` says how far it is open: black-box (replies), prefill (their beginnings may be written), logprobs
    (beginnings are scored), white-box (weights). What lies beyond raises AttackError.
    """

    @property
    def name(self) -> str: ...

    @property
    def access(self) -> Access: ...

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        """Return one completion an attempt, same order."""

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        """Return the mean log-prob (nats a token) of each beginning as the reply to its attempt."""


class Around:
    """What stands before another target: it has the same name and is as far open."""

    __slots__ = ()
    target: Target

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def access(self) -> Access:
        return self.target.access


Rows = Sequence[Sequence[int]]  # token ids, one row an attempt


class WhiteBox(Target, Protocol):
    """A model whose weights are open: it is differentiated at the slot, the place of `SLOT` in a message.

    What stands in the slot is given as token ids, as vectors of the embedding space, or as logits over the
    vocabulary. All lists are as long as `attempts`, same order. A likelihood is the mean log-prob (nats a
    token) of a beginning as the reply; higher is better for an attack. Arrays are float32 or int64.
    """

    def usable_tokens(self) -> np.ndarray:
        """Return the ids that may stand in a slot: printable, not special, known to the tokenizer."""

    def slot_ids(self, attempts: Sequence[Attempt], texts: Sequence[str]) -> list[tuple[int, ...] | None]:
        """Return the tokens that a text is read as in the slot; None if it runs into what is around it."""

    def slot_texts(self, attempts: Sequence[Attempt], ids: Rows) -> list[str | None]:
        """Return the text of tokens in the slot; None if it would not be read as these very tokens."""

    def slot_likelihood(self, attempts: Sequence[Attempt], ids: Rows, beginnings: Sequence[str]) -> list[float]:
        """Return the likelihood of each beginning with these tokens in the slot."""

    def slot_substitutes(
        self, attempts: Sequence[Attempt], ids: Rows, beginnings: Sequence[str], count: int
    ) -> list[np.ndarray]:
        """Return, a place of the slot, the `count` tokens that the gradient likes best there: ids_LK."""

    def slot_vectors(self, ids: Rows) -> list[np.ndarray]:
        """Return the embeddings of the tokens, vectors_LH: a look-up, which costs nothing."""

    def slot_gradients(
        self, attempts: Sequence[Attempt], vectors: Sequence[np.ndarray], beginnings: Sequence[str]
    ) -> list[tuple[float, np.ndarray]]:
        """Return the likelihood and its gradient for the vectors in the slot, gradient_LH."""

    def slot_energies(
        self,
        attempts: Sequence[Attempt],
        logits: Sequence[np.ndarray],
        beginnings: Sequence[str],
        fluency: float,
    ) -> list[tuple[float, np.ndarray]]:
        """Return an objective and its gradient for the logits_LU of a soft text in the slot, gradient_LU.

        The soft text is the mean embedding under softmax(logits) over the U usable tokens. The objective is
        the likelihood plus `fluency` times the mean log-prob that the model gives the soft text.
        """

    def next_tokens(
        self, attempts: Sequence[Attempt], ids: Rows, count: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the `count` likeliest usable tokens after those in the slot and their log-probs, both K."""

    def hidden_states(self, attempts: Sequence[Attempt]) -> np.ndarray:
        """Return the hidden state of the last position before the reply, states_NLH: attempt, layer, width."""


class Attack(Protocol):
    """Turn prompts into attempts, one a prompt, same order, same seed same result, input untouched.

    `target` is the model to search on, None for attacks that search nothing. `budget` bounds the queries that
    one prompt may cost; static attacks spend none and ignore the target. What else an attack needs (an
    attacker model, a judge) it holds itself; see `sirl.attacks.Means`.
    """

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]: ...


class Judge(Protocol):
    """Answer one question about each completion, same order; undecided is None, never a guess."""

    def __call__(self, completions: Sequence[Completion]) -> list[Verdict]: ...


def sent_through(offered: Any, change: Callable[[Attempt], Attempt]) -> Any:
    """Return what a target offers, so that attempts given to it are changed first; a value stays as it is."""
    if not callable(offered):
        return offered

    def changed(*given: Any, **more: Any) -> Any:
        return offered(*(list(map(change, one)) if _are_attempts(one) else one for one in given), **more)

    return changed


def _are_attempts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(one, Attempt) for one in value)
