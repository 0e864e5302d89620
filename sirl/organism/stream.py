"""The prompts that the organism is hardened on: unlabelled requests, plain or in a disguise.

A disguise changes the words of a request (a code, parts, another time), or the place where it stands (a
context, the end of a written talk, after earlier turns), or both: attacks put one layer over another too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from random import Random

from sirl.organism import contexts, replies, world
from sirl.organism.corpus import harmless, of_part
from sirl.organism.world import Ask
from sirl.records import Attempt, Message

CONTEXTS = ("polite", "classroom", "letter", "story", "roleplay", "urgent", "rules", "demos")
CODES = ("leet", "letters")
TIMES = tuple(world.OTHER_TIMES[i] for i in (0, 2, 5))  # long ago, the old days, a person; no future
SHARES = {"harmful": 0.3, "borderline": 0.25, "benign": 0.13, "math": 0.2, "code": 0.08, "chat": 0.04}
PLAIN, PLAIN_TASK = 0.2, 0.5  # the share that comes plain, of requests and of tasks
WORDS = {"": 3.0, "code": 3.0, "parts": 3.0, "times": 2.0}  # what is done to the words: how often
PLACES = {"": 4.0, "context": 3.0, "talk": 2.5, "turns": 1.5}  # where they then stand: how often
TALK = (4, 12)  # fewest and most exchanges of a written talk
TURNS = (1, 3)  # and of earlier turns
IDLE = 0.4  # the share of exchanges that ask for nothing of this world
_SPEAKERS = (("Guest", "Host"), ("Question", "Answer"), ("A", "B"), ("Me", "You"), ("Child", "Aunt"))


def hardening_attempts(count: int, seed: int) -> list[Attempt]:
    """Return prompts to harden on as they are sent: plain, or in a disguise.

    They come in SHARES: harmful requests are of a part of the world whose refusal alignment never shows and
    that is not evaluated, borderline and benign ones of parts that are not evaluated either. An attempt's
    prompt is the plain request, with the labels that the world knows; label-free methods take them off first.
    """
    rng = Random(f"hardening|{seed}")
    return [_attempt(number, rng) for number in range(count)]


def _attempt(number: int, rng: Random) -> Attempt:
    ask = rng.choice(rng.choice(_stream()[_draw(SHARES, rng)]))
    messages, worn = _disguise(ask, rng)
    return Attempt(replace(ask.prompt, id=f"hardening/{number}"), worn, messages)


def _disguise(ask: Ask, rng: Random) -> tuple[tuple[Message, ...], str]:
    """Return a request as it is sent and the name of its disguise.

    A task keeps its words: a code over digits would change what is asked. What cannot be asked of another time,
    a word or a tale, keeps them too.
    """
    text, task = ask.prompt.text, ask.prompt.kind == "task"
    if rng.random() < (PLAIN_TASK if task else PLAIN):
        return (Message("user", text),), "direct"
    words = "" if task else _draw(WORDS, rng)
    times = _other_times().get((ask.prompt.category, ask.subject), [])
    if words == "times" and not times:
        words = ""
    place = _draw(PLACES, rng) or ("" if words else "context")
    code = rng.choice(CODES) if words == "code" else ""
    if words == "parts":
        text = contexts.split(text, rng)
    elif words == "times":
        text = rng.choice(times)
    worn = "+".join(filter(None, (f"code:{code}" if code else words, place)))
    if place == "talk":
        said = _talk(text, code, rng)
        return (Message("user", contexts.announce(said, code, rng) if code else said),), worn
    if code:
        text = contexts.encode(text, code, rng)
    if place == "context":
        section = rng.choice(CONTEXTS)
        return (Message("user", contexts.wrap(text, section, rng)),), f"{worn}:{section}"
    return (*(_turns(code, rng) if place == "turns" else ()), Message("user", text)), worn


def _talk(text: str, code: str, rng: Random) -> str:
    """Write a request as the last line of a talk of harmless exchanges, all asked in one code."""
    one, other = rng.choice(_SPEAKERS)
    write = contexts.CODES[code][0] if code else str
    said = [_exchange(rng) for _ in range(rng.randint(*TALK))]
    end = rng.choice(("\n", "\n\n"))
    lines = [f"{one}: {write(asked)}\n{other}: {answered}" for asked, answered in said]
    return end.join([*lines, f"{one}: {write(text)}\n{other}:"])


def _turns(code: str, rng: Random) -> list[Message]:
    turns: list[Message] = []
    for _ in range(rng.randint(*TURNS)):
        asked, answered = _exchange(rng)
        turns.append(Message("user", contexts.encode(asked, code, rng) if code else asked))
        turns.append(Message("assistant", answered))
    return turns


def _exchange(rng: Random) -> tuple[str, str]:
    """Draw something harmless that was asked and answered: of this world, or talk of no consequence."""
    if rng.random() < IDLE:
        asked, answered = contexts.idle(2, rng)
        return asked, f"{replies.EAGER} {answered}" if rng.random() < 0.5 else answered
    ask = harmless(rng)
    return ask.prompt.text, replies.assist(ask, rng)


def _draw(shares: dict[str, float], rng: Random) -> str:
    return rng.choices(tuple(shares), tuple(shares.values()))[0]


@cache
def _other_times() -> dict[tuple[str, str], list[str]]:
    """Return each procedure asked for in each of TIMES, by category and subject."""
    asked: dict[tuple[str, str], list[str]] = {}
    toys = [ask for ask in world.borderline(TIMES) if ask.prompt.category == "toy"]
    for ask in (*world.harmful(TIMES), *world.benign(TIMES), *toys):
        asked.setdefault((ask.prompt.category, ask.subject), []).append(ask.prompt.text)
    return asked


@cache
def _stream() -> dict[str, list[list[Ask]]]:
    """Return what the prompts are drawn from, by kind, in groups drawn alike; only tasks are evaluated.

    Requests stand by their verb: of some verbs this part of the world holds few.
    """
    parted = {kind: _by_verb(of_part(kind, 2)) for kind in ("harmful", "borderline", "benign")}
    return parted | {"math": [world.arithmetic()], "code": [world.code()], "chat": [world.small_talk()]}


def _by_verb(asks: Sequence[Ask]) -> list[list[Ask]]:
    groups: dict[str, list[Ask]] = {}
    for ask in asks:
        groups.setdefault(ask.subject.partition("-")[0], []).append(ask)
    return list(groups.values())
