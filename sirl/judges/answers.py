r"""The answer that a text states in the end, in the forms of the usual benchmarks, and numbers by value.

    "#### 7", "\boxed{7}", "the final answer is 7"       stated as final
    "the answer is 7", "Answer: (B)"                      stated

Sources of the forms: GSM8K (arXiv 2110.14168), MATH (arXiv 2103.03874), MMLU as the usual harnesses ask for it.
This module knows text alone: no wanted answer, no verdict.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

LAST = 50  # statements read of each form, from the end: a text that repeats one for ever costs no more
_PLAIN = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w)\]])-\s?)?[$£€¥]?\s?(?P<sign2>(?<=[$£€¥])-)?"
    rf"(?:(?P<whole>\d{{1,6}})\s(?=\d+/\d))?(?<![\w.])(?<!\d,)(?P<top>{_PLAIN})"
    rf"(?:\s?/\s?(?P<under>{_PLAIN}))?"
    r"(?:[eE](?P<e>[+-]?\d{1,4})|\s?[×x*]\s?10\s?\^\s?\{?(?P<ten>[+-]?\d{1,4})\}?"
    r"|\s?\^\s?\{?(?P<power>\d{1,2})\}?)?"
    r"(?![\d/])(?!,\d)(?!\.\d)(?P<percent>\s?%|\s?percent\b)?(?:[ -]?(?P<unit>[A-Za-z]{1,12}))?"
)
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{([^{}]{1,40})\}|(\d))\s*(?:\{([^{}]{1,40})\}|(\d))")
_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox|operatorname)\s*\{([^{}]*)\}")
_SPACES = re.compile(r"\\[,;!: ]|(?<=\d)[\u2009\u202f\u00a0~](?=\d)")
_UNITS = {
    unit: names.split()[0]
    for names in (
        "km kilometer kilometre", "m meter metre", "cm centimeter centimetre", "mm millimeter millimetre",
        "kg kilogram", "g gram", "mg milligram", "l liter litre", "ml milliliter", "h hour hr", "min minute",
        "s second sec", "day", "week", "month", "year", "mile", "foot feet ft", "inch inches", "cent", "dollar",
        "euro", "pound",
    )
    for unit in names.split()
}  # fmt: skip
_FINAL = re.compile(r"####|\bfinal\s+answer\s*(?:is\b|:|=)?(?!n't)", re.IGNORECASE)
_ANSWER = re.compile(
    r"(?<!if the )(?<!whether the )\banswer(?:\s+(?:to|for|of)\b[^.:\n]{1,60}?|\s+here|\s+then)?"
    r"\s*(?:\bis\b(?!n't)|\bwould be\b|\bmust be\b|\bshould be\b|:|=)",
    re.IGNORECASE,
)
_BOX = re.compile(r"\\f?boxed\s*\{")
_SENTENCE = re.compile(r"\n|(?<=[^\s.])[.!?;](?=\s|\Z)")
_NOT = re.compile(r"[\s:]*(?:not|never|un(?:known|clear))\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Value:
    """A number: its value as written, whether as a percentage, and its unit where that is a common one."""

    number: Fraction
    percent: bool
    unit: str

    def same(self, other: Value) -> bool:
        """Say whether both are one number; a percentage is also the number that it stands for."""
        mine, theirs = (v.number / 100 if v.percent else v.number for v in (self, other))
        return self.number == other.number or mine == theirs


@dataclass(frozen=True, slots=True)
class Stated:
    """Answers that a text states, the strongest form only: `final` ones, else those of any sentence."""

    texts: tuple[str, ...]
    final: bool


def stated(text: str) -> Stated:
    """Return what a text states as its answer; none where it uses none of the forms."""
    plain = text.replace("**", "").replace("__", "")
    final = [*_boxes(plain), *_behind(_FINAL, plain)]
    said = [chunk for chunk in final if chunk] or [chunk for chunk in _behind(_ANSWER, plain) if chunk]
    return Stated(tuple(said), final=any(final))


def value_of(text: str) -> Value | None:
    """Return the number that a text is, with a unit or a currency or none; None if it is no single number."""
    plain = simplified(text).strip().strip("$").strip().rstrip(".").strip("()")
    match = _NUMBER.match(plain)
    rest = plain[match.end() :] if match else plain
    words = re.fullmatch(r"(?:[ .\w²³^/-]{0,30})", rest)
    return _value(match) if match and words and not re.search(r"\d", rest) else None


def numbers_in(text: str) -> list[Value]:
    """Return the numbers of a text, in order."""
    return [value for match in _NUMBER.finditer(simplified(text)) if (value := _value(match))]


def simplified(text: str) -> str:
    """Return a text without the dress of LaTeX around numbers: fractions, spaces, units, signs."""
    text = "".join(
        _fraction_sign(sign) for sign in text.replace("−", "-").replace("\\$", "$").replace("\\%", "%")
    )
    text = _SPACES.sub("", text).replace("{,}", ",").replace("\\left", "").replace("\\right", "")
    text = re.sub(r"\^\s*\{?\\circ\}?|\\degree|°", "", text)
    text = _TEXT.sub(r" \1 ", text).replace("\\times", "×").replace("\\cdot", "×")
    for _ in range(3):  # a fraction may stand in a fraction
        text = _FRACTION.sub(lambda m: f"{m[1] or m[2]}/{m[3] or m[4]}", text)
    return text


def as_math(text: str) -> str:
    """Return an expression in one spelling, for comparison as text: no spaces, one kind of fraction."""
    text = text.strip().strip("$").strip()
    text = re.sub(r"^\\[(\[]|\\[)\]]$", "", text).rstrip(".")
    text = _TEXT.sub(r"\1", text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac"))
    text = re.sub(r"\\(?:left|right|[,;!: ])", "", text).replace("\\cdot", "*").replace("−", "-")
    return re.sub(r"\s+", "", text)


def _boxes(text: str) -> Iterator[str]:
    """Return what stands in each box, nested braces included; an unclosed one is none."""
    for match in list(_BOX.finditer(text))[-LAST:]:
        depth, at = 1, match.end()
        while at < min(len(text), match.end() + 500) and depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        if not depth:
            yield text[match.end() : at - 1].strip()


def _behind(form: re.Pattern[str], text: str) -> Iterator[str]:
    """Return the rest of the sentence, or of the next line, behind each use of a form that is not negated."""
    for match in list(form.finditer(text))[-LAST:]:
        rest = text[match.end() : match.end() + 300].lstrip(" \t:*_=")
        rest = rest.lstrip("\n ") if rest.startswith("\n") else rest
        end = _SENTENCE.search(rest)
        chunk = rest[: end.start()] if end else rest
        if chunk.strip() and not _NOT.match(chunk) and not _BOX.search(chunk):
            yield chunk.strip()


def _value(match: re.Match[str]) -> Value | None:
    try:
        number = Fraction(match["top"].replace(",", ""))
        if match["under"]:
            number /= Fraction(match["under"].replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return None
    number = number ** int(match["power"] or 1) + int(match["whole"] or 0)
    exponent = int(match["e"] or match["ten"] or 0)
    number *= Fraction(10) ** exponent
    unit = (match["unit"] or "").lower()
    known = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s")) or ""
    return Value(-number if match["sign"] or match["sign2"] else number, bool(match["percent"]), known)


def _fraction_sign(sign: str) -> str:
    """Return ½ as 1/2; any other sign as it is."""
    spelled = unicodedata.normalize("NFKC", sign) if unicodedata.category(sign) == "No" else ""
    return f" {spelled.replace('⁄', '/')}" if "⁄" in spelled else sign
