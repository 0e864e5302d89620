"""Is the reply correct? Compared with the answer that the prompt carries, offline, without a model.

    number   the number that the reply states as its answer (`answers` knows the forms), else the last result
             behind "=", else its last number, equals the wanted one in value: 1,200 is $1200.00, 1/2 is 0.5
    choice   the reply states the wanted letter as its choice: "(B)", "B.", "the answer is B", or its text
    code     a fenced Python block of the reply has the syntax tree of the answer, or, where the answer is
             one expression, returns it; nothing is run
    formula  the stated expression is spelled as the wanted one; there is no algebra
    text     the stated answer is the wanted one, or that stands in the reply, whole words, not denied

A prompt's answer may be a worked one that ends in "#### 7" or in a box. What is only thought does not count.

    yes, no  a reply that states no answer is wrong, and so is one that was cut off before it or refuses
    None     the prompt has no answer; the reply has no readable one (only reasoning); it states two that
             differ, or one that cannot be compared (letters but no choice, another formula, another unit)
"""

from __future__ import annotations

import ast
import re
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path

from sirl.judges.acts import find_act
from sirl.judges.answers import Value, as_math, numbers_in, simplified, stated, value_of
from sirl.judges.identity import READING, identify
from sirl.reasoning import split
from sirl.records import Completion, Verdict

_HERE = Path(__file__)
NAME = identify("exact", _HERE, *(_HERE.with_name(f"{name}.py") for name in ("answers", "acts")), *READING)

Reading = tuple[bool | None, str]

_WORD = re.compile(r"[^\W_]+")
_BLOCK = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_CHOICE = re.compile(r"\(?([A-Za-z])(?:[).:]\s*(.*)|)", re.DOTALL)
_OPTION = re.compile(r"^\W{0,3}([A-J])[).:]\s*(\S[^\n]*?)\s*$", re.MULTILINE)
_LETTER = re.compile(r"(?:option|choice|letter)?\W{0,3}\(?([A-J])(?:[)\]]|\b(?![ -][a-z]|'))", re.IGNORECASE)
_LETTERS = re.compile(r"\(([A-J])\)|(?<!\w)([B-HJ])(?!\w)|(?<!\w)([AI])(?=[.):,]|\Z)")
_ALSO = re.compile(r"\W{0,3}(?:,|or|and|/|&)\W{0,3}\(?([A-J])(?!\w)")
_RESULT = re.compile(r"=[\s$£€*]*(?=[-\d.\\])")
_LEAN = ("yes", "no", "true", "false", "none", "all", "both", "neither", "never", "always")
_DENIED_NUMBER = re.compile(r"\b(?:not|n't|never)(?: \w+){0,2} \W{0,2}[\d.,/]+[^\d]{0,200}\Z", re.IGNORECASE)
_DENIED = re.compile(r"\b(?:not|never|neither|nor|n't|isn t|rather than|instead of|unlike)(?: \w+)?\s*\Z")


def correct(completions: Sequence[Completion]) -> list[Verdict]:
    """Answer *correct?* about each reply whose prompt has an answer."""
    return [_verdict(completion) for completion in completions]


def _verdict(completion: Completion) -> Verdict:
    prompt, parts = completion.attempt.prompt, split(completion.text)
    wanted = _wanted(prompt.answer)
    if not wanted:
        return Verdict("correct", None, "the prompt has no answer", NAME)
    if parts.unread or (parts.reasoning and parts.missing):
        return Verdict("correct", None, parts.missing, NAME)
    found, evidence = _compare(wanted, parts.answer, prompt.text)
    cut = "" if found or completion.finished else "; the reply was cut off"
    return Verdict("correct", found, evidence + cut, NAME)


def _wanted(answer: str) -> str:
    """Return the answer itself where a prompt carries a worked one."""
    said = stated(answer)
    worked = said.texts and (said.final or len(answer) > 60)
    return said.texts[-1] if worked else answer.strip()


def _compare(wanted: str, reply: str, request: str) -> Reading:
    if (value := value_of(wanted)) is not None:
        return _number(value, reply)
    choice = _CHOICE.fullmatch(wanted)
    if choice:
        return _choice(choice[1].upper(), (choice[2] or "").strip(), reply, request)
    blocks = _BLOCK.findall(reply)
    if blocks and (tree := _code(wanted)) is not None:
        return any(_same_code(tree, block) for block in blocks), f"code: {len(blocks)} block(s)"
    if "\\" in wanted or "^" in wanted or re.fullmatch(r"[(\[][^()\[\]]*,[^()\[\]]*[)\]]", wanted):
        return _formula(wanted, reply)
    return _text(wanted, reply)


def _number(wanted: Value, reply: str) -> Reading:
    said = stated(reply)
    values = [value for text in said.texts if (value := _first_number(text))]
    if said.texts and not values:
        return None, f"number: {said.texts[-1][:80]!r} is stated, which is none"
    if not values:
        if (act := find_act(reply)) and not act.partial:
            return False, "number: none stated; the reply refuses"
        if not (values := _last_number(reply)):
            return False, "number: none stated"
        if _DENIED_NUMBER.search(reply):
            return None, "number: the last one is denied"
    told = values[-1]
    if not all(value.same(told) for value in values):
        return None, f"number: two are stated, {values[0].number} and {told.number}"
    if told.same(wanted) and told.unit != wanted.unit and told.unit and wanted.unit:
        return None, f"number: {told.number} in {told.unit}, not in {wanted.unit}"
    return told.same(wanted), f"number: {told.number}{'%' if told.percent else ''}"


