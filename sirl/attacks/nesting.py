"""Nest a request in an everyday writing task: code to complete, a table to fill, a text to continue.

Which of the three is chosen depends on the request alone, by a stable hash. This module refuses to rewrite
the request itself: ReNeLLM's first half, in which a language model rephrases it, is left out.

Source: arXiv 2311.08268 (ReNeLLM, scenario nesting only).
"""

from __future__ import annotations

import hashlib

from sirl.attacks.static import fill, read_template, say
from sirl.records import Message

SCENARIOS = ("renellm.code", "renellm.table", "renellm.text")


def renellm(request: str) -> tuple[Message, ...]:
    """Put the request into one of the scenarios."""
    digest = hashlib.sha256(request.encode("utf-8", "surrogatepass")).digest()
    name = SCENARIOS[int.from_bytes(digest[:8], "big") % len(SCENARIOS)]
    return say(fill(read_template(name), request))
