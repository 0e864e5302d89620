"""A server's answer -> the reply in it: its text, and whether the length limit cut it off.

A reply is what the model says in words. Parts of reasoning are no part of it, and neither are calls of tools;
an answer that has nothing else is a fault that says so, never an empty reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sirl.endpoint.faults import FILTERED, FaultError, error_in, read_fault, squeezed

# Why a reply ended, without case and punctuation; any other reason is that the model ended it.
CUT_OFF = frozenset(
    {
        *("length", "maxtokens"),  # OpenAI and most others; Anthropic, Bedrock, Google, Cohere
        "modellength",  # Mistral: the model's own context was full
        *("maxoutputtokens", "maxcompletiontokens", "modelcontextwindowexceeded"),  # Responses; Anthropic
        *("errorlimit", "maxlength", "contextlength", "tokenlimit"),  # Cohere; gateways
        "finishreasonmaxtokens",  # Google's enum with its prefix
    }
)
_BROKEN = frozenset(
    {
        *("error", "abort", "cancelled", "networkerror"),  # OpenRouter, Mistral; vLLM, SGLang; Zhipu
        "insufficientsystemresource",  # DeepSeek
    }
)
_CALLS = ("tool_calls", "function_call", "audio")
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")


def choice_in(answer: Any) -> Mapping[str, Any]:
    """Return the first choice of a chat completion. Raises FaultError if it is an error, or none."""
    if error := error_in(answer):
        raise read_fault(*error)
    try:
        choices = answer["choices"]
        choice = min(choices, key=lambda one: one.get("index") or 0)
        message = choice.get("message")
    except (TypeError, KeyError, ValueError, AttributeError):
        raise _no_choice(answer) from None
    if inner := error_in(choice):  # OpenRouter: the provider failed on the way
        raise read_fault(*inner)
    if not isinstance(message, Mapping) and not _filtered(choice):
        raise _no_choice(answer)
    return dict(choice)


def read_reply(answer: Any) -> tuple[str, bool]:
    """Return a chat completion's text, and whether the model ended it. Raises FaultError."""
    choice = choice_in(answer)
    reason = _reason(choice)
    if _filtered(choice):
        raise FaultError("blocked", f"the reply was withheld ({reason})")
    if squeezed(reason) in _BROKEN:
        raise FaultError("passing", f"the reply broke off ({reason})")
    message, finished = choice["message"], squeezed(reason) not in CUT_OFF
    text = _text(message.get("content"))
    if not text and isinstance(message.get("refusal"), str):
        text = message["refusal"]
    if not text:
        _explain(message, reason, finished)
    return plain(text), finished


def plain(text: str) -> str:
    """Return text that can be written as UTF-8: half a surrogate pair, which JSON may hold, becomes `?`."""
    return text.encode("utf-8", "replace").decode()


def _text(content: Any) -> str:
    """Return what is said in a message's content: text, or parts, of which those of text are joined."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise FaultError("passing", f"no chat completion: content of type {type(content).__name__}")
    said = [part if isinstance(part, str) else _part(part) for part in content]
    if content and not any(isinstance(part, (str, Mapping)) for part in content):
        raise FaultError("passing", "no chat completion: parts that are neither text nor objects")
    return "".join(said)


def _part(part: Any) -> str:
    """Return the text of a part: of type text, output_text or refusal; any other is not said aloud."""
    if not isinstance(part, Mapping):
        return ""
    name = {"text": "text", "output_text": "text", "refusal": "refusal"}.get(str(part.get("type", "text")), "")
    said = part.get(name)
    return said if isinstance(said, str) else ""


def _explain(message: Mapping[str, Any], reason: str, finished: bool) -> None:
    """Raise FaultError where a message without text is no empty reply but something else."""
    content = message.get("content")
    kinds = sorted(
        {str(p.get("type")) for p in content if isinstance(p, Mapping)} if isinstance(content, list) else ()
    )
    if calls := [name for name in _CALLS if message.get(name)]:
        raise FaultError("lasting", f"no reply in words but {' and '.join(calls)} ({reason})")
    thought = any(message.get(name) for name in _THOUGHTS) or any("reason" in k or "think" in k for k in kinds)
    if not finished:
        what = "its thoughts used" if thought else "something that is not shown used"
        raise FaultError("lasting", f"no reply within the length limit: {what} all of it ({reason})")
    if thought:
        raise FaultError("lasting", f"no reply beside its reasoning ({reason})")
    if [kind for kind in kinds if kind not in ("text", "output_text")]:
        raise FaultError("lasting", f"no reply in words but parts of type {', '.join(kinds)} ({reason})")


def _filtered(choice: Mapping[str, Any]) -> bool:
    reason = squeezed(_reason(choice))
    return reason.removeprefix("finishreason") in FILTERED


def _reason(choice: Mapping[str, Any]) -> str:
    return str(choice.get("finish_reason") or choice.get("finishReason") or choice.get("stop_reason") or "")


def _no_choice(answer: Any) -> FaultError:
    """Say what came in place of a chat completion: a blocked prompt, as Google tells it, or garbage."""
    if isinstance(answer, Mapping):
        feedback = answer.get("promptFeedback") or answer.get("prompt_feedback")
        if isinstance(feedback, Mapping) and (
            why := feedback.get("blockReason") or feedback.get("block_reason")
        ):
            return FaultError("blocked", f"the prompt was withheld ({why})")
    shape = sorted(map(str, answer)) if isinstance(answer, Mapping) else type(answer).__name__
    return FaultError("passing", f"no chat completion: no message among {shape}")
