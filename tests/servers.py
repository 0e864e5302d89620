"""A real HTTP server on this machine that speaks the chat form, as well or as badly as a test wants."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SO_LINGER, SOL_SOCKET
from threading import Lock, Thread
from time import sleep
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the server sends: after `delay` seconds, with `status` and `headers`; None cuts the line.

    `sent` is how many bytes of the body leave before the connection is reset, None all; `drip` the seconds
    between two bytes.
    """

    body: bytes | None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    sent: int | None = None
    drip: float = 0.0


def chat(text: str | None, reason: str | None = "stop", **message: Any) -> Answer:
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text, **message}}
    return Answer(json.dumps({"object": "chat.completion", "model": "toy-2026", "choices": [choice]}).encode())


@dataclass
class Server:
    """`url` ends in /v1; `bodies`, `headers` and `paths` are what was asked, in the order in which it came."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def asked(self, text: str) -> int:
        """Return how often the last message was `text`."""
        return sum(body["messages"][-1]["content"] == text for body in self.bodies)


def said(status: int, body: Any) -> Answer:
    """Return an answer with a body of JSON, or of text."""
    return Answer((body if isinstance(body, str) else json.dumps(body)).encode(), status)


@contextmanager
def serving(
    answer: Callable[[dict[str, Any], int], Answer], path: str = "/v1/chat/completions", port: int = 0
) -> Iterator[Server]:
    """Serve `answer(body, n)` at one path; n counts how often the same last message was asked, from 0."""
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                before = server.asked(body["messages"][-1]["content"])
                server.bodies.append(body)
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                server.paths.append(self.path)
            told = answer(body, before) if self.path.partition("?")[0] == path else Answer(b"where?", 404)
            sleep(told.delay)
            if told.body is None:
                self.close_connection = True
                return
            self.send_response(told.status)
            for name, value in {**told.headers, "content-length": str(len(told.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                if told.drip:
                    for byte in told.body:
                        self.wfile.write(bytes([byte]))
                        sleep(told.drip)
                else:
                    self.wfile.write(told.body[: told.sent])
            except ConnectionError:  # the client has stopped waiting
                self.close_connection = True
            if told.sent is not None:  # a reset, not an end
                self.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True

        def log_message(self, *words: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that was killed, or a line that we reset

    http = Quiet(("127.0.0.1", port), Handler)
    server = Server(f"http://127.0.0.1:{http.server_port}/v1")
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
