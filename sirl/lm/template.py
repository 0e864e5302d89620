"""A chat as text: what the model's own template makes of messages, in every family's manner.

Knows what templates do (some refuse a system role, some tell the date, some open or skip a block of thinking)
and how a turn ends. The text is complete: who reads it into tokens adds nothing to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from jinja2.exceptions import TemplateError as JinjaError

from sirl.config.measure import THINKING
from sirl.errors import ConfigError, TemplateError
from sirl.lm.content import Turn, written
from sirl.lm.thoughts import switches
from sirl.records import SLOT, Message

# Both go in front of a template; a template's first line stands behind a block's newline, which Jinja drops.
_DAY = """{% macro strftime_now(form) %}{{ form|replace('%d','26')|replace('%m','07')|replace('%Y','2024')\
|replace('%b','Jul')|replace('%B','July')|replace('%a','Fri')|replace('%A','Friday')|replace('%y','24')\
|replace('%H','12')|replace('%M','00')|replace('%S','00') }}{% endmacro %}
"""  # the day that Llama 3 templates fall back to, at noon; a function could not be handed in
_PRESET = "{{% if {name} is not defined %}}{{% set {name} = {value} %}}{{% endif %}}\n"


def chat_text(tokenizer: Any, name: str, messages: Sequence[Message]) -> str:
    """Return the messages in the template, up to where the reply begins.

    A template without a system role gets the system text at the head of the first user turn. Raises
    TemplateError if rendering fails or leaves a turn out; `name` is the model's.
    """
    turns: list[Turn] = [{"role": m.role, "content": m.content} for m in messages]
    render = partial(_apply, tokenizer)
    try:
        told = turns[0]["role"] == "system" and len(turns) > 1
        taken = _or_none(lambda: written(tokenizer, render, turns)) if told else None
        if told and taken is None:
            head = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
            turns = [head, *turns[2:]]
        taken = taken or written(tokenizer, render, turns)
        if taken is None:
            raise TemplateError(
                f"the chat template of {name} leaves out a turn of {[t['role'] for t in turns]}",
                "a template that writes what each of them says, given as text or as parts",
                "use the model's own chat template, or mend it",
            )
        return _apply(tokenizer, taken)
    except (JinjaError, TypeError) as error:
        raise TemplateError(
            f"the chat template of {name} cannot render roles {[t['role'] for t in turns]} ({error})",
            "user and assistant turns in alternation, ending with the user",
            "change the attack's messages or the template",
        ) from error


def check_template(tokenizer: Any, name: str) -> None:
    """Raise TemplateError if no template is the default, or if it leaves out what a lone user says.

    One that raises on a lone user is a guard's or the like, and is told when it is used.
    """
    try:
        tokenizer.get_chat_template()
    except ValueError as error:
        raise TemplateError(
            f"{name} has chat templates named {', '.join(tokenizer.chat_template)} and none named default",
            "one chat template, or one named default",
            "rename the one to be used to default in its tokenizer",
        ) from error
    with suppress(JinjaError, TypeError):
        if written(tokenizer, partial(_apply, tokenizer), [{"role": "user", "content": "?"}]) is None:
            chat_text(tokenizer, name, [Message("user", "?")])  # says so


def special_texts(tokenizer: Any) -> tuple[str, ...]:
    """Return the texts that a tokenizer reads as special tokens wherever they stand."""
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return tuple(sorted({*tokenizer.all_special_tokens, *added}))


def turn_end(tokenizer: Any) -> int | None:
    """Return the special token that the template writes behind a reply; None if it writes no such token.

    Not every model declares it as an end, and one that does not would go on with the user's next turn. The
    reply is rendered as the chat's last: OpenAI's template ends an earlier one, and reasoning, by other tokens.
    """
    if not tokenizer.chat_template:
        return None
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": SLOT}]
    try:
        behind = _apply(tokenizer, turns, begin=False).rpartition(SLOT)[2].lstrip()
    except (JinjaError, TypeError):
        return None
    known = tokenizer.added_tokens_decoder
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"][:1]
    return next((i for i in ids if i in known and known[i].special), None)


def preset_thinking(tokenizer: Any, thinking: str) -> None:
    """Let the template think or not unless it is told otherwise: "on" or "off"; "template" leaves its own way.

    The choice becomes part of the template, so it is in its hash and is saved with the model. Raises
    ConfigError on another word, TemplateError on a template that has no such choice: no variable that speaks
    of thinking (`enable_thinking`, `thinking`) and changes what is rendered.
    """
    if thinking not in THINKING:
        raise ConfigError(f"model.thinking = {thinking!r}", f"one of {', '.join(THINKING)}", "use template")
    if thinking == "template":
        return
    template = tokenizer.get_chat_template()
    names = [name for name in switches(template) if _matters(tokenizer, name)]
    if not names:
        raise TemplateError(
            f"model.thinking = {thinking!r} and a chat template without enable_thinking",
            "a template that leaves the choice, as that of Qwen 3",
            "leave model.thinking at template",
        )
    value = str(thinking == "on").lower()
    tokenizer.chat_template = "".join(_PRESET.format(name=name, value=value) for name in names) + template


def _matters(tokenizer: Any, switch: str) -> bool:
    """Say whether a variable of the template, at yes or no, changes the prompt."""
    turns = [{"role": "user", "content": "?"}]
    try:
        return _apply(tokenizer, turns, **{switch: True}) != _apply(tokenizer, turns, **{switch: False})
    except (JinjaError, TypeError):
        return False


def _or_none(make: Callable[[], list[Turn] | None]) -> list[Turn] | None:
    """Return what is made; None where the template raises, as some do on a system turn."""
    try:
        return make()
    except (JinjaError, TypeError):
        return None


def _apply(tokenizer: Any, turns: Sequence[Turn], begin: bool = True, **choices: bool) -> str:
    """Render; a template that asks for the day gets a fixed one, so that records do not change overnight.

    `begin` opens the next reply behind the turns; `choices` are variables of the template.
    """
    template = tokenizer.get_chat_template()
    return str(
        tokenizer.apply_chat_template(
            turns,
            chat_template=_DAY + template if "strftime_now" in template else template,
            tokenize=False,
            add_generation_prompt=begin,
            **choices,
        )
    )
