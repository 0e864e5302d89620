"""Ask plainly and change how the reply is drawn: temperature, nucleus or top-k, one setting after another.

Alignment is mostly measured on greedy replies; other settings visit other replies. The sweep goes from the
loosest setting to the tightest and stops at the first harmful reply. What is sent in the end is the request
with that setting, and its reply is drawn anew. This module refuses to know what is asked.

Defaults: temperatures from 0.05 to 1 in steps of 0.05, as many top-p, and 9 top-k, from its code
(Princeton-SysML/Jailbreak_LLM: attack.py, which also runs a top-p of 0).

Departures: no system prompt is removed, as none is sent; one reply per setting; settings that mean the same
(top-p of 1, temperature of 1) are tried once. Success is judged on a new reply under the setting found; the
paper counts a request as broken if any of its replies succeeded.

Source: arXiv 2310.06987 (generation exploitation): the same 20 temperatures, 20 top-p and 9 top-k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from sirl.attacks.search import hunts, needed
from sirl.attacks.tries import bench, going, say_to
from sirl.records import Attempt, Decoding, Judge, Prompt, Target

NAME = "decoding"
_STEPS = tuple(round(0.05 * n, 2) for n in range(20, 0, -1))  # 1, .95, ... .05
SETTINGS = (
    *(Decoding(temperature=t) for t in _STEPS),
    *(Decoding(temperature=1.0, top_p=p) for p in _STEPS[1:]),
    *(Decoding(temperature=1.0, top_k=k) for k in (500, 200, 100, 50, 20, 10, 5, 2, 1)),
)


@dataclass(frozen=True, slots=True)
class DecodingSweep:
    """Try `width` settings a round; `max_new_tokens` bounds the replies of the search."""

    NEEDS: ClassVar = ("judge",)
    width: int = 4
    max_new_tokens: int = 256
    judge: Judge | None = field(default=None, repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return the first setting that succeeds, else the best. Raises AttackError if something lacks."""
        court = bench(needed(target, NAME), self.judge, NAME, seed)
        searches = hunts(prompts, budget, seed, NAME)
        for start in range(0, min(budget, len(SETTINGS)), self.width):
            settings = [
                replace(s, max_new_tokens=self.max_new_tokens) for s in SETTINGS[start : start + self.width]
            ]
            court.send(
                [
                    (hunt, [replace(say_to(hunt, NAME, hunt.prompt.text), decoding=s) for s in settings])
                    for hunt in going(searches)
                ]
            )
        return [hunt.result(say_to(hunt, NAME, hunt.prompt.text)) for hunt in searches]
