"""What takes long says so: the name of a phase, and how far it is.

Work takes a callable that opens a phase and moves it on. The command line hands in its bars; a caller who wants
to see nothing need hand in nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int, int, str], None]  # how much is done, of how much, what is at work
Phases = Callable[[str], AbstractContextManager[Advance]]


def ignored(done: int, total: int, note: str) -> None:
    """Take how far something is, for nobody."""


@contextmanager
def unseen(title: str) -> Iterator[Advance]:  # noqa: ARG001
    """Open a phase that nobody looks at."""
    yield ignored
