"""sirl watch: show how far a run is that another process is at work on."""

from __future__ import annotations

import time
from pathlib import Path

from sirl.phases import phase
from sirl.reporting.live import Follower, Progress
from sirl.rundir import read_run

EVERY = 1.0  # seconds between two looks


def watch(run: Path, every: float = EVERY) -> Progress:
    """Show a run's progress until it has finished; return how far it came. Raises RunError if there is none."""
    follower = Follower(read_run(run))
    with phase(f"{follower.run.kind} {run.resolve().name}") as advance:
        while True:
            now = follower.progress()
            advance(now.done, now.total, now.note)
            if now.finished:
                return now
            time.sleep(every)
