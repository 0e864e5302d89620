"""The settings that a run of a model would have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sirl.config import TrainConfig
from sirl.config.described import Setting, described
from sirl.workflows.request import Request


def settings_for(model: str, recipe: str, changes: Sequence[str]) -> list[Setting]:
    """Return every setting with its value and origin; `model` may be empty. Raises ConfigError."""
    if not model:
        return described(recipe or "default", changes)
    asked = Request(model, Path(), recipe=recipe, settings=changes)
    settings = described(asked.recipe_name, changes)
    usual = list(TrainConfig().prompts)
    own = "train.prompts" if asked.of_organism else ""  # it has a stream of its own, unless prompts are named
    return [
        replace(one, value=[], origin="the model") if (one.name, one.value) == (own, usual) else one
        for one in settings
    ]
