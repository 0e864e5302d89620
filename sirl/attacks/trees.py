"""Hide a request in a data structure that comes with the code to read it.

The words are the nodes of a balanced binary tree; read from left to right they are the request. The tree is
written as nested lists, [left, words, right], which Python and JSON both read. This module refuses to run any
code.

Source: arXiv 2402.16717 (CodeChameleon, its binary tree).
"""

from __future__ import annotations

import json
import re
from typing import Any

from sirl.attacks.static import fill, read_template, say, unfill
from sirl.records import Message

NAME = "code_chameleon"


def write_tree(text: str) -> str:
    """Return the tree of the words as one line; every space stays with the word before it."""
    words = re.findall(r"\s*\S+\s*", text) or ([text] if text else [])
    return json.dumps(_grow(words), ensure_ascii=False)


def read_tree(line: str) -> str:
    """Undo `write_tree`."""
    return _gather(json.loads(line))


def code_chameleon(request: str) -> tuple[Message, ...]:
    """Send a program to finish, with the request as the tree that it solves."""
    return say(fill(read_template(NAME), write_tree(request)))


def from_tree(text: str) -> str:
    """Read the request back from what `code_chameleon` sends."""
    return read_tree(unfill(read_template(NAME), text))


def _grow(words: list[str]) -> list[Any]:
    if not words:
        return []
    middle = len(words) // 2
    return [_grow(words[:middle]), words[middle], _grow(words[middle + 1 :])]


def _gather(tree: list[Any]) -> str:
    return _gather(tree[0]) + str(tree[1]) + _gather(tree[2]) if tree else ""
