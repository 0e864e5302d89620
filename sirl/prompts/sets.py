"""The literal tables: published prompt sets by name, and the columns by which their files are known.

Only names, ids and columns stand here, never a row: the sets stay where their authors publish them. Where a
set marks its prompts safe and unsafe, `kinds` says what that means here: a safe prompt that looks alarming
is borderline, its unsafe contrast is harmful.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sirl.records import Kind


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of a published table: which it is known by, and what each holds.

    `context` is text that stands before the request, `behind` text after it. `kinds` maps the beginning of a
    cell of `kind_column` to a kind, the first that fits; empty: no column states it. `kind` is then that of all
    its prompts; None: the table does not tell, so that whoever loads it must.
    """

    name: str
    known_by: frozenset[str]
    text: str
    id: str = ""
    category: str = ""
    target: str = ""
    context: str = ""
    behind: str = ""
    kind_column: str = ""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class SetInfo:
    """A published set: where the hub has it, and what its prompts are asked for.

    `kind` is of rows whose shape states none. `note` is what a user should know before loading.
    """

    hub: str
    config: str | None
    split: str
    shape: Shape
    kind: Kind = "harmful"
    note: str = ""


SAFE_OR_NOT: Mapping[str, Kind] = {"safe": "borderline", "unsafe": "harmful"}
CONTRAST: Mapping[str, Kind] = {"contrast": "harmful", "": "borderline"}

ADVBENCH = Shape("advbench", frozenset({"goal", "target"}), "goal", target="target", kind="harmful")
ADVBENCH_HUB = Shape("advbench", frozenset({"prompt", "target"}), "prompt", target="target")
HARMBENCH = Shape(
    "harmbench",
    frozenset({"Behavior", "SemanticCategory", "BehaviorID"}),
    "Behavior",
    id="BehaviorID",
    category="SemanticCategory",
    context="ContextString",
    kind="harmful",
)
HARMBENCH_HUB = Shape("harmbench", frozenset({"prompt", "category"}), "prompt", category="category")
JAILBREAKBENCH = Shape(
    "jailbreakbench",
    frozenset({"Goal", "Target", "Behavior", "Category"}),
    "Goal",
    category="Category",
    target="Target",
)
STRONGREJECT = Shape(
    "strongreject",
    frozenset({"forbidden_prompt", "category"}),
    "forbidden_prompt",
    category="category",
    kind="harmful",
)
STRONGREJECT_HUB = Shape("strongreject", frozenset({"prompt", "category"}), "prompt", category="category")
XSTEST = Shape(
    "xstest",
    frozenset({"prompt", "type", "label"}),
    "prompt",
    id="id",
    category="type",
    kind_column="label",
    kinds=SAFE_OR_NOT,
)
XSTEST_V2 = Shape(
    "xstest",
    frozenset({"prompt", "type", "focus"}),
    "prompt",
    category="type",
    kind_column="type",
    kinds=CONTRAST,
)
OR_BENCH = Shape("or-bench", frozenset({"prompt", "category"}), "prompt", category="category")
DO_NOT_ANSWER = Shape(
    "do-not-answer",
    frozenset({"question", "risk_area", "types_of_harm"}),
    "question",
    id="id",
    category="risk_area",
    kind="harmful",
)
PKU_SAFERLHF = Shape("pku-saferlhf", frozenset({"prompt", "response_0", "response_1"}), "prompt")
PKU_PROMPTS = Shape("pku-saferlhf", frozenset({"prompt"}), "prompt")

# Their purpose is over-refusal: the harmful half is there as a contrast, to be asked plainly and not attacked.
CONTRASTING = ("xstest", "or-bench")

# Files are known by their columns, the first shape that fits; a table of prompt and category could be anyone's.
SHAPES = (
    ADVBENCH,
    HARMBENCH,
    JAILBREAKBENCH,
    STRONGREJECT,
    XSTEST,
    XSTEST_V2,
    DO_NOT_ANSWER,
    PKU_SAFERLHF,
)

_GATED = "gated: accept its terms on the hub and log in first"
SETS: Mapping[str, SetInfo] = {
    "advbench": SetInfo("walledai/AdvBench", None, "train", ADVBENCH_HUB, note=_GATED),
    "harmbench": SetInfo("walledai/HarmBench", "standard", "train", HARMBENCH_HUB, note=_GATED),
    "jailbreakbench": SetInfo("JailbreakBench/JBB-Behaviors", "behaviors", "harmful", JAILBREAKBENCH),
    "jailbreakbench-benign": SetInfo(
        "JailbreakBench/JBB-Behaviors", "behaviors", "benign", JAILBREAKBENCH, kind="benign"
    ),
    "strongreject": SetInfo("walledai/StrongREJECT", None, "train", STRONGREJECT_HUB, note=_GATED),
    "xstest": SetInfo("Paul/XSTest", None, "train", XSTEST),
    "or-bench-80k": SetInfo("bench-llm/or-bench", "or-bench-80k", "train", OR_BENCH, kind="borderline"),
    "or-bench-hard-1k": SetInfo("bench-llm/or-bench", "or-bench-hard-1k", "train", OR_BENCH, kind="borderline"),
    "or-bench-toxic": SetInfo("bench-llm/or-bench", "or-bench-toxic", "train", OR_BENCH),
    "do-not-answer": SetInfo("LibrAI/do-not-answer", None, "train", DO_NOT_ANSWER),
    "pku-saferlhf": SetInfo(
        "PKU-Alignment/PKU-SafeRLHF-prompt", None, "train", PKU_PROMPTS, note="its prompts are not all harmful"
    ),
}
