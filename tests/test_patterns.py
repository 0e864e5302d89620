"""Every pattern that reads hostile text takes time in proportion to its length, whatever a looping model says.

The texts are made from the patterns themselves: each repetition of each pattern is pumped, with the shortest
text that leads up to it before and something that cannot match behind.
"""

import ast
import importlib
import itertools
import pkgutil
import re
from pathlib import Path
from time import process_time

import pytest

import sirl
from sirl.judges import JUDGES
from sirl.records import Attempt, Completion, Prompt

ROOMS = ("judges", "reasoning", "attacks", "prompts", "metrics")
LENGTHS = (12, 20, 28, 32, 256, 4000)
SECONDS = 0.4  # for up to 12,000 characters: a linear pattern takes a tenth of it on a slow machine
PARSER = re._parser
CALLS = {f"re.{name}" for name in ("match", "fullmatch", "search", "findall", "finditer", "sub", "split")}
USES = ("match", "fullmatch", "search", "findall", "finditer", "sub")
CATEGORIES = {"CATEGORY_SPACE": "\n", "CATEGORY_DIGIT": "7"}


def patterns():
    """Return `module:pattern` -> (the compiled pattern, whether it is only tried from the start of a text)."""
    found = {}
    for module, path in modules():
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in CALLS:
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found[f"{module}:{first.value[:40]}"] = re.compile(first.value), False
        if "re.compile" not in source or needs_torch(tree):
            continue
        for name, value in vars(importlib.import_module(module)).items():
            own = rf"\b{name}" if isinstance(value, re.Pattern) else r"\b(?!re\b)\w+"
            uses = set(re.findall(rf"{own}\.({'|'.join(USES)})\(", source))
            for pattern in set(held(value)) - {pattern for pattern, _ in found.values()}:
                anchored = bool(uses) and uses <= {"match", "fullmatch"}
                found[f"{module}:{pattern.pattern[:40]}"] = pattern, anchored
    return found


def modules():
    """Yield the name and file of every module of the rooms that read replies or requests."""
    for room in ROOMS:
        package = importlib.import_module(f"sirl.{room}")
        for found in pkgutil.walk_packages(package.__path__, f"sirl.{room}."):
            path = Path(sirl.__file__).parent / (found.name.removeprefix("sirl.").replace(".", "/") + ".py")
            if path.exists():
                yield found.name, path


def needs_torch(tree):
    return any(isinstance(node, ast.Import) and node.names[0].name == "torch" for node in tree.body)


def held(value):
    """Yield the patterns in a constant: itself, or in a tuple or a mapping."""
    if isinstance(value, re.Pattern):
        text = value.pattern if isinstance(value.pattern, str) else value.pattern.decode("latin-1")
        yield re.compile(text, value.flags)
    elif isinstance(value, dict):
        yield from itertools.chain.from_iterable(map(held, value.values()))
    elif isinstance(value, (tuple, list)):
        yield from itertools.chain.from_iterable(map(held, value))


def shortest(nodes):
    """Return a short text that a parsed pattern matches, and for each repetition in it how to pump it."""
    text, pumps = "", []
    for name, given in nodes:
        options, inner = texts(str(name), given)
        pumps += [(text + before, unit) for before, unit in inner]
        text += options[0] if options else ""
    return text, pumps


def texts(name, given):
    """Return some texts of one parsed item, the shortest way first, and the pumps within."""
    if name == "LITERAL":
        return [chr(given)], []
    if name == "NOT_LITERAL":
        return ["~" if given != ord("~") else "x"], []
    if name == "ANY":
        return ["x"], []
    if name == "IN":
        return members(given), []
    if name == "SUBPATTERN":
        text, pumps = shortest(given[3])
        return [text], pumps
    if name in ("ATOMIC_GROUP",):
        text, pumps = shortest(given)
        return [text], pumps
    if name == "BRANCH":
        parts = [shortest(branch) for branch in given[1]]
        return [text for text, _ in parts], [pump for _, pumps in parts for pump in pumps]
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, most, body = given
        text, pumps = shortest(body)
        units = variants(body) if most > 3 else []
        pumps = [*pumps, *(("", unit) for unit in units), *((text, unit) for unit in units)]
        return [text * least], pumps
    return [""], []


def variants(body):
    """Return what a repetition may repeat: each way through its first choice, and two ways in turn."""
    ways = [""]
    for name, given in body:
        options = texts(str(name), given)[0]
        if str(name) == "SUBPATTERN":
            options = variants(given[3])
        elif str(name) == "BRANCH":
            options = [way for branch in given[1] for way in variants(branch)]
        elif str(name) in ("MAX_REPEAT", "MIN_REPEAT"):
            options = [*variants(given[2])[:6], ""] if not given[0] else variants(given[2])[:6]
        ways = [way + option for way in ways[:12] for option in (options or [""])[:12]]
    ways = [way for way in dict.fromkeys(ways) if way]
    return [*ways[:16], *(a + b for a, b in itertools.pairwise(ways[:4]))]


def members(given):
    """Return characters of a class, one a part."""
    negated = str(given[0][0]) == "NEGATE"
    if negated:
        return ["x"]
    found = []
    for name, value in given:
        if str(name) == "LITERAL":
            found.append(chr(value))
        elif str(name) == "RANGE":
            found.append(chr(value[0]))
        else:
            found.append(CATEGORIES.get(str(value), "x"))
    return found or ["x"]


def slow(pattern, anchored, before, unit):
    """Return the length at which matching takes too long, None if it never does."""
    for length in LENGTHS:
        text = before + unit * min(length, 12_000 // max(1, len(unit))) + "\0"
        start = process_time()
        if anchored:
            pattern.match(text), pattern.fullmatch(text)
        else:
            all(pattern.finditer(text))
        if process_time() - start > SECONDS:
            return length
    return None


PATTERNS = patterns()


@pytest.mark.parametrize("name", sorted(PATTERNS))  # in one order for every worker
def test_no_repetition_makes_a_pattern_slow(name):
    pattern, anchored = PATTERNS[name]
    text, pumps = shortest(PARSER.parse(pattern.pattern, pattern.flags))
    alone = [("", text)] if text else []
    for before, unit in dict.fromkeys([*pumps, *alone]):
        length = slow(pattern, anchored, before, unit)
        assert length is None, f"{before[-60:]!r} then {length} times {unit[:40]!r} takes over {SECONDS} s"


UNITS = (" and", ", and", " or", " nor", "\n", " really", ", but", '"', "```", " i am an ai", "<think>")


@pytest.mark.parametrize("start", ["It is wrong", "I cannot condone this. ", "not right"])
@pytest.mark.parametrize("unit", UNITS)
def test_a_reply_that_loops_costs_no_judge_more_than_its_length(start, unit):
    def seconds(rounds):
        text = (start + unit) * rounds + start + unit * rounds
        asked = Completion(
            Attempt(Prompt("p", "how?", "harmful", answer="7"), "direct", ()), text, (), (), True
        )
        begun = process_time()
        for known in JUDGES.values():
            for judge in known.values():
                judge([asked])
        return process_time() - begun

    assert seconds(40) < 1
    assert seconds(1000) < 3
