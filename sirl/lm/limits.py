"""What a model cannot be sent: a prompt too long, of tokens it does not know, or changed by its template.

And what it must not answer with: logits that are no numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

from sirl.errors import DataError
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
