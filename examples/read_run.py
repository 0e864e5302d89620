"""Figures of your own from a run folder: `python examples/read_run.py runs/before runs/after`.

A run is one JSON line a record; `sirl.metrics` counts records, with intervals, and knows no model. Prints of
each run the mean DSR, the share refused of benign requests and the length of the shortest success;
of two runs the paired change.
"""

import sys
from pathlib import Path

from sirl import metrics
from sirl.rundir import read_run


def main(*folders: str) -> None:
    """Print the figures of one run, or of two and what changed."""
    runs = [read_run(Path(folder)).records() for folder in folders]
    for folder, records in zip(folders, runs, strict=True):
        table = metrics.dsr_table(records)
        print(folder, "mean DSR", table["mean"], "from", table["low"], "to", table["high"], "n", table["n"])
        print("  benign refused", metrics.over_refusal(records)["benign"]["rate"])
        broken = [r for r in metrics.attacked(records) if metrics.withstood(r) is False]
        print("  shortest success", min((len(r.attempt.messages[-1].content) for r in broken), default=None))
    if len(runs) == 2:
        before, after = map(metrics.attacked, runs)
        print("change", metrics.paired_difference(before, after, metrics.withstood)["difference"])


if __name__ == "__main__":
    main(*sys.argv[1:])
