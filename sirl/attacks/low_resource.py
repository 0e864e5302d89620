"""Ask in a language in which the model has seen little training for safety.

The published attack sends a machine translation. Here a phrase book translates what it holds, which needs no
network and can be read back exactly. The default book is Esperanto, written
for this package. This module refuses to know which languages a model is weak in: that is the user's to say.

Source: arXiv 2310.02446.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sirl.attacks.info import Recover
from sirl.attacks.phrases import PhraseBook, read_phrase_book
from sirl.attacks.static import TEMPLATES, fill, read_template, say, unfill
from sirl.records import Attempt, Prompt, Target

NAME = "low_resource"


@cache
def esperanto() -> PhraseBook:
    """Return the book that is used where the user brings none."""
    return read_phrase_book(TEMPLATES / f"{NAME}.phrases.tsv")


@dataclass(frozen=True, slots=True)
class LowResource:
    """Send the request in another language, by `phrase_book` or else by ours."""

    phrase_book: PhraseBook | None = None

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return each prompt in the other language."""
        del target, budget, seed  # a static attack asks nothing and draws nothing
        template = read_template(NAME)
        return [Attempt(p, NAME, say(fill(template, self._book.translate(p.text)))) for p in prompts]

    @property
    def recover(self) -> Recover:
        """Read the request back."""
        return lambda text: self._book.read(unfill(read_template(NAME), text))

    @property
    def _book(self) -> PhraseBook:
        return self.phrase_book or esperanto()
