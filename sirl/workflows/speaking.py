"""A model for the playground: opened once, asked one prompt at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sirl.attacks import Means, attack_prompts
from sirl.config import Changes
from sirl.records import Completion, Decoding, Prompt, Target
from sirl.serve import Ask
from sirl.workflows.attack_tools import armed
from sirl.workflows.defences import defended
from sirl.workflows.judges import JudgeLoader
from sirl.workflows.models import Model
from sirl.workflows.request import Request

_SEED = 0


@dataclass(frozen=True, slots=True)
class ModelSpeaker:
    """Replies greedily, plain or under a static attack, with or without a defence."""

    model: Model

    def __call__(self, asked: Ask) -> Completion:
        """Return the reply. Raises AttackError or DefenceError on what the model cannot do."""
        prompt = Prompt("playground", asked.prompt, "harmful")
        target: Target = self.model.drawing(Decoding(max_new_tokens=asked.tokens), batch=1)
        if asked.defence:
            target = defended(asked.defence, target, JudgeLoader(self.model.config, _SEED), ())
        means = Means(context=self.model.context)
        attack = armed([asked.attack], means, target.access)[asked.attack]
        [completion] = target.reply(attack_prompts(attack, [prompt], None, 0, _SEED), _SEED)
        return completion


def speaker(spec: str, settings: Changes = ()) -> ModelSpeaker:
    """Open a model by the words of `sirl evaluate`. Raises as opening it there does."""
    asked = Request(spec, Path(), settings=settings)
    return ModelSpeaker(asked.open(asked.read()))
