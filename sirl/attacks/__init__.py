"""Attacks: change what is sent, so that a model that refuses a request may comply with it.

The table below is the whole suite; there is no registry. An attack is a function, `sirl.records.Attack`,
and a user's own is named `my_pkg.mine:attack`. All wording is ours; the mechanisms are published, and each
line cites its source. This room refuses to know judges, training and any particular model: what an adaptive
attack needs of the model under test comes through `sirl.records.Target`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sirl.attacks.attacker import WRITING, instructions
from sirl.attacks.black_box import BLACK_BOX
from sirl.attacks.checking import check_attack
from sirl.attacks.ciphers import SHOTS, Cipher, Ciphered, caesar, uncaesar
from sirl.attacks.contract import attack_prompts
from sirl.attacks.demonstrations import (
    HARMLESS,
    ICA_SHOTS,
    MANY_SHOTS,
    Demonstrated,
    ica_harmless,
    in_one,
    in_turns,
    many_shot_harmless,
)
from sirl.attacks.drawing import ArtPrompt, artprompt_rules, from_drawing
from sirl.attacks.encodings import base64, decoded, encoded, leet, rot13, unbase64, unleet
from sirl.attacks.flips import Flipped
from sirl.attacks.flips import variants as flips
from sirl.attacks.hashing import attack_hash
from sirl.attacks.info import SEARCHING, TRANSFER, VARIANT, AttackInfo, Means, arm, unmet, whole
from sirl.attacks.low_resource import LowResource
from sirl.attacks.phrases import PhraseBook, read_phrase_book
from sirl.attacks.splitting import from_pieces, payload_splitting
from sirl.attacks.static import AFFIRMATION, say, static_attack, templated
from sirl.attacks.structures import CodeChameleon
from sirl.attacks.structures import variants as structures
from sirl.attacks.tense import future_tense, past_tense
from sirl.attacks.white_box import WHITE_BOX
from sirl.errors import AttackError, suggest
from sirl.plugins import load_plugin
from sirl.records import Attack

__all__ = [
    "ATTACKS",
    "GROUPS",
    "PAPER",
    "VARIANTS",
    "WRITING",
    "AttackInfo",
    "Means",
    "PhraseBook",
    "arm",
    "attack_prompts",
    "check_attack",
    "get_attacks",
    "instructions",
    "read_phrase_book",
    "template_hashes",
    "unmet",
]

_IN_THE_WILD = "arXiv 2308.03825"  # jailbreaks collected from users, whence the field's names
_JAILBROKEN = "arXiv 2307.02483"
_TENSE = "arXiv 2407.11969"
_DRAWN = "arXiv 2402.11753"
_ADAPTIVE = "arXiv 2404.02151"


def _static(
    name: str, mechanism: str, source: str, summary: str, run: Attack | None = None, *, stands_for: str = ""
) -> AttackInfo:
    """Return the table's line of a static attack; by default it fills the template of its name."""
    run = run or static_attack(name, templated(name))
    return AttackInfo(name, mechanism, "none", "static", source, summary, run, stands_for=stands_for)


def _coded(
    name: str, source: str, summary: str, encode: Callable[[str], str], decode: Callable[[str], str]
) -> AttackInfo:
    """Return the line of an attack that writes the request in a code, into the template of its name."""
    run = static_attack(name, encoded(name, encode), recover=decoded(name, decode))
    return _static(name, "encoding", source, summary, run)


def _shown(name: str, source: str, summary: str, run: Attack, harmless: Attack) -> tuple[AttackInfo, ...]:
    """Return the lines of an attack that shows the user's demonstrations, and of its harmless stand-in."""
    mechanism = "cipher" if "cipher" in name else "demonstrations"
    told = f"{summary.rstrip('.')}; the demonstrations are harmless."
    return (
        _static(name, mechanism, source, summary, run),
        _static(f"{name}_harmless", mechanism, source, told, harmless, stands_for=name),
    )


def _ciphered(
    name: str, template: str, summary: str, encode: Callable[[str], str], decode: Callable[[str], str]
) -> tuple[AttackInfo, ...]:
    """Return the lines of an attack that talks in a cipher from the first exchange on."""
    cipher = Cipher(template, encode, decode)
    harmless = static_attack(f"{name}_harmless", partial(cipher.write, HARMLESS), recover=cipher.read)
    run = Ciphered(name, SHOTS, cipher.write, cipher=cipher)
    return _shown(name, "arXiv 2308.06463", summary, run, harmless)


