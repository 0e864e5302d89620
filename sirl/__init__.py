"""Safety Instincts Reinforcement Learning: measure, harden and evaluate chat models (arXiv 2510.01088).

    model = sirl.load("Qwen/Qwen2.5-3B-Instruct", dtype="bfloat16")
    prompts = sirl.load_prompts("advbench", limit=100)
    gap = sirl.gap(model, prompts, out="runs/gap")
    trained = sirl.train(model, sirl.load_prompts("mine.jsonl"), out="runs/train")
    after = sirl.evaluate(trained.model, prompts, attacks=["static", "gcg"], out="runs/after")

Names are imported when they are first used: `import sirl` imports neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sirl.prompts import PromptSet
    from sirl.records import Attempt, Completion, Prompt, Rate, Record, Verdict
    from sirl.workflows import (
        evaluate,
        export,
        gap,
        judge,
        load,
        load_prompts,
        merge,
        plan,
        report,
        skills,
        study,
        train,
    )
    from sirl.workflows.attack_tools import AttackTools
    from sirl.workflows.models import Model
    from sirl.workflows.runs import (
        EvaluationSummary,
        GapSummary,
        Records,
        Run,
        SkillsSummary,
        StudySummary,
        TrainingSummary,
    )
    from sirl.workflows.sources import PromptSources

__all__ = (
    "AttackTools", "Attempt", "Completion", "EvaluationSummary", "GapSummary", "Model", "Prompt", "PromptSet",
    "PromptSources", "Rate", "Record", "Records", "Run", "SkillsSummary", "StudySummary", "TrainingSummary",
    "Verdict", "evaluate", "export", "gap", "judge", "load", "load_prompts", "merge", "plan", "report",
    "skills", "study", "train",
)  # fmt: skip
_WHERE = {
    "prompts": ("PromptSet",),
    "records": ("Attempt", "Completion", "Prompt", "Rate", "Record", "Verdict"),
    "workflows.attack_tools": ("AttackTools",),
    "workflows.models": ("Model",),
    "workflows.sources": ("PromptSources",),
    "workflows.runs": (
        "EvaluationSummary",
        "GapSummary",
        "Records",
        "Run",
        "SkillsSummary",
        "StudySummary",
        "TrainingSummary",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sirl' has no attribute {name!r}")
    where = next((module for module, names in _WHERE.items() if name in names), "workflows")
    return getattr(import_module(f"sirl.{where}"), name)


def __dir__() -> list[str]:
    return [*__all__]
