"""One process of a training run of several; `tests/test_distributed.py` launches it through accelerate."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from small_training import CONFIG, PROMPTS, changed, refuses, toy_lm

from sirl.attacks import ATTACKS, arm
from sirl.attacks.info import Means
from sirl.config import TrainConfig
from sirl.errors import RunError
from sirl.ranks import rank
from sirl.records import Decoding
from sirl.rundir import RunDir, open_run
from sirl.training import Hooks, harden, plainly
from sirl.training.distributed import from_first, generate_together, join, shared_out
from sirl.training.search import Searcher, served


def probe(lm) -> dict[str, float]:
    """Return what a model is like: the lengths of its greedy replies and how sure they are."""
    replies = generate_together(lm, [plainly(p) for p in PROMPTS], Decoding(max_new_tokens=8), 0, batch=2)
    entropies = [h for reply in replies for h in reply.entropies]
    return {"length_probe": len(entropies) / len(replies), "entropy_probe": sum(entropies) / len(entropies)}


def watched(
    config: TrainConfig, run: RunDir, on_step: Callable[[Mapping[str, Any]], None] | None = None
) -> Hooks:
    """Return the probe, the judge and the searcher of a run, as the command would give them."""
    if not config.search.attacks:
        return Hooks(probe, on_step, refused=refuses)
    attacks = {name: arm(ATTACKS[name], Means(judge=served)) for name in config.search.attacks}
    return Hooks(probe, on_step, refused=refuses, search=Searcher(attacks, config, run, 0))


def told_by_all() -> dict[str, object]:
    """Return what this process gets to know of the others."""

    def fail() -> None:
        raise RunError("a busy folder", "a free one", "wait")

    try:
        caught = str(from_first(fail))
    except RunError as error:
        caught = str(error)
    rounds = list(shared_out(list("abcde"), lambda part: [part * 2]))
    return {"caught": caught, "rounds": rounds, "first": from_first(rank)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of libraries, about each other
    runs, killed_at = json.loads(sys.argv[1]), int(sys.argv[2])
    join()

    def on_step(row):
        sys.stdout.write(f"step {row['step']}\n")
        sys.stdout.flush()
        if row["step"] == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    for folder, settings in runs.items():
        Path(f"{folder}-{rank()}.json").write_text(json.dumps(told_by_all()))
        config = changed(CONFIG, **settings)
        run = from_first(partial(open_run, Path(folder), "train", asdict(config), {}))
        harden(toy_lm(), [plainly(p) for p in PROMPTS], config, run, 0, watched(config, run, on_step))
