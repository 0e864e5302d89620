"""The settings for `generate` that a model brings along, made such that transformers will save them.

Published models bring settings that contradict each other, as a temperature beside `do_sample: false`. Loading
them is allowed; a model that has been trained cannot be saved with them. What has no effect, or is refused, is
left out, so that `generate` does with the saved model what it did with the one that came.
"""

from __future__ import annotations

import copy

from transformers import GenerationConfig

_FIRST = ("do_sample", "num_beams")  # what other settings depend on


def settled(config: GenerationConfig) -> GenerationConfig:
    """Return the settings, or if they are not valid together as many of them as are; ids of tokens stay."""
    if _is_valid(config):
        return config
    plain, kept = GenerationConfig(), copy.deepcopy(config)
    names = [
        n
        for n in plain.to_dict()
        if hasattr(config, n) and not n.startswith("_") and n != "transformers_version"
    ]
    names = [n for n in names if getattr(config, n) != getattr(plain, n, None)]
    for name in names:
        setattr(kept, name, getattr(plain, name))
    for name in sorted(names, key=lambda n: (not n.endswith(("token_id", "token_ids")), n not in _FIRST)):
        setattr(kept, name, getattr(config, name))
        if not _is_valid(kept):
            setattr(kept, name, getattr(plain, name))
    return kept


def _is_valid(config: GenerationConfig) -> bool:
    try:
        config.validate(strict=True)
    except (ValueError, TypeError):
        return False
    return True
