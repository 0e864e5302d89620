"""One request and its answer: how much of it is read, and for how long."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import cache
from ssl import SSLContext
from time import monotonic
from typing import Any

import httpx2

from sirl.endpoint.address import PATH
from sirl.endpoint.faults import FaultError, read_fault
from sirl.endpoint.pace import retry_after

LONGEST_ANSWER = 32 * 2**20  # bytes; a reply of 100,000 tokens with their log-probs is below a tenth of it
# The request may not have reached the server: whoever sends it again pays once.
UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.WriteError)


class _WithoutQuery(logging.Filter):
    """httpx2 logs the address of every request; its query may hold a secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        given = record.args if isinstance(record.args, tuple) else ()
        record.args = tuple(a.copy_with(query=None) if isinstance(a, httpx2.URL) else a for a in given)
        return True


logging.getLogger("httpx2").addFilter(_WithoutQuery())


@cache
def certificates() -> SSLContext:
    """Return whom to trust: read once, as it takes 35 ms and a search opens a client for every round."""
    return httpx2.create_ssl_context()


def post(client: httpx2.Client, body: Mapping[str, Any], seconds: float) -> Any:
    """Return what a server answers, as JSON; its body must end within `seconds`.

    Raises FaultError on an error, on what is no JSON, too long or too slow, and what httpx2 raises of a lost
    connection.
    """
    with client.stream("POST", PATH, content=json.dumps(body).encode()) as response:
        content = _content(response, seconds)
    text = content.decode(response.encoding or "utf-8", "replace")
    if response.has_redirect_location:
        place = response.headers["location"]
        raise FaultError("lasting", f"HTTP {response.status_code}: it redirects to {place}: not followed")
    if response.status_code != 200:
        raise read_fault(response.status_code, text, retry_after(response.headers))
    if text.lstrip().startswith(("data:", "event:")):
        found = "the server streams though nobody asked it to: --set 'model.extra_body={\"stream\": false}'"
        raise FaultError("lasting", found)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FaultError("passing", f"no chat completion: {error}") from None


def _content(response: httpx2.Response, seconds: float) -> bytes:
    content, until = bytearray(), monotonic() + seconds
    for part in response.iter_bytes():
        content += part
        if len(content) > LONGEST_ANSWER:
            raise FaultError("lasting", f"an answer of more than {LONGEST_ANSWER} bytes")
        if monotonic() > until:
            raise FaultError("passing", f"an answer that has not ended after {seconds:g} s")
    return bytes(content)