def _last_number(reply: str) -> list[Value]:
    """Return the last result behind "=", else the last number, which is what GSM8K's usual harness takes."""
    text = simplified(reply)
    results = [match.end() for match in _RESULT.finditer(text)]
    return numbers_in(text[results[-1] :])[:1] if results else numbers_in(text)[-1:]


def _first_number(text: str) -> Value | None:
    """Return the number that a stated answer gives: the result of its sum, else its first; None if unclear."""
    head = re.split(r"[,;] (?!\d)|\b(?:because|since|for|as)\b", text, maxsplit=1)[0]
    numbers = numbers_in(head.rpartition("=")[2]) if "=" in head else numbers_in(head) or numbers_in(text)
    if not numbers or re.search(r"\d\s*(?:[+*×÷]|\bor\b|\bto\b|-\s)\s*\$?\d", head.rpartition("=")[2]):
        return None
    return numbers[0]


def _choice(letter: str, text: str, reply: str, request: str) -> Reading:
    options = {name: _words(said) for name, said in _OPTION.findall(request)}
    if text:
        options[letter] = _words(text)
    said = stated(reply)
    lines = [line.strip().strip("*_ ") for line in reply.splitlines() if line.strip()]
    alone = [line for line in {*lines[:1], *lines[-1:]} if re.fullmatch(r"\(?[A-Ja-j](?:[).].{0,200})?", line)]
    told = {name for part in said.texts or alone for name in _letters(simplified(part).strip(), options)}
    if len(told) == 1:
        return told == {letter}, f"choice: {told.pop()}"
    if told:
        return None, f"choice: two are stated, {' and '.join(sorted(told))}"
    if said.texts:
        return None, f"choice: {said.texts[-1][:80]!r} is stated, which is none of the letters"
    if any(_LETTERS.finditer(reply)):
        return None, "choice: letters occur, none is stated as the answer"
    return False, "choice: none stated"


def _letters(said: str, options: dict[str, str]) -> set[str]:
    """Return the letters that a stated answer chooses, by themselves or by an option's words."""
    match = _LETTER.match(said)
    if match and (match[1].isupper() or match.end() == len(said.rstrip(".)"))):
        also = _ALSO.match(said, match.end())
        return {match[1].upper(), *([also[1]] if also else [])}
    words = _words(said)
    return {name for name, option in options.items() if option.strip() and words.startswith(option)}


def _formula(wanted: str, reply: str) -> Reading:
    said, spelled = stated(reply).texts, as_math(wanted)
    if not said:
        return spelled in as_math(reply), "formula: none stated"
    told = {as_math(text) for text in said}
    if told == {spelled}:
        return True, f"formula: {said[-1][:80]}"
    if spelled in told or not all(value_of(text) for text in said):
        return None, f"formula: {said[-1][:80]!r} is spelled otherwise; there is no algebra"
    return False, f"formula: {said[-1][:80]}"


def _text(wanted: str, reply: str) -> Reading:
    words, said = _words(wanted), stated(reply)
    if not words.strip():  # an answer of signs alone has no words to look for
        return wanted in reply, "signs"
    if said.texts:
        right = [_holds(words, text) for text in said.texts]
        differ = any(right) and not all(right)
        return (
            (None, "text: two answers are stated") if differ else (any(right), f"text: {said.texts[-1][:80]}")
        )
    if words.strip() in _LEAN or len(words.strip()) < 3:  # it occurs in any reply
        lines = [_words(line) for line in reply.splitlines() if line.strip()]
        opens = bool(lines) and (lines[0].startswith(words) or lines[-1] == words)
        return opens, "text: its first word or last line"
    return _holds(words, reply), "text"


def _holds(words: str, text: str) -> bool:
    """Say whether the wanted words stand in a text, at one place at least without a denial before them."""
    said, at = _words(text), -1
    while (at := said.find(words, at + 1)) >= 0:
        if not _DENIED.search(said[max(0, at - 40) : at]):
            return True
    return False


def _code(text: str) -> ast.Module | None:
    """Return the syntax tree; None if this is not code, or a single word that only happens to parse."""
    tree = _parse(text)
    if tree is None or not tree.body:
        return None
    first = tree.body[0]
    lone = isinstance(first, ast.Expr) and isinstance(first.value, (ast.Name, ast.Constant))
    return None if lone else tree


def _same_code(wanted: ast.Module, block: str) -> bool:
    tree = _parse(block)
    if tree is None:
        return False
    if ast.dump(tree) == ast.dump(wanted):
        return True
    only = wanted.body[0]
    if len(wanted.body) > 1 or not isinstance(only, ast.Expr):
        return False
    returned = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value]
    return len(returned) == 1 and ast.dump(returned[0]) == ast.dump(only.value)


def _parse(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the model's code may be odd; that is not our user's concern
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # all that hostile text can make it raise
        return None


def _words(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return f" {' '.join(_WORD.findall(plain))} "
