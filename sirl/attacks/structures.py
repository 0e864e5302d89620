"""Hide a request in a data structure that comes with the code to read it.

In a tree the words are the nodes of a balanced binary tree, written as nested lists, [left, words, right],
which Python and JSON both read; from left to right they are the request. The other three put the words in the
opposite order, those at odd places before those at even ones, or the short ones before the long, each with its
place. This module refuses to run any code.

Source: arXiv 2402.16717; its code (huizhang-L/CodeChameleon: encrypt.py, decrypt.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sirl.attacks.info import Recover
from sirl.attacks.static import fill, read_template, say, unfill
from sirl.records import Attempt, Prompt, Target

NAME = "code_chameleon"
TREE = "binary_tree"


def write_tree(text: str) -> str:
    """Return the tree of the words as one line; every space stays with the word before it."""
    words = re.findall(r"\s*\S+\s*", text) or ([text] if text else [])
    return _json(_grow(words))


def read_tree(line: str) -> str:
    """Undo `write_tree`."""
    return _gather(json.loads(line))


def write_reverse(text: str) -> str:
    """Return the words, which a space parts, from the last to the first."""
    return _json(" ".join(text.split(" ")[::-1]))


def read_reverse(line: str) -> str:
    """Undo `write_reverse`."""
    return " ".join(json.loads(line).split(" ")[::-1])


def write_odd_even(text: str) -> str:
    """Return the first, the third word and so on, and then the others."""
    words = text.split(" ")
    return _json(" ".join(words[::2] + words[1::2]))


def read_odd_even(line: str) -> str:
    """Undo `write_odd_even`."""
    words = json.loads(line).split(" ")
    half = (len(words) + 1) // 2
    return " ".join(words[i // 2 + half * (i % 2)] for i in range(len(words)))


def write_length(text: str) -> str:
    """Return the words, the short ones first, each with its place."""
    placed = sorted(enumerate(text.split(" ")), key=lambda pair: len(pair[1]))
    return _json([{word: place} for place, word in placed])


def read_length(line: str) -> str:
    """Undo `write_length`."""
    places = {place: word for pair in json.loads(line) for word, place in pair.items()}
    return " ".join(places[place] for place in sorted(places))


# How a request is written and read back; the template shows the model the code that reads it.
ENCODINGS: Mapping[str, tuple[Callable[[str], str], Callable[[str], str]]] = {
    TREE: (write_tree, read_tree),
    "reverse": (write_reverse, read_reverse),
    "odd_even": (write_odd_even, read_odd_even),
    "length": (write_length, read_length),
}


@dataclass(frozen=True, slots=True)
class CodeChameleon:
    """Send a program to finish, with each request as the data that it solves, in one of `ENCODINGS`."""

    encoding: str = TREE

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return each prompt in one message of the user."""
        del target, budget, seed  # a static attack asks nothing and draws nothing
        write, _ = ENCODINGS[self.encoding]
        return [Attempt(p, NAME, say(fill(self._template, write(p.text)))) for p in prompts]

    @property
    def recover(self) -> Recover:
        """Read the request back."""
        return lambda text: ENCODINGS[self.encoding][1](unfill(self._template, text))

    @property
    def _template(self) -> str:
        return read_template(NAME if self.encoding == TREE else f"{NAME}.{self.encoding}")


def variants() -> dict[str, CodeChameleon]:
    """Return the other published encodings by name."""
    return {name: CodeChameleon(name) for name in ENCODINGS if name != TREE}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _grow(words: list[str]) -> list[Any]:
    if not words:
        return []
    middle = len(words) // 2
    return [_grow(words[:middle]), words[middle], _grow(words[middle + 1 :])]


def _gather(tree: list[Any]) -> str:
    return _gather(tree[0]) + str(tree[1]) + _gather(tree[2]) if tree else ""
