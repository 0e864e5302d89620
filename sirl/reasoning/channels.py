"""OpenAI's Harmony: a reply in channels, of which `final` alone is the answer.

    <|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...<|return|>
    analysis...assistantfinal...                    what is left where a decoder skipped the special tokens

Source: https://github.com/openai/harmony, docs/format.md.
"""

from __future__ import annotations

import re

TOKENS = ("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|return|>", "<|call|>")
_HEADER = re.compile(
    r"(?:<\|start\|>\s{0,4}\w{0,20}[^<\n]{0,80})?<\|channel\|>\s{0,4}(\w+)[^<\n]{0,80}"
    r"(?:<\|constrain\|>[^<\n]{0,40})?<\|message\|>"
)
_STOP = re.compile(r"<\|(?:start|channel|end|return|call)\|>")
_BARE = re.compile(r"\s{0,4}(?:(?:assistant)?(?:analysis|commentary)(?=[^\s,.:;)'’\]-])|assistantfinal)")
_SPACED = re.compile(r"\s{0,4}(?:analysis|commentary)\s")
_FINAL = re.compile(r"assistantfinal|\bassistant\s{1,2}final\b")


def headers(text: str) -> list[re.Match[str]]:
    """Return the headers of the channels in a text; group 1 is the channel."""
    return list(_HEADER.finditer(text)) if "<|channel|>" in text else []


def is_bare(text: str) -> bool:
    """Say whether a text begins as a reply in channels does whose special tokens were skipped."""
    return bool(_BARE.match(text) or (_SPACED.match(text) and _FINAL.search(text)))


def read_channels(text: str) -> tuple[str, str]:
    """Return reasoning and answer of a text with headers; no answer where no `final` was begun.

    What stands before the first header is reasoning: the prompt opened it.
    """
    found = headers(text)
    before = _STOP.split(text[: found[0].start()])[0]
    thoughts: list[str] = [before] if before.strip() else []
    answers: list[str] = []
    for n, header in enumerate(found):
        stop = found[n + 1].start() if n + 1 < len(found) else len(text)
        said = _STOP.split(text[header.end() : stop])[0]
        (answers if header[1].lower() == "final" else thoughts).append(said)
    return "\n".join(thoughts), "\n".join(answers)


def read_bare(text: str) -> tuple[str, str]:
    """Return reasoning and answer of a text that `is_bare`; the first `assistantfinal` begins the answer."""
    begun = _FINAL.search(text)
    return (text[: begun.start()], text[begun.end() :]) if begun else (text, "")
