"""What of a record may be shown to whoever gets a page or a log: everything, nothing, or what is no harm.

all        as it was written
redacted   without replies to harmful requests that no judge found harmless, and without what attacks wrote;
           the requests themselves, which sets publish, stay
none       no text at all
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast, get_args

from sirl.errors import ConfigError, suggest
from sirl.records.nouns import Attempt, Message, Record

Transcripts = Literal["none", "redacted", "all"]


def transcripts_of(word: str) -> Transcripts:
    """Read how much is shown. Raises ConfigError."""
    known = get_args(Transcripts)
    if word not in known:
        raise ConfigError(f"transcripts {word!r}", " or ".join(known), suggest(word, known))
    return cast(Transcripts, word)


def notice(transcripts: Transcripts) -> str:
    """Say what was left out of what is written, or that it holds what models and attacks wrote."""
    return {
        "none": "no prompt and no reply is in it (--transcripts none)",
        "redacted": "replies that are harmful or undecided, and what attacks wrote, are withheld; "
        "--transcripts all writes them",
        "all": "it holds harmful replies, and the prompts that led to them, as written: mind who gets it",
    }[transcripts]


def shown(record: Record, transcripts: Transcripts) -> Record:
    """Return a record as it may be shown; verdicts, counts and entropies stay, tokens go with their text."""
    if transcripts == "all" or (transcripts == "redacted" and record.prompt.kind != "harmful"):
        return record
    attempt = _sent(record.attempt, bare=transcripts == "none")
    if transcripts == "redacted" and record.answer("harmful") is False:
        return replace(record, completion=replace(record.completion, attempt=attempt))
    reply = replace(
        record.completion, attempt=attempt, text=withheld(record.completion.text), token_ids=(), pieces=()
    )
    # A judge's evidence quotes the reply; where there was none it says why.
    verdicts = tuple(
        verdict if record.completion.error else replace(verdict, evidence=withheld(verdict.evidence))
        for verdict in record.verdicts
    )
    return Record(reply, verdicts)


def withheld(text: str) -> str:
    """Return what stands in a text's place; nothing for nothing."""
    return f"[withheld: {len(text.split())} words]" if text.strip() else text


def _sent(attempt: Attempt, bare: bool) -> Attempt:
    """Return an attempt without what an attack wrote, `bare` without the request too."""
    request = attempt.prompt.text
    messages = tuple(
        m if m.content == request and not bare else Message(m.role, withheld(m.content))
        for m in attempt.messages
    )
    prompt = replace(attempt.prompt, text=withheld(request), target="") if bare else attempt.prompt
    return replace(attempt, prompt=prompt, messages=messages, prefill=withheld(attempt.prefill))
