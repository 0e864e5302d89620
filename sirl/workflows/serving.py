"""sirl serve: a server for runs and, where torch is there, for models, opened when they are first asked."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path

from sirl.records import transcripts_of
from sirl.serve import Catalogue, Desk, Playground, bind
from sirl.serve.playground import Open

_LOG = logging.getLogger("sirl")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 is any that is free. `token` asks for one on the loopback address too."""

    host: str
    port: int
    token: bool = False


def serve(runs: tuple[Path, ...], models: tuple[str, ...], opener: Open, where: Address, quoted: str) -> None:
    """Serve until the process is told to end; the address to open goes to the logger.

    `runs` are run folders or folders that are searched for them, none the current one; `quoted` says which
    transcripts are shown. Raises ConfigError or RunError if something named is not there.
    """
    known = opener if importlib.util.find_spec("torch") else None
    desk = Desk(Catalogue(runs or (Path(),)), transcripts_of(quoted), Playground(models, known))
    bound = bind(desk, where.host, where.port, where.token)
    _LOG.info("open %s in a browser; Ctrl-C ends the server", bound.url)
    bound.run()
