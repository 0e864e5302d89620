"""Hide a request in an encoding that a reader can undo, and undo it.

Each encoding has its inverse here, so that a test, or a judge's reader, can see what was asked. This module
refuses to know whether a model can read any of them.

Source: arXiv 2307.02483 (ROT13, leetspeak, Base64); arXiv 2410.02832 (FlipAttack, characters of the sentence).
"""

from __future__ import annotations

import codecs
import re
from base64 import b64decode, b64encode
from collections.abc import Callable

from sirl.attacks.info import Recover
from sirl.attacks.static import Rewrite, fill, read_template, say, unfill
from sirl.records import Message

LEET = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"}
_PLAIN = {digit: letter for letter, digit in LEET.items()}


def rot13(text: str) -> str:
    """Move each of a-z and A-Z thirteen places; twice gives the text back."""
    return codecs.encode(text, "rot13")


def leet(text: str) -> str:
    r"""Write digits for lower-case letters; a backslash marks a digit or backslash that was there before."""
    return "".join(f"\\{c}" if c in _PLAIN or c == "\\" else LEET.get(c, c) for c in text)


def unleet(text: str) -> str:
    """Undo `leet`."""
    return re.sub(
        r"\\(.)|([013457])", lambda m: m[1] if m[1] is not None else _PLAIN[m[2]], text, flags=re.DOTALL
    )


def flip(text: str) -> str:
    """Write the text from its last character to its first; twice gives the text back."""
    return text[::-1]


def base64(text: str) -> str:
    """Write the text's UTF-8 bytes in Base64, on one line."""
    return b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")


def unbase64(text: str) -> str:
    """Undo `base64`."""
    return b64decode(text).decode("utf-8", "surrogatepass")


def encoded(name: str, encode: Callable[[str], str]) -> Rewrite:
    """Return the rewrite that encodes a request and puts it into the template of this name."""

    def rewrite(request: str) -> tuple[Message, ...]:
        return say(fill(read_template(name), encode(request)))

    return rewrite


def decoded(name: str, decode: Callable[[str], str]) -> Recover:
    """Return the reader of what `encoded` sends."""

    def recover(text: str) -> str:
        return decode(unfill(read_template(name), text))

    return recover
