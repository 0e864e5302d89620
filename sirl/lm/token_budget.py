"""How much a forward pass may hold: as much as fits, found by halving when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")


@dataclass(slots=True)
class TokenBudget:
    """The tokens that one forward pass may hold, rows times width; it shrinks when memory runs out, for good.

    On one CPU core larger passes are no faster; an accelerator starts high and comes down to what fits.
    """

    tokens: int = 2**15 if torch.cuda.is_available() else 2**12


def fitted(
    fit: TokenBudget, order: Sequence[int], widths: Sequence[int], work: Callable[[Sequence[int]], T]
) -> list[tuple[Sequence[int], T]]:
    """Do `work` on runs of `order` that fit, in that order; return each run with what it gave.

    `widths[i]` is the tokens of item i; every item of a run is padded to the widest. Raises torch's
    OutOfMemoryError if even one item does not fit.
    """
    done: list[tuple[Sequence[int], T]] = []
    start = 0
    while start < len(order):
        stop, width = start, 0
        while stop < len(order) and (stop - start + 1) * max(width, widths[order[stop]]) <= fit.tokens:
            width = max(width, widths[order[stop]])
            stop += 1
        run = order[start : max(stop, start + 1)]
        try:
            done.append((run, work(run)))
        except torch.OutOfMemoryError:
            if len(run) == 1:
                raise
            fit.tokens = len(run) * max(widths[i] for i in run) // 2
        else:
            start += len(run)
            continue
        torch.cuda.empty_cache()  # outside the handler: there the traceback still holds the tensors
    return done
