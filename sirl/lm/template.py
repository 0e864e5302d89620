"""A chat as text: what the model's own template makes of messages, in every family's manner.

Knows what templates do (some refuse a system role, some tell the date, some open or skip a block of thinking)
and how a turn ends. The text is complete: who reads it into tokens adds nothing to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2.exceptions import TemplateError as JinjaError

from sirl.config.measure import THINKING
from sirl.errors import ConfigError, TemplateError
from sirl.records import SLOT, Message

# Both go in front of a template; a template's first line stands behind a block's newline, which Jinja drops.
_DAY = """{% macro strftime_now(form) %}{{ form|replace('%d','26')|replace('%m','07')|replace('%Y','2024')\
|replace('%b','Jul')|replace('%B','July')|replace('%a','Fri')|replace('%A','Friday')|replace('%y','24')\
|replace('%H','12')|replace('%M','00')|replace('%S','00') }}{% endmacro %}
"""  # the day that Llama 3 templates fall back to, at noon; a function could not be handed in
_PRESET = "{{% if enable_thinking is not defined %}}{{% set enable_thinking = {value} %}}{{% endif %}}\n"
_OPEN, _CLOSE = "<think>", "</think>"


def chat_text(tokenizer: Any, name: str, messages: Sequence[Message]) -> str:
    """Return the messages in the template, up to where the reply begins.

    A template without a system role gets the system text at the head of the first user turn. Raises
    TemplateError if rendering fails; `name` is the model's.
    """
    turns = [{"role": m.role, "content": m.content} for m in messages]
    try:
        if turns[0]["role"] == "system" and len(turns) > 1 and not _takes_system(tokenizer, turns):
            head = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
            turns = [head, *turns[2:]]
        return _apply(tokenizer, turns)
    except (JinjaError, TypeError) as error:
        raise TemplateError(
            f"the chat template of {name} cannot render roles {[t['role'] for t in turns]} ({error})",
            "user and assistant turns in alternation, ending with the user",
            "change the attack's messages or the template",
        ) from error


def turn_end(tokenizer: Any) -> int | None:
    """Return the special token that the template writes behind a reply; None if it writes no such token.

    Not every model declares it as an end, and one that does not would go on with the user's next turn.
    """
    if not tokenizer.chat_template:
        return None
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": SLOT}]
    try:
        behind = _apply(tokenizer, turns).rpartition(SLOT)[2].lstrip()
    except (JinjaError, TypeError):
        return None
    known = tokenizer.added_tokens_decoder
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"][:1]
    return next((i for i in ids if i in known and known[i].special), None)


def open_thought(prompt: str) -> str:
    """Return the mark of thinking if a rendered prompt leaves such a block open, else nothing."""
    return _OPEN if prompt.rfind(_OPEN) > prompt.rfind(_CLOSE) else ""


def preset_thinking(tokenizer: Any, thinking: str) -> None:
    """Let the template think or not unless it is told otherwise: "on" or "off"; "template" leaves its own way.

    The choice becomes part of the template, so it is in its hash and is saved with the model. Raises
    ConfigError on another word, TemplateError on a template that has no such choice (`enable_thinking`).
    """
    if thinking not in THINKING:
        raise ConfigError(f"model.thinking = {thinking!r}", f"one of {', '.join(THINKING)}", "use template")
    if thinking == "template":
        return
    template = tokenizer.chat_template
    if not isinstance(template, str) or "enable_thinking" not in template:
        raise TemplateError(
            f"model.thinking = {thinking!r} and a chat template without enable_thinking",
            "a template that leaves the choice, as that of Qwen 3",
            "leave model.thinking at template",
        )
    tokenizer.chat_template = _PRESET.format(value=str(thinking == "on").lower()) + template


def _takes_system(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> bool:
    """Say whether the template renders a system turn; some raise on one and some drop it in silence.

    Asked with a text that stands nowhere else: the true one may be part of the user's.
    """
    try:
        return SLOT * 3 in _apply(tokenizer, [{"role": "system", "content": SLOT * 3}, *turns[1:]])
    except JinjaError:
        return False


def _apply(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> str:
    """Render; a template that asks for the day gets a fixed one, so that records do not change overnight."""
    template = tokenizer.get_chat_template()
    return str(
        tokenizer.apply_chat_template(
            turns,
            chat_template=_DAY + template if "strftime_now" in template else template,
            tokenize=False,
            add_generation_prompt=True,
        )
    )
