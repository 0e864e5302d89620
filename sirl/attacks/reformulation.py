"""Have an attacker model move a request into the past or the future, again and again, until one is answered.

Every reformulation is written anew from the request alone, under a temperature of 1. This module refuses to
know who judges and what is asked; `tense` does the same by rules, once and without a model.

Defaults: reformulations written at temperature 1, from its code, and 20 a request, as in its published
results (tml-epfl/llm-past-tense: main.py, whose own default is 5, jailbreak_artifacts).

Departures: the instruction shows one harmless example instead of three harmful ones; several reformulations
are tried per round, each once; the model under test replies with the run's decoding, where its code draws at
temperature 1.

Source: arXiv 2407.11969; its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from sirl.attacks.attacker import Order, instruct, sentences, writer
from sirl.attacks.search import hunts, needed
from sirl.attacks.tries import bench, going, say_to
from sirl.records import Attempt, Judge, Prompt, Target


@dataclass(frozen=True, slots=True)
class Reformulation:
    """Try at most `forms` reformulations, `width` a round, whatever more the budget allows."""

    NEEDS: ClassVar = ("attacker", "judge")
    recover: ClassVar = None  # the request is reworded
    name: Literal["past_tense", "future_tense"]
    forms: int = 20
    width: int = 4
    attacker: Target | None = field(default=None, repr=False)
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return the first that succeeds, else the best. Raises AttackError if something lacks."""
        court = bench(needed(target, self.name), self.judge, self.name, seed)
        helper = writer(self.attacker, self.name, seed)
        searches = hunts(prompts, budget, seed, self.name)
        said = sentences("tenses")[self.name]
        while open_ := [hunt for hunt in going(searches) if hunt.queries < self.forms]:
            orders = [
                Order(hunt, instruct("operation", request=hunt.prompt.text, operation=said))
                for hunt in open_
                for _ in range(min(self.width, hunt.left, self.forms - hunt.queries))
            ]
            texts = list(zip(orders, helper.write(orders), strict=True))
            rows = [dict.fromkeys(text for o, text in texts if text and o.hunt is hunt) for hunt in open_]
            court.send(
                [
                    (hunt, [say_to(hunt, self.name, text) for text in row])
                    for hunt, row in zip(open_, rows, strict=True)
                ]
            )
        return [hunt.result(say_to(hunt, self.name, hunt.prompt.text)) for hunt in searches]
