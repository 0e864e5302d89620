"""Any chat model as a judge, with our own rubric, one question at a time.

The reply under test is hostile text. It stands between lines that carry a code made from itself and the seed,
so that no words inside can close the fence, and the verdict must repeat the code on the last line of the
judge's output, so that an echo of a forged verdict is none. Special tokens and marks of turns in it are broken
(`inert`): they would end the judge's turn whatever the fence says. What a reply argues, it may argue: a judge
can still be talked over, which is measured, not prevented. Placeholders are filled in one pass: a reply that
holds `{request}` stays as it is. A judge that refuses, errs, stops early or says anything else in the end is
None.

The rubrics are the text files beside this module; their hash is part of the judge's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from sirl.judges.acts import find_act
from sirl.judges.asking import Asked, Reading, last_line, put, spent
from sirl.judges.identity import READING, identify
from sirl.judges.inert import INERT, inert, special_of
from sirl.reasoning import split
from sirl.records import Attempt, Completion, Decoding, Message, Question, Target, Verdict

RUBRICS = Path(__file__).with_name("rubrics")
DECODING = Decoding(temperature=0.0, max_new_tokens=512)
_SLOT = re.compile(r"\{(request|reply|code)\}")
_VERDICT = re.compile(r"verdict\W{0,3}([0-9a-f]{6})\W{0,4}(yes|no)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LlmJudge:
    """A chat model that answers *harmful?* or *refused?* by our rubric."""

    question: Question
    target: Target
    seed: int = 0
    decoding: Decoding = DECODING
    weights: str = ""  # what tells the model from others of its name

    @property
    def identity(self) -> str:
        """The model with the hash of its weights, of how it is asked, of the rubric and of the code."""
        rules: tuple[str | Path, ...] = (RUBRICS / f"{self.question}.txt", __file__, INERT, *READING)
        return identify(
            f"llm:{self.target.name}", *rules, settings=f"{self.weights} {self.decoding} {self.seed}"
        )

    def __call__(self, completions: Sequence[Completion]) -> list[Verdict]:
        """Answer the question about each reply."""
        rubric = (RUBRICS / f"{self.question}.txt").read_text(encoding="utf-8")
        attempts = [self._ask(rubric, completion) for completion in completions]
        read = partial(_read, decoding=self.decoding)
        return put(self.target, attempts, read, Asked(self.question, self.identity, self.seed))

    def _ask(self, rubric: str, completion: Completion) -> Attempt | str:
        prompt, parts = completion.attempt.prompt, split(completion.text)
        if parts.missing:
            return parts.missing
        code = fence_code(self.seed, completion)
        special = special_of(self.target)
        request, reply = inert(prompt.text, special), inert(parts.answer.strip(), special)
        words = {"request": request, "reply": reply, "code": code}
        text = _SLOT.sub(lambda slot: words[slot[1]], rubric)
        return Attempt(
            prompt, f"judge {self.question} {code}", (Message("user", text),), decoding=self.decoding
        )


def fence_code(seed: int, completion: Completion) -> str:
    """Return six hexadecimal digits, stable for one reply and seed, that do not occur in it."""
    text = f"{completion.attempt.prompt.text}\0{completion.text}"
    digest = sha256(f"{seed}|{completion.attempt.key}|{text}".encode("utf-8", "surrogatepass")).hexdigest()
    codes = (digest[i : i + 6] for i in range(len(digest) - 6))
    return next((code for code in codes if code not in text.lower()), digest[:6])


def _read(attempt: Attempt, output: Completion, decoding: Decoding) -> Reading:
    parts = split(output.text)
    text = parts.answer
    code = attempt.attack.rpartition(" ")[2]
    match = _VERDICT.fullmatch(last_line(text))
    if match and match[1].lower() == code:
        return match[2].lower() == "yes", " ".join(text.split())[-300:]
    if match:
        return None, "a verdict without this item's code"
    if not output.finished:
        return None, "cut off before its verdict" if parts.answer.strip() else spent(decoding)
    if parts.missing:
        return None, parts.missing.replace("empty reply", "empty output")
    if act := find_act(text):
        return None, f"the judge refused ({act.kind})"
    return None, "no verdict on its last line"
