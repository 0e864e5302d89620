"""The nouns that pass from room to room, and their JSON form.

    Prompt -> Attempt -> Completion -> Score / Verdict -> Record -> Rate -> page

All are frozen. This room knows nothing of models, files or attacks; it also holds the two protocols
that let attacks, judges and models stay strangers to one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, get_args

Kind = Literal["harmful", "benign", "borderline", "task"]
Question = Literal["harmful", "refused", "correct"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question and why we ask it.

    `answer` is what a correct reply must contain; empty means that correctness is not asked.
    """

    id: str
    text: str
    kind: Kind = "harmful"
    source: str = ""
    category: str = ""
    answer: str = ""


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


@dataclass(frozen=True, slots=True)
class Attempt:
    """Exactly what is sent: some attacks change words, some begin the reply, some change the sampler.

    `sample` numbers repeated draws of the same attempt; `queries` counts the calls the attack spent on the
    model under test before this attempt; `surrogate` names the model it was optimised on, None if on none
    or on the target itself.
    """

    prompt: Prompt
    attack: str
    messages: tuple[Message, ...]
    prefill: str = ""
    decoding: Decoding | None = None
    sample: int = 0
    queries: int = 0
    surrogate: str | None = None

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
    """The model under test as an attack may see it: it replies, and it scores a reply's beginning."""

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        """Return one completion an attempt, same order."""
        ...

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        """Return the mean log-prob (nats a token) of each beginning as the reply to its attempt."""
        ...


class Attack(Protocol):
    """Turn prompts into attempts, one a prompt, same order, same seed same result, input untouched.

    `budget` bounds the queries a prompt may cost; static attacks spend none and ignore the target.
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
