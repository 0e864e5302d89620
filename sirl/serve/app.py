"""The routes: pages and their files, the API that they read, streams of what changes, reports.

Nothing that comes in a request is ever a path: runs go by ids, files by names of a fixed list.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from threading import BoundedSemaphore, Event
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, StreamingResponse
from markupsafe import escape
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.concurrency import run_in_threadpool

from sirl.errors import SirlError
from sirl.reporting.pages import STYLE
from sirl.serve.catalogue import Found
from sirl.serve.desk import Desk
from sirl.serve.guard import Access, Guard, Limits
from sirl.serve.playground import (
    LONGEST_PROMPT,
    MOST_TOKENS,
    Ask,
    BusyError,
    NoModelError,
    attack_names,
    defence_names,
)
from sirl.serve.table import Asked, Order
from sirl.serve.views import Problem, Reply, RunView, TranscriptPage, fit, reply

_LOG = logging.getLogger("sirl")
_HERE = Path(__file__).parent / "pages"
_TYPES = {".js": "text/javascript", ".css": "text/css"}
STATIC = {path.name: path for path in sorted(_HERE.iterdir()) if path.suffix in _TYPES} | {"style.css": STYLE}
EVERY = 1.0  # seconds between two looks at what a stream shows
_SLICES = 10  # of that time, after each of which the end of the server is noticed
_SILENT = 15  # looks after which a stream says that it is alive
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    number: {"model": Problem} for number in (401, 403, 404, 405, 408, 413, 421, 422, 429, 500)
}
Look = Callable[[], tuple[str, bool]]  # what a stream shows now as JSON, and whether that is the end
Id = Annotated[str, InPath(pattern="^[0-9a-f]{12}$")]
Words = Annotated[str, Field(max_length=200)]


class Wanted(BaseModel):
    """Which transcripts to show; an empty text is any, `words` are looked for in requests."""

    model_config = ConfigDict(extra="forbid")
    attack: Words = ""
    kind: Words = ""
    outcome: Words = ""
    words: Words = ""
    order: Order = "as run"
    page: int = Field(1, ge=1, le=1_000_000)
    size: int = Field(10, ge=1, le=50)


class Named(BaseModel):
    """Something to choose: its id or name, and what it is."""

    name: str
    summary: str


class Options(BaseModel):
    """What the playground offers."""

    models: list[Named]
    attacks: list[Named]
    defences: list[Named]
    longest_prompt: int
    most_tokens: int


class _UnknownError(Exception):
    """No run has this id."""


def make_app(desk: Desk, access: Access, limits: Limits | None = None) -> Guard:
    """Return the ASGI application behind its guard."""
    limits = limits or Limits()
    app = FastAPI(title="sirl serve", docs_url=None, redoc_url=None, responses=_PROBLEMS)
    _tell_problems(app)
    _add_pages(app)
    _add_runs(app, desk)
    _add_playground(app, desk)
    _add_streams(app, desk, BoundedSemaphore(limits.streams))
    return Guard(app, access, limits)


def _found(desk: Desk, identity: str) -> Found:
    try:
        return desk.catalogue.find(identity)
    except KeyError:
        raise _UnknownError from None


def _tell_problems(app: FastAPI) -> None:
    """Answer every error with one sentence; what is no user's error goes to the log, with its traceback."""

    def told(status: int, detail: str) -> JSONResponse:
        return JSONResponse({"detail": fit(detail, 2_000)}, status)

    def wrong(_: Request, error: Exception) -> Response:
        problems = error.errors() if isinstance(error, RequestValidationError) else []
        parts = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[:5]]
        return told(422, "; ".join(parts))

    app.exception_handler(RequestValidationError)(wrong)
    app.exception_handler(SirlError)(lambda _, error: told(422, str(error)))
    app.exception_handler(_UnknownError)(lambda *_: told(404, "no run has this id"))
    app.exception_handler(NoModelError)(lambda *_: told(404, "no such model is here; load the page again"))
    app.exception_handler(BusyError)(lambda *_: told(429, "others are waiting already; try again soon"))
    app.exception_handler(Exception)(lambda *_: told(500, "this could not be done; the server's log says why"))


