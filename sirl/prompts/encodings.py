"""Bytes of a text file -> text, and the encoding they were read in.

A byte order mark decides. Without one, zero bytes in the first character say UTF-16 or UTF-32 (RFC 4627,
section 3: a table begins with an ASCII character). Everything else is UTF-8, or, in a table that a
spreadsheet may have written, Windows-1252. It is never latin-1, where the bytes 0x80 to 0x9F, which
spreadsheets write for quotation marks and dashes, are control characters.
"""

from __future__ import annotations

import codecs
import re

from sirl.errors import DataError

_MARKS = (  # the longer first: that of UTF-32 begins as that of UTF-16 does
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ZEROS = (  # which of the first bytes are zero
    (re.compile(rb"[^\0]\0\0\0", re.DOTALL), "utf-32-le"),
    (re.compile(rb"\0\0\0[^\0]", re.DOTALL), "utf-32-be"),
    (re.compile(rb"[^\0]\0", re.DOTALL), "utf-16-le"),
    (re.compile(rb"\0[^\0]", re.DOTALL), "utf-16-be"),
)
WESTERN = "windows-1252"
_SAVE = "save it as UTF-8"
_HIGH = re.compile(rb"[\x80-\xff]+")
# What an accented letter, a quotation mark or a dash of UTF-8 is when read as Windows-1252 or latin-1.
_CONTINUATION = "".join(sorted({chr(b) for b in range(0x80, 0xC0)} | {
    bytes([b]).decode(WESTERN) for b in range(0x80, 0xC0) if b not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}))  # fmt: skip
_DAMAGE = re.compile(
    f"[ÂÃ][{re.escape(_CONTINUATION)}]|â[€\x80][{re.escape(_CONTINUATION)}]|[\0\x80-\x9f\ufffd]"
)


def decode(name: str, data: bytes, spreadsheet: bool) -> tuple[str, str]:
    """Return the text of a file and its encoding; `spreadsheet` files may be in Windows-1252.

    Raises DataError, with the line, if the bytes are in none of the encodings that are read.
    """
    marked = next(((mark, encoding) for mark, encoding in _MARKS if data.startswith(mark)), None)
    zeros = next((encoding for pattern, encoding in _ZEROS if pattern.match(data)), None)
    mark, encoding = marked or (b"", zeros or "utf-8")
    try:
        return data[len(mark) :].decode(encoding), encoding
    except UnicodeDecodeError as error:
        line = data[: error.start + len(mark)].count(b"\n") + 1
        if encoding != "utf-8" or marked or not spreadsheet or b"\0" in data:
            found = f"line {line} of {name} is not {encoding.upper()} ({error.reason})"
            raise DataError(found, encoding.upper(), _SAVE) from error
    return _western(name, data), WESTERN


def damaged(text: str) -> bool:
    """Say whether a text shows that it was once read in a wrong encoding: â€™, control characters, U+FFFD."""
    return _DAMAGE.search(text) is not None


def _western(name: str, data: bytes) -> str:
    """Decode Windows-1252. Raises DataError on bytes that it lacks, and on text that is no Western language.

    There letters beyond ASCII stand alone or in pairs; in Cyrillic, Greek or East Asian text they fill words.
    """
    runs = [len(found) for found in _HIGH.findall(data)]
    try:
        if 2 * sum(size for size in runs if size > 2) > sum(runs):
            raise ValueError("most letters beyond ASCII stand in long runs")
        return data.decode(WESTERN)
    except ValueError as error:
        found = f"{name} is neither UTF-8 nor Windows-1252 ({error})"
        raise DataError(found, "UTF-8", "find out its encoding and save it as UTF-8") from error
