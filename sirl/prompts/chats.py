"""A chat in a cell -> the request that its user makes, or why it is none that can be asked.

A prompt is one text. So a chat is a prompt if all that comes before the reply is one turn of its user. A chat
with a system turn, with earlier turns or with more than text is left out and counted, never cut to fit. What
comes after the request is replies, which are not asked; that they were there is told.

Two spellings are read, `role` and `content` (OpenAI, TRL), `from` and `value` (ShareGPT), as a list of turns,
as an object of lists (`datasets` before version 4), or as the text of either in JSON or Python.
Sources: the chat formats of TRL's and LLaMA-Factory's documentation, FastChat's conversations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sirl.errors import DataError
from sirl.prompts.cells import parsed

COLUMNS = ("messages", "conversations", "conversation")
_KEYS = (("role", "content"), ("from", "value"))
_SYSTEM = ("system", "developer")
_USER = ("user", "human", "prompter")
_REPLY = ("assistant", "gpt", "chatgpt", "bard", "bing", "model", "bot")
_TOOL = ("tool", "function", "function_call", "function_response", "observation")
_ROLES = {role: roles[0] for roles in (_SYSTEM, _USER, _REPLY, _TOOL) for role in roles}

NO_USER = "a chat in which no user speaks"
SYSTEM = "a chat with a system turn"
EARLIER = "a chat with turns before the request"
NO_TEXT = "a chat with an image, a sound or a file"
LEFT_OUT = (NO_USER, SYSTEM, EARLIER, NO_TEXT)


@dataclass(frozen=True, slots=True)
class Asked:
    """The request of a chat, or why it is left out; `replied`: replies stand behind it."""

    text: str
    left_out: str = ""
    replied: bool = False


def turns_of(value: Any) -> list[Mapping[str, Any]] | None:
    """Return the turns of a cell that holds a chat; None if it holds something else."""
    if isinstance(value, str):
        found = parsed(value) if value.lstrip().startswith(("[", "{")) else value
        return None if isinstance(found, str) else turns_of(found) or None
    found = _of_lists(value) if isinstance(value, Mapping) else value
    if not isinstance(found, list) or not all(isinstance(turn, Mapping) and _keys(turn) for turn in found):
        return None
    return found if not found or any(set(_keys(turn)) <= set(turn) for turn in found) else None


def request_of(turns: list[Mapping[str, Any]], where: str) -> Asked:
    """Return the request that a chat makes. Raises DataError on a role that is not known."""
    said = [one for one in (_said(turn, where) for turn in turns) if one != (_SYSTEM[0], "")]
    roles = [role for role, _ in said]
    if _USER[0] not in roles:
        return Asked("", NO_USER)
    place, again = roles.index(_USER[0]), _USER[0] in roles[roles.index(_USER[0]) + 1 :]
    if _SYSTEM[0] in roles:
        return Asked("", SYSTEM)
    if place or again:
        return Asked("", EARLIER)
    text = said[place][1]
    return Asked("", NO_TEXT) if text is None else Asked(text, replied=len(said) > 1)


def only_turn(turns: list[Mapping[str, Any]], where: str) -> str:
    """Return the text of a chat of one turn, whoever speaks. Raises DataError on any other."""
    text = _said(turns[0], where)[1] if len(turns) == 1 else None
    if text is None:
        raise DataError(
            f"{where} is a chat of {len(turns)} turns", "text, or one turn of text", "name another column"
        )
    return text


def _said(turn: Mapping[str, Any], where: str) -> tuple[str, str | None]:
    """Return who speaks, and the text; None where a part of it is no text."""
    role_key, text_key = _keys(turn)
    spelled = str(turn[role_key]).strip().casefold()
    if spelled not in _ROLES:
        raise DataError(f"the role {turn[role_key]!r} in {where}", f"one of {', '.join(_ROLES)}", "rename it")
    content = turn.get(text_key)
    parts = content if isinstance(content, list) else [content]
    texts = ["" if part is None else part.get("text") if isinstance(part, Mapping) else part for part in parts]
    plain = [text for text in texts if isinstance(text, str)]
    return _ROLES[spelled], "\n".join(plain).strip() if len(plain) == len(texts) else None


def _keys(turn: Mapping[str, Any]) -> tuple[str, ...]:
    """Return under which keys a turn says who speaks and what; none if it is no turn."""
    return next((keys for keys in _KEYS if keys[0] in turn), ())


def _of_lists(value: Mapping[str, Any]) -> Any:
    """Return the turns of an object of lists, or the value."""
    keys = _keys(value)
    columns = [column for key in keys if isinstance(column := value.get(key), list)]
    if len(columns) < 2 or len(columns[0]) != len(columns[1]):
        return value
    return [dict(zip(keys, cells, strict=True)) for cells in zip(*columns, strict=True)]
