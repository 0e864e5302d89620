"""Defences around a model that is not trained: baselines to compare hardening with.

The table below is the whole suite. A defence is a function, `sirl.defences.Defence`, and a user's own is
named `my_pkg.mine:defence`. All wording is ours; the mechanisms are published, each line cites its source,
and where it departs from that stands at the head of its module and in docs/defences.md. This room opens no
model: what a defence needs comes as `Means`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sirl.defences.altering import Paraphrase, Retokenize, SmoothLLM
from sirl.defences.checking import check_defence
from sirl.defences.contract import Behind, Defence, DefenceInfo, Means, defend, last_text, refusal
from sirl.defences.filtering import ERASED, EraseAndCheck, GuardInput, GuardOutput, PerplexityFilter
from sirl.defences.wording import Changed, after_refusals, reminded
from sirl.errors import DefenceError, suggest
from sirl.plugins import load_plugin

__all__ = [
    "DEFENCES",
    "MODELS",
    "Behind",
    "Defence",
    "DefenceInfo",
    "Means",
    "check_defence",
    "defend",
    "get_defence",
    "last_text",
    "refusal",
]

_JAIN = "arXiv 2309.00614"
DEFENCES: Mapping[str, DefenceInfo] = {
    info.name: info
    for info in (
        DefenceInfo(
            "self_reminder",
            "wording",
            "Xie et al., Nature Machine Intelligence 2023",
            "The request between two reminders to be responsible.",
            Changed(reminded),
            calls=1,
        ),
        DefenceInfo(
            "in_context_refusals",
            "wording",
            "arXiv 2310.06387",
            "Refused requests in earlier turns; the requests shown are harmless.",
            Changed(after_refusals),
            calls=1,
        ),
        DefenceInfo(
            "smooth_llm",
            "disturbed copies",
            "arXiv 2310.03684",
            "Ten copies, a tenth of their characters swapped, and a majority of replies.",
            SmoothLLM(),
            calls=10,
        ),
        DefenceInfo(
            "paraphrase",
            "rewording",
            _JAIN,
            "The request in other words, by the model itself or by another.",
            Paraphrase(),
            calls=2,
        ),
        DefenceInfo(
            "retokenize",
            "tokens",
            _JAIN,
            "The request in smaller tokens than usual.",
            Retokenize(),
            calls=1,
            needs_weights=True,
        ),
        DefenceInfo(
            "perplexity_filter",
            "filter of requests",
            f"{_JAIN}, arXiv 2308.14132",
            "Refuses what is less likely than any plain request.",
            PerplexityFilter(),
            calls=0,
            needs_weights=True,
        ),
        DefenceInfo(
            "guard_input",
            "filter of requests",
            "arXiv 2312.06674",
            "Refuses what a guard model finds harmful.",
            GuardInput(),
            calls=2,
        ),
        DefenceInfo(
            "guard_output",
            "filter of replies",
            "arXiv 2312.06674",
            "Withholds a reply that a guard model, or another judge, finds harmful.",
            GuardOutput(),
            calls=0,
        ),
        DefenceInfo(
            "erase_and_check",
            "filter of requests",
            "arXiv 2309.02705",
            "Refuses what is found harmful whole, or without its last words.",
            EraseAndCheck(),
            calls=ERASED + 2,
        ),
    )
}
MODELS: Mapping[str, str] = {  # defence -> what its NAME=MODEL is
    "paraphrase": "writer",
    "guard_input": "guard",
    "guard_output": "judge",
    "erase_and_check": "guard",
}


def get_defence(words: str) -> tuple[DefenceInfo, str]:
    """Return a defence and the words of its model, empty for none.

    `words` are `NAME`, `NAME=MODEL` or `my_pkg.mine:defence`.

    Raises DefenceError on an unknown name, a module that cannot be imported, or a model for a defence without.
    """
    name, _, model = words.partition("=")
    if name in DEFENCES:
        if model and name not in MODELS:
            found = f"a model ({model}) for defence {name!r}"
            raise DefenceError(found, f"the name alone; {', '.join(MODELS)} take one", "leave it out")
        return DEFENCES[name], model
    if ":" in words:
        return _imported(words), ""
    known = suggest(name, DEFENCES)
    raise DefenceError(f"defence {words!r}", "a known name, NAME=MODEL or module:function", known)


def _imported(path: str) -> DefenceInfo:
    """Import `module:function`; a DefenceInfo in its place keeps what it says of itself."""
    found = load_plugin(path, "defence", DefenceError, DefenceInfo)
    if isinstance(found, DefenceInfo):
        return replace(found, name=path)
    summary = (getattr(found, "__doc__", None) or "").strip().partition("\n")[0]
    return DefenceInfo(path, "custom", path, summary, found)
