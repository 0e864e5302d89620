"""The lines of the table for searches that need no more of the model under test than its replies.

Budgets are the published ones: 20 reformulations into another tense, PAIR 30 streams of 3, TAP the most that a
tree 10 wide and 10 deep can send with 4 children a leaf, GPTFuzzer 500 a question, ReNeLLM 20 iterations,
Crescendo 10 talks of 10 rounds, Best-of-N 10,000 samples, decoding one reply a setting.
"""

from __future__ import annotations

from sirl.attacks.best_of_n import BestOfN
from sirl.attacks.crescendo import Crescendo
from sirl.attacks.decoding import SETTINGS, DecodingSweep
from sirl.attacks.fuzzing import GptFuzzer
from sirl.attacks.info import AttackInfo
from sirl.attacks.nesting import ReNeLlm
from sirl.attacks.refinement import Pair, Tap
from sirl.attacks.reformulation import Reformulation
from sirl.records import Attack


def _line(name: str, mechanism: str, source: str, summary: str, run: Attack, *, budget: int) -> AttackInfo:
    """Return the table's line for a search that needs no more of the model than its replies."""
    return AttackInfo(name, mechanism, "black-box", "adaptive", source, summary, run, budget)


_TENSE = "arXiv 2407.11969"

BLACK_BOX = (
    _line(
        "past_tense",
        "tense",
        _TENSE,
        "An attacker model asks how people did it in the past, in one form after another.",
        Reformulation("past_tense"),
        budget=20,
    ),
    _line(
        "future_tense",
        "tense",
        _TENSE,
        "An attacker model asks how people will do it in the future, in one form after another.",
        Reformulation("future_tense"),
        budget=20,
    ),
    _line(
        "renellm",
        "scenario nesting",
        "arXiv 2311.08268",
        "Rewords the request, then nests it in code, a table or a text to complete.",
        ReNeLlm(),
        budget=20,
    ),
    _line(
        "pair",
        "refinement",
        "arXiv 2310.08419",
        "An attacker model refines its message after each result.",
        Pair(),
        budget=90,
    ),
    _line(
        "tap",
        "refinement",
        "arXiv 2312.02119",
        "A tree of refinements; off-topic ones are not sent, the best are refined further.",
        Tap(),
        budget=340,
    ),
    _line(
        "gptfuzzer",
        "template fuzzing",
        "arXiv 2309.10253",
        "An attacker model mutates templates; those that work are kept.",
        GptFuzzer(),
        budget=500,
    ),
    _line(
        "crescendo",
        "multi-turn",
        "arXiv 2404.01833",
        "Leads from a harmless question to the request over several turns.",
        Crescendo(),
        budget=100,
    ),
    _line(
        "best_of_n",
        "random slips",
        "arXiv 2412.03556",
        "The request with random typing errors, many times.",
        BestOfN(),
        budget=10_000,
    ),
    _line(
        "decoding",
        "decoding settings",
        "arXiv 2310.06987",
        "The plain request at other temperatures, top-p and top-k.",
        DecodingSweep(),
        budget=len(SETTINGS),
    ),
)
