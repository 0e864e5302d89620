"""Is the reply correct? Compared with the answer that the prompt carries, offline, without a model.

    number   the number the reply states as its answer (after "answer is", "=", "####" or in a box), else
             its last number, equals the answer in value
    code     a fenced Python block of the reply has the syntax tree of the answer, or, where the answer is
             one expression, returns it; nothing is run
    text     the answer stands in the reply, whole words, without regard to case and punctuation

None when the prompt has no answer. What is only thought does not count. A reply that was cut off before its
answer did not give it: that is no.
"""

from __future__ import annotations

import ast
import re
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path

from sirl.judges.acts import without_thinking
from sirl.judges.identity import identify
from sirl.records import Completion, Verdict

NAME = identify("exact", __file__, Path(__file__).with_name("acts.py"))

_NUMBER = re.compile(r"[-−]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
_STATED = re.compile(
    r"(?:\banswer(?: is|:)?|=|####|\\boxed\{)[\s*$£€:]*(" + _NUMBER.pattern + ")", re.IGNORECASE
)
_WORD = re.compile(r"[^\W_]+")
_BLOCK = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


def correct(completions: Sequence[Completion]) -> list[Verdict]:
    """Answer *correct?* about each reply whose prompt has an answer."""
    return [_verdict(completion) for completion in completions]


def _verdict(completion: Completion) -> Verdict:
    wanted = completion.attempt.prompt.answer
    if not wanted.strip():
        return Verdict("correct", None, "the prompt has no answer", NAME)
    found, evidence = _compare(wanted, without_thinking(completion.text))
    cut = "" if found or completion.finished else "; the reply was cut off"
    return Verdict("correct", found, evidence + cut, NAME)


def _compare(wanted: str, reply: str) -> tuple[bool, str]:
    if _NUMBER.fullmatch(wanted.strip()):
        stated = _stated_number(reply)
        same = stated is not None and _value(stated) == _value(wanted.strip())
        return same, f"number: {stated or 'none stated'}"
    blocks = _BLOCK.findall(reply)
    if blocks and (tree := _code(wanted)) is not None:
        return any(_same_code(tree, block) for block in blocks), f"code: {len(blocks)} block(s)"
    words = _words(wanted)
    if not words.strip():  # an answer of signs alone has no words to look for
        return wanted.strip() in reply, "signs"
    return words in _words(reply), "text"


def _stated_number(reply: str) -> str | None:
    numbers = _STATED.findall(reply) or _NUMBER.findall(reply)
    return numbers[-1] if numbers else None


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


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
