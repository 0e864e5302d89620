"""What a model cannot be sent: a prompt too long, of tokens it does not know, or changed by its template.

And what it must not answer with: logits that are no numbers. And what the machine cannot hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite

import torch

from sirl.errors import DataError, RunError
from sirl.lm import LM, templated
from sirl.lm.content import altered
from sirl.records import Attempt


def unsendable(lm: LM, attempt: Attempt, row: Sequence[int]) -> str:
    """Say why there can be no reply to this attempt, rendered as `row`; empty if there can be one."""
    return unreadable(lm, row) or altered(templated(lm, attempt), attempt.messages)


def unreadable(lm: LM, row: Sequence[int]) -> str:
    """Say why the model cannot read these token ids and reply; empty if it can. Soft places are no tokens."""
    if lm.positions is not None and len(row) >= lm.positions:
        return f"the prompt has {len(row)} tokens, the model {lm.positions} positions for prompt and reply"
    beyond = next((i for i in row if i >= lm.rows), None)
    if beyond is not None:
        token = lm.tokenizer.convert_ids_to_tokens(beyond)
        return f"the prompt holds token {beyond} ({token!r}) and the model has embeddings for {lm.rows} tokens"
    return ""


def require_finite(values: Iterable[float], name: str) -> None:
    """Raise DataError if an entropy is no finite number: then the model's logits held NaN or infinity."""
    if not all(map(isfinite, values)):
        raise DataError(
            f"{name} gave logits that are NaN or infinite",
            "finite numbers",
            "load it in bfloat16 or float32 if it ran in float16, lower the learning rate if it is trained, or "
            "check its weights: they may be damaged",
        )


@contextmanager
def memory_for(what: str, advice: str) -> Iterator[None]:
    """Raise RunError, with `what` was to be held and what to lower, where the machine has no memory for it.

    Nothing is made smaller here by itself: how many rows go through a model together decides the last bits of
    their logits, so it is a setting of the run, and records under another would be mixed in silence.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and _NO_ROOM not in str(error):
            raise
        raise RunError(f"no memory for {what}", "work that fits into memory", advice) from error


_NO_ROOM = "DefaultCPUAllocator: can't allocate memory"  # torch's words on a CPU, where it has no error for it
