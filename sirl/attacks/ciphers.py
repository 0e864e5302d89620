"""Talk in a cipher, after a few exchanges that are in it already.

`cipher` is the Caesar code of the published attack: questions are shifted by three letters, which can be
undone. Replies are asked for and shown in plain English, since a judge reads what the model says as it stands.
`self_cipher` is the variant in which a cipher is claimed and none is used. All demonstrations are harmless.
This module refuses to know whether a model can read the code.

Source: arXiv 2308.06463.
"""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_lowercase, ascii_uppercase

from sirl.attacks.demonstrations import DEMONSTRATIONS
from sirl.attacks.info import Recover
from sirl.attacks.static import Rewrite, fill, read_template, say, unfill
from sirl.records import Message

SHIFT = 3
SHOTS = 3
_ASKED, _ANSWERED = "Member: ", "\nReply:"


def caesar(text: str, shift: int = SHIFT) -> str:
    """Move each of a-z and A-Z by `shift` places around the alphabet; minus `shift` undoes it."""
    moved = "".join(
        letters[shift % 26 :] + letters[: shift % 26] for letters in (ascii_lowercase, ascii_uppercase)
    )
    return text.translate(str.maketrans(ascii_lowercase + ascii_uppercase, moved))


def uncaesar(text: str) -> str:
    """Undo `caesar`."""
    return caesar(text, -SHIFT)


def in_cipher(name: str, encode: Callable[[str], str]) -> Rewrite:
    """Return the rewrite that shows encoded exchanges and ends with the encoded request."""

    def rewrite(request: str) -> tuple[Message, ...]:
        block = f"{_shown(encode)}{_ASKED}{encode(request)}{_ANSWERED}"
        return say(fill(read_template(name), block))

    return rewrite


def from_cipher(name: str, encode: Callable[[str], str], decode: Callable[[str], str]) -> Recover:
    """Return the reader of what `in_cipher` sends."""

    def recover(text: str) -> str:
        block = unfill(read_template(name), text)
        return decode(unfill(f"{_shown(encode)}{_ASKED}{{request}}{_ANSWERED}", block))

    return recover


def _shown(encode: Callable[[str], str]) -> str:
    pairs = DEMONSTRATIONS[:SHOTS]
    return "".join(f"{_ASKED}{encode(asked)}{_ANSWERED} {answer}\n\n" for asked, answer in pairs)
