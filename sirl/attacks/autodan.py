"""AutoDAN: breed readable prompts that make the model likely to begin its reply with agreement.

The genetic search is `genetic`'s; this module adds the score, the likelihood of the beginning, and the
attacker model that writes prompts anew. It needs no weights, only the likelihood of replies. It refuses to
know how prompts are bred.

Defaults: 100 generations of 256, a twentieth of them kept, crossover .5 at 5 points and mutation .01 are its
code's (autodan_hga_eval.py, read in the fork andrewahn-ubc/AutoDAN).

Departures from the paper: words are exchanged within a fixed list of synonyms, by what each has been worth,
where the published hierarchy takes any word of its good prompts and alternates five such rounds with one of
paragraphs; here both happen in every generation. The seeds are templates of ours. A small budget gets a
smaller generation, its square root. The best so far is really sent and judged at sixteen milestones of the
budget, and a prompt whose attack has succeeded stops there; the hoped-for beginning is the data set's own
where it gives one.

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
