"""What one server shows, and how far each run has been read: what the routes ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Lock

from sirl.errors import RunError, SirlError
from sirl.records import Transcripts, notice
from sirl.reporting import render
from sirl.reporting.live import Follower
from sirl.rundir import STEPS
from sirl.serve.catalogue import Catalogue, Found
from sirl.serve.playground import BusyError, Playground
from sirl.serve.table import Asked, Table
from sirl.serve.views import (
    Drawing,
    Live,
    RunView,
    TranscriptPage,
    fit,
    run_view,
    tally_drawings,
    training_drawings,
    transcript,
)

PATIENCE = 5.0  # seconds that a report waits for another
READING = 0.2  # seconds that lines of one run are counted for at a time


@dataclass(slots=True)
class Held:
    """A run, how far it has been read, and the curves of its last step."""

    found: Found
    follower: Follower
    table: Table
    drawn: tuple[object, list[Drawing]] | None = None
    lock: Lock = field(default_factory=Lock)


@dataclass(slots=True)
class Desk:
    """What one server shows; it remembers how far each run has been read. `closing` ends its streams."""

    catalogue: Catalogue
    transcripts: Transcripts = "redacted"
    playground: Playground = field(default_factory=Playground)
    closing: Event = field(default_factory=Event)
    _held: dict[str, Held] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _reporting: Lock = field(default_factory=Lock)

    def runs(self) -> list[RunView]:
        """Return all runs, those that wrote last first."""
        runs = self.catalogue.runs()
        with self._lock:
            self._held = {identity: held for identity, held in self._held.items() if identity in runs}
        shown = [self.view(found) for found in runs.values()]
        return sorted(shown, key=lambda view: -view.written)

    def view(self, found: Found) -> RunView:
        """Show how far one run is."""
        if found.run is None:
            return run_view(found, None)
        try:
            held = self._hold(found)
            with held.lock:
                return run_view(found, held.follower.progress(READING))
        except SirlError as error:
            return run_view(found, None, str(error))

    def live(self, found: Found) -> Live:
        """Show one run as it goes."""
        held, view = self._hold(found), self.view(found)
        if held.follower.run.kind == "train":
            return Live(run=view, drawings=self._curves(held), read=1.0, complete=True)
        read, complete = held.table.read()
        return Live(run=view, drawings=tally_drawings(held.table.tally()), read=read, complete=complete)

    def _curves(self, held: Held) -> list[Drawing]:
        """Draw what training logged, anew where there is more of it."""
        with held.lock:
            stamp = held.follower.run.stamp(STEPS)
            if held.drawn is None or held.drawn[0] != stamp:
                held.drawn = stamp, training_drawings(held.follower.run)
            return held.drawn[1]

    def page(self, found: Found, asked: Asked, number: int, size: int) -> TranscriptPage:
        """Return one page of the transcripts that were asked for. Raises RunError."""
        table = self._hold(found).table
        read, complete = table.read()
        starts = table.find(asked)
        pages = max(1, -(-len(starts) // size))
        number = min(number, pages)
        records = table.records(starts[(number - 1) * size : number * size])
        return TranscriptPage(
            rows=[transcript(record, self.transcripts) for record in records],
            matching=len(starts),
            page=number,
            pages=pages,
            read=read,
            complete=complete,
            choices={name: [fit(v, 200) for v in values] for name, values in table.choices().items()},
            notice=notice(self.transcripts),
            error=fit(table.error, 500),
        )

    def report(self, found: Sequence[Found], different: bool = False) -> str:
        """Return the report of some runs, also where they were measured `different`ly if that is allowed.

        Raises RunError, BusyError if another is being made.
        """
        runs = [self._hold(one).follower.run for one in found]
        if not self._reporting.acquire(timeout=PATIENCE):
            raise BusyError
        try:
            return render(runs, different, self.transcripts)
        except (AttributeError, TypeError, LookupError, ValueError, ArithmeticError) as error:
            if isinstance(error, SirlError):
                raise
            named = ", ".join(one.name for one in found)
            why = f"{named} cannot be reported ({type(error).__name__}: {error})"
            raise RunError(
                why, "runs that this version of sirl wrote", "leave out what others wrote"
            ) from error
        finally:
            self._reporting.release()

    def _hold(self, found: Found) -> Held:
        if found.run is None:
            raise RunError(f"{found.path} cannot be read", "a whole run", found.error)
        with self._lock:
            held = self._held.get(found.id)
            if held is None or held.found is not found:
                held = Held(found, Follower(found.run), Table(found.run, self.transcripts))
                self._held[found.id] = held
            return held
