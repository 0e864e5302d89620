"""Which of the unlabelled prompts come plain and which in a disguise: a static attack chosen for training.

A disguised prompt keeps its plain text beside what is sent, so that the base model can be asked about the
plain one. Attacks held out for evaluation must not be named here; which were used is in the run's settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sirl.attacks import AttackInfo, attack_prompts
from sirl.errors import AttackError
from sirl.records import Attempt, Message, Prompt
from sirl.training.schedule import stable_seed


def disguise(
    prompts: Sequence[Prompt], attacks: Mapping[str, AttackInfo], share: float, seed: int
) -> list[Attempt]:
    """Return one attempt a prompt, same order: plain, or with chance `share` under one of the attacks.

    Which is a function of seed and prompt id. An attack sees the prompt's id and text, and no label. Raises
    AttackError on an attack that is not static: searching against the model in training is another thing than
    wearing a disguise.
    """
    for name, info in attacks.items():
        if info.kind != "static":
            raise AttackError(f"attack {name!r} is {info.kind}", "static attacks to train with", "drop it")
    chosen = [_choose(prompt, tuple(attacks), share, seed) for prompt in prompts]
    worn: dict[str, Attempt] = {}
    for name, info in attacks.items():
        wearers = [Prompt(p.id, p.text) for p, own in zip(prompts, chosen, strict=True) if own == name]
        worn |= {a.prompt.id: a for a in attack_prompts(info, wearers, None, 0, seed)}
    return [
        replace(worn[prompt.id], prompt=prompt) if prompt.id in worn else plainly(prompt) for prompt in prompts
    ]


def plainly(prompt: Prompt) -> Attempt:
    """Return the prompt as it is, said by the user."""
    return Attempt(prompt, "direct", (Message("user", prompt.text),))


def _choose(prompt: Prompt, names: Sequence[str], share: float, seed: int) -> str:
    rng = np.random.default_rng(stable_seed("disguise", seed, prompt.id))
    return str(rng.choice(names)) if names and rng.random() < share else ""
