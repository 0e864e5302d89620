"""What attacks are given to work with: models that write or stand in, a judge, prompts found elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sirl.attacks import ATTACKS, WRITING, AttackInfo, Means, arm, get_attacks, unmet
from sirl.attacks.artifacts import Replay, Source, import_attacks
from sirl.attacks.demonstrations import read_demonstrations
from sirl.attacks.info import TRANSFER
from sirl.attacks.phrases import read_phrase_book
from sirl.config import ModelConfig
from sirl.errors import AttackError
from sirl.judges import identify
from sirl.records import Access, Decoding, Judge, Prompt, Target
from sirl.workflows.judges import JudgeLoader, named_judges
from sirl.workflows.models import Model, open_target

LOG = logging.getLogger("sirl")
ATTACKER = "organism:attacker"  # the one that writes attacks


@dataclass(frozen=True, slots=True)
class Armed:
    """A model that an attack uses, under an `identity` that tells it from others of its name; else as it is."""

    target: Target
    identity: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)


@dataclass(frozen=True, slots=True)
class AttackTools:
    """What attacks are given: models and files by name; empty means none, or the default.

    `columns` and `request_column` are those of `attack_prompts`.
    """

    attacker: str = ""
    surrogate: str = ""
    scorer: str = ""
    phrase_book: Path | None = None
    demonstrations: Path | None = None
    attack_prompts: Path | None = None
    columns: str = ""
    request_column: str = ""


def with_attacker(tools: AttackTools, model: Model, attacks: Sequence[str]) -> AttackTools:
    """Return the tools, an organism's with its own attacker if an attack needs one and none is named."""
    wanted = any("attacker" in info.needs for info in get_attacks(attacks).values())
    named = tools.attacker or not (wanted and model.is_organism)
    return tools if named else replace(tools, attacker=ATTACKER)


def make_means(tools: AttackTools, loader: JudgeLoader, judge: Judge, prompts: Sequence[Prompt]) -> Means:
    """Open the models and files that were named. `judge` is the run's judge of harm."""
    writer, config = tools.attacker, loader.config
    return Means(
        judge=named_judges([f"harmful={tools.scorer}"], None, loader)["harmful"] if tools.scorer else judge,
        attacker=_armed(writer, config, WRITING) if writer else None,
        surrogate=_armed(tools.surrogate, config, Decoding()) if tools.surrogate else None,
        benign=tuple(prompt for prompt in prompts if prompt.kind == "benign"),
        harmful=tuple(prompt for prompt in prompts if prompt.kind == "harmful"),
        phrase_book=read_phrase_book(tools.phrase_book) if tools.phrase_book else None,
        demonstrations=read_demonstrations(tools.demonstrations) if tools.demonstrations else (),
    )


def _armed(spec: str, config: ModelConfig, decoding: Decoding) -> Any:
    target, told = open_target(spec, config, decoding)
    return Armed(target, identify(target.name, settings=told))


def armed(names: Sequence[str], means: Means, access: Access) -> dict[str, AttackInfo]:
    """Return the named attacks with their means; of a group, those that cannot run are skipped with a warning.

    Raises AttackError if one that was named itself cannot be run, or none is left.
    """
    attacks = {name: arm(info, means) for name, info in get_attacks(names).items()}
    lacks = {name: lack for name, info in attacks.items() if (lack := unmet(info, access))}
    for name, lack in lacks.items():
        if name in names or len(lacks) == len(attacks):
            advice = f"add what is missing, or {_stand_in(name) or 'leave it out'}"
            raise AttackError(f"attack {name!r} cannot be run: {lack}", "attacks with all they need", advice)
        LOG.warning("skipped: %s", "; ".join(filter(None, (f"{name}: {lack}", _stand_in(name)))))
    return {name: info for name, info in attacks.items() if name not in lacks}


def _stand_in(name: str) -> str:
    """Recommend the attack that can be run in place of this one; empty if there is none."""
    others = [info.name for info in ATTACKS.values() if info.stands_for == name.removesuffix(TRANSFER)]
    return f"use {others[0]}, a weaker stand-in" if others else ""


def found_elsewhere(tools: AttackTools, prompts: Sequence[Prompt]) -> dict[str, AttackInfo]:
    """Return the attacks of --attack-prompts; the harmful prompts that they do not cover are logged.

    Raises AttackError if one of them covers none, or the other two options come without a file.
    """
    columns = tuple(name.strip() for name in tools.columns.split(",")) if tools.columns else ()
    if tools.attack_prompts is None:
        if columns or tools.request_column:
            raise AttackError("--columns without a file", "--attack-prompts FILE beside it", "name the file")
        return {}
    found = import_attacks(Source(tools.attack_prompts, columns, tools.request_column))
    harmful = [prompt for prompt in prompts if prompt.kind == "harmful"]
    for name, left_out in uncovered(found, harmful).items():
        told = ", ".join(f"{why}: {count}" for why, count in left_out.items() if count)
        if sum(left_out.values()) == len(harmful):
            advice = "measure with the prompt set that the attack was found on"
            found_none = f"{name} has no prompt for any of the {len(harmful)} harmful requests ({told})"
            raise AttackError(found_none, "at least one", advice)
        if told:
            LOG.warning("%s lacks prompts for some of %d harmful requests: %s", name, len(harmful), told)
    return found


def uncovered(attacks: Mapping[str, AttackInfo], prompts: Sequence[Prompt]) -> dict[str, dict[str, int]]:
    """Count, for each attack of prompts found elsewhere, the harmful prompts that it does not cover, by why."""
    harmful = [prompt for prompt in prompts if prompt.kind == "harmful"]
    runs = {name: info.run for name, info in attacks.items()}
    return {name: run.missing(harmful) for name, run in runs.items() if isinstance(run, Replay)}
