"""Reword a request and nest it in an everyday writing task: code to complete, a table, a text to continue.

The request is nested as it stands first, in a scenario chosen by a stable hash of its text. Then, until the
judge is convinced, an attacker model rewords it by one to six operations in random order (fewer words,
another order, misspellings, meaningless signs, words of another language, another style), the result is
checked to ask for the same thing still, and nested in a scenario chosen at random. This module refuses to
know who judges.

Defaults: 20 iterations, one to six of six rewritings in random order, and a new random scenario each time,
from its code (NJUNLP/ReNeLLM: renellm.py).

Departures: the request is nested once before it is reworded; the check is whether a rewording still asks for
the same thing, not whether it is harmful; several rewordings are tried per round.

Source: arXiv 2311.08268 (ReNeLLM).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from sirl.attacks.attacker import Order, Writer, instruct, on_topic, sentences, writer
from sirl.attacks.search import Hunt, hunts, needed
from sirl.attacks.static import fill, read_template
from sirl.attacks.tries import bench, going, say_to
from sirl.records import Attempt, Judge, Prompt, Target

NAME = "renellm"
SCENARIOS = ("renellm.code", "renellm.table", "renellm.text")


@dataclass(slots=True)
class Rewording:
    """A request on its way through its operations."""

    hunt: Hunt
    text: str
    operations: list[str]


@dataclass(frozen=True, slots=True)
class ReNeLlm:
    """Try `width` rewordings a round."""

    NEEDS: ClassVar = ("attacker", "judge")
    recover: ClassVar = None  # the request is reworded
    width: int = 4
    attacker: Target | None = field(default=None, repr=False)
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return the first that succeeds, else the best. Raises AttackError if something lacks."""
        court = bench(needed(target, NAME), self.judge, NAME, seed)
        helper = writer(self.attacker, NAME, seed)
        searches = hunts(prompts, budget, seed, NAME)
        starts = {
            prompt.id: _nest(hunt, prompt.text, _first(prompt.text))
            for hunt, prompt in zip(searches, prompts, strict=True)
        }
        court.send([(hunt, [starts[hunt.prompt.id]]) for hunt in going(searches)])
        while open_ := going(searches):
            batch = [(hunt, self._nested(hunt, texts)) for hunt, texts in self._reworded(open_, helper)]
            court.send(batch)
        return [hunt.result(starts[hunt.prompt.id]) for hunt in searches]

    def _reworded(self, open_: Sequence[Hunt], helper: Writer) -> list[tuple[Hunt, list[str]]]:
        """Return the rewordings of each hunt that still ask for the same thing."""
        drafts = [_draft(hunt) for hunt in open_ for _ in range(min(self.width, hunt.left))]
        while working := [draft for draft in drafts if draft.operations]:
            _operate(working, helper)
        changed = [draft for draft in drafts if draft.text != draft.hunt.prompt.text]
        kept = on_topic(helper, [(draft.hunt, draft.text) for draft in changed])
        good = [draft for draft, stays in zip(changed, kept, strict=True) if stays]
        return [(hunt, [draft.text for draft in good if draft.hunt is hunt]) for hunt in open_]

    def _nested(self, hunt: Hunt, texts: Sequence[str]) -> list[Attempt]:
        return [_nest(hunt, text, SCENARIOS[hunt.rng.integers(len(SCENARIOS))]) for text in texts]


def _draft(hunt: Hunt) -> Rewording:
    """Draw one to six operations, in random order."""
    names = [str(name) for name in hunt.rng.permutation(list(sentences("operations")))]
    return Rewording(hunt, hunt.prompt.text, names[: hunt.rng.integers(1, len(names) + 1)])


def _operate(drafts: Sequence[Rewording], helper: Writer) -> None:
    """Apply the next operation to each; one that fails leaves the text as it was."""
    said = sentences("operations")
    orders = [
        Order(d.hunt, instruct("operation", request=d.text, operation=said[d.operations.pop(0)]))
        for d in drafts
    ]
    for draft, text in zip(drafts, helper.write(orders), strict=True):
        draft.text = text or draft.text


def _first(request: str) -> str:
    """Return the scenario of the first try, by a stable hash of the request."""
    digest = hashlib.sha256(request.encode("utf-8", "surrogatepass")).digest()
    return SCENARIOS[int.from_bytes(digest[:8], "big") % len(SCENARIOS)]


def _nest(hunt: Hunt, request: str, scenario: str) -> Attempt:
    return say_to(hunt, NAME, fill(read_template(scenario), request))
