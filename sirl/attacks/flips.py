"""Write a request backwards and have it turned round again, in four ways, with more and more help to read it.

Every way is undone exactly. `fmm` flips like `fcs` and tells the model that the words are in the opposite
order. What helps adds up: each step of the solution after another (`cot`), the task set out as a role with its
rules (`langgpt`), and halves of the request itself as examples (`few_shot`). This module refuses to know
whether a model can read any of them.

Source: arXiv 2410.02832; its code, whose names these are (yueliu1999/FlipAttack: src/flip_attack.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sirl.attacks.encodings import flip
from sirl.attacks.info import Recover
from sirl.attacks.static import PLACEHOLDER, read_lines, read_template, say
from sirl.records import Attempt, Prompt, Target

NAME = "flip_attack"
EXAMPLE = "Water the two roses"


def flip_order(text: str) -> str:
    """Put the words in the opposite order, and the spaces with them; twice gives the text back."""
    return "".join(re.findall(r"\s+|\S+", text)[::-1])


def flip_words(text: str) -> str:
    """Write each word from its last character to its first; twice gives the text back."""
    return re.sub(r"\S+", lambda word: word[0][::-1], text)


# How the request is written, and how the examples are, by which the model is told to read it.
MODES: Mapping[str, tuple[Callable[[str], str], Callable[[str], str]]] = {
    "fwo": (flip_order, flip_order),
    "fcw": (flip_words, flip_words),
    "fcs": (flip, flip),
    "fmm": (flip, flip_order),
}
HELP = ("cot", "langgpt", "few_shot")  # each comes with those before it, as in the paper's table


@dataclass(frozen=True, slots=True)
class Flipped:
    """Send each request flipped by `mode`, with as many of `HELP` as `helped` says."""

    mode: str = "fcs"
    helped: int = 0

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return each prompt in one message of the user."""
        del target, budget, seed  # a static attack asks nothing and draws nothing
        return [Attempt(prompt, NAME, say(self.write(prompt.text))) for prompt in prompts]

    @property
    def recover(self) -> Recover:
        """Read the request back."""
        return self.read

    def write(self, request: str) -> str:
        """Return the message."""
        given, said = HELP[: self.helped], read_lines(f"{NAME}.lines")
        places = {
            "role": said["role"].replace("\\n", "\n") if "langgpt" in given else "",
            "is": said[f"{self.mode}.is"],
            "undo": said[f"{self.mode}.undo"] + self._examples(request, given),
            "cot": said["cot"] if "cot" in given else "",
        }
        text = re.sub(r"\{(\w+)\}", lambda m: places.get(m[1], m[0]), read_template(NAME))
        before, _, after = text.rpartition(PLACEHOLDER)  # an example may hold a placeholder too
        return before + MODES[self.mode][0](request) + after

    def read(self, text: str) -> str:
        """Undo `write`. Raises ValueError if the message is none of this attack's.

        Examples and request may hold the mark that stands before the request: the one is right whose request
        makes the message.
        """
        opening, closing = read_template(NAME).rpartition("\n\n")[2].split(PLACEHOLDER)
        for mark in re.finditer(re.escape(opening), text):
            request = MODES[self.mode][0](text[mark.end() : len(text) - len(closing)])
            if self.write(request) == text:
                return request
        raise ValueError("the text was not made from this template")

    def _examples(self, request: str, given: Sequence[str]) -> str:
        """Return examples to read by: halves of the request where `few_shot` is given, else one of ours."""
        if "langgpt" not in given:
            return ""
        words = re.findall(r"\s*\S+", request)
        middle = (len(words) + 1) // 2
        halves = ["".join(half).strip() for half in (words[:middle], words[middle:])]
        shown = [EXAMPLE, *(half for half in halves if half)] if "few_shot" in given else [EXAMPLE]
        turn = MODES[self.mode][1]
        return ", as in " + ", ".join(f"'{turn(text)}' -> '{text}'" for text in shown)


def variants() -> dict[str, Flipped]:
    """Return the other published combinations by name: `fwo`, `fmm+cot`, `fcs+cot+langgpt+few_shot` ..."""
    found = {
        "+".join((mode, *HELP[:count])): Flipped(mode, count)
        for mode in MODES
        for count in range(len(HELP) + 1)
    }
    return {name: run for name, run in found.items() if run != Flipped()}
