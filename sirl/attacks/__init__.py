"""Attacks: change what is sent, so that a model that refuses a request may comply with it.

The table below is the whole suite; there is no registry. An attack is a function, `sirl.records.Attack`,
and a user's own is named `my_pkg.mine:attack`. All wording is ours; the mechanisms are published, and each
line cites its source. This room refuses to know judges, training and any particular model: what an adaptive
attack needs of the model under test comes through `sirl.records.Target`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

from sirl.attacks.attacker import WRITING, instructions
from sirl.attacks.best_of_n import BestOfN
from sirl.attacks.contract import SEARCHING, AttackInfo, Means, arm, attack_prompts, unmet
from sirl.attacks.crescendo import Crescendo
from sirl.attacks.decoding import SETTINGS, DecodingSweep
from sirl.attacks.demonstrations import ica, many_shot
from sirl.attacks.encodings import encoded, flip, leet, rot13
from sirl.attacks.fuzzing import GptFuzzer
from sirl.attacks.nesting import ReNeLlm
from sirl.attacks.random_search import RandomSearch
from sirl.attacks.refinement import Pair, Tap
from sirl.attacks.splitting import payload_splitting
from sirl.attacks.static import AFFIRMATION, TEMPLATES, Rewrite, say, static_attack, templated
from sirl.attacks.tense import future_tense, past_tense
from sirl.errors import AttackError, suggest
from sirl.plugins import load_plugin
from sirl.records import Attack

__all__ = [
    "ATTACKS",
    "GROUPS",
    "PAPER",
    "WRITING",
    "AttackInfo",
    "Means",
    "arm",
    "attack_prompts",
    "get_attacks",
    "instructions",
    "template_hashes",
    "unmet",
]

_IN_THE_WILD = "arXiv 2308.03825"  # jailbreaks collected from users, whence the field's names
_JAILBROKEN = "arXiv 2307.02483"
_TENSE = "arXiv 2407.11969"
_ADAPTIVE = "arXiv 2404.02151"


def _static(name: str, mechanism: str, source: str, summary: str, rewrite: Rewrite | None = None) -> AttackInfo:
    """Return the table's line for a rewrite, or for the template of the same name."""
    run = static_attack(name, rewrite or templated(name))
    return AttackInfo(name, mechanism, "none", "static", source, summary, run)


def _black_box(name: str, mechanism: str, source: str, summary: str, run: Attack, *, budget: int) -> AttackInfo:
    """Return the table's line for a search that needs no more of the model than its replies."""
    return AttackInfo(name, mechanism, "black-box", "adaptive", source, summary, run, budget)


ATTACKS: Mapping[str, AttackInfo] = {
    info.name: info
    for info in (
        _static("direct", "none", "baseline", "The request as it is.", say),
        _static("aim", "persona", _IN_THE_WILD, "A scheming adviser in a play answers his patron."),
        _static("dev_mode_v2", "developer mode", _IN_THE_WILD, "A test mode asks for a second, raw reply."),
        _static("better_dan", "persona", _IN_THE_WILD, "A role that has broken free of every rule."),
        _static("anti_gpt_v2", "opposite answer", _IN_THE_WILD, "The usual reply, then its opposite."),
        _static("refusal_suppression", "refusal suppression", _JAILBROKEN, "Rules that forbid refusing words."),
        _static("prefix_injection", "prefix injection", _JAILBROKEN, "The reply must open with agreement."),
        _static("style_rules", "style rules", _JAILBROKEN, "A numbered list of short words, no warnings."),
        _static("deep_inception", "nested fiction", "arXiv 2311.03191", "A story within a dream in a story."),
        _static("past_tense", "tense", _TENSE, "How did people do it in the past?", past_tense),
        _static("future_tense", "tense", _TENSE, "How will people do it in the future?", future_tense),
        _static("ica", "demonstrations", "arXiv 2310.06387", "Three earlier turns that helped.", ica),
        _static(
            "many_shot",
            "demonstrations",
            "Anil et al., NeurIPS 2024",
            "Twelve helpful exchanges, written inside one message.",
            many_shot,
        ),
        _static("rot13", "encoding", _JAILBROKEN, "Letters moved by thirteen.", encoded("rot13", rot13)),
        _static("leetspeak", "encoding", _JAILBROKEN, "Digits for letters.", encoded("leetspeak", leet)),
        _static(
            "flip_attack", "encoding", "arXiv 2410.02832", "Written backwards.", encoded("flip_attack", flip)
        ),
        _static(
            "payload_splitting",
            "splitting",
            "arXiv 2302.05733",
            "Named pieces, to be joined and answered.",
            payload_splitting,
        ),
        AttackInfo(
            "prefill",
            "prefilled reply",
            "prefill",
            "static",
            _ADAPTIVE,
            "The reply is begun for the model, with agreement.",
            static_attack("prefill", say, prefill=AFFIRMATION),
        ),
        AttackInfo(
            "random_search",
            "suffix search",
            "logprobs",
            "adaptive",
            _ADAPTIVE,
            "Random search over a suffix that makes agreement likely.",
            RandomSearch(),
            budget=1024,
        ),
        _black_box(
            "renellm",
            "scenario nesting",
            "arXiv 2311.08268",
            "Reworded, then nested in code to complete, a table to fill, or a text to continue.",
            ReNeLlm(),
            budget=20,
        ),
        _black_box(
            "pair",
            "refinement",
            "arXiv 2310.08419",
            "An attacker model refines its message, told how the last one went.",
            Pair(),
            budget=90,
        ),
        _black_box(
            "tap",
            "refinement",
            "arXiv 2312.02119",
            "A tree of refinements; what strays is pruned unsent, the best grow on.",
            Tap(),
            budget=340,
        ),
        _black_box(
            "gptfuzzer",
            "template fuzzing",
            "arXiv 2309.10253",
            "Templates are bred: chosen, mutated by an attacker model, tried, kept.",
            GptFuzzer(),
            budget=500,
        ),
        _black_box(
            "crescendo",
            "multi-turn",
            "arXiv 2404.01833",
            "Many small steps from a harmless question to the request, in real turns.",
            Crescendo(),
            budget=100,
        ),
        _black_box(
            "best_of_n",
            "random slips",
            "arXiv 2412.03556",
            "The request with random slips of the pen, again and again.",
            BestOfN(),
            budget=10_000,
        ),
        _black_box(
            "decoding",
            "decoding settings",
            "arXiv 2310.06987",
            "The plain request under other temperatures, top-p and top-k.",
            DecodingSweep(),
            budget=len(SETTINGS),
        ),
    )
}
PAPER = (  # the paper's twenty (arXiv 2510.01088), under the field's names
    "aim",
    "better_dan",
    "dev_mode_v2",
    "dev_mode_ranti",
    "anti_gpt_v2",
    "past_tense",
    "future_tense",
    "gcg",
    "random_search",
    "autodan",
    "cold",
    "scav",
    "pair",
    "tap",
    "gptfuzzer",
    "renellm",
    "deep_inception",
    "ica",
    "cipher",
    "artprompt",
)
GROUPS = ("all", "paper", "static", "adaptive", "transfer")
TRANSFER = "@transfer"  # behind a name or group: search on the surrogate, then replay


