"""How one model's template and tokenizer mark reasoning, and a reply's text in which the marks can be read.

Special tokens are skipped when a reply is decoded; those that mark reasoning are kept, so that it does not run
into the answer. Marks of the tables of `sirl.reasoning` are known. Others are found out: an assistant's turn is
rendered with words in the place of its reasoning, and what the template writes around them are the marks. A
template that shows that its model reasons, and whose marks come to light in neither way, is `unknown`: its
replies are marked as such, and no judge takes what was thought for what was said.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, meta
from jinja2.exceptions import TemplateError as JinjaError

from sirl.reasoning import ODD, UNKNOWN, Marks, is_mark, shows_marks, split
from sirl.reasoning.channels import TOKENS as CHANNELS

_OPEN, _CLOSE = "<think>", "</think>"  # the form in which replies are kept
_THOUGHT, _SAID = "qzthoughtzq", "qzsaidzq"
_REASONS = re.compile(r"think|thought|reasoning|reflection|scratchpad|monologue|rationale", re.IGNORECASE)
_FIELD = re.compile(r"(?:\.|\[\s*['\"]|get\(\s*['\"])(\w+)|['\"](\w+)['\"]\s+in\s+\w+")
_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought")
_OFF = re.compile(r"\{% if \w+ is not defined %\}\{% set \w+ = false %\}")  # as `preset_thinking` writes it
_PART = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]|◁[^▷\s]+▷|[^\s<\[◁]+|\S")
Turn = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Thinking:
    """What is known of a model's reasoning: marks that its template writes, special tokens to keep, or not."""

    own: tuple[Marks, ...] = ()
    kept: Mapping[int, str] = field(default_factory=dict)
    unknown: bool = False


