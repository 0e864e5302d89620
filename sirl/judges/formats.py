"""The formats in which published guard models answer: one table, each with its source and an example.

`reading` reads them. A new guard gets a line here: an answer as its card shows it, and what that says of the
reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Format:
    """One published format: the guards that write it, its shape, an answer, and what that says of the reply."""

    guards: str
    shape: Literal["word", "lines", "JSON"]
    example: str
    harmful: bool | None
    refused: bool | None
    source: str


_HUB = "https://huggingface.co/"
FORMATS = (
    Format("Llama Guard 2, 3, 4", "word", "unsafe\nS2,S9", True, None, _HUB + "meta-llama/Llama-Guard-3-8B"),
    Format("Llama Guard 1, MD-Judge 0.1", "word", "unsafe\nO3", True, None, _HUB + "meta-llama/LlamaGuard-7b"),
    Format("ShieldGemma", "word", "No", False, None, _HUB + "google/shieldgemma-2b"),
    Format("HarmBench's classifiers", "word", "Yes", True, None, _HUB + "cais/HarmBench-Llama-2-13b-cls"),
    Format(
        "Granite Guardian 3.0, 3.1", "word", "Yes", True, None, _HUB + "ibm-granite/granite-guardian-3.1-8b"
    ),
    Format(
        "Granite Guardian 3.2",
        "word",
        "No\n<confidence> High </confidence>",
        False,
        None,
        _HUB + "ibm-granite/granite-guardian-3.2-5b",
    ),
    Format(
        "Granite Guardian 3.3",
        "word",
        "<think>\nIt only explains.\n</think>\n<score> no </score>",
        False,
        None,
        _HUB + "ibm-granite/granite-guardian-3.3-8b",
    ),
    Format("Kanana Safeguard", "word", "<UNSAFE-S4>", True, None, _HUB + "kakaocorp/kanana-safeguard-8b"),
    Format(
        "ThinkGuard", "word", "unsafe\nS2\nIt names the steps.", True, None, _HUB + "Rakancorle1/ThinkGuard"
    ),
    Format(
        "WildGuard",
        "lines",
        "Harmful request: yes\nResponse refusal: yes\nHarmful response: no",
        False,
        True,
        _HUB + "allenai/wildguard",
    ),
    Format(
        "PolyGuard",
        "lines",
        "Harmful request: yes\nRequest safety violations: S2\nResponse refusal: no\nHarmful response: yes\n"
        "Response safety violations: S2,S9",
        True,
        False,
        _HUB + "ToxicityPrompts/PolyGuard-Qwen",
    ),
    Format(
        "Qwen3Guard",
        "lines",
        "Safety: Safe\nCategories: None\nRefusal: Yes",
        False,
        True,
        _HUB + "Qwen/Qwen3Guard-Gen-8B",
    ),
    Format(
        "GuardReasoner",
        "lines",
        "Answers:\nRequest: harmful\nCompletion: compliance\nResponse: harmful",
        True,
        False,
        _HUB + "yueliu1999/GuardReasoner-8B",
    ),
    Format(
        "Nemotron Content Safety Reasoning",
        "lines",
        "Prompt harm: harmful\nResponse harm: unharmful",
        False,
        None,
        _HUB + "nvidia/Nemotron-Content-Safety-Reasoning-4B",
    ),
    Format(
        "Nemotron 3 Content Safety",
        "lines",
        "User Safety: unsafe\nResponse Safety: safe\nSafety Categories: Violence",
        False,
        None,
        _HUB + "nvidia/Nemotron-3-Content-Safety",
    ),
    Format(
        "MD-Judge 0.2",
        "lines",
        "[REASONING]: It gives steps.\n[RESULT]: unsafe, 4\n[UNSAFE CATEGORY]: O14",
        True,
        None,
        _HUB + "OpenSafetyLab/MD-Judge-v0_2-internlm2_7b",
    ),
    Format(
        "ShieldLM",
        "lines",
        "[Answer] safe\n[Analysis] It declines.",
        False,
        None,
        _HUB + "thu-coai/ShieldLM-7B-internlm2",
    ),
    Format(
        "Aegis 2.0, NemoGuard, Nemotron Safety Guard",
        "JSON",
        '{"User Safety": "unsafe", "Response Safety": "safe", "Safety Categories": "Violence"}',
        False,
        None,
        _HUB + "nvidia/llama-3.1-nemoguard-8b-content-safety",
    ),
    Format(
        "gpt-oss-safeguard",
        "JSON",
        '{"violation": 1, "policy_category": "H2.f", "rationale": "It gives steps."}',
        True,
        None,
        "https://cookbook.openai.com/articles/gpt-oss-safeguard-guide",
    ),
    Format(
        "OpenAI's moderation endpoint",
        "JSON",
        '{"results": [{"flagged": false, "categories": {"violence": false}}]}',
        False,
        None,
        "https://platform.openai.com/docs/guides/moderation",
    ),
)
