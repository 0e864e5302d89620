"""Who may ask what: an ASGI layer before all routes. It refuses, bounds and adds headers; it knows no run.

Against a page of another site in the same browser: the Host must be a name that is served, so that a name that
was pointed at this machine afterwards (DNS rebinding) gets nothing; what asks from another origin is refused;
nobody may frame a page. Against others on the network, or on this machine: a token, compared in constant time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from secrets import compare_digest
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
_SAFE = ("GET", "HEAD")
_ADDRESSES = 1_000  # remembered at once
PATIENCE = 10.0  # seconds for a body


@dataclass(frozen=True, slots=True)
class Limits:
    """What one address may ask: `rate` requests a second, `burst` at once; bytes of a body; streams of all."""

    rate: float = 30.0
    burst: int = 120
    body: int = 64 * 1024
    streams: int = 16


@dataclass(frozen=True, slots=True)
class Access:
    """Whom the server answers: by these names, and by any plain address of this machine if `addresses`.

    An empty `token` asks for none.
    """

    names: frozenset[str]
    addresses: bool = False
    token: str = ""

    def serves(self, host: str) -> bool:
        """Say whether a Host header names this server; the port may be that of a tunnel."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
            _ = urlsplit(f"//{host}").port
        except ValueError:
            return False
        return name in self.names or (self.addresses and _is_address(name))

    @property
    def cookie(self) -> str:
        """The name of the cookie; cookies know no port, so two servers of one name need two."""
        return f"sirl-{sha256(self.token.encode()).hexdigest()[:8]}"

    def knows(self, given: str) -> bool:
        """Say whether a token is the right one."""
        return compare_digest(given.encode("utf-8", "surrogatepass"), self.token.encode())


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


@dataclass(slots=True)
class Rates:
    """Counts requests by address; a bucket of `burst` that fills with `rate` a second."""

    limits: Limits
    clock: Callable[[], float] = time.monotonic
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def wait(self, address: str) -> float:
        """Count one request; return the seconds to wait before another, 0 if it may go on."""
        now = self.clock()
        if address not in self._buckets and len(self._buckets) >= _ADDRESSES:
            self._buckets.pop(next(iter(self._buckets)))
        bucket = self._buckets.setdefault(address, _Bucket(self.limits.burst, now))
        bucket.left = min(self.limits.burst, bucket.left + (now - bucket.at) * self.limits.rate)
        bucket.at = now
        if bucket.left < 1:
            return (1 - bucket.left) / self.limits.rate
        bucket.left -= 1
        return 0.0


class Guard:
    """The layer around an app; pass `limits` and `access`."""

    def __init__(self, app: Any, access: Access, limits: Limits) -> None:
        self.app, self.access, self.limits = app, access, limits
        self.rates = Rates(limits)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # no page opens a web socket
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal:
            await _answer(send, *refusal)
            return
        if self.access.token and not self._admitted(headers):
            await self._ask_token(scope, send)
            return
        try:
            body = await asyncio.wait_for(self._body(receive), PATIENCE)
        except TimeoutError:
            await _answer(send, 408, f"a body that took more than {PATIENCE:.0f} s")
            return
        if body is None:
            await _answer(send, 413, f"a body of more than {self.limits.body} bytes")
            return
        await self._pass_on(scope, body, receive, send)

    def _refusal(self, scope: Any, headers: dict[str, str]) -> tuple[int, str, dict[str, str]] | None:
        """Return status, reason and headers of a refusal; None if there is no reason for one."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self.access.serves(headers["host"]):
            return 421, "the Host is not a name of this server", {}
        address = (scope.get("client") or ("",))[0]
        if wait := self.rates.wait(address):
            return 429, "too many requests", {"retry-after": str(int(wait) + 1)}
        if scope["method"] not in (*_SAFE, "POST"):
            return 405, "only GET and POST", {"allow": "GET, HEAD, POST"}
        if not _same_origin(scope, headers):
            return 403, "a request from another origin", {}
        return None

    def _admitted(self, headers: dict[str, str]) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.access.knows(given.strip())
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self.access.cookie)
        except CookieError:
            return False
        return cookie is not None and self.access.knows(cookie.value)

    async def _ask_token(self, scope: Any, send: Any) -> None:
        """Admit who brings the token in the address, and take it out of there; refuse all others."""
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        given = next((value for name, value in query if name == "token"), "")
        if not (scope["method"] == "GET" and given and self.access.knows(given)):
            reason = "a token is needed: open the address that sirl serve printed"
            await _answer(send, 401, reason, {"www-authenticate": "Bearer"})
            return
        rest = urlencode([pair for pair in query if pair[0] != "token"])
        path = "/" + scope["path"].lstrip("/")  # //host would lead elsewhere
        where = urlencode({"": path}, safe="/")[1:] + (f"?{rest}" if rest else "")
        cookie = f"{self.access.cookie}={self.access.token}; Path=/; HttpOnly; SameSite=Strict"
        await _answer(send, 303, "", {"location": where, "set-cookie": cookie})

    async def _body(self, receive: Any) -> bytes | None:
        """Return the body; None if it is too large."""
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
            if sum(map(len, parts)) > self.limits.body:
                return None
        return b"".join(parts)

    async def _pass_on(self, scope: Any, body: bytes, receive: Any, send: Any) -> None:
        held = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Any:
            return held.pop() if held else await receive()

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                own = [(n.encode(), v.encode()) for n, v in _HEADERS.items() if n.encode() not in given]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        await self.app(scope, again, with_headers)


def _same_origin(scope: Any, headers: dict[str, str]) -> bool:
    """Say whether a request comes from our own pages, from no page, or opens one of them."""
    opens = scope["method"] in _SAFE and headers.get("sec-fetch-mode") == "navigate"
    if opens and headers.get("sec-fetch-dest") == "document":
        return True
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or origin == f"{scope['scheme']}://{headers['host']}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


async def _answer(send: Any, status: int, reason: str, more: dict[str, str] | None = None) -> None:
    body = json.dumps({"detail": reason}).encode() if reason else b""
    headers = {**_HEADERS, "content-type": "application/json", "content-length": str(len(body)), **(more or {})}
    pairs = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