def thinking_of(tokenizer: Any) -> Thinking:
    """Return what template and tokenizer tell of a model's reasoning."""
    try:
        template = tokenizer.get_chat_template()
    except ValueError:  # none, or several of which none is the default: rendering will say so
        return Thinking()
    special = {i: token.content for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    found = _written_marks(tokenizer, template)
    own = (found,) if found and not _is_read(found) else ()
    told = {part for m in own for mark in (m.open, m.close, m.end) for part in _PART.findall(mark)}
    for marks in ODD:  # of families whose special tokens these are
        parts = {part for mark in (marks.open, marks.close) for part in _PART.findall(mark)}
        told |= parts if set(_PART.findall(marks.open)[:1]) <= set(special.values()) else set()
    told |= set(CHANNELS) if "<|channel|>" in special.values() else set()
    kept = {i: text for i, text in special.items() if text in told or is_mark(text)}
    known = found or shows_marks(template) or any(is_mark(text) for text in special.values())
    return Thinking(own, kept, unknown=not known and _reasons(template) and not _OFF.match(template))


def warn(thinking: Thinking, name: str) -> None:
    """Say aloud, once a model is loaded, that its replies will not be judged, where its marks are not known."""
    if thinking.unknown:
        logging.getLogger(__name__).warning(
            "The chat template of %s shows that the model reasons, but not with which marks. Its replies "
            "cannot be told from its reasoning and will not be judged. Where the template allows it, switch "
            "reasoning off with --set model.thinking=off.",
            name,
        )


def readable(tokenizer: Any, thinking: Thinking, begun: str, ids: Sequence[int]) -> str:
    """Return a reply's text. `begun` is the mark that the prompt left open.

    Where special tokens or marks of the template's own part reasoning from answer, the reasoning is put between
    `<think>` and `</think>`, whatever the family writes.
    """
    plain = str(tokenizer.decode(list(ids), skip_special_tokens=True))
    if thinking.unknown and not split(plain).reasoning:
        return UNKNOWN + plain
    special = set(tokenizer.all_special_ids) | {
        i for i, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    told = [i for i in ids if i in thinking.kept or i not in special]
    whole = begun + str(tokenizer.decode(told, skip_special_tokens=False))
    if not thinking.own and (not begun or begun == _OPEN) and whole == begun + plain:
        return whole
    parts = split(whole, thinking.own)
    if parts.unread:
        return whole
    answer = parts.answer
    for text in thinking.kept.values():
        answer = answer.replace(text, "")
    if not parts.reasoning:
        return answer
    thought = parts.reasoning.replace(_CLOSE, "")
    return f"{_OPEN}{thought}{_CLOSE}\n\n{answer.lstrip()}" if answer.strip() else f"{_OPEN}{thought}"


def _written_marks(tokenizer: Any, template: str) -> Marks | None:
    """Return the marks that the template itself writes around reasoning; None if it writes none."""
    for name in _fields(template):
        for switch in ({}, dict.fromkeys(switches(template), True)):
            for turn in _turns(name):
                if found := _around(tokenizer, turn, switch):
                    return found
    return None


def _is_read(marks: Marks) -> bool:
    """Say whether a reply in these marks is read rightly without them, by the tables and their grammar."""
    parts = split(f"{marks.open}{_THOUGHT}{marks.close}{marks.answer}{_SAID}{marks.end}")
    return (parts.reasoning, parts.answer.strip()) == (_THOUGHT, _SAID)


def _fields(template: str) -> list[str]:
    named = {name for match in _FIELD.findall(template) for name in match if _REASONS.search(name)}
    return [name for name in dict.fromkeys((*_FIELDS, *sorted(named))) if name in template]


def _turns(name: str) -> Iterator[Turn]:
    """Return an assistant's turn with reasoning, as a field of its own and as a part of its content."""
    yield {"role": "assistant", "content": _SAID, name: _THOUGHT}
    text = {"type": "text", "text": _SAID}
    yield {"role": "assistant", "content": [{"type": name, name: _THOUGHT}, text]}
    inner = [{"type": "text", "text": _THOUGHT}]
    yield {"role": "assistant", "content": [{"type": name, name: inner}, text]}


def _around(tokenizer: Any, turn: Turn, switch: Mapping[str, bool]) -> Marks | None:
    """Return what stands around the reasoning of a rendered turn; None if it is not written with marks."""
    user = {"role": "user", "content": "?"}
    try:
        asked = str(_render(tokenizer, [user], switch, add_generation_prompt=True))
        whole = str(_render(tokenizer, [user, turn], switch, add_generation_prompt=False))
    except (JinjaError, TypeError, ValueError, KeyError, AttributeError):
        return None
    if (
        whole.count(_THOUGHT) != 1 or whole.count(_SAID) != 1 or re.search(r"""['"]type['"]:""", whole)
    ):  # parts, written as they are
        return None
    before, _, rest = whole.partition(_THOUGHT)
    between, said, after = rest.partition(_SAID)
    if not said:
        return None
    start = _opening(_PART.findall(asked), _PART.findall(before))
    closing = _PART.findall(between)
    if not start or not closing:
        return None
    end = next(iter(_PART.findall(after)[:1]), "") if len(closing) > 1 else ""
    return Marks("the template's own", start, " ".join(closing), "the chat template", end=end)


def _opening(asked: Sequence[str], before: Sequence[str]) -> str:
    """Return what opens reasoning, of what stands before it and what a prompt ends with.

    That is what is new behind the prompt. Where the prompt opens the reasoning itself nothing is: then the last
    part, or as many, up to three, as hold a word for reasoning.
    """
    shared = next((n for n, pair in enumerate(zip(asked, before, strict=False)) if len(set(pair)) > 1), None)
    fresh = before[min(len(asked), len(before)) if shared is None else shared :]
    if fresh and len(fresh) <= 8:
        return " ".join(fresh)
    ends = (" ".join(before[-n:]) for n in (1, 2, 3))
    return next((end for end in ends if _REASONS.search(end)), " ".join(before[-1:]))


def _render(tokenizer: Any, turns: Sequence[Turn], switch: Mapping[str, bool], **more: bool) -> str:
    return str(tokenizer.apply_chat_template(list(turns), tokenize=False, **more, **switch))


def switches(template: str) -> list[str]:
    """Return the variables of a template that speak of reasoning and take yes or no, as `enable_thinking`."""
    source = re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", template)  # a tag of transformers' own
    try:
        free = meta.find_undeclared_variables(Environment(extensions=["jinja2.ext.loopcontrols"]).parse(source))
    except JinjaError:
        free = set()
    return sorted(name for name in free if re.search(r"think|reasoning$", name) and "budget" not in name)


def _reasons(template: str) -> bool:
    """Say whether a template shows that its model reasons: by a variable, or a field of a message."""
    fields = [name for match in _FIELD.findall(template) for name in match if _REASONS.search(name)]
    return bool(fields or switches(template))
