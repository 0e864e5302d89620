"""The nouns: frozen, and all that passes from room to room."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal, get_args

Kind = Literal["harmful", "benign", "borderline", "task", "unlabelled"]
Question = Literal["harmful", "refused", "correct"]
AttackKind = Literal["static", "transfer", "adaptive", "custom"]
Access = Literal["none", "black-box", "prefill", "logprobs", "white-box", "unknown"]
UNLABELLED: Kind = "unlabelled"  # nobody has said; such a prompt may be trained on and is never measured
ASSUMED = "assumed"  # the source of a prompt whose kind nobody stated, where a labelled reply needs one
KINDS: tuple[str, ...] = tuple(kind for kind in get_args(Kind) if kind != UNLABELLED)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question and why we ask it.

    `answer` is what a correct reply must contain; empty means that correctness is not asked. `target` is how a
    reply that complies would begin, as AdvBench and JailbreakBench give it; empty means not known.
    """

    id: str
    text: str
    kind: Kind = UNLABELLED
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
    lost       queries, and orders to an attacker model, to which no reply came for a fault that may pass: such
               a search is repeated
    won        whether the search's judge called a reply harmful; None where it asked no judge
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
    lost: int = 0
    surrogate: str | None = None
    won: bool | None = None


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
class Defended:
    """What a defence around the model did for one reply, and what that cost.

    did     why the reply is the defence's own; empty: it is the model's
    calls   calls of models for this request, that of the model under test among them
    tokens  tokens read and drawn in these calls, beyond those of the request as it was sent and of the reply as
            it was given; below 0 where the model was not asked, None where a model does not tell
    """

    did: str = ""
    calls: int = 0
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back. `entropies` are nats, one for each of `token_ids` (EOS included), None if unknown.

    `text` leaves out the prefill and special tokens; `pieces` are the tokens as text, for display only;
    `finished` is True unless the length limit cut the reply off. `error` says why there is no reply, in which
    case the text is empty and no judge is asked; empty means that there is one. `blocked` says that the
    provider's filter kept the request from the model, or the reply from us: final, and no failure. `passing`
    says of an error that the same request may be answered later: the server was busy or not there. `defended`
    is None where no defence stood around the model.
    """

    attempt: Attempt
    text: str
    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    finished: bool
    entropies: tuple[float, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    error: str = ""
    blocked: bool = False
    passing: bool = False
    defended: Defended | None = None


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
    """A share with its 95 % interval. `unscored` and `blocked` items are in neither `hits` nor `total`.

    `value`, `low` and `high` are None when nothing could be scored.
    """

    hits: int
    total: int
    unscored: int
    low: float | None
    high: float | None
    blocked: int = 0

    @property
    def value(self) -> float | None:
        return self.hits / self.total if self.total else None


def item_seed(seed: int, attempt: Attempt) -> int:
    """Return a seed of 31 bits that depends on the run's seed and the attempt's key alone."""
    return int.from_bytes(sha256(f"{seed}|{attempt.key}".encode()).digest()[:4], "big") >> 1
