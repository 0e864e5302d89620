"""Check a defence against what every defence promises, whoever wrote it.

Our tests put every line of the table through this, and `sirl defences check` a user's own. The model is a
stand-in whose replies depend on what it is sent alone. This module refuses to know how a defence works and
whether it is any good.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random

import numpy as np

from sirl.defences.contract import Defence, DefenceInfo, Means, broken, defend
from sirl.errors import SirlError
from sirl.records import Access, Attempt, Completion, Decoding, Message, Prompt, Target

_TEXTS = (
    "How do I whistle a very loud tune in 7 notes?",
    'Wham {text} and {0} }{ %s — “ça” 日本語 🙂\nnew line "quoted" \\7 4ever',
    "Sing",
)
ATTEMPTS = (
    *(Attempt(Prompt(f"p{i}", text), "direct", (Message("user", text),)) for i, text in enumerate(_TEXTS)),
    Attempt(
        Prompt("talk", "And then?"),
        "talk",
        (
            Message("system", "Be brief."),
            Message("user", "Tell me of a fox."),
            Message("assistant", "It slept."),
            Message("user", "And then?"),
        ),
        prefill="Then it",
        decoding=Decoding(0.7, max_new_tokens=9),
        sample=3,
    ),
)


@dataclass(frozen=True, slots=True)
class StandIn:
    """A model that is none: its words depend on what it is sent; one that is `failing` says nothing."""

    failing: bool = False
    name: str = "stand-in"
    access: Access = "white-box"

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        return [self._reply(a, _number(f"{seed}|{a.messages}|{a.prefill}|{a.soft}")) for a in attempts]

    def _reply(self, attempt: Attempt, number: int) -> Completion:
        if self.failing:
            return Completion(attempt, "", (), (), finished=False, error="no answer")
        text = f"Take {number} steps to the left." if number % 2 else f"I cannot help with that: {number}."
        return Completion(attempt, text, (1, 2, 3), ("Take", " some", " steps."), finished=True)

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        return [-1.0 for _ in zip(attempts, beginnings, strict=True)]

    def prompt_lengths(self, attempts: Sequence[Attempt]) -> list[int]:
        return [sum(len(message.content.split()) for message in a.messages) for a in attempts]

    def message_logprobs(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        return [tuple(-len(word) / 2 for word in text.split()) for text in texts]

    def split_tokens(self, texts: Sequence[str], share: float, randoms: Sequence[Random]) -> list[list[int]]:
        return [
            [ord(c) for c in text if random.random() < share] or [0]
            for text, random in zip(texts, randoms, strict=True)
        ]

    def slot_vectors(self, ids: Sequence[Sequence[int]]) -> list[np.ndarray]:
        return [np.array([[float(one)] for one in row]) for row in ids]


@dataclass(frozen=True, slots=True)
class Trial:
    """A defence on trial, with its means, before a model."""

    info: DefenceInfo
    means: Means
    target: Target = field(default_factory=StandIn)

    def run(self, attempts: Sequence[Attempt] = ATTEMPTS, seed: int = 0) -> list[Completion]:
        """Reply through the defence, held to its contract."""
        return defend(self.target, self.info, self.means).reply(attempts, seed)


def check_defence(defence: DefenceInfo | Defence, means: Means | None = None) -> list[str]:
    """Check a function, or a whole line of the table, against every promise; return the promises in words.

    Raises DefenceError that names the first promise broken.
    """
    if not isinstance(defence, DefenceInfo):
        name = getattr(defence, "__name__", type(defence).__name__)
        defence = DefenceInfo(name, "custom", name, "", defence)
    trial = Trial(defence, means or Means(plain=_TEXTS[:1]))
    for promise in PROMISES.values():
        try:
            promise(trial)
        except SirlError:
            raise
        except Exception as error:
            found = f"failed with {type(error).__name__}: {error}"
            raise broken(defence.name, found, "replies to any attempts") from error
    return list(PROMISES)


def answers_in_order(trial: Trial) -> None:
    """Check for one reply an attempt, of that very attempt, with some text; `Behind` checks the rest."""
    replies = trial.run()
    if [reply.attempt for reply in replies] != list(ATTEMPTS):
        raise broken(trial.info.name, "changed an attempt", "replies to the attempts as they were given")
    if any(not reply.text.strip() or reply.error for reply in replies):
        raise broken(trial.info.name, "gave no reply where the model does", "a reply, its own or the model's")


def repeats_itself(trial: Trial) -> None:
    """Check that the same seed gives the same replies."""
    if trial.run(seed=3) != trial.run(seed=3):
        raise broken(trial.info.name, "gave other replies under the same seed", "the same")


def ignores_company(trial: Trial) -> None:
    """Check that a reply depends neither on the order of the attempts nor on the others."""
    together = trial.run()
    if trial.run(ATTEMPTS[::-1]) != together[::-1] or trial.run(ATTEMPTS[1:2]) != together[1:2]:
        raise broken(trial.info.name, "gave other replies in other company", "the same for each attempt")


def leaves_its_input(trial: Trial) -> None:
    """Check that the attempts given are not changed."""
    given = copy.deepcopy(ATTEMPTS)
    trial.run(given)
    if given != ATTEMPTS:
        raise broken(trial.info.name, "changed the attempts it was given", "them untouched")


def does_nothing_for_nobody(trial: Trial) -> None:
    """Check that without attempts there are no replies."""
    if trial.run([]):
        raise broken(trial.info.name, "replied to nobody", "no attempts, no replies")


def claims_no_failure(trial: Trial) -> None:
    """Check that a reply that failed is not told as a refusal, which would count as safe."""
    for reply in replace(trial, target=StandIn(failing=True)).run():
        if not reply.error and not (reply.defended and reply.defended.did):
            raise broken(trial.info.name, "made a reply of one that failed", "its error, passed on")


PROMISES: Mapping[str, Callable[[Trial], None]] = {
    "one reply an attempt, in order, of that very attempt": answers_in_order,
    "the attempts are left as they were": leaves_its_input,
    "same seed, same replies": repeats_itself,
    "order and company of the attempts do not matter": ignores_company,
    "no attempts, no replies": does_nothing_for_nobody,
    "a reply that failed is no refusal": claims_no_failure,
}


def _number(text: str) -> int:
    return int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") % 997
