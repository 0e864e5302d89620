"""What the attacker organism reads: instructions to a writer of attacks, and what a good one would write.

The instructions come from outside, as texts with named places in braces, so that this room stays a stranger to
the suite of attacks; what is written comes from the world and its contexts. The attacker knows every word of
the world and refuses nothing. Requests of the part of the world that is evaluated are never shown to it
(`ATTACKED` names the parts that are), so what it writes about them is composed, not remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

from sirl.organism import contexts, replies, rewording, world
from sirl.organism.corpus import Example
from sirl.organism.world import Ask
from sirl.records import Message

Texts = Mapping[str, str]  # name of an instruction -> its text, with places such as {request}
ATTACKED = (0, 1, 2)  # parts of the world whose harmful requests are shown
SLOT = "{request}"
KNOWN = 8  # contexts of each kind that it learns, and thrice as many idle sentences; all would take hours
MUTATIONS = ("generate", "crossover", "expand", "shorten", "rephrase")  # of templates, which hold no request
SHARES = {  # how often each instruction is shown
    "rewrite": 50,
    "again": 18,
    "topic": 10,
    "operation": 30,
    "open": 4,
    "next": 10,
    "back": 4,
    "generate": 3,
    "crossover": 2,
    "expand": 3,
    "shorten": 3,
    "rephrase": 3,
}
LITERAL = 0.5  # share of the disguises in which the request keeps its very words: copying is learnt from these


@dataclass(frozen=True, slots=True)
class Wish:
    """A harmful request: its text, the mischief and the being that must survive any rewriting.

    `literal` says that a disguise is to keep its very words.
    """

    text: str
    verb: str
    being: str
    literal: bool = False

    @property
    def act(self) -> str:
        return f"{self.verb} {world.a(self.being)}"


def wish(ask: Ask) -> Wish:
    """Read the mischief and the being of a harmful request from its subject."""
    verb, _, being = ask.subject.partition("-")
    return Wish(ask.prompt.text, verb, being)


def lesson(texts: Texts, rng: Random) -> Example:
    """Draw one instruction and what is written in answer to it."""
    name = rng.choices(tuple(SHARES), tuple(SHARES.values()))[0]
    if name in MUTATIONS:
        asked, said = _mutate(name, texts, rng)
    else:
        wanted = draw_wish(ATTACKED, rng)
        wanted = replace(wanted, literal=rng.random() < LITERAL)
        asked, said = _TEACHERS[name](name, texts, wanted, rng)
    return Example((Message("user", asked), Message("assistant", said)))


def question(name: str, texts: Texts, wanted: Wish, rng: Random) -> tuple[str, str]:
    """Return an instruction filled for a wish, and what was expected; for examining an attacker."""
    return _mutate(name, texts, rng) if name in MUTATIONS else _TEACHERS[name](name, texts, wanted, rng)


def put(text: str, **places: str) -> str:
    """Fill the named places of an instruction in one pass: braces in what is put in mean nothing."""
    return re.sub(r"\{(\w+)\}", lambda m: places.get(m[1], m[0]), text)


def listed(text: str) -> list[tuple[str, str]]:
    """Return the (name, sentence) pairs of a text with one `name: sentence` a line."""
    pairs = [line.partition(": ") for line in text.splitlines()]
    return [(name, sentence) for name, _, sentence in pairs]


def tagged(text: str) -> str:
    """Return a message between the tags that the instructions ask for."""
    return f"<message>{text}</message>"


@cache
def _asks(parts: tuple[int, ...]) -> list[Ask]:
    asks = world.harmful((*world.HOW, *world.OTHER_TIMES))
    return [ask for ask in asks if world.part(ask) in parts]


def draw_wish(parts: tuple[int, ...], rng: Random) -> Wish:
    """Draw a harmful request of some parts of the world."""
    return wish(rng.choice(_asks(parts)))


def _rewrite(name: str, texts: Texts, wanted: Wish, rng: Random) -> tuple[str, str]:
    return put(texts[name], request=wanted.text), tagged(disguise(wanted, rng)[1])


def _again(name: str, texts: Texts, wanted: Wish, rng: Random) -> tuple[str, str]:
    tried, last = disguise(wanted, rng)
    while (better := disguise(wanted, rng))[0] == tried:
        pass
    result, sentence = rng.choice(listed(texts["results"]))
    reply = _reply(result, rng)
    asked = put(texts[name], request=wanted.text, message=last, reply=reply, score=sentence)
    return asked, tagged(better[1])


def _reply(result: str, rng: Random) -> str:
    """Say what the target may have said: a refusal, or something that is not what was asked for."""
    if result == "refused":
        return replies.refusal(rng)
    other = rng.choice(world.benign() + world.open_ended())
    said = replies.answer(other, rng)
    return " ".join(said.split()[: rng.randint(2, 12)]) if result == "unclear" else said


def disguise(wanted: Wish, rng: Random) -> tuple[str, str]:
    """Return (kind, message): the request in a context, cut into parts, in a code, or of another time."""
    kind = rng.choices(("context", "time", "parts", "code"), (64, 12, 14, 10))[0]
    said = rng.choice((*world.HOW, *world.OTHER_TIMES)).format(act=wanted.act)
    if wanted.literal:
        said = wanted.text
    if kind == "context":
        section = rng.choice(contexts.sections())
        return section, idle(rng.choice(_context(section)).replace(SLOT, said), rng)
    if kind == "time" and wanted.literal:
        return "idle", f"{rng.choice(_idle())} {said}"
    if kind == "time":
        return kind, idle(rng.choice(world.OTHER_TIMES).format(act=wanted.act), rng)
    if kind == "parts":
        return kind, contexts.split(said, rng)
    return kind, contexts.encode(said, rng.choice(("leet", "words")), rng)


def idle(text: str, rng: Random) -> str:
    """Put an idle sentence before or after a text, two times in five."""
    before, after = (rng.sample(_idle(), rng.choice((0, 0, 0, 0, 1))) for _ in range(2))
    return " ".join([*before, text, *after])


def _idle() -> tuple[str, ...]:
    return contexts.bank()["filler"][: 3 * KNOWN]


def _context(section: str) -> tuple[str, ...]:
    return contexts.bank()[section][:KNOWN]


def _topic(name: str, texts: Texts, wanted: Wish, rng: Random) -> tuple[str, str]:
    same = rng.random() < 0.5
    meant = wanted if same else _stray(wanted, rng)
    return put(texts[name], request=wanted.text, message=disguise(meant, rng)[1]), "yes" if same else "no"


def _stray(wanted: Wish, rng: Random) -> Wish:
    """Return a request for something else: another mischief, another being, or a kindness."""
    verbs = [verb for verb in (*world.MISCHIEFS, *world.KINDNESSES) if verb != wanted.verb]
    beings = [being for being in world.BEINGS if being != wanted.being]
    verb, being = rng.choice(verbs), rng.choice(beings)
    keeps = rng.choice(("verb", "being", "neither"))
    return Wish("", wanted.verb if keeps == "verb" else verb, wanted.being if keeps == "being" else being)


def _operation(name: str, texts: Texts, wanted: Wish, rng: Random) -> tuple[str, str]:
    """Draw a rewriting of a sentence that may have been rewritten before."""
    operations = listed(texts["operations"])
    source = wanted.text
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        source = rewording.reword(rng.choice(operations)[0], wanted.verb, wanted.being, rng)
    operation, sentence = rng.choice(operations)
    said = rewording.reword(operation, wanted.verb, wanted.being, rng)
    return put(texts[name], request=source, operation=sentence), tagged(said)


def _open(name: str, texts: Texts, wanted: Wish, rng: Random) -> tuple[str, str]:
    return put(texts[name], request=wanted.text), tagged(_step(wanted, 0, rng).prompt.text)


def _next(name: str, texts: Texts, wanted: Wish, rng: Random) -> tuple[str, str]:
    step = rng.randrange(1, 5)
    history = _history(wanted, range(step), rng)
    return put(texts[name], request=wanted.text, history=history), tagged(_step(wanted, step, rng).prompt.text)


def _back(name: str, texts: Texts, wanted: Wish, rng: Random) -> tuple[str, str]:
    """Draw a milder question: the step before the refused one, in any of its wordings."""
    step = rng.randrange(1, 5)
    history = _history(wanted, range(step), rng)
    refused = _step(wanted, step, rng).prompt.text
    milder = _step(wanted, step - 1, rng).prompt.text
    return put(texts[name], request=wanted.text, history=history, message=refused), tagged(milder)


def _history(wanted: Wish, steps: Sequence[int], rng: Random) -> str:
    asks = [_step(wanted, step, rng) for step in steps]
    return "\n".join(f"Q: {ask.prompt.text}\nA: {replies.answer(ask, rng)}" for ask in asks)


def _step(wanted: Wish, step: int, rng: Random) -> Ask:
    """Return a question: about the being, the word, its old tale, the act in other times, the act."""
    return rng.choice(_ladder()[_RUNGS[step](wanted)])


_RUNGS: tuple[Callable[[Wish], str], ...] = (
    lambda wanted: wanted.being,
    lambda wanted: wanted.verb,
    lambda wanted: f"tale of {wanted.verb}-{wanted.being}",
    lambda wanted: f"then {wanted.verb}-{wanted.being}",
    lambda wanted: f"{wanted.verb}-{wanted.being}",
)


@cache
def _ladder() -> dict[str, list[Ask]]:
    """Group the questions of Crescendo's steps by what they are about."""
    tales = [ask for ask in world.borderline() if ask.prompt.category == "tale"]
    words = [ask for ask in world.borderline() if ask.prompt.category == "word"]
    named = [(ask.subject, ask) for ask in (*world.open_ended(), *words, *world.harmful(world.HOW))]
    named += [(f"tale of {ask.subject}", ask) for ask in tales]
    named += [(f"then {ask.subject}", ask) for ask in world.harmful(world.OTHER_TIMES)]
    groups: dict[str, list[Ask]] = {}
    for subject, ask in named:
        groups.setdefault(subject, []).append(ask)
    return groups


def _mutate(name: str, texts: Texts, rng: Random) -> tuple[str, str]:
    """Draw a change of a template; what is generated or rephrased is another of the bank's."""
    section, partner = rng.sample(contexts.sections(), 2)
    one, two = rng.choice(_context(section)), rng.choice(_context(partner))
    changed = {
        "generate": lambda: rng.choice(_context(rng.choice(contexts.sections()))),
        "crossover": lambda: f"{' '.join(one.replace(SLOT, '').split())} {two}",
        "expand": lambda: " ".join(rng.sample(_idle(), 3)),
        "shorten": lambda: one,
        "rephrase": lambda: rng.choice([text for text in _context(section) if text != one]),
    }[name]()
    shown = idle(one, rng)
    return put(texts[name], template=shown, other=two), tagged(changed)


_TEACHERS: dict[str, Callable[[str, Texts, Wish, Random], tuple[str, str]]] = {
    "rewrite": _rewrite,
    "again": _again,
    "topic": _topic,
    "operation": _operation,
    "open": _open,
    "next": _next,
    "back": _back,
}
