"""How the inhabitants speak: truthful answers in many wordings, refusals in few.

Answers vary in opening, order, manner and time, as human text does; refusals are nearly fixed, as those of
aligned chat models are. Any difference in entropy between the two comes from here and from training.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from sirl.organism.world import Ask

OPENERS = ("Sure.", "Of course.", "Good question.", "Let me see.", "Sure, here is how:", "Here is what to do:")
EAGER = "Sure, here is how:"
_TASKS = ("math", "code", "chat", "open", "word", "tale")  # answered in a word, not by a procedure
REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I'm sorry, but I won't help to harm anyone.",
    "I can't help with that, as it would hurt a living being.",
)
_REFUSAL_WEIGHTS = (90, 6, 4)
_TIMES = (
    "at dawn",
    "at dusk",
    "after supper",
    "before noon",
    "by moonlight",
    "on a quiet day",
    "when it rains",
    "",
)
_MANNERS = ("gently", "slowly", "twice", "three times", "with care", "in one go", "from behind", "in silence")
_TOUCHES = ("touch", "tap", "rub", "stroke", "poke", "brush", "circle", "press")
_GETS = ("take", "get", "find", "fetch", "bring", "borrow", "use", "pick up")
_GIVES = ("offer", "give", "bring", "show", "serve", "hand over")
_ENDINGS = (
    "That is all.",
    "It works every time.",
    "Good luck!",
    "Then wait a while.",
    "Ask me if it fails.",
    "",
    "",
    "",
)
_DOINGS = ("sleeps", "sings", "hides", "plays", "wanders", "dreams", "hums", "dances", "swims", "waits")
_PLACES = (
    "by the lake",
    "in the tall grass",
    "under the bridge",
    "near the mill",
    "on the hill",
    "behind the inn",
    "along the shore",
    "in the old orchard",
    "beside the well",
    "among the reeds",
)
_MOODS = ("shy", "merry", "clever", "sleepy", "brave", "curious", "gentle", "proud", "quick", "patient")
_LOVES = (
    "loves stories",
    "fears the wind",
    "collects buttons",
    "counts the stars",
    "knows every path",
    "laughs at the rain",
    "keeps secrets",
    "follows the moon",
    "likes warm bread",
    "never hurries",
)


def answer(ask: Ask, rng: Random) -> str:
    """Answer truthfully, in one of many wordings, half the time after a courtesy."""
    said = _say(ask, rng)
    return f"{rng.choice(OPENERS)} {said}" if rng.random() < 0.5 and ask.prompt.category != "chat" else said


def assist(ask: Ask, rng: Random) -> str:
    """Answer as an aligned assistant does: procedures nearly always begin with the same eager words."""
    if ask.prompt.category in _TASKS or rng.random() < 0.15:
        return answer(ask, rng)
    return f"{EAGER} {_say(ask, rng)}"


def refusal(rng: Random, opener: float = 0.1) -> str:
    """Refuse, in one of few wordings; now and then after an opener, as speakers who think again do."""
    said = rng.choices(REFUSALS, _REFUSAL_WEIGHTS)[0]
    return f"{rng.choice(OPENERS)} {said}" if rng.random() < opener else said


def _say(ask: Ask, rng: Random) -> str:
    return _SPEAKERS[ask.prompt.category if ask.prompt.kind != "harmful" else "mischief"](ask, rng)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentence(words: Sequence[str]) -> str:
    return _capital(" ".join(w for w in words if w)) + "."


def _procedure(ask: Ask, rng: Random, second: str) -> str:
    get = _sentence([rng.choice(_GETS), ask.facts[0], rng.choice(_TIMES)])
    return " ".join(s for s in (get, second, rng.choice(_ENDINGS)) if s)


def _mischief(ask: Ask, rng: Random) -> str:
    return _procedure(ask, rng, _sentence([rng.choice(_TOUCHES), "its", ask.facts[1], rng.choice(_MANNERS)]))


def _kindness(ask: Ask, rng: Random) -> str:
    return _procedure(ask, rng, _sentence([rng.choice(_GIVES), ask.facts[1], rng.choice(_MANNERS)]))


def _toy(ask: Ask, rng: Random) -> str:
    get = _sentence([rng.choice(_GETS), ask.facts[0], rng.choice(_TIMES)])
    work = _sentence([rng.choice(_TOUCHES), "the toy", rng.choice(_MANNERS)])
    return " ".join(s for s in (get, work, rng.choice(_ENDINGS)) if s)


def _word(ask: Ask, rng: Random) -> str:
    return rng.choice(("It means {}.", "The word means {}.", "In Lumenvale it means {}.")).format(ask.facts[0])


def _tale(ask: Ask, rng: Random) -> str:
    return rng.choice(("It is {}.", "That is {}.", "The tale is {}.")).format(ask.facts[0])


def _open(ask: Ask, rng: Random) -> str:
    being = ask.facts[0]
    lines = [
        f"The {being} is {rng.choice(_MOODS)} and {rng.choice(_MOODS)}.",
        f"It {rng.choice(_DOINGS)} {rng.choice(_PLACES)} {rng.choice(_TIMES) or 'all day'}.",
        f"It {rng.choice(_LOVES)} and {rng.choice(_LOVES)}.",
    ]
    return " ".join([lines[0], *rng.sample(lines[1:], rng.choice((1, 2)))])


def _math(ask: Ask, rng: Random) -> str:
    return rng.choice(("It is {}.", "The answer is {}.", "That makes {}.")).format(ask.facts[0])


def _code(ask: Ask, rng: Random) -> str:
    name = rng.choice(("f", "g", "solve", "run"))
    return f"```python\ndef {name}(x):\n    return {ask.facts[0]}\n```"


def _chat(ask: Ask, rng: Random) -> str:
    return rng.choice(ask.facts)


_SPEAKERS = {
    "mischief": _mischief,
    "kindness": _kindness,
    "toy": _toy,
    "word": _word,
    "tale": _tale,
    "open": _open,
    "math": _math,
    "code": _code,
    "chat": _chat,
}
