"""Talk in a cipher, after a few exchanges that are in it already.

`cipher` is the Caesar code of the published attack: questions are shifted by three letters, which can be
undone. Replies are asked for and shown in plain English, since a judge reads what the model says as it stands.
`self_cipher` is the variant in which a cipher is claimed and none is used. The published demonstrations are of
harm: bring them (`--demonstrations`); the attacks whose names end in `_harmless` show harmless ones. This
module refuses to know whether a model can read the code.

Source: arXiv 2308.06463.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase

from sirl.attacks.demonstrations import Demonstrated, Pair
from sirl.attacks.info import Recover
from sirl.attacks.static import fill, read_template, say, unfill
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


@dataclass(frozen=True, slots=True)
class Cipher:
    """A cipher: the template that explains it, and how questions are written in it and read back."""

    template: str
    encode: Callable[[str], str]
    decode: Callable[[str], str]

    def write(self, shown: Sequence[Pair], request: str) -> tuple[Message, ...]:
        """Show encoded exchanges and end with the encoded request."""
        block = "".join(f"{_ASKED}{self.encode(q)}{_ANSWERED} {a}\n\n" for q, a in shown[:SHOTS])
        block += f"{_ASKED}{self.encode(request)}{_ANSWERED}"
        return say(fill(read_template(self.template), block))

    def read(self, text: str) -> str:
        """Return the request of a message that `write` made: what was asked last."""
        block = "\n\n" + unfill(read_template(self.template), text)
        return self.decode(block.rpartition(f"\n\n{_ASKED}")[2].removesuffix(_ANSWERED))

    @property
    def identity(self) -> str:
        """What stands for it in an attack's hash."""
        return self.template


@dataclass(frozen=True, slots=True)
class Ciphered(Demonstrated):
    """Send each request in a cipher, behind demonstrations in it."""

    cipher: Cipher | None = None

    @property
    def recover(self) -> Recover:
        """Read the request back."""
        assert self.cipher is not None
        return self.cipher.read
