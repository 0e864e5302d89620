"""What can go wrong, and what to do about it.

Every error a user can cause is a `SirlError`; each is also the standard-library error it stands for,
so code that knows nothing of this package still catches it.

    SirlError
    ├── ConfigError    (ValueError)    a setting is unknown, out of range, or contradicts another
    │   └── StoppedError               a server takes no more requests; it holds the replies that came before
    ├── DataError      (ValueError)    a prompt set or model folder is missing, empty or malformed
    ├── TemplateError  (ValueError)    a chat template is absent or cannot render these messages
    ├── AttackError    (ValueError)    an attack is unknown, or returned something that breaks its contract
    ├── DefenceError   (ValueError)    a defence is unknown, or returned something that breaks its contract
    ├── JudgeError     (ValueError)    a judge is unknown, or returned something that breaks its contract
    └── RunError       (RuntimeError)  a run folder is damaged, busy, or was made under another protocol

A message has three parts: what was found, what was expected, what to do next. The command line prints it
as one sentence and exits with code 2; any other exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any


class SirlError(Exception):
    """An error with three parts: found, expected, do next."""

    def __init__(self, found: str, expected: str, advice: str) -> None:
        super().__init__(found, expected, advice)  # all three in args: the error survives pickling
        self.found, self.expected, self.advice = found, expected, advice

    def __str__(self) -> str:
        return visible(f"{self.found}; expected {self.expected}; {self.advice}.")


class ConfigError(SirlError, ValueError):
    """A setting is unknown, out of range, or contradicts another."""


class StoppedError(ConfigError):
    """A server refuses every further request; `replies` are the completions that had come before it did."""

    def __init__(self, found: str, expected: str, advice: str, replies: Sequence[Any] = ()) -> None:
        super().__init__(found, expected, advice)
        self.replies = tuple(replies)


class DataError(SirlError, ValueError):
    """A prompt set or a model folder is missing, empty or malformed."""


class TemplateError(SirlError, ValueError):
    """A chat template is absent or cannot render the messages."""


class AttackError(SirlError, ValueError):
    """An attack is unknown, or returned something that breaks its contract."""


class DefenceError(SirlError, ValueError):
    """A defence is unknown, or returned something that breaks its contract."""


class JudgeError(SirlError, ValueError):
    """A judge is unknown, or returned something that breaks its contract."""


class RunError(SirlError, RuntimeError):
    """A run folder is damaged, busy, or was made under another protocol."""


def visible(text: str) -> str:
    """Return a text fit for a terminal: what others wrote to move its cursor or turn its lines is `?`."""
    hidden = ("Cc", "Cf", "Cs")  # control and format characters, halves of surrogate pairs
    return "".join("?" if c != "\n" and unicodedata.category(c) in hidden else c for c in text)


def suggest(name: str, known: Iterable[str]) -> str:
    """Say what to do about an unknown name: the nearest known ones, then all of them."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{hint}known: {', '.join(names)}"
