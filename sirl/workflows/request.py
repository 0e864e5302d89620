"""What one run is asked for: a model, prompts, a recipe and what is changed of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sirl.config import Changes, Recipe, load_recipe
from sirl.config.measure import Engine
from sirl.endpoint import require_one_host
from sirl.errors import ConfigError
from sirl.workflows.models import ORGANISM, Model, holds_weights, no_weights, open_model, resolve_model
from sirl.workflows.sources import PromptSources


@dataclass(frozen=True, slots=True)
class Request:
    """A run as asked for. An empty `recipe` is the model's own: organism for an organism, else default."""

    model: Model | str
    out: Path
    prompts: PromptSources = field(default_factory=PromptSources)
    recipe: str = ""
    settings: Changes = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Take a path by its name."""
        if not isinstance(self.model, Model):
            object.__setattr__(self, "model", str(self.model))

    @property
    def of_organism(self) -> bool:
        """Whether the model is an organism, or was made from one."""
        if isinstance(self.model, Model):
            return self.model.is_organism
        return resolve_model(self.model)[2].startswith(ORGANISM)

    @property
    def recipe_name(self) -> str:
        """The recipe that is named, or else the model's own."""
        return self.recipe or ("organism" if self.of_organism else "default")

    def read(self, *helpers: str) -> Recipe:
        """Read the recipe and the settings; `helpers` name the models used beside the one under test.

        Raises ConfigError, also where an endpoint's key could go to two hosts.
        """
        recipe = load_recipe(self.recipe_name, self.settings)
        if isinstance(self.model, Model):
            if changed := [name for name in self.settings if name.strip().startswith("model.")]:
                found = f"{changed[0]} for a model that is loaded already"
                raise ConfigError(
                    found, "settings of [model] when the model is loaded", "pass them to sirl.load"
                )
            recipe = replace(recipe, model=self.model.config)
        name = self.model.name if isinstance(self.model, Model) else self.model
        helpers = (*helpers, recipe.train.search.attacker, recipe.evaluate.defence, recipe.gap.defence)
        require_one_host(recipe.model, (name, *helpers))
        return recipe

    def open(self, recipe: Recipe, purpose: str = "", engine: Engine | None = None) -> Model:
        """Return the model, loaded if it is not yet.

        A `purpose` is one that needs weights; an `engine` opens the model whatever the settings say. Raises
        ConfigError if the model does not bring its weights.
        """
        if isinstance(self.model, Model):
            if purpose:
                self.model.weights(purpose)
            return self.model
        config = replace(recipe.model, engine=engine or recipe.model.engine)
        if purpose and not holds_weights(self.model, config):
            raise no_weights(self.model, purpose)
        return open_model(self.model, config)


def names(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return names in a list, or in one text with commas; an empty one between them stays, to be refused."""
    parts = (given.split(",") if given else ()) if isinstance(given, str) else given
    return tuple(part.strip() for part in parts)
