"""What is being done, how far it is, how long it will take: bars on a terminal, else lines.

A phase may open others in it. On a terminal each has a bar, with the time left. Elsewhere a line says that a
phase begins, and one every `EVERY` seconds how far the innermost is, from a thread of its own: one reply of a
large model may take minutes. Both go to stderr, lines through the logger `sirl`; stdout is the summary's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from time import monotonic

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sirl.phases import Advance, ignored
from sirl.ranks import is_first

EVERY = 30.0  # seconds between two lines, where there is no terminal
LEVEL = logging.INFO
_LOG = logging.getLogger("sirl")


class _OnStderr(logging.Handler):
    """Write lines to whatever stderr is now: a bar on it, or a test, may have taken its place."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(self.format(record), err=True)


def speak() -> None:
    """Let what the logger `sirl` is told appear on stderr; of several processes the first speaks."""
    _LOG.setLevel(LEVEL if is_first() else logging.ERROR)
    if not any(isinstance(handler, _OnStderr) for handler in _LOG.handlers):
        _LOG.addHandler(_OnStderr())


@dataclass
class _Phase:
    """A phase as lines tell it."""

    title: str
    begun: float = field(default_factory=lambda: monotonic())
    done: int = 0
    total: int = 0
    note: str = ""
    prepared: float = 0.0  # seconds that other phases took inside this one before it first moved

    def line(self) -> str:
        """Say how far it is and, once something is done, how long the rest will take at that pace."""
        spent = monotonic() - self.begun
        told = [f"{self.done} of {self.total}"] if self.total else []
        told += [self.note] if self.note else []
        told.append(f"{_duration(spent)} so far")
        if 0 < self.done < self.total:
            pace = (spent - self.prepared) / self.done
            told.append(f"about {_duration(pace * (self.total - self.done))} left")
        return f"{self.title}: {', '.join(told)}"


_open: list[_Phase] = []  # the innermost last
_bars: list[Progress] = []  # the one on the terminal, while a phase is open


@contextmanager
def phase(title: str) -> Iterator[Advance]:
    """Show a phase; yield the function that moves it: done, total, what is at work."""
    if not is_first():
        yield ignored
    elif Console(stderr=True).is_terminal:
        with _bar(title) as advance:
            yield advance
    else:
        with _lines(title) as advance:
            yield advance


@contextmanager
def _bar(title: str) -> Iterator[Advance]:
    outermost = not _bars
    if outermost:
        _bars.append(_columns())
        _bars[0].start()
    bar = _bars[0]
    task = bar.add_task(title, total=None, note="")
    try:
        yield lambda done, total, note: bar.update(task, completed=done, total=total or None, note=note)
    finally:
        if outermost:
            bar.stop()
            _bars.clear()
        else:
            bar.remove_task(task)


@contextmanager
def _lines(title: str) -> Iterator[Advance]:
    shown, over = _Phase(title), Event()
    _open.append(shown)
    _LOG.info("%s", title)

    def tell() -> None:
        while not over.wait(EVERY):
            if _open[-1:] == [shown]:
                _LOG.info("%s", shown.line())

    def advance(done: int, total: int, note: str) -> None:
        shown.done, shown.total, shown.note = done, total, note

    teller = Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield advance
    finally:
        over.set()
        teller.join()
        _open.remove(shown)
        if _open and not _open[-1].total:
            _open[-1].prepared += monotonic() - shown.begun


def _columns() -> Progress:
    return Progress(
        TextColumn("{task.description:<16}", markup=False),  # a name may hold [brackets]
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
