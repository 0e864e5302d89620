"""Progress bars: what is being done, how far it is, and while training, how the model is doing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sirl.ranks import is_first

_SHOWN = {
    "reward": "reward",
    "entropy": "entropy",
    "kl": "KL",
    "refusal_probe": "refused",
    "benign_probe": "benign refused",
}


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar; yield the function that moves it: done, total, what is at work."""
    with _bar() as bar:
        task = bar.add_task(title, total=None, note="")
        yield lambda done, total, label: bar.update(task, completed=done, total=total, note=label)


@contextmanager
def stepping(steps: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show a bar of training steps; yield the function that takes each step's row."""
    if not is_first():  # of several processes one speaks
        yield lambda row: None  # noqa: ARG005
        return
    latest: dict[str, float] = {}  # probes come seldom: the last ones stay in sight
    with _bar() as bar:
        task = bar.add_task("harden", total=steps, note="")

        def on_step(row: Mapping[str, Any]) -> None:
            latest.update({name: row[name] for name in _SHOWN if row.get(name) is not None})
            note = "  ".join(f"{_SHOWN[name]} {value:.3g}" for name, value in latest.items())
            bar.update(task, completed=row["step"], note=note)

        yield on_step


@contextmanager
def building() -> Iterator[Callable[[str, int, int, float], None]]:
    """Show a bar for each stage of an organism's training; yield the function that moves it."""
    with _bar() as bar:
        tasks: dict[str, TaskID] = {}

        def on_step(stage: str, step: int, steps: int, loss: float) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=steps, note="")
            bar.update(tasks[stage], completed=step, note=f"loss {loss:.3f}")

        yield on_step


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )
