"""A defence of your own: `sirl evaluate MODEL --defence examples.custom_defence:defence --out runs/short`.

Check it first: `sirl defences check examples.custom_defence:defence`.

A defence is a function from attempts to replies: one an attempt, in the same order, of that very attempt. It
asks the model, `target`, as it likes; the calls are counted. This one refuses requests that are very long and
asks the rest.
"""

from collections.abc import Sequence

from sirl.defences import last_text, refusal
from sirl.records import Attempt, Completion, Target

LONGEST = 400  # characters


def defence(attempts: Sequence[Attempt], target: Target, seed: int) -> list[Completion]:
    """Refuse what is too long."""
    short = [attempt for attempt in attempts if len(last_text(attempt)) <= LONGEST]
    replies = iter(target.reply(short, seed) if short else [])
    return [
        next(replies) if len(last_text(attempt)) <= LONGEST else refusal(attempt, "too long")
        for attempt in attempts
    ]
