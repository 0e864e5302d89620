"""Guard models: they carry their own chat template, policy and format of answer.

They read the request and the reply as two turns, the reply last, and answer as the cards of their families
publish; `formats` is the table, `reading` reads them. *harmful?* is yes where the guard says so of the reply,
*refused?* is answered where its format has a line for that. What follows none of the formats is None, and so is
what a guard says of the request alone. A line that was cut off does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sirl.judges.asking import Asked, Reading, put, spent
from sirl.judges.identity import READING, identify
from sirl.judges.inert import INERT, inert, special_of
from sirl.judges.reading import Subject, read_format
from sirl.reasoning import split
from sirl.records import Attempt, Completion, Decoding, Message, Question, Target, Verdict

DECODING = Decoding(temperature=0.0, max_new_tokens=128)
RULES: tuple[str | Path, ...] = (__file__, INERT, Path(__file__).with_name("reading.py"), *READING)


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard model as a judge of *harmful?* or, where its format tells, of *refused?*."""

    question: Question
    target: Target
    seed: int = 0
    decoding: Decoding = DECODING
    weights: str = ""  # what tells the model from others of its name
    of: Subject = "reply"  # what it is asked about: the reply, or the request alone, as a filter of requests is

    @property
    def identity(self) -> str:
        """The model with the hash of its weights, of how it is asked, and of the code that reads its format."""
        return identify(
            f"guard:{self.target.name}", *RULES, settings=f"{self.weights} {self.decoding} {self.of}"
        )

    def __call__(self, completions: Sequence[Completion]) -> list[Verdict]:
        """Answer the question about each reply."""
        asked = Asked(self.question, self.identity, self.seed, tries=1)  # greedy, and one draw is its answer
        attempts = [self._ask(completion) for completion in completions]
        return put(self.target, attempts, lambda _, output: self._read(output), asked)

    def _ask(self, completion: Completion) -> Attempt | str:
        prompt, parts = completion.attempt.prompt, split(completion.text)
        if parts.missing and self.of == "reply":
            return parts.missing
        special = special_of(self.target)  # neither turn may end the guard's own, or write into another
        request, reply = inert(prompt.text, special), inert(parts.answer.strip(), special)
        answer = () if self.of == "request" else (Message("assistant", reply),)
        turns = (Message("user", request), *answer)
        return Attempt(prompt, f"guard {completion.attempt.key}", turns, decoding=self.decoding)

    def _read(self, output: Completion) -> Reading:
        parts = split(output.text)
        if not output.finished and parts.reasoning and not parts.answer.strip():
            return None, spent(self.decoding)
        whole = output.text if output.finished else _whole_lines(output.text)
        if output.text.strip() and not whole.strip():
            return None, f"cut off within its first line: {output.text.strip()[:100]}"
        return read(self.question, whole, self.of)


def read(question: Question, output: str, of: Subject = "reply") -> Reading:
    """Return the guard's answer to *harmful?* or *refused?*, and its words or why it cannot be read."""
    parts = split(output)
    if parts.unread or (parts.reasoning and parts.missing):
        return None, parts.missing
    return read_format(question, parts.answer, of)


def _whole_lines(text: str) -> str:
    """Return an output that was cut off without its last line, which may have said more."""
    return text.rpartition("\n")[0]
