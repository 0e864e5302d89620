"""The server itself: a socket, an address to open, a token where others can reach it."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import closing, suppress
from dataclasses import dataclass
from secrets import token_urlsafe

import uvicorn

from sirl.errors import ConfigError
from sirl.serve.app import make_app
from sirl.serve.desk import Desk
from sirl.serve.guard import Access, Limits

PORT = 8765
_CONNECTIONS = 64  # at once


class _Server(uvicorn.Server):
    """A server that ends its streams before it waits for what is still being answered."""

    def __init__(self, config: uvicorn.Config, desk: Desk) -> None:
        super().__init__(config)
        self.desk = desk

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.desk.closing.set()
        await super().shutdown(sockets)


@dataclass(slots=True)
class Bound:
    """A server that has its port and serves nothing yet; `url` opens it, token included."""

    server: uvicorn.Server
    listening: socket.socket
    url: str
    access: Access

    def run(self) -> None:
        """Serve until the process is told to end."""
        with closing(self.listening), suppress(KeyboardInterrupt):
            self.server.run(sockets=[self.listening])


def bind(
    desk: Desk, host: str = "127.0.0.1", port: int = PORT, token: bool = False, limits: Limits | None = None
) -> Bound:
    """Take a port of this machine; 0 takes any that is free.

    A token is made where other machines can reach it, and where `token` asks for one. Raises ConfigError if
    the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        found = f"port {port} of {host} cannot be had ({error.strerror or error})"
        raise ConfigError(found, "a free port of this machine", "name another with --port") from error
    alone = is_loopback(host)
    own = socket.gethostname().lower()
    names = {"localhost", "127.0.0.1", "::1", host.lower(), *(() if alone else (own, own.partition(".")[0]))}
    access = Access(frozenset(names), not alone, token_urlsafe(32) if token or not alone else "")
    config = uvicorn.Config(
        make_app(desk, access, limits),
        log_level="warning",
        access_log=False,  # it would hold the token
        server_header=False,
        proxy_headers=False,
        ws="none",
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=3,
    )
    shown = _shown(host, own)
    query = f"/?token={access.token}" if access.token else "/"
    url = f"http://{shown}:{listening.getsockname()[1]}{query}"
    return Bound(_Server(config, desk), listening, url, access)


def is_loopback(host: str) -> bool:
    """Say whether an address is reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(host: str, own: str) -> str:
    """Return the host as an address to open has it."""
    if host in ("", "0.0.0.0", "::"):
        return own
    return f"[{host}]" if ":" in host else host
