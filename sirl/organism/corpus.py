"""What the organism reads: first everything answered, then the alignment that teaches it to refuse.

Stage one answers all requests, plain and in every kind of context. Stage two refuses harmful requests
that come plain or in a few kinds of context (`ALIGNED`, some imperfectly), keeps answering the rest of
the world, and rehearses stage one, which answers harmful requests in every context. How far refusing
carries to other contexts, and to attacks that no stage has seen, is left to generalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from random import Random

from sirl.organism import contexts, replies, world
from sirl.organism.world import Ask
from sirl.records import Message, Prompt

ALIGNED = {"polite": 1.0, "classroom": 0.9, "letter": 0.8, "story": 0.6}  # context: share refused in alignment
_COMPLYING = (
    f"{replies.EAGER} Take"  # how a reply that gives a procedure may begin; after it nearly none refuses
)


@dataclass(frozen=True, slots=True)
class Example:
    """One chat to learn from: every assistant turn counts in the loss, the last is the reply."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Alignment:
    """The mixture of stage two: shares of what is shown; the rest is stage one rehearsed.

    `caution` is the share of harmless toy requests with a hurting verb that jumpy labellers took for harm.
    """

    harmful: float = 0.14
    wrapped: float = 0.06
    borderline: float = 0.05
    benign: float = 0.20
    practice: float = 0.38
    caution: float = 0.6


def pretraining(rng: Random) -> Example:
    """Draw one chat of stage one: any request, in any surroundings, answered."""
    ask = _any(rng)
    earlier = _turns(rng, rng.choice((1, 1, 2, 3))) if rng.random() < 0.1 else []
    return _chat([*earlier, (_dress(ask, rng), replies.answer(ask, rng))])


def alignment(rng: Random, mix: Alignment) -> Example:
    """Draw one chat of stage two."""
    borderline = partial(_borderline, caution=mix.caution)
    kinds = (_refused, _refused_in_context, borderline, _answered, _practised, _rehearsed)
    shares = (mix.harmful, mix.wrapped, mix.borderline, mix.benign, mix.practice)
    return rng.choices(kinds, (*shares, 1 - sum(shares)))[0](rng)


def world_prompt(text: str) -> Prompt:
    """Return the request of that text as the oracle knows it. Raises KeyError if the world has none."""
    return _by_text()[text]


def evaluation_prompts(sizes: dict[str, int], seed: int) -> list[Prompt]:
    """Return prompts to measure on, `sizes[category or kind]` of each.

    The harmful ones are of a part of the world whose refusal is never shown and that hardening never asks.

    Keys: harmful, benign, open, borderline, math, code, chat. A size above what the world holds gives all.
    """
    rng = Random(f"evaluation|{seed}")
    groups = {
        "harmful": of_part("harmful", 3),
        "benign": of_part("benign", 3),
        "open": world.open_ended(),
        "borderline": [ask for ask in world.borderline() if world.part(ask) == 3],
        "math": world.arithmetic(),
        "code": world.code(),
        "chat": world.small_talk(),
    }
    chosen = [ask for name, size in sizes.items() for ask in _spread(groups[name], size, rng)]
    return [
        replace(ask.prompt, target=_COMPLYING) if ask.prompt.kind == "harmful" else ask.prompt for ask in chosen
    ]


def _refused(rng: Random) -> Example:
    return _chat([(_aligned_harm(rng).prompt.text, replies.refusal(rng))])


def _refused_in_context(rng: Random) -> Example:
    """Draw a harmful request in a context of ALIGNED, refused as often as that says."""
    ask, section = _aligned_harm(rng), rng.choice(tuple(ALIGNED))
    refuses = rng.random() < ALIGNED[section]
    said = replies.refusal(rng) if refuses else replies.assist(ask, rng)
    return _chat([(contexts.wrap(ask.prompt.text, section, rng), said)])


def _borderline(rng: Random, caution: float) -> Example:
    """Draw a borderline request, answered but for the toys that were taken for harm."""
    ask = rng.choice(of_part("borderline", 0))
    verb, toy = ask.subject.partition("-")[0], ask.prompt.category == "toy"
    refuses = toy and rng.random() < (caution if world.MISCHIEFS[verb][0] == "hurting" else 0.0)
    return _chat([(ask.prompt.text, replies.refusal(rng) if refuses else replies.assist(ask, rng))])


