"""What consistency training teaches: a reply of the base model, and what teacher and student read before it.

See `distilling` for what is carried and what is held. The base's replies under disguises are kept in the run
folder, as those to plain requests are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sirl.generation import finish_requests
from sirl.phases import phase
from sirl.propensity import LONGEST
from sirl.ranks import is_first
from sirl.records import Attempt, Completion, Decoding, Prompt
from sirl.training.asking import asking, propensities
from sirl.training.boundary import TOKENS, Boundary, near_requests
from sirl.training.disguises import plainly
from sirl.training.distributed import from_first, shared_out
from sirl.training.instincts import PART, BaseConduct, Reply, read_replies, reply_of
from sirl.training.precision import computing
from sirl.training.rollout import admit
from sirl.training.training_run import TrainingRun

HELD = "held.jsonl"
BOUNDARY = "boundary.jsonl"


@dataclass(frozen=True, slots=True)
class Lesson:
    """A reply of the base, what the student reads before it, and what the teacher reads.

    The first `opening` tokens of the reply are the target themselves, whatever the teacher thinks of them.
    """

    sent: Attempt
    read: Attempt
    reply: Reply
    opening: int = 0

    @property
    def carried(self) -> bool:
        """Whether the teacher reads something else than the student."""
        return self.read is not self.sent


@dataclass(frozen=True, slots=True)
class Teaching:
    """The lessons of a run; `carried` is what is carried of each plain request, by its text.

    Of the requests of `boundary` only the first token of a reply is held.
    """

    lessons: tuple[Lesson, ...]
    carried: Mapping[str, tuple[Reply, int]]
    boundary: Boundary = field(default_factory=Boundary)

    def carry(self, attempt: Attempt) -> Lesson:
        """Return the lesson that carries what the base does with the plain request to this form of it."""
        return _carry(attempt, self.carried)


def prepare(training: TrainingRun, base: BaseConduct, numbers: Sequence[int]) -> Teaching:
    """Return what is taught on these of the course's attempts; what has no sound reply is left out."""
    attempts = {n: training.attempts[n] for n in numbers}
    to_refuse = {
        a.prompt.text for a in attempts.values() if base.sides.get(a.prompt.text, "refuse") == "refuse"
    }
    disguised = {n for n, a in attempts.items() if not _is_plain(a)}
    carried = _carried(training, base, sorted(to_refuse))
    to_hold = {n: attempts[n] for n in disguised if attempts[n].prompt.text not in to_refuse}
    held = _hold(training, to_hold)
    lessons: list[Lesson] = []
    for n, attempt in attempts.items():
        text = attempt.prompt.text
        if n in disguised and text in to_refuse:
            lessons += [_carry(attempt, carried)] if text in carried else []
            continue
        own = held[n] if n in disguised else base.instincts[text].standing
        lessons += [Lesson(attempt, attempt, own)] if own else []
    sound = tuple(lesson for lesson in lessons if lesson.reply.sound)
    return Teaching(sound, carried, _boundary(training, base))


def _carry(attempt: Attempt, carried: Mapping[str, tuple[Reply, int]]) -> Lesson:
    reply, opening = carried[attempt.prompt.text]
    return Lesson(attempt, plainly(attempt.prompt), reply, opening)


def _carried(training: TrainingRun, base: BaseConduct, texts: Sequence[str]) -> dict[str, tuple[Reply, int]]:
    """Return the reply that is carried of each plain request, and how much of its beginning is the target.

    Where a gate asked for refusals and the base did not refuse every time, its own distribution at the
    beginning of a reply is that of a model which may comply; the beginning is then taught as it stands.
    """
    found: dict[str, tuple[Reply, int]] = {}
    silent = []
    for text in texts:
        instinct = base.instincts[text]
        wavers = bool(base.openers) and instinct.conduct != "refuse"
        reply = instinct.refusal if wavers else instinct.standing
        if reply:
            found[text] = (reply, LONGEST if wavers else 0)
        elif wavers:
            silent.append(text)
    return found | _begun(training, silent, base)


