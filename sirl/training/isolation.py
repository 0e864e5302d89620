"""Leave the caller's surroundings as they were found: the model's mode, random states, logs, warnings."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers.utils import logging as transformers_logging


@contextmanager
def eval_mode(model: Any) -> Iterator[None]:
    """Put a model into evaluation mode and back."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def own_randomness() -> Iterator[None]:
    """Let libraries seed and spend the global generators, and give the old states back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back the libraries' progress bars, chatter, and warnings that are about their own insides."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    trl = logging.getLogger("trl")
    trl_level = trl.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    trl.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # the range of TRL versions is pinned, so that its experimental hook is a known one
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'", category=UserWarning)
            # TRL still uses the name that transformers 5.23 renames; the new one is unknown to 5.17
            warnings.filterwarnings("ignore", message=r"`\w*gradient_checkpointing", category=FutureWarning)
            # PEFT asks where an adapter's base has its config; a GGUF file is its own
            own = r"Could not find a config file in \S+\.gguf"
            warnings.filterwarnings("ignore", message=own, category=UserWarning)
            yield
    finally:
        trl.setLevel(trl_level)
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
