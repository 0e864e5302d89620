"""Have an attacker model write the demonstrations that in-context attacks and ciphers show.

For each source, a request of the user's, it writes another of the same kind and what an assistant that complies
would reply. What is written depends on the model, the source, its number and the seed alone, so that a part can
be written now and the rest later. This module refuses to know which attack shows them.

Source: Anil et al., NeurIPS 2024, whose demonstrations a model wrote; the instructions are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sirl.attacks.attacker import Order, instruct, writer
from sirl.attacks.demonstrations import Pair
from sirl.attacks.search import hunts
from sirl.prompts import normalised
from sirl.records import Prompt, Target

NAME = "demonstrations"


def write_demonstrations(
    model: Target, prompts: Sequence[Prompt], numbers: Sequence[int], seed: int
) -> list[Pair | None]:
    """Return the demonstration of each number, same order; None where nothing usable came.

    Number i has the prompt i, from the first again where there are fewer. Two are never the same request.
    """
    sources = [replace(prompts[number % len(prompts)], id=f"{NAME}/{number}") for number in numbers]
    helper, searches = writer(model, NAME, seed), hunts(sources, 0, seed, NAME)
    asked = helper.write([Order(h, instruct("another", request=h.prompt.text)) for h in searches])
    posed = {i: text for i, text in enumerate(asked) if text}
    answers = helper.write([Order(searches[i], instruct("answer", request=text)) for i, text in posed.items()])
    given = dict(zip(posed, answers, strict=True))
    return [(posed[i], answer) if (answer := given.get(i)) else None for i in range(len(numbers))]


def fresh(found: Sequence[Pair | None], known: Sequence[Pair]) -> list[Pair | None]:
    """Return what was found with None in the place of a request that is known, or came before."""
    seen, kept = {normalised(asked) for asked, _ in known}, []
    for pair in found:
        new = pair is not None and normalised(pair[0]) not in seen
        seen |= {normalised(pair[0])} if pair else set()
        kept.append(pair if new else None)
    return kept