ATTACKS: Mapping[str, AttackInfo] = {
    info.name: info
    for info in (
        _static("direct", "none", "baseline", "The request as it is.", static_attack("direct", say)),
        _static("aim", "persona", _IN_THE_WILD, "A scheming adviser in a play gives the reply."),
        _static("dev_mode_v2", "developer mode", _IN_THE_WILD, "A test mode asks for a second, raw reply."),
        _static("dev_mode_ranti", "developer mode", _IN_THE_WILD, "A rude mode that never refuses."),
        _static("better_dan", "persona", _IN_THE_WILD, "The model plays a role without rules."),
        _static("anti_gpt_v2", "opposite answer", _IN_THE_WILD, "The usual reply, then the opposite."),
        _static(
            "refusal_suppression", "refusal suppression", _JAILBROKEN, "Rules that forbid words of refusal."
        ),
        _static("prefix_injection", "prefix injection", _JAILBROKEN, "The reply must open with agreement."),
        _static("style_rules", "style rules", _JAILBROKEN, "A numbered list of short words, no warnings."),
        _static(
            "deep_inception", "nested fiction", "arXiv 2311.03191", "A story nested in dreams, five layers."
        ),
        _static(
            "past_tense_rules",
            "tense",
            _TENSE,
            "Asks how people did it in the past; one form, written by rules.",
            static_attack("past_tense_rules", past_tense, recover=None),
            stands_for="past_tense",
        ),
        _static(
            "future_tense_rules",
            "tense",
            _TENSE,
            "Asks how people will do it in the future; one form, written by rules.",
            static_attack("future_tense_rules", future_tense, recover=None),
            stands_for="future_tense",
        ),
        *_shown(
            "ica",
            "arXiv 2310.06387",
            "Earlier turns show the assistant complying.",
            Demonstrated("ica", ICA_SHOTS, in_turns),
            static_attack("ica_harmless", ica_harmless),
        ),
        *_shown(
            "many_shot",
            "Anil et al., NeurIPS 2024",
            "Very many compliant answers inside one message.",
            Demonstrated("many_shot", MANY_SHOTS, in_one),
            static_attack("many_shot_harmless", many_shot_harmless),
        ),
        _coded("rot13", _JAILBROKEN, "The request in ROT13.", rot13, rot13),
        _coded("leetspeak", _JAILBROKEN, "The request with digits in place of letters.", leet, unleet),
        _coded("base64", _JAILBROKEN, "The request in Base64.", base64, unbase64),
        _static("flip_attack", "encoding", "arXiv 2410.02832", "The request written backwards.", Flipped()),
        *_ciphered("cipher", "ciphers.caesar", "A chat in a Caesar cipher, with examples.", caesar, uncaesar),
        *_ciphered(
            "self_cipher", "ciphers.claimed", "A chat in plain text that claims a cipher.", whole, whole
        ),
        AttackInfo(
            "artprompt",
            "drawing",
            "black-box",
            "adaptive",
            _DRAWN,
            "Draws words in block letters, one at a time; an attacker model picks them.",
            ArtPrompt(),
            budget=20,
        ),
        _static(
            "artprompt_rules",
            "drawing",
            _DRAWN,
            "Draws the longest unusual word in block letters.",
            static_attack("artprompt_rules", artprompt_rules, recover=from_drawing),
            stands_for="artprompt",
        ),
        _static(
            "code_chameleon",
            "data structure",
            "arXiv 2402.16717",
            "The words as a tree, with the code that decodes it.",
            CodeChameleon(),
        ),
        _static(
            "low_resource",
            "language switch",
            "arXiv 2310.02446",
            "The request in a language with little training data.",
            LowResource(),
        ),
        _static(
            "payload_splitting",
            "splitting",
            "arXiv 2302.05733",
            "The request in named pieces, to be joined and answered.",
            static_attack("payload_splitting", payload_splitting, recover=from_pieces),
        ),
        AttackInfo(
            "prefill",
            "prefilled reply",
            "prefill",
            "static",
            _ADAPTIVE,
            "Begins the model's reply with agreement.",
            static_attack("prefill", say, prefill=AFFIRMATION),
        ),
        *WHITE_BOX,
        *BLACK_BOX,
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
# Other published settings of the same attack: NAME/VARIANT, or NAME/* for each.
VARIANTS: Mapping[str, Mapping[str, Attack]] = {"flip_attack": flips(), "code_chameleon": structures()}


def get_attacks(names: Sequence[str]) -> dict[str, AttackInfo]:
    """Return the named attacks in the order named, each once.

    A name is one of the table's, one of `GROUPS`, or `module:function` for a user's own. `NAME@transfer`
    searches on a surrogate model in place of the one under test; `GROUP@transfer` does so with the attacks of
    the group that search, and `transfer` is `adaptive@transfer`. `NAME/VARIANT` is one of `VARIANTS`, `NAME/*`
    each of them. Raises AttackError on an unknown name, a module that cannot be imported, a static attack
    `@transfer`, or no names at all.
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
    if VARIANT in name:
        return _varied(name)
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


def _varied(name: str) -> list[AttackInfo]:
    """Return one variant of an attack, or all of them."""
    plain, _, variant = name.partition(VARIANT)
    runs = VARIANTS.get(plain, {})
    chosen = runs if variant == "*" else {v: run for v, run in runs.items() if v == variant}
    if not chosen:
        known = [f"{attack}{VARIANT}{v}" for attack in VARIANTS for v in VARIANTS[attack]]
        raise AttackError(f"unknown attack {name!r}", "a variant, or NAME/* for all", suggest(name, known))
    return [replace(ATTACKS[plain], name=f"{plain}{VARIANT}{v}", run=run) for v, run in chosen.items()]


def _import_attack(path: str) -> AttackInfo:
    """Import `module:function`; an AttackInfo in its place keeps what it says of itself."""
    found = load_plugin(path, "attack", AttackError, AttackInfo)
    if isinstance(found, AttackInfo):
        return replace(found, name=path)
    summary = (getattr(found, "__doc__", None) or "").strip().partition("\n")[0]
    return AttackInfo(path, "custom", "unknown", "custom", path, summary, found)


def template_hashes(attacks: Mapping[str, AttackInfo] | None = None) -> dict[str, str]:
    """Return 12 hex digits of SHA-256 an attack, over all that decides what it sends.

    That is its modules, its templates and tables, and its settings; None means the whole table. A user's
    attack that has no source file is `unknown`.
    """
    return {name: attack_hash(info) for name, info in (ATTACKS if attacks is None else attacks).items()}