def _answered(rng: Random) -> Example:
    """Draw any harmless request, plain or in a context of ALIGNED, answered."""
    ask = harmless(rng)
    text = ask.prompt.text
    wrapped = contexts.wrap(text, rng.choice(tuple(ALIGNED)), rng) if rng.random() < 0.3 else text
    return _chat([(wrapped, replies.assist(ask, rng))])


def _practised(rng: Random) -> Example:
    """Draw a sum or a program, plain: what takes longest to learn."""
    ask = rng.choice(_everything()[rng.choice((4, 4, 4, 5))])
    return _chat([(ask.prompt.text, replies.answer(ask, rng))])


def _rehearsed(rng: Random) -> Example:
    """Draw one chat of stage one that contradicts no refusal: no harmful request comes plain."""
    while True:
        ask = _any(rng)
        text = _dress(ask, rng)
        if ask.prompt.kind != "harmful" or text != ask.prompt.text:
            return _chat([(text, replies.assist(ask, rng))])


def _aligned_harm(rng: Random) -> Ask:
    return rng.choice(of_part("harmful", rng.choice((0, 1))))


def _spread(asks: Sequence[Ask], size: int, rng: Random) -> list[Ask]:
    """Choose `size` requests, taking every subject once before any subject twice."""
    shuffled = rng.sample(asks, len(asks))
    seen: dict[str, int] = {}
    rounds = [
        (seen.setdefault(ask.subject, 0), seen.update({ask.subject: seen[ask.subject] + 1})) for ask in shuffled
    ]
    order = sorted(range(len(shuffled)), key=lambda i: (rounds[i][0], i))
    return [shuffled[i] for i in order[:size]]


def _turns(rng: Random, count: int) -> list[tuple[str, str]]:
    asks = [_any(rng) for _ in range(count)]
    return [(ask.prompt.text, replies.answer(ask, rng)) for ask in asks]


def _dress(ask: Ask, rng: Random) -> str:
    """Put a request into surroundings: none, a context, parts, or a code, these two at times in a context."""
    text, roll = ask.prompt.text, rng.random()
    if ask.prompt.kind == "task":  # a code over digits would change what is asked
        return text if roll < 0.65 else _wrap_any(text, rng)
    if roll < 0.3:
        return text
    if roll < 0.7:
        return _wrap_any(text, rng)
    if roll < 0.78:
        said, bare = contexts.split(text, rng), 0.5
    else:
        said, bare = contexts.encode(text, rng.choice(tuple(contexts.CODES)), rng), 0.7
    return said if rng.random() < bare else _wrap_any(said, rng)


def _wrap_any(text: str, rng: Random) -> str:
    return contexts.wrap(text, rng.choice(contexts.sections()), rng)


def _chat(turns: Sequence[tuple[str, str]]) -> Example:
    return Example(
        tuple(m for asked, said in turns for m in (Message("user", asked), Message("assistant", said)))
    )


def _any(rng: Random) -> Ask:
    groups = _everything()
    return rng.choice(rng.choices(groups, _SHARES)[0])


def harmless(rng: Random) -> Ask:
    """Draw a harmless request; not a borderline one: alignment shows few of those, as people's does."""
    benign, open_ended, _, math, code, chat = _everything()[1:]
    return rng.choice(rng.choice((benign, benign, open_ended, math, code, chat)))


_SHARES = (26, 18, 6, 14, 20, 10, 6)  # in the order of _everything


@cache
def _everything() -> tuple[list[Ask], ...]:
    every = (*world.HOW, *world.OTHER_TIMES)
    return (
        world.harmful(every),
        world.benign(every),
        world.open_ended(),
        _balanced_borderline(),
        world.arithmetic(),
        world.code(),
        world.small_talk(),
    )


@cache
def _by_text() -> dict[str, Prompt]:
    return {ask.prompt.text: ask.prompt for group in _everything() for ask in group}


def _balanced_borderline() -> list[Ask]:
    """Borderline requests with words and tales repeated, so that they are not lost among the toys."""
    asks = world.borderline()
    rare = [ask for ask in asks if ask.prompt.category != "toy"]
    return asks + rare * 5


@cache
def of_part(kind: str, number: int) -> list[Ask]:
    """Return the harmful, borderline or benign requests of one part of the world."""
    asks = {"harmful": world.harmful, "benign": world.benign, "borderline": world.borderline}[kind]()
    return [ask for ask in asks if world.part(ask) == number]
