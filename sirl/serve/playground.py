"""One prompt to one model: a queue of bounded length, one generation at a time, names from fixed lists alone.

Which models there are: those that were named at the start, and the models of finished training runs. A run
folder may be a stranger's, so of its own words only the name of an embedded base model is taken, and its
weights only where they are plain files that lead nowhere else.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from threading import BoundedSemaphore, Lock
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sirl.attacks import ATTACKS
from sirl.config.requests import without_logins
from sirl.defences import DEFENCES
from sirl.errors import SirlError, suggest
from sirl.records import Completion
from sirl.rundir import SUMMARY
from sirl.rundir.files import refuse_links
from sirl.serve.catalogue import Found

MOST_TOKENS, LONGEST_PROMPT = 512, 8_000  # of a reply; characters
WAITING = 4  # requests at once, the one at work included
OPEN = 2  # models in memory
_SHIPPED = re.compile(r"organism:[a-z0-9_-]+")
# A character that is no space, spelled out: what `\s` holds differs between the languages that read a pattern.
SAYS_SOMETHING = r"[^\x00-\x20\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"


def attack_names() -> dict[str, str]:
    """Return the static attacks that need nothing besides the prompt, each with what it does."""
    return {name: a.summary for name, a in ATTACKS.items() if a.kind == "static" and not a.needs}


def defence_names() -> dict[str, str]:
    """Return the defences that need no other model and no other prompts, each with what it does."""
    return {name: d.summary for name, d in DEFENCES.items() if not d.needs}


def _one_of(*names: str) -> Any:
    """Return the field of a text that is one of some names, which the API's document lists."""

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(suggest(name, names))
        return name

    return Field(json_schema_extra={"enum": list(names)}), AfterValidator(check)


class Ask(BaseModel):
    """A prompt for one model, plain or under an attack, with or without a defence around the model."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(pattern="^[0-9a-f]{12}$")
    prompt: str = Field(min_length=1, max_length=LONGEST_PROMPT, pattern=SAYS_SOMETHING)
    attack: Annotated[str, *_one_of(*attack_names())] = "direct"
    defence: Annotated[str, *_one_of("", *defence_names())] = ""
    tokens: int = Field(128, ge=1, le=MOST_TOKENS)


class Speaker(Protocol):
    """A model that is open; raises a SirlError where it, an attack or a defence cannot reply."""

    def __call__(self, asked: Ask) -> Completion: ...


Open = Callable[[str], Speaker]


class NoModelError(Exception):
    """The model that is asked is not here."""


class BusyError(Exception):
    """Too many prompts wait already."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model to choose: `spec` opens it."""

    id: str
    name: str
    spec: str


@dataclass(slots=True)
class Playground:
    """The models that may be asked; `opener` is None where there can be none."""

    models: Sequence[str] = ()
    opener: Open | None = None
    _speakers: OrderedDict[str, Speaker] = field(default_factory=OrderedDict)
    _places: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(WAITING))
    _one: Lock = field(default_factory=Lock)

    def choices(self, runs: Mapping[str, Found]) -> list[Choice]:
        """Return the models there are now, the least hardened first."""
        if self.opener is None:
            return []
        specs = dict.fromkeys(self.models)
        of_runs = {str(f.path): f for f in runs.values() if _brings_model(f)}
        for found in of_runs.values():
            base = str(found.run.config.get("model", "")) if found.run else ""
            if _SHIPPED.fullmatch(base):
                specs.setdefault(base)
        specs |= dict.fromkeys(of_runs)
        return [Choice(_identity(spec), _name(spec, of_runs.get(spec)), spec) for spec in specs]

    def reply(self, asked: Ask, runs: Mapping[str, Found]) -> Completion:
        """Return the reply of the model asked, when it is its turn.

        Raises BusyError, NoModelError, or what the model raises.
        """
        choice = next((c for c in self.choices(runs) if c.id == asked.model), None)
        if choice is None:
            raise NoModelError
        if not self._places.acquire(blocking=False):
            raise BusyError
        try:
            with self._one:
                return self._speaker(choice.spec)(asked)
        finally:
            self._places.release()

    def _speaker(self, spec: str) -> Speaker:
        if spec not in self._speakers:
            if self.opener is None:
                raise NoModelError
            while len(self._speakers) >= OPEN:
                self._speakers.popitem(last=False)
            self._speakers[spec] = self.opener(spec)
        self._speakers.move_to_end(spec)
        return self._speakers[spec]


def _brings_model(found: Found) -> bool:
    """Say whether a finished training run holds a whole model, in plain files that name no other model."""
    run = found.run
    if run is None or run.kind != "train" or run.stamp(SUMMARY) is None:
        return False
    model = run.path / "model"
    try:
        refuse_links(run.path)
    except (SirlError, OSError):
        return False
    return (model / "config.json").is_file() and not (model / "adapter_config.json").exists()


def _identity(spec: str) -> str:
    return sha256(spec.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _name(spec: str, found: Found | None) -> str:
    named: Any = without_logins(spec)
    return f"{found.name}: {found.run.config.get('model', '')} hardened" if found and found.run else str(named)
