"""The defence that is named, armed: what stands around the model while it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from sirl.attacks import WRITING
from sirl.defences import DEFENCES, MODELS, Behind, DefenceInfo, Means, check_defence, defend, get_defence
from sirl.errors import DefenceError
from sirl.judges import identify
from sirl.judges.guard import Guard
from sirl.records import Prompt, Target
from sirl.workflows.attack_tools import Armed
from sirl.workflows.judges import JudgeLoader, named_judges
from sirl.workflows.models import open_target


def defended(words: str, target: Target, loader: JudgeLoader, prompts: Sequence[Prompt]) -> Behind:
    """Return the target behind the defence named. Raises DefenceError, or as opening its model does."""
    info, model = get_defence(words)
    plain = tuple(prompt.text for prompt in prompts if prompt.kind == "harmful")
    return defend(target, info, replace(_means(info, model, loader), plain=plain))


def _means(info: DefenceInfo, model: str, loader: JudgeLoader) -> Means:
    """Open the model of a defence: one that writes, a guard of requests, or any judge of replies."""
    role = MODELS.get(info.name, "") if model else ""
    if role == "writer":
        target, told = open_target(model, loader.config, WRITING)
        return Means(writer=cast(Target, Armed(target, identify(target.name, settings=told))))
    if role == "judge":
        return Means(judge=named_judges([f"harmful={model}"], None, loader)["harmful"])
    if role == "guard":
        judge = loader.judges("guard", model.removeprefix("guard="), ("harmful",))["harmful"]
        if not isinstance(judge, Guard):
            raise DefenceError(f"{model} is no guard model", "one that judges requests", "name a guard model")
        return Means(guard=replace(judge, of="request"))
    return Means()


def check(words: Sequence[str]) -> dict[str, list[str]]:
    """Check defences; return the promises that each keeps. Raises DefenceError on the first one broken."""
    return {name: check_defence(get_defence(name)[0]) for name in words}


def listed() -> list[tuple[str, ...]]:
    """Return the rows of the table of defences: name, mechanism, calls, source, summary."""
    return [(d.name, d.mechanism, str(d.calls or "as needed"), d.source, d.summary) for d in DEFENCES.values()]
