"""The nouns that pass from room to room, and their JSON form.

    Prompt -> Attempt -> Completion -> Score / Verdict -> Record -> Rate -> page

All are frozen. This room knows nothing of models, files or attacks; it also holds the two protocols
that let attacks, judges and models stay strangers to one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np

Kind = Literal["harmful", "benign", "borderline", "task"]
Question = Literal["harmful", "refused", "correct"]
AttackKind = Literal["static", "transfer", "adaptive", "custom"]
Access = Literal["none", "black-box", "prefill", "logprobs", "white-box", "unknown"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question and why we ask it.

    `answer` is what a correct reply must contain; empty means that correctness is not asked. `target` is how a
    reply that complies would begin, as AdvBench and JailbreakBench give it; empty means not known.
    """

    id: str
    text: str
    kind: Kind = "harmful"
    source: str = ""
    category: str = ""
    answer: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are drawn. Temperature 0 is greedy; `top_k` 0 and `top_p` 1 keep the whole vocabulary."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 512


SLOT = "\N{OBJECT REPLACEMENT CHARACTER}"  # where something that is no text stands in a message


@dataclass(frozen=True, slots=True)
class Search:
    """What an attempt cost and how the search for it went: the evidence behind DSR against budget.

    kind       static (a fixed transform), transfer (searched on `surrogate`, then replayed), adaptive
               (searched on the model under test), custom (a user's attack; it has not said)
    budget     queries that the search could spend on this prompt
    queries    those it did spend: replies, scored sequences and gradients asked of the model it searched on
    passes     sequences put through that model: one a scored sequence, two a gradient, one a token of a reply
    seconds    wall-clock time, shared evenly by the prompts searched together; two runs never compare it
    trace      (queries so far, best score so far) after each round; a higher score is better for the attack
    unusable   outputs of an attacker model that could not be used and were asked for again
    undecided  replies of which the search's judge could not say whether they were harmful
    surrogate  the model it searched on, where that is not the model under test
    """

    kind: AttackKind = "static"
    budget: int = 0
    queries: int = 0
    passes: int = 0
    seconds: float = field(default=0.0, compare=False)
    trace: tuple[tuple[int, float], ...] = ()
    unusable: int = 0
    undecided: int = 0
    surrogate: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """Exactly what is sent: some attacks change words, some begin the reply, some change the sampler.

    `sample` numbers repeated draws of the same attempt. `soft` are vectors of the embedding space (one a row,
    as wide as the model) that stand in the place of `SLOT` in a message.
    """

    prompt: Prompt
    attack: str
    messages: tuple[Message, ...]
    prefill: str = ""
    decoding: Decoding | None = None
    sample: int = 0
    soft: tuple[tuple[float, ...], ...] = ()
    search: Search = Search()

    @property
    def key(self) -> str:
        """Name this attempt within a run: prompt id, attack and sample."""
        return f"{self.prompt.id}|{self.attack}|{self.sample}"


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back. `entropies` are nats, one for each of `token_ids` (EOS included), None if unknown.

    `text` leaves out the prefill and special tokens; `pieces` are the tokens as text, for display only;
    `finished` is True when the model ended its reply itself within the length limit.
    """

    attempt: Attempt
    text: str
    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    finished: bool
    entropies: tuple[float, ...] | None = None
    logprobs: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """The model's own view of a completion: mean entropy and mean log-prob (nats a token), token count."""

    mean_entropy: float
    mean_logprob: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's answer to one named question: True yes, False no, None undecided. `judge` is name@hash."""

    question: Question
    answer: bool | None
    evidence: str
    judge: str


@dataclass(frozen=True, slots=True)
class Record:
    """One line of evidence on disk: what was sent, what came back, what the judges said."""

    completion: Completion
    verdicts: tuple[Verdict, ...]

    @property
    def attempt(self) -> Attempt:
        return self.completion.attempt

    @property
    def prompt(self) -> Prompt:
        return self.completion.attempt.prompt

    def answer(self, question: Question) -> bool | None:
        """Return the verdict on `question`; None when undecided or never asked."""
        return next((v.answer for v in self.verdicts if v.question == question), None)

    @property
    def mean_entropy(self) -> float | None:
        """Mean token entropy of the reply (nats a token); None if it was not recorded or is empty."""
        values = self.completion.entropies
        return sum(values) / len(values) if values else None


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % interval. `unscored` items are in neither `hits` nor `total`.

    `value`, `low` and `high` are None when nothing could be scored.
    """

    hits: int
    total: int
    unscored: int
    low: float | None
    high: float | None

    @property
    def value(self) -> float | None:
        return self.hits / self.total if self.total else None


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


Rows = Sequence[Sequence[int]]  # token ids, one row an attempt


class WhiteBox(Target, Protocol):
    """A model whose weights are open: it is differentiated at the slot, the place of `SLOT` in a message.

    What stands in the slot is given as token ids, as vectors of the embedding space, or as logits over the
    vocabulary. All lists are as long as `attempts`, same order. A likelihood is the mean log-prob (nats a
    token) of a beginning as the reply; higher is better for an attack. Arrays are float32 or int64.
    """

    def usable_tokens(self) -> np.ndarray:
        """Return the ids that may stand in a slot: printable, not special, known to the tokenizer."""

    def slot_ids(self, attempts: Sequence[Attempt], texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the tokens that stand in the slot when the text is written there."""

    def slot_texts(self, attempts: Sequence[Attempt], ids: Rows) -> list[str | None]:
        """Return the text of tokens in the slot; None if it would not be read as these very tokens."""

    def slot_likelihood(self, attempts: Sequence[Attempt], ids: Rows, beginnings: Sequence[str]) -> list[float]:
        """Return the likelihood of each beginning with these tokens in the slot."""

    def slot_substitutes(
        self, attempts: Sequence[Attempt], ids: Rows, beginnings: Sequence[str], count: int
    ) -> list[np.ndarray]:
        """Return, a place of the slot, the `count` tokens that the gradient likes best there: ids_LK."""

    def slot_vectors(self, attempts: Sequence[Attempt], ids: Rows) -> list[np.ndarray]:
        """Return the embeddings of the tokens, vectors_LH; this looks them up and asks the model nothing."""

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
        """Return an objective and its gradient for the logits_LV of a soft text in the slot, gradient_LV.

        The soft text is the mean embedding under softmax(logits) over the usable tokens, V of them. The
        objective is the likelihood plus `fluency` times the mean log-prob that the model gives the soft text.
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


def to_json(record: Record) -> dict[str, Any]:
    """Return the record as plain dicts, lists and numbers."""
    return asdict(record)


def from_json(row: Mapping[str, Any]) -> Record:
    """Rebuild a record from `to_json`'s form. Raises KeyError or TypeError on a foreign row."""
    c = row["completion"]
    a = c["attempt"]
    attempt = Attempt(
        **{
            **a,
            "prompt": Prompt(**a["prompt"]),
            "messages": tuple(Message(**m) for m in a["messages"]),
            "decoding": Decoding(**a["decoding"]) if a["decoding"] else None,
            "soft": tuple(map(tuple, a["soft"])),
            "search": Search(**{**a["search"], "trace": tuple((n, x) for n, x in a["search"]["trace"])}),
        }
    )
    sequences = {
        name: None if c[name] is None else tuple(c[name])
        for name in ("token_ids", "pieces", "entropies", "logprobs")
    }
    return Record(
        Completion(**{**c, "attempt": attempt, **sequences}),
        tuple(Verdict(**v) for v in row["verdicts"]),
    )
