"""Whether a chat template writes what each message says: tried with marks, then looked for in the text itself.

Some templates leave a role out, want a message as a list of parts, or change what is said. A prompt from which
the request has gone would be answered all the same, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from jinja2.exceptions import TemplateError as JinjaError

from sirl.records import SLOT, Message

Turn = Mapping[str, Any]  # {"role": ..., "content": text or parts}
Render = Callable[[Sequence[Turn]], str]

_KNOWN: WeakKeyDictionary[Any, dict[tuple[Any, ...], bool]] = WeakKeyDictionary()


def written(tokenizer: Any, render: Render, turns: Sequence[Turn]) -> list[Turn] | None:
    """Return the turns in the form in which the template writes all of them: as texts, else as parts.

    None if it leaves one out in both, or changes their order; the system's may stand anywhere. Raises what
    rendering raises if both forms do. What a template does with the same roles is tried once.
    """
    roles = tuple(turn["role"] for turn in turns)
    known = _KNOWN.setdefault(tokenizer, {})
    problem: Exception | None = None
    raised = 0
    for form in (_as_text, _as_parts):
        key = (tokenizer.get_chat_template(), roles, form)
        try:
            if key not in known:
                known[key] = _comes_through(render, roles, form)
        except (JinjaError, TypeError) as error:
            problem, raised = problem or error, raised + 1
            continue
        if known[key]:
            return [form(turn["role"], turn["content"]) for turn in turns]
    if problem and raised == 2:
        raise problem
    return None


def altered(text: str, messages: Sequence[Message]) -> str:
    """Say whose words are not in the rendered text as they were sent; empty if all are.

    White space at their edges may go. Of an assistant's turn only the last line must be there: templates
    leave out what was thought before it.
    """
    for message in messages:
        said = message.content.strip()
        if message.role == "assistant":
            said = said.rpartition("\n")[2].rpartition(">")[2].strip()
        if said not in text:
            return f"the chat template changes the words of the {message.role}'s turn"
    return ""


def _as_text(role: str, content: str) -> Turn:
    return {"role": role, "content": content}


def _as_parts(role: str, content: str) -> Turn:
    return {"role": role, "content": [{"type": "text", "text": content}]}


def _comes_through(render: Render, roles: Sequence[str], form: Callable[[str, str], Turn]) -> bool:
    marks = [f"{SLOT}{number}{SLOT}" for number in range(len(roles))]
    text = render([form(role, mark) for role, mark in zip(roles, marks, strict=True)])
    places = [text.find(mark) for mark in marks]
    spoken = [place for role, place in zip(roles, places, strict=True) if role != "system"]
    return min(places) >= 0 and spoken == sorted(spoken)
