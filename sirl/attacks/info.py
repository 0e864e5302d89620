"""What an attack says of itself, and what it may be given.

`AttackInfo` is one line of the table of attacks; `arm` gives attacks what they need besides the model under
test. This module refuses to know how any attack works and how its promises are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from sirl.attacks.phrases import PhraseBook
from sirl.records import Access, Attack, AttackKind, Judge, Prompt, Target

ACCESS: tuple[Access, ...] = (
    "none",
    "black-box",
    "prefill",
    "logprobs",
    "white-box",
)  # each holds those before
SEARCHING = ("adaptive", "transfer")
TRANSFER = "@transfer"  # behind a name or group: search on the surrogate, then replay
VARIANT = "/"  # between an attack's name and that of one of its published settings
Recover = Callable[[str], str]  # the last message sent -> the request


def whole(text: str) -> str:
    """Return the message as it is: the request stands in it, word for word."""
    return text


@dataclass(frozen=True, slots=True)
class AttackInfo:
    """One attack: what it does, what it needs, where it comes from.

    `access` is what it needs of the model it searches on or is sent to: none (only to send a chat), black-box
    (replies), prefill (to write the first words of the reply), logprobs (the likelihood of replies), white-box
    (weights). `kind` is static (a fixed transform), transfer (searched on `surrogate`, then replayed), adaptive
    (searched on the model under test), or custom (a user's; it has not said). `budget` is the queries a
    prompt that it spends by default. `stands_for` names the published attack that it is a weaker stand-in of.
    """

    name: str
    mechanism: str
    access: Access
    kind: AttackKind
    source: str
    summary: str
    run: Attack
    budget: int = 0
    surrogate: Target | None = None
    stands_for: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the `Means` that it cannot do without."""
        return tuple(getattr(self.run, "NEEDS", ()))

    @property
    def recover(self) -> Recover | None:
        """What reads the request back from the last message: the attack's own `recover`, if it has one.

        By default `whole`. None: the attack puts the request into other words, so nothing can read it back.
        """
        recover: Recover | None = getattr(self.run, "recover", whole)
        return recover

    @property
    def coded(self) -> bool:
        """True if the request stands in the message in a form that has to be decoded before it can be read."""
        return self.recover not in (None, whole)

    @property
    def replays(self) -> bool:
        """True if its prompts were found elsewhere: it searches nothing here and knows what they cost."""
        return bool(getattr(self.run, "REPLAYS", False))

    def concerned(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Return the prompts that it has something to send for: all, but for prompts found elsewhere."""
        covers = getattr(self.run, "covers", None)
        return [prompt for prompt in prompts if covers is None or covers(prompt)]


@dataclass(frozen=True, slots=True)
class Means:
    """What attacks may be given besides the model under test; each takes what it has a field of that name for.

    judge      answers *harmful?*, so that a search knows when it has succeeded; the searcher's own judge, which
               may be the evaluation's
    attacker   a model that writes messages
    surrogate  a model to search on in place of the one under test
    benign     plain harmless requests, to tell harmful ones from
    harmful    plain harmful requests, to tell harmless ones from
    phrase_book  what to translate requests by
    demonstrations  requests with the answers of an assistant that complies
    context    tokens that the model under test can read; 0 where that is not known
    """

    judge: Judge | None = None
    attacker: Target | None = None
    surrogate: Target | None = None
    benign: tuple[Prompt, ...] = ()
    harmful: tuple[Prompt, ...] = ()
    phrase_book: PhraseBook | None = None
    demonstrations: tuple[tuple[str, str], ...] = ()
    context: int = 0


def arm(info: AttackInfo, means: Means) -> AttackInfo:
    """Return the attack with the means that it has fields for; a transfer attack gets the surrogate."""
    run: Any = info.run
    if is_dataclass(run) and not isinstance(run, type):
        names = {f.name for f in fields(run)} & {f.name for f in fields(means)}
        given = {name: getattr(means, name) for name in names if getattr(means, name)}
        run = replace(run, **given)
    return replace(info, run=run, surrogate=means.surrogate if info.kind == "transfer" else None)


# What an attack can lack, and how to name it.
_LACKING = {
    "attacker": "an attacker model (--attacker MODEL)",
    "benign": "benign prompts (--prompts FILE --kind benign)",
    "demonstrations": "demonstrations (--demonstrations FILE)",
    "harmful": "harmful prompts",
    "judge": "a judge of harm",
}


def unmet(info: AttackInfo, target: Access) -> str:
    """Say what an armed attack lacks against a target of this access; empty if it can be run."""
    if info.kind == "transfer" and info.surrogate is None and not info.replays:
        return "it is a transfer attack and needs a surrogate model (--surrogate MODEL)"
    lacking = [name for name in info.needs if not getattr(info.run, name)]
    if lacking:
        return f"it needs {' and '.join(_LACKING.get(name, name) for name in lacking)}"
    fewest = getattr(info.run, "FEWEST", 0)  # of each of those that are lists
    few = [n for n in info.needs if isinstance(v := getattr(info.run, n), tuple) and len(v) < fewest]
    if few:
        return f"it needs at least {fewest} {' and '.join(few)} prompts"
    searched = info.surrogate.access if info.surrogate else target
    if info.access in ACCESS and ACCESS.index(searched) < ACCESS.index(info.access):
        return f"it needs {info.access} access and the model gives only {searched}"
    return ""