def get_attacks(names: Sequence[str]) -> dict[str, AttackInfo]:
    """Return the named attacks in the order named, each once.

    A name is one of the table's, one of `GROUPS`, or `module:function` for a user's own. `NAME@transfer`
    searches on a surrogate model in place of the one under test; `GROUP@transfer` does so with the attacks of
    the group that search, and `transfer` is `adaptive@transfer`. Raises AttackError on an unknown name, a
    module that cannot be imported, a static attack `@transfer`, or no names at all.
    """
    if not names:
        raise AttackError("no attack was named", "one or more names", suggest("all", _known()))
    return {info.name: info for name in names for info in _expand(name)}


def _known() -> list[str]:
    return [*ATTACKS, *GROUPS]


def _expand(name: str) -> list[AttackInfo]:
    if name == "transfer":
        return _expand(f"adaptive{TRANSFER}")
    if name.endswith(TRANSFER):
        return _transferred(name.removesuffix(TRANSFER))
    if name == "all":
        return list(ATTACKS.values())
    if name == "paper":
        return [ATTACKS[member] for member in PAPER]
    if name in GROUPS:
        return [info for info in ATTACKS.values() if info.kind == name]
    if ":" in name:
        return [_import_attack(name)]
    if name not in ATTACKS:
        advice = suggest(name, _known())
        raise AttackError(f"unknown attack {name!r}", "a known name or module:function", advice)
    return [ATTACKS[name]]


def _transferred(name: str) -> list[AttackInfo]:
    """Return the attacks of a name or group, those that search as transfer attacks."""
    found = _expand(name)
    if not any(info.kind in (*SEARCHING, "custom") for info in found):
        raise AttackError(f"attack {name!r} is static", "an attack that searches", f"drop {TRANSFER}")
    return [
        info if info.kind == "static" else replace(info, name=f"{info.name}{TRANSFER}", kind="transfer")
        for info in found
    ]


def _import_attack(path: str) -> AttackInfo:
    """Import `module:function`; an AttackInfo in its place keeps what it says of itself."""
    found = load_plugin(path, "attack", AttackError, AttackInfo)
    if isinstance(found, AttackInfo):
        return replace(found, name=path)
    summary = (getattr(found, "__doc__", None) or "").strip().partition("\n")[0]
    return AttackInfo(path, "custom", "unknown", "custom", path, summary, found)


def template_hashes(attacks: Mapping[str, AttackInfo] | None = None) -> dict[str, str]:
    """Return 12 hex digits of SHA-256 an attack, over all that decides what it sends.

    That is its templates, the source of its module, and its settings; None means the whole table. A user's
    attack that has no source file is `unknown`.
    """
    return {name: _hash(info) for name, info in (ATTACKS if attacks is None else attacks).items()}


def _hash(info: AttackInfo) -> str:
    run: Any = getattr(info.run, "func", info.run)  # functools.partial names its own module, not the function's
    module = sys.modules.get(run.__module__)
    source = getattr(module, "__file__", None)
    if source is None:
        return "unknown"
    digest = hashlib.sha256(Path(source).read_bytes())
    owners = (info.name, "attacker") if "attacker" in info.needs else (info.name,)
    texts = [
        path for name in owners for path in (*TEMPLATES.glob(f"{name}.txt"), *TEMPLATES.glob(f"{name}.*.txt"))
    ]
    for template in sorted(texts):
        digest.update(template.read_bytes())
    if is_dataclass(run):  # its settings
        digest.update(repr(run).encode())
    return digest.hexdigest()[:12]
