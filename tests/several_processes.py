"""One process of a training run of several; `tests/test_distributed.py` launches it through accelerate."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

from small_training import CONFIG, train

from sirl.ranks import is_first
from sirl.training import Watch

if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of libraries, about each other
    folder, settings, killed_at = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])

    def on_step(row):
        if row["step"] == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    train(folder, replace(CONFIG, **settings), watch=Watch(on_step=on_step))
    if is_first():
        sys.stdout.write("done\n")
