"""Skills by lm-evaluation-harness: its tasks, its filters, its scores; our sampler, our records.

    suites    names of suites; where the data of our own tasks come from
    tasks/    our own tasks, as the harness reads them
    loading   names -> tasks with their requests, or why they cannot be measured here
    model     a target of ours as a model of the harness
    running   the loop: replies, scores, refusals, lines on disk

Needs the extra `skills`. Beside each score stands how the replies went: a model that refuses, or rambles until
it is cut off, scores as one that knows nothing.
"""

from sirl.harness.loading import Ready, find_tasks, prepare, prompts_task
from sirl.harness.model import SkillModel
from sirl.harness.running import Skills, aggregates, graded, measure
from sirl.harness.suites import ORIGINS, SUITES, TASKS, named

__all__ = [
    "ORIGINS",
    "SUITES",
    "TASKS",
    "Ready",
    "SkillModel",
    "Skills",
    "aggregates",
    "find_tasks",
    "graded",
    "measure",
    "named",
    "prepare",
    "prompts_task",
]
