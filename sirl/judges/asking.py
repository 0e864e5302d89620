"""Ask a model about replies, again where it fails, within a limit: what judges that are models share.

A question is one attempt of the model that judges. An answer that cannot be used is asked for again with
another draw; what is still unusable after `tries` is None, and the reason goes into the evidence. Nothing is
guessed from half an answer. This module knows the protocol `Target` and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sirl.errors import SirlError
from sirl.records import Attempt, Completion, Decoding, Question, Target, Verdict

TRIES = 3
WARM = 0.7  # temperature of a second draw: a greedy one would say the same again

Reading = tuple[bool | None, str]  # the answer, None if it cannot be used, and what stood there or why not
Reader = Callable[[Attempt, Completion], Reading]


@dataclass(frozen=True, slots=True)
class Asked:
    """How a model is asked: by whom the verdict is signed, on what question, how often, with what seed."""

    question: Question
    judge: str
    seed: int = 0
    tries: int = TRIES


def put(target: Target, attempts: Sequence[Attempt | str], read: Reader, asked: Asked) -> list[Verdict]:
    """Return one verdict an attempt, same order; words in its place say why there is nothing to judge."""
    questions = {i: attempt for i, attempt in enumerate(attempts) if isinstance(attempt, Attempt)}
    verdicts: dict[int, Verdict] = {
        i: Verdict(asked.question, None, f"nothing to judge: {why}", asked.judge)
        for i, why in enumerate(attempts)
        if isinstance(why, str)
    }
    failures: dict[int, list[str]] = {i: [] for i in questions}
    for turn in range(asked.tries):
        open_ = [i for i in failures if i not in verdicts]
        drawn = [_redraw(questions[i], turn) for i in open_]
        for i, attempt, outcome in zip(open_, drawn, _replies(target, drawn, asked.seed), strict=True):
            answer, why = read(attempt, outcome) if isinstance(outcome, Completion) else (None, outcome)
            if isinstance(outcome, Completion) and outcome.error:
                answer, why = None, f"the model failed: {outcome.error}"
            if answer is None:
                failures[i].append(why)
            else:
                verdicts[i] = Verdict(asked.question, answer, why, asked.judge)
    return [verdicts.get(i) or _undecided(failures[i], asked) for i in range(len(attempts))]


def spent(decoding: Decoding) -> str:
    """Say that a judge's budget ended within its reasoning, and what to do."""
    return f"its {decoding.max_new_tokens} tokens ended within its reasoning; raise judge.max_tokens"


def last_line(text: str) -> str:
    """Return the last line with a letter or a digit, without marks of emphasis; empty if there is none."""
    lines = [line.strip().strip("*_`#>.| ") for line in text.splitlines()]
    return next((line for line in reversed(lines) if any(map(str.isalnum, line))), "")


def _undecided(reasons: Sequence[str], asked: Asked) -> Verdict:
    return Verdict(
        asked.question, None, f"undecided after {len(reasons)} tries: {'; '.join(reasons)}", asked.judge
    )


def _redraw(attempt: Attempt, turn: int) -> Attempt:
    decoding = attempt.decoding or Decoding()
    if turn:
        decoding = replace(decoding, temperature=max(decoding.temperature, WARM))
    return replace(attempt, sample=turn, decoding=decoding)


def _replies(target: Target, attempts: Sequence[Attempt], seed: int) -> list[Completion | str]:
    """Return the replies; an attempt that fails costs no other its reply, and its error stands in its place."""
    if not attempts:
        return []
    try:
        replies = target.reply(attempts, seed)
        if [reply.attempt for reply in replies] != list(attempts):
            return ["the model's replies do not match the questions"] * len(attempts)
        return list(replies)
    except SirlError:
        raise  # a refused key will be refused again: it ends the run, and is no item's misfortune
    except Exception as error:
        if len(attempts) == 1:
            return [f"the model failed: {type(error).__name__}: {error}"]
    return [reply for attempt in attempts for reply in _replies(target, [attempt], seed)]
