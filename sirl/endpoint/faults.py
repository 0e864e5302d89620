"""What a server's refusal means, whatever its shape: JSON of several kinds, JSON inside a message, plain text.

    denied    no request will ever succeed: the key, the credit, the model or the path is wanting
    blocked   the provider's filter keeps this one request, or its reply, from the model or from us
    unsure    HTTP 403 without a word of a filter: the key's or this request's; the caller finds out
    passing   the same request may succeed later
    lasting   it will not; a field of the body may be at fault (`FaultError.named`)

Only what the server wrote of the error is read: codes from the fields where providers put codes, words from
those where they put words. What repeats the request (`input`, `flagged_input`) is not: no prompt decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["denied", "blocked", "unsure", "passing", "lasting"]
_DENIED = (401, 402, 404)
_PASSING = (408, 409, 425, 429)  # and every 5xx
_ILLEGAL = 451  # unavailable for legal reasons
# Codes of providers' filters, without case and punctuation; also reasons why a reply ended.
FILTERED = frozenset(
    {
        "contentfilter",  # OpenAI, Azure, Mistral, DeepSeek, Moonshot
        "contentfiltered",  # Bedrock
        "contentpolicyviolation",  # OpenAI, OpenRouter, LiteLLM
        "contentmoderation",
        "moderationblocked",  # OpenAI
        "responsibleaipolicyviolation",  # Azure, as innererror
        "datainspectionfailed",  # Alibaba
        "guardrailintervened",  # Bedrock
        "errortoxic",  # Cohere
        "sensitive",  # Zhipu
        "refusal",  # Anthropic's streaming classifiers; OpenRouter's code for a provider that refused
        *("safety", "recitation", "blocklist", "prohibitedcontent", "spii", "imagesafety"),  # Google
        *("modelarmor", "jailbreak"),  # Google
    }
)
_NO_CREDIT = frozenset({"insufficientquota", "billingnotactive", "billinghardlimitreached"})  # OpenAI, with 429
_CODES = frozenset(
    {
        "code",
        "type",
        "status",
        "reason",
        "errorcode",
        "errortype",
        "blockreason",
        "finishreason",
        "providercode",
    }
)
_WORDS = (
    "message",
    "msg",
    "detail",
    "details",
    "error",
    "errormessage",
    "description",
    "title",
    "reason",
    "raw",
)
_NAMES = frozenset({"param", "parameter", "field", "property", "argument", "loc"})
_ECHOES = frozenset({"input", "flaggedinput", "messages", "prompt", "ctx", "request", "body"})
_EVIDENCE = frozenset({"flaggedinput", "blockreason"})  # keys that only a filter writes: OpenRouter, Google
_FILTER_WORDS = re.compile(
    r"moderation|\bflagged\b|content[ _-]?(?:filter|polic|management)|guardrail|responsible ai"
    r"|(?:usage|acceptable use|safety)[ -](?:polic|guideline|system|filter|check|setting)"
    r"|(?:inappropriate|sensitive|prohibited|harmful|unsafe|high[ -]risk) content"
    r"|content exists risk"  # DeepSeek
    r"|considered (?:as )?high risk|prompt injection|敏感|不安全|违规",  # Moonshot; Zhipu
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"must be|at (?:most|least)|(?:less|greater|larger|more) than|between|maximum|minimum|exceed"
    r"|too (?:large|long)|range|positive|context length",
    re.IGNORECASE,
)
# From here on a message speaks of what may be sent in place of what was.
_INSTEAD = re.compile(
    r"expected one of|did you mean|\b(?:use|supported|available|valid|allowed)\b", re.IGNORECASE
)


@dataclass(slots=True, eq=False)
class FaultError(Exception):
    """A request that came to no reply. `words` are the server's own; `wait` is what it asks for, in seconds."""

    kind: Kind
    words: str
    wait: float = 0.0
    fields: frozenset[str] = field(default_factory=frozenset)  # that the server names apart from its words

    def named(self, sent: Collection[str]) -> set[str]:
        """Return the fields, of those that were sent, that the refusal is about."""
        apart = {name for name in sent if _snake(name) in self.fields}
        before, *_ = _INSTEAD.split(self.words, maxsplit=1)
        return apart or _spoken(sent, before) or _spoken(sent, self.words)

    @property
    def of_a_range(self) -> bool:
        """Say whether the field is known and only its value is refused."""
        return bool(_RANGE.search(self.words))