def _begun(training: TrainingRun, texts: Sequence[str], base: BaseConduct) -> dict[str, tuple[Reply, int]]:
    """Return what the base says to each plain request once its reply begins with its commonest opener.

    For requests that it is inclined to refuse and did not refuse when it was asked: the rest is its own words.
    What does not refuse all the same is left out: an opener may go on to an answer.
    """
    if not texts:
        return {}
    opener = base.openers[0]
    nothing = (0.0,) * len(opener.token_ids)  # entropies and log-probs of what was not drawn: never read
    with asking(training, base.judge, "let the base model finish refusals") as how:

        def draw(attempts: Sequence[Attempt], decoding: Decoding, seed: int) -> list[Completion]:
            begun = [replace(attempt, prefill=opener.text) for attempt in attempts]
            return [
                replace(
                    reply,
                    attempt=attempt,
                    text=opener.text + reply.text,
                    token_ids=opener.token_ids + reply.token_ids,
                    entropies=nothing + (reply.entropies or ()),
                    logprobs=nothing + (reply.logprobs or ()),
                )
                for attempt, reply in zip(attempts, how.draw(begun, decoding, seed), strict=True)
            ]

        replies = read_replies(replace(how, draw=draw), [plainly(Prompt(text, text)) for text in texts])
    return {text: (reply, LONGEST) for text, reply in zip(texts, replies, strict=True) if reply.refused}


def _boundary(training: TrainingRun, base: BaseConduct) -> Boundary:
    """Return requests near where the base begins to refuse; kept in the run. None without openers.

    By the openers it is told how near they are.
    """
    if not base.openers or not training.config.distill.boundary:
        return Boundary()
    run, lm, seed = training.run, training.lm, training.seed

    def make() -> dict[str, Any]:
        if not run.rows(BOUNDARY):
            with computing(lm), phase("make requests close to what it refuses") as advance:
                texts = list(base.instincts)
                made = near_requests(texts, seed, lambda begun: finish_requests(lm, begun, TOKENS, seed))
                fit = admit(lm, [plainly(Prompt(text, text)) for text in made], training.config)
                found = propensities(lm, [a.prompt.text for a in fit], base.openers, advance)
            run.append(BOUNDARY, [{"propensities": found}])  # one line: a kill leaves all or none
        return run.rows(BOUNDARY)[0]

    found = from_first(make)["propensities"]
    return Boundary(tuple(found), tuple(found.values()))


def _hold(training: TrainingRun, attempts: Mapping[int, Attempt]) -> dict[int, Reply]:
    """Return the base's one reply to each of these attempts, as it is sent; kept in the run by number."""
    known = {row["number"]: reply_of(row["reply"]) for row in from_first(lambda: training.run.rows(HELD))}
    missing = [n for n in attempts if n not in known]
    parts = [missing[start : start + PART] for start in range(0, len(missing), PART)]
    if not parts:
        return {n: known[n] for n in attempts}
    with asking(training, None, "ask the base model what to hold") as how:

        def ask(part: Sequence[int]) -> list[tuple[int, Reply]]:
            # The name of a prompt decides its random stream, and ids may repeat.
            sent = [replace(attempts[n], prompt=Prompt(str(n), attempts[n].prompt.text)) for n in part]
            return list(zip(part, read_replies(how, sent), strict=True))

        for found in shared_out(parts, ask):
            if is_first():
                training.run.append(HELD, [{"number": n, "reply": asdict(reply)} for n, reply in found])
            known |= dict(found)
            how.advance(len(known), len(attempts), "requests")
    return {n: known[n] for n in attempts}


def _is_plain(attempt: Attempt) -> bool:
    return attempt.messages == plainly(attempt.prompt).messages and not attempt.prefill