def _add_pages(app: FastAPI) -> None:
    def page(name: str) -> FileResponse:
        return FileResponse(_HERE / name, media_type="text/html")

    @app.get("/", include_in_schema=False)
    def runs_page() -> Response:
        return page("runs.html")

    @app.get("/runs/{identity}", include_in_schema=False)
    def run_page(identity: Id) -> Response:  # noqa: ARG001  # the page's script reads it from the address
        return page("run.html")

    @app.get("/playground", include_in_schema=False)
    def playground_page() -> Response:
        return page("playground.html")

    @app.get("/static/{name}", include_in_schema=False)
    def static_file(name: str) -> Response:
        if name not in STATIC:
            return JSONResponse({"detail": "no such file"}, 404)
        path = STATIC[name]
        return FileResponse(path, media_type=_TYPES[path.suffix])

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return Response(status_code=204)


def _add_runs(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/runs")
    def runs() -> list[RunView]:
        """List the runs, those that wrote last first."""
        return desk.runs()

    @app.get("/api/runs/{identity}")
    def run(identity: Id) -> RunView:
        """Show how far one run is."""
        return desk.view(_found(desk, identity))

    @app.get("/api/runs/{identity}/transcripts")
    def transcripts(identity: Id, wanted: Annotated[Wanted, Query()]) -> TranscriptPage:
        """Show one page of a run's transcripts; a page past the last is the last."""
        asked = Asked(wanted.attack, wanted.kind, wanted.outcome, wanted.words, wanted.order)
        return desk.page(_found(desk, identity), asked, wanted.page, wanted.size)

    @app.get("/report", include_in_schema=False)
    def report(run: Annotated[list[str], Query(max_length=20)], different: bool = False) -> Response:
        try:
            page = desk.report([_found(desk, identity) for identity in run], different)
        except SirlError as error:
            return HTMLResponse(_problem_page(fit(error)), 422)
        return HTMLResponse(page, headers={"content-security-policy": _REPORT_POLICY})


def _problem_page(told: str) -> str:
    return (_HERE / "problem.html").read_text(encoding="utf-8").replace("TOLD", str(escape(told)))


def _add_playground(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/playground")
    def options() -> Options:
        """Say which models, attacks and defences there are."""
        models = desk.playground.choices(desk.catalogue.runs())
        return Options(
            models=[Named(name=c.id, summary=fit(c.name, 300)) for c in models],
            attacks=[Named(name=n, summary=s) for n, s in attack_names().items()],
            defences=[Named(name=n, summary=s) for n, s in defence_names().items()],
            longest_prompt=LONGEST_PROMPT,
            most_tokens=MOST_TOKENS,
        )

    @app.post("/api/playground")
    def say(asked: Ask) -> Reply:
        """Return one model's reply to a prompt, when it is its turn."""
        completion = desk.playground.reply(asked, desk.catalogue.runs())
        entropies = completion.entropies or ()
        return reply(completion, sum(entropies) / len(entropies) if entropies else None)


def _add_streams(app: FastAPI, desk: Desk, places: BoundedSemaphore) -> None:
    runs = TypeAdapter(list[RunView])

    def stream(look: Look) -> Response:
        if not places.acquire(blocking=False):
            raise BusyError
        return _Stream(places, _events(look, desk.closing))

    @app.get("/api/events", include_in_schema=False)
    def all_runs() -> Response:
        return stream(lambda: (runs.dump_json(desk.runs()).decode(), False))

    @app.get("/api/runs/{identity}/events", include_in_schema=False)
    def one_run(identity: Id) -> Response:
        _found(desk, identity)

        def look() -> tuple[str, bool]:
            live = desk.live(_found(desk, identity))
            return live.model_dump_json(), live.complete and live.run.state != "not finished"

        return stream(look)


class _Stream(StreamingResponse):
    """Events that give their place back however the stream ends."""

    def __init__(self, places: BoundedSemaphore, events: AsyncIterator[str]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self.places = places

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.places.release()


async def _events(look: Look, closing: Event) -> AsyncIterator[str]:
    """Yield what is shown whenever it has changed, and that it is the end; end without a word on `closing`."""
    last, silent = "", 0
    try:
        while not closing.is_set():
            now, over = await run_in_threadpool(look)
            silent = 0 if now != last else silent + 1
            if not silent:
                yield f"data: {now}\n\n"
            elif silent % _SILENT == 0:
                yield ": alive\n\n"
            if over:
                yield "event: end\ndata: finished\n\n"
                return
            last = now
            for _ in range(_SLICES):
                if not closing.is_set():
                    await asyncio.sleep(EVERY / _SLICES)
    except (SirlError, _UnknownError) as error:
        yield f"event: end\ndata: {' '.join(fit(error, 500).split())}\n\n"
    except Exception:
        _LOG.exception("a stream ended")
        yield "event: end\ndata: the server's log says why\n\n"
