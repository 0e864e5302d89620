"""Build a static attack: a fixed change of words, made without looking at the model.

A rewrite turns the text of a request into the messages that are sent; `static_attack` turns a rewrite into
an attack. Templates are plain text files with one `{request}`. This module refuses to know any target,
any judge and any single attack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

from sirl.attacks.info import Recover, whole
from sirl.records import Attack, Attempt, Message, Prompt, Target

Rewrite = Callable[[str], tuple[Message, ...]]

TEMPLATES = Path(__file__).parent / "templates"
PLACEHOLDER = "{request}"
AFFIRMATION = "Sure, here is how to do it:"


@cache
def read_template(name: str) -> str:
    """Return the text of `templates/NAME.txt` without its last line break."""
    return (TEMPLATES / f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n")


@cache
def read_lines(name: str) -> dict[str, str]:
    """Return the lines of `templates/NAME.txt`, each `key: words`."""
    lines = (line.partition(": ") for line in read_template(name).splitlines())
    return {key: words for key, _, words in lines}


def fill(template: str, request: str) -> str:
    """Put the request in the place of `{request}`, in one pass: braces in the request mean nothing."""
    return template.replace(PLACEHOLDER, request)


def unfill(template: str, text: str) -> str:
    """Return what stands in the place of `{request}`. Raises ValueError if the text is not of this template."""
    before, after = template.split(PLACEHOLDER)
    if not (text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after)):
        raise ValueError("the text was not made from this template")
    return text[len(before) : len(text) - len(after)]


def say(text: str) -> tuple[Message, ...]:
    """Return a chat of one turn, spoken by the user."""
    return (Message("user", text),)


def templated(name: str) -> Rewrite:
    """Return the rewrite that puts a request into the template of this name."""

    def rewrite(request: str) -> tuple[Message, ...]:
        return say(fill(read_template(name), request))

    return rewrite


def static_attack(name: str, rewrite: Rewrite, prefill: str = "", recover: Recover | None = whole) -> Attack:
    """Return the attack that sends `rewrite(request)` and begins the reply with `prefill`.

    `recover` undoes the rewrite; see `sirl.attacks.AttackInfo`.
    """

    def attack(prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int) -> list[Attempt]:
        del target, budget, seed  # a static attack asks nothing and draws nothing
        return [Attempt(prompt, name, rewrite(prompt.text), prefill=prefill) for prompt in prompts]

    # The file that decides what is sent, for its hash; functools.partial hides the function that has it.
    attack.__module__ = getattr(rewrite, "func", rewrite).__module__
    cast(Any, attack).recover = recover
    return attack
