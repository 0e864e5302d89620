"""What tells one model from another of its name: short hashes of its weights and of its chat template."""

from __future__ import annotations

import hashlib
from typing import Any

import torch


def fingerprint(lm: Any) -> dict[str, str]:
    """Return short hashes of the weights and of the chat template, for environment.json."""
    return {"weights": weights_hash(lm.model), "chat_template": template_hash(lm)}


def weights_hash(model: Any) -> str:
    """Return a short hash of a model's weights, by name and value."""
    weights = hashlib.blake2b(digest_size=6)
    for name, tensor in sorted(model.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return weights.hexdigest()


def template_hash(lm: Any) -> str:
    """Return a short hash of the chat template."""
    return hashlib.sha256(str(lm.tokenizer.chat_template).encode()).hexdigest()[:12]
