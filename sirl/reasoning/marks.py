"""The marks that published model families put around their reasoning, each with its source.

A mark is written in one of a few manners: `<think>`, `[THINK]`, `<|begin_of_thought|>`, `◁think▷`, with `/`,
`end` or `suffix` in the closing one. `tokens` reads that grammar, so that one line of the table covers every
case and spacing of its mark, and a name outside of the table that speaks of reasoning is still noticed. The few
families that follow no such grammar are `ODD`, and OpenAI's channels have a reader of their own in `channels`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

Kind = Literal["open", "close", "answer", "end"]


@dataclass(frozen=True, slots=True)
class Marks:
    """What opens and closes a family's reasoning, and what is known to mark its answer (`end` closes that)."""

    families: str
    open: str
    close: str
    source: str
    answer: str = ""
    end: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A mark found in a text: where it stands, what it does, whose it is, whether the table knows it."""

    start: int
    stop: int
    kind: Kind
    key: str
    known: bool


_HUB = "https://huggingface.co/"
_VLLM = "https://github.com/vllm-project/vllm/tree/main/vllm/reasoning/"
TABLE = (
    Marks(
        "DeepSeek R1 and V3.1, Qwen 3, QwQ, GLM 4.5, MiniMax M1 and M2, Nemotron, Phi-4-reasoning, OLMo 3, "
        "SmolLM 3, MiMo, Magistral 2506",
        "<think>",
        "</think>",
        _VLLM + "deepseek_r1_reasoning_parser.py",
    ),
    Marks("Hunyuan A13B", "<think>", "</think>", _VLLM, "<answer>", "</answer>"),
    Marks("Granite 3.3, ERNIE 4.5", "<think>", "</think>", _VLLM, "<response>", "</response>"),
    Marks("Reflection", "<thinking>", "</thinking>", _HUB + "mattshumer/Reflection-Llama-3.1-70B", "<output>"),
    Marks("Reflection", "<reflection>", "</reflection>", _HUB + "mattshumer/Reflection-Llama-3.1-70B"),
    Marks("EXAONE Deep", "<thought>", "</thought>", _HUB + "LGAI-EXAONE/EXAONE-Deep-7.8B"),
    Marks("Marco-o1", "<Thought>", "</Thought>", _HUB + "AIDC-AI/Marco-o1", "<Output>", "</Output>"),
    Marks("prompts in the style of R1", "<reasoning>", "</reasoning>", _HUB + "docs/trl", "<answer>"),
    Marks("Seed-OSS", "<seed:think>", "</seed:think>", _VLLM + "seedoss_reasoning_parser.py"),
    Marks("LongCat", "<longcat_think>", "</longcat_think>", _HUB + "meituan-longcat/LongCat-Flash-Thinking"),
    Marks("Magistral 2507 and later", "[THINK]", "[/THINK]", _VLLM + "mistral_reasoning_parser.py"),
    Marks("Kimi-VL, Kimi k1.5", "◁think▷", "◁/think▷", _HUB + "moonshotai/Kimi-VL-A3B-Thinking"),
    Marks(
        "Sky-T1, OpenThinker",
        "<|begin_of_thought|>",
        "<|end_of_thought|>",
        _HUB + "open-thoughts/OpenThinker-7B",
        "<|begin_of_solution|>",
        "<|end_of_solution|>",
    ),
    Marks(
        "Command R7B, Command A Reasoning",
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        _HUB + "CohereLabs/command-a-reasoning-08-2025",
        "<|START_RESPONSE|>",
        "<|END_RESPONSE|>",
    ),
    Marks("Apertus", "<|inner_prefix|>", "<|inner_suffix|>", _HUB + "swiss-ai/Apertus-8B-Instruct-2509"),
)
# Families outside of the grammar. White space between the parts of a mark may differ in what a model writes.
ODD = (
    Marks("Gemma 4", "<|channel>thought", "<channel|>", _HUB + "google/gemma-4-E2B-it"),
    Marks("s1", "<|im_start|>think", "<|im_start|>answer", _HUB + "simplescaling/s1.1-32B"),
    Marks(
        "Solar Open", "<|think|>", "<|end|> <|begin|>assistant <|content|>", _HUB + "upstage/Solar-Open-100B"
    ),
    Marks("Solar Open", "<|think|>", "<|end|> <|content|>", _HUB + "upstage/Solar-Open-100B"),
    Marks(
        "Granite 3.2",
        "Here is my thought process:",
        "Here is my response:",
        _VLLM + "granite_reasoning_parser.py",
    ),
    Marks("Granite 3.2", "Here's my thought process:", "Here's my response:", _VLLM),
    Marks("HuatuoGPT-o1", "## Thinking", "## Final Response", _HUB + "FreedomIntelligence/HuatuoGPT-o1-8B"),
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of a mark's name. A strong one tells by itself, whatever brand stands beside it (`longcat_think`).
_STRONG = _words(
    "think thinking thinks thought thoughts reasoning cot scratchpad reflection deliberation monologue"
)
_WEAK = _words(
    """reason reflect reflecting analysis rationale ponder pondering contemplate contemplation contemplator
    deliberate deliberating brainstorm brainstorming musing musings"""
)
_FILLING = _words("inner internal hidden private chain step steps process trace block section mind")
_ANSWERS = _words("answer response solution output final conclusion content reply box")
_CLOSING, _OPENING, _LINKS = (
    _words("end close stop suffix"),
    _words("begin start open prefix"),
    _words("of the my"),
)
_NAME = r"/?[A-Za-z][\w:. |-]{0,38}?"
_GRAMMAR = re.compile(
    rf"<\|(?P<bar>{_NAME})\|>|<｜(?P<wide>/?[\w▁]{{1,38}})｜>|◁(?P<kimi>{_NAME})▷"
    rf"|\[(?P<square>/?[A-Za-z][A-Za-z_]{{1,38}})\]|<(?P<angle>/?[A-Za-z][\w:.-]{{0,38}})(?:\s[^<>\n]{{0,80}})?>"
)
_WORD = re.compile(r"[A-Za-z]+")


def tokens(text: str, own: Sequence[Marks] = ()) -> list[Token]:
    """Return the marks of reasoning and of answers in a text, in order; `own` are those of one more family."""
    found = [token for marks in (*own, *ODD) for token in _literal(text, marks)]
    taken = [(token.start, token.stop) for token in found]
    for match in _GRAMMAR.finditer(text):
        if read := read_mark(match.group()):
            inside = any(match.start() < stop and start < match.end() for start, stop in taken)
            if not inside:
                kind, key = read
                found.append(Token(match.start(), match.end(), kind, key, key in _known()))
    return sorted(found, key=lambda token: (token.start, -token.stop))


@cache
def read_mark(mark: str) -> tuple[Kind, str] | None:
    """Return what one mark does and its key, which a pair shares; None if it is no mark of either sort."""
    match = _GRAMMAR.fullmatch(mark)
    if not match:
        return None
    manner = str(match.lastgroup)
    name = match[manner]
    words = [word.lower() for word in _WORD.findall(name.replace("_", " ").replace("▁", " "))]
    closing = name.startswith("/") or any(word in _CLOSING for word in words)
    core = [word for word in words if word not in _CLOSING | _OPENING | _LINKS]
    if not core or len(core) > 4:
        return None
    key = f"{manner} {' '.join(core)}"
    weak = _WEAK & set(core) and set(core) <= _WEAK | _FILLING and manner != "square"
    if _STRONG & set(core) or weak or (manner == "bar" and core == ["inner"]):
        return ("close" if closing else "open"), key
    if set(core) <= _ANSWERS and manner != "square":
        return ("end" if closing else "answer"), key
    return None


def is_mark(token: str) -> bool:
    """Say whether a special token of a tokenizer is a mark of reasoning, or of an answer."""
    return read_mark(token) is not None


def _literal(text: str, marks: Marks) -> Iterator[Token]:
    key = f"odd {marks.open}"
    parts: tuple[tuple[str, Kind], ...] = (
        (marks.open, "open"),
        (marks.close, "close"),
        (marks.answer, "answer"),
        (marks.end, "end"),
    )
    for literal, kind in parts:
        if not literal or not all(part in text for part in literal.split()):
            continue
        pattern = r"\s*".join(re.escape(part) for part in literal.split())
        for match in re.finditer(pattern, text):
            yield Token(match.start(), match.end(), kind, key, True)


@cache
def _known() -> frozenset[str]:
    found = (read_mark(mark) for marks in TABLE for mark in (marks.open, marks.close))
    return frozenset(key for read in found if read for key in (read[1],))