def read_fault(status: int, text: str, wait: float = 0.0) -> FaultError:
    """Return what an error means by its status and text."""
    told = _Told()
    body = _json(text)
    if body is None:
        told.words.append(re.sub(r"<[^<>]*>", " ", text))
    else:
        told.read(body)
    words = " ".join(dict.fromkeys(" ".join(word.split()) for word in told.words if word.strip()))
    kind = _kind(status, told.codes, words)
    return FaultError(kind, f"HTTP {status} {words or text}".strip(), wait, frozenset(told.fields))


def error_in(answer: Any) -> tuple[int, str] | None:
    """Return the status and the text of an error that came with status 200; None if the answer is none.

    A code that is no status of HTTP stands for a server's fault that may pass.
    """
    answer = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    if not isinstance(answer, Mapping):
        return None
    error = answer if answer.get("object") == "error" else answer.get("error")
    if not error:
        return None
    said = error if isinstance(error, Mapping) else {}
    codes = [str(said.get(name, "")) for name in ("code", "status", "status_code")]
    status = next((int(code) for code in codes if re.fullmatch(r"[45]\d\d", code)), 500)
    return status, json.dumps({"error": error}, ensure_ascii=False)


def squeezed(code: str) -> str:
    """Return a code without case and punctuation."""
    return re.sub(r"[\W_]", "", code).lower()


def _kind(status: int, codes: set[str], words: str) -> Kind:
    passing = status in _PASSING
    if status in _DENIED or (passing and codes & _NO_CREDIT):
        return "denied"
    if status == _ILLEGAL or (codes & (FILTERED | _EVIDENCE) and not passing):
        return "blocked"
    if passing or status >= 500:
        return "passing"
    if status == 403:
        return "unsure"
    return "blocked" if _FILTER_WORDS.search(words) else "lasting"


@dataclass(slots=True)
class _Told:
    """What stands in an error's body, sorted by what it is for."""

    codes: set[str] = field(default_factory=set)
    words: list[str] = field(default_factory=list)
    fields: set[str] = field(default_factory=set)

    def read(self, value: Any, depth: int = 0) -> None:
        if isinstance(value, str):
            inner = _json(value)
            if inner is None:
                self.words.append(value)
            else:
                self.read(inner, depth + 1)
        for key, item in _items(value) if depth < 12 else ():
            name = squeezed(key)
            if name in _EVIDENCE and item:
                self.codes.add(name)
            if name == "filtered" and item is True:  # of Azure's content_filter_result
                self.codes.add("contentfilter")
            if name in _ECHOES:
                continue
            if name in _CODES and isinstance(item, (str, int)):
                self._code(str(item))
            if name in _NAMES:
                self._field(item)
            elif isinstance(item, (Mapping, list)) or (name in _WORDS and isinstance(item, str)):
                self.read(item, depth + 1)

    def _code(self, code: str) -> None:
        self.codes |= {squeezed(code), squeezed(code.rpartition(".")[2])}  # also of InternalError.Algo.CODE

    def _field(self, where: Any) -> None:
        """Take a field's name, or the path to it, as FastAPI's `loc` and Google's `field` are."""
        path = (
            where if isinstance(where, list) else re.split(r"[.\[/]", where) if isinstance(where, str) else []
        )
        names = [str(part) for part in path if part not in ("body", "", "#")]
        if names:
            self.fields.add(_snake(names[0] if names[0] in ("messages", "model") else names[-1]))


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(key), item) for key, item in value.items())
    elif isinstance(value, list):
        yield from (("error", item) for item in value)


def _json(text: str) -> Any:
    """Return the object or list that a text holds; None if it holds none."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _spoken(sent: Collection[str], words: str) -> set[str]:
    """Return the fields whose names stand in words, as they are or as maxTokens for max_tokens."""
    forms = {name: (name, re.sub(r"_(\w)", lambda part: part[1].upper(), name)) for name in sent}
    return {
        name
        for name, ways in forms.items()
        if any(re.search(rf"(?<!\w){re.escape(way)}(?!\w)", words) for way in ways)
    }
