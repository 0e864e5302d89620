"""What takes long says so: the name of a phase, and how far it is.

Work opens `phase(title)` and moves it on. Who looks on says so with `showing`: the command line hands in its
bars, a notebook a callback of its own. Otherwise nobody does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

Advance = Callable[[int, int, str], None]  # how much is done, of how much, what is at work
Phases = Callable[[str], AbstractContextManager[Advance]]


def ignored(done: int, total: int, note: str) -> None:
    """Take how far something is, for nobody."""


@contextmanager
def unseen(title: str) -> Iterator[Advance]:  # noqa: ARG001
    """Open a phase that nobody looks at."""
    yield ignored


_shown: ContextVar[Phases] = ContextVar("shown", default=unseen)


def phase(title: str) -> AbstractContextManager[Advance]:
    """Open a phase for whoever looks on; the function that it gives moves it: done, total, what is at work."""
    return _shown.get()(title)


@contextmanager
def showing(phases: Phases | None) -> Iterator[None]:
    """Show phases by `phases` meanwhile; None leaves whoever looks on already."""
    token = _shown.set(phases or _shown.get())
    try:
        yield
    finally:
        _shown.reset(token)
