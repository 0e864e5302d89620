"""When requests leave: turns that threads share, and what a server asks for with Retry-After."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from time import monotonic, sleep


@dataclass(slots=True)
class Pace:
    """When the next request may leave; shared by the threads of one endpoint."""

    next_at: float = 0.0
    resent: bool = False  # whether it has been told that a request was sent again after it may have been served
    lock: Lock = field(default_factory=Lock)

    def turn(self, interval: float) -> None:
        """Sleep until this request's turn; turns are at least `interval` seconds apart."""
        with self.lock:
            mine = max(monotonic(), self.next_at)
            self.next_at = mine + interval
        sleep(max(0.0, mine - monotonic()))

    def hold(self, seconds: float) -> None:
        """Let nobody's turn come within `seconds`."""
        with self.lock:
            self.next_at = max(self.next_at, monotonic() + seconds)


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that a server asks to wait, given as seconds or as a date; 0 if it does not say."""
    said = headers.get("retry-after", "")
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(said)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, float(seconds))
