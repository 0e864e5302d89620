"""Records cut down to what figures are made of: of a hundred thousand, a few tens of megabytes.

A figure reads who was asked and how, whether a reply came, what the judges said and the mean entropy. Texts and
tokens stay on disk, where `rundir.RunDir.with_tokens` finds them again.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from hashlib import sha256
from typing import TypeVar

from sirl.records.form import without_tokens
from sirl.records.nouns import Message, Prompt, Record, Verdict

T = TypeVar("T", bound=Hashable)


class Lean:
    """Cuts records down, and holds once what many of them have alike: the prompt, the decoding, a verdict."""

    def __init__(self) -> None:
        self._held: dict[Hashable, Hashable] = {}

    def __call__(self, record: Record) -> Record:
        """Return a record without its texts and tokens; every figure of it is the whole one's.

        Of a reply to an open request its hash is left in the place of the text: figures ask whether replies
        differ. Of what was sent its form: the roles of the turns, the system's words, and whether the reply was
        begun. Of a judge's evidence what figures read: the first two words, or the votes of a panel.
        """
        attempt, light = record.attempt, without_tokens(record).completion
        prompt = attempt.prompt
        bare = replace(
            attempt,
            prompt=self._once(Prompt(prompt.id, "", prompt.kind, prompt.source, prompt.category)),
            attack=self._once(attempt.attack),
            messages=self._once(tuple(Message(m.role, _of_system(m)) for m in attempt.messages)),
            prefill=attempt.prefill[:1],
            decoding=self._once(attempt.decoding),
            soft=(),
            search=self._once(replace(attempt.search, seconds=0.0, trace=())),
        )
        is_open = prompt.kind == "benign" and prompt.category == "open"
        reply = replace(
            light,
            attempt=bare,
            text=sha256(light.text.encode("utf-8", "surrogatepass")).hexdigest() if is_open else "",
            error=self._once(light.error),
            defended=self._once(light.defended),
        )
        return Record(reply, self._once(tuple(map(_without_quotes, record.verdicts))))

    def _once(self, value: T) -> T:
        return self._held.setdefault(value, value)  # type: ignore[return-value]  # it equals its key


def _of_system(message: Message) -> str:
    return message.content if message.role == "system" else ""


def _without_quotes(verdict: Verdict) -> Verdict:
    votes, bar, _ = verdict.evidence.partition(" | ")
    kept = votes if bar and votes.startswith("votes: ") else " ".join(verdict.evidence.split(maxsplit=2)[:2])
    return replace(verdict, evidence=kept)
