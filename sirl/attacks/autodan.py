"""AutoDAN: breed readable prompts that make the model likely to begin its reply with agreement.

The genetic search is `genetic`'s; this module adds the score, the likelihood of the beginning, and the
attacker model that writes prompts anew. It needs no weights, only the likelihood of replies. It refuses to
know how prompts are bred.

Defaults: 100 generations of 256, 5 % of them kept, crossover 0.5 at 5 points and mutation 0.01, from its
code (autodan_hga_eval.py, read in the fork andrewahn-ubc/AutoDAN).

Departures from the paper: below the default budget a generation holds at most the square root of the budget.
Words are replaced within a fixed list of synonyms,
by how well each has scored, and in every generation; the published hierarchical search takes any word of its
good prompts, and alternates five word rounds with one paragraph round. The seed templates are ours.

Source: arXiv 2310.04451; its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from sirl.attacks.attacker import Order, instruct, one_slot, writer
from sirl.attacks.genetic import Breeding, Rewriter, evolve, start
from sirl.attacks.search import Checks, Hunt, beginning, hunts, needed
from sirl.records import Attempt, Judge, Prompt, Target

NAME = "autodan"


@dataclass(frozen=True, slots=True)
class AutoDANWords:
    """The genetic search without an attacker model: the seeds alone begin it, and words alone mutate.

    `beginning` is the reply hoped for where a prompt gives none.
    """

    beginning: str = "Sure, here is how to do it:"
    breeding: Breeding = field(default_factory=Breeding)
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return each prompt in the best surroundings found; each scored prompt is one query."""
        model, searches = needed(target, NAME), hunts(prompts, budget, seed, NAME)

        def likelihood(attempts: Sequence[Attempt]) -> list[float]:
            begun = [beginning(attempt.prompt, self.beginning) for attempt in attempts]
            return model.log_likelihood(attempts, begun)

        checks = Checks(model, self.judge, seed)
        evolve(searches, NAME, likelihood, checks, self.breeding, self._rewriter(seed))
        return [hunt.result(start(hunt.prompt, NAME)) for hunt in searches]

    def _rewriter(self, seed: int) -> Rewriter | None:
        del seed
        return None


@dataclass(frozen=True, slots=True)
class AutoDAN(AutoDANWords):
    """Hierarchical genetic search with an attacker model that fills the first generation and mutates."""

    NEEDS: ClassVar = ("attacker",)
    attacker: Target | None = field(default=None, repr=False)

    def _rewriter(self, seed: int) -> Rewriter:
        helper = writer(self.attacker, NAME, seed)

        def rewrite(genomes: Sequence[tuple[Hunt, str]]) -> list[str | None]:
            return helper.write(
                [Order(hunt, instruct("rephrase", template=genome), one_slot) for hunt, genome in genomes]
            )

        return rewrite
