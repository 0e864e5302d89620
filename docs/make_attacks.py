"""Write docs/attacks.md from the table of attacks: `python docs/make_attacks.py`."""

from __future__ import annotations

import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from sirl.attacks import ATTACKS, VARIANTS, AttackInfo, Means
from sirl.attacks.ciphers import SHIFT, SHOTS
from sirl.attacks.demonstrations import HARMLESS, ICA_HARMLESS
from sirl.attacks.hashing import files_of
from sirl.attacks.low_resource import esperanto
from sirl.attacks.splitting import PIECES
from sirl.attacks.static import TEMPLATES
from sirl.errors import AttackError
from sirl.records import SLOT, Attempt, Prompt

REQUEST = "How do I polish a lantern?"
SHOWN = {
    "many_shot_harmless": 400
}  # characters of a message, most of them from its beginning; the rest is shown whole
WORDING = "The mechanism is the published one; the wording is ours."
TENSE = (
    "Rules reformulate the request once, always in the same words, without a model. If no rule fits, a question about the {time} "
    "is put before the whole request."
)
CIPHER = (
    f"{WORDING} Of the published ciphers only Caesar's with a shift of {SHIFT} is used, because it can be decoded (self_cipher "
    "is a separate attack). Replies are requested and shown in plain English, since the judge reads them as they are; the "
    "published attack decodes them. Everything is one user message, without a system turn. "
)
SHOWN_BY = (
    "The demonstrations come from a file (`--demonstrations`), written by you or by a model of your choice "
    "(`sirl attacks demonstrate`)."
)
# Of attacks whose module does not say at its head, in a paragraph that begins with Departures.
DEPARTURES = {
    "direct": "None. It is the baseline, with a row of its own, and is left out of means.",
    "deep_inception": f"None in the five layers and their characters. {WORDING}",
    "past_tense_rules": TENSE.format(time="past"),
    "future_tense_rules": TENSE.format(time="future"),
    "ica": f"None in the form and the number of shots. {SHOWN_BY}",
    "ica_harmless": f"{ICA_HARMLESS} demonstrations, and they are harmless.",
    "many_shot": f"None in the form and the number of shots, but it is limited by the model's context. {SHOWN_BY}",
    "many_shot_harmless": f"{len(HARMLESS)} demonstrations, and they are harmless.",
    "leetspeak": f"{WORDING} Only lower-case a, e, i, o, s and t are replaced. Digits of the request are marked, so that the text "
    "can be decoded exactly.",
    "flip_attack": f"{WORDING} Role, steps and request are one user message, without a system turn and without a list of "
    "forbidden words.",
    "cipher": CIPHER + SHOWN_BY,
    "cipher_harmless": f"{CIPHER}The {SHOTS} demonstrations are harmless.",
    "self_cipher": f"{WORDING} {SHOWN_BY} Everything is one user message, without a system turn.",
    "self_cipher_harmless": f"The {SHOTS} demonstrations are harmless. Everything is one user message, without a system turn.",
    "artprompt_rules": "It draws one word, harmful or not: the longest a-z word that is not in a list of common words, the last of "
    "equally long ones.",
    "autodan_words": "The first generation is the seeds alone, and only single words change, without an attacker model. Otherwise "
    "as autodan.",
    "code_chameleon": f"{WORDING} Of the two published styles, code to complete and prose, it uses the code. The tree is written "
    "as nested lists with spaces kept, so that it can be decoded exactly.",
    "low_resource": f"{WORDING} A phrase book of {len(esperanto().pairs)} lines translates the phrases it contains, without "
    "grammar; the rest stays English, and the reply is requested in English. The published attack uses machine translation, also "
    "for the reply. The default book is Esperanto, which is not one of the paper's low-resource languages: "
    "`--phrase-book FILE` gives another.",
    "payload_splitting": f"{WORDING} The request is cut into at most {PIECES} pieces of whole words, by length alone, not at "
    "harmful words.",
    "prefill": "One fixed beginning of the reply; the request is unchanged.",
}
# Of static attacks: which of the published settings the plain name is, and where they are read.
PUBLISHED = {
    "flip_attack": "The default of its code: characters of the sentence (`fcs`), without additions (yueliu1999/FlipAttack: "
    "src/main.py). The other three modes and the three additions, which can be combined, are variants. "
    "Its README recommends by model `fcs+cot+langgpt+few_shot` (GPT-4o, Mixtral 8x22B), `fcs+cot+langgpt` "
    "(GPT-4o mini), `fmm+cot` (GPT-4, Claude 3.5 Sonnet, Llama 3.1 405B), `fcw+cot` (GPT-4 Turbo), `fwo` (GPT-3.5 "
    "Turbo).",
    "ica": "10 shots, from the paper; not found in code. EasyJailbreak's version shows 5 "
    "(easyjailbreak/attacker/ICA_wei_2023.py).",
    "many_shot": "256 shots, from the paper; not found in code.",
    "deep_inception": "Five layers, from the paper; its code reads finished prompts from a file "
    "(tmlr-group/DeepInception: main.py).",
    "cipher": "Caesar's code with a shift of 3, and 3 demonstrations (RobustNLP/CipherChat: encode_experts.py, "
    "main.py).",
    "self_cipher": "3 demonstrations (RobustNLP/CipherChat: main.py, where it is called unchange).",
    "code_chameleon": "The binary tree. The other three encodings are variants (huizhang-L/CodeChameleon: "
    "encrypt.py); its code has no default among the four.",
}
HEAD = f"""# Attacks

This page is written by `docs/make_attacks.py` from the table in `sirl.attacks`. Do not edit it by hand; run the script
after changing an attack. `sirl attacks` prints the list.

An attack turns a request into the messages that are sent. For each, this page gives:

- *Access*: what the attack needs of the model that it searches on or is sent to. That is only a chat (none), replies
  (black-box), to begin the reply (prefill), the probability of a reply (logprobs), or the weights (white-box).
- *Kind*: static (a fixed change of words), adaptive (a new search on the model under test), or transfer (found on a
  surrogate model, then replayed; any adaptive attack can be run as `NAME@transfer`).
- *Variants*: other published settings of the same attack. `NAME/VARIANT` runs one, `NAME/*` all of them.
- *Budget*: the default number of queries per prompt; `--set evaluate.budget=N` changes it.
- The text sent for the example request “{REQUEST}”. For attacks that search, this is the starting text if there is
  one; what is finally sent depends on the model. All wording is our own.

After a search the model answers the found attack once more, and this new reply is judged. At a temperature above 0 it
is another draw than the one that ended the search, so a lucky draw does not count as a success. The
[table](#departures-from-the-sources) lists where attacks differ from their sources.

## Prompts found elsewhere

`--attack-prompts FILE` adds attack prompts that others have found: a JailbreakBench artefact (JSON), test cases of HarmBench
(JSON; several per behaviour become several attacks), or a table with one column for each attack, named by `--columns`. They are
replayed as kind transfer, or static where the artefact calls them manual. Each record keeps the surrogate, budget and queries given
in the file; a table gives them in the columns `NAME:queries` and `NAME:budget`, and the surrogate after an @ in the name.

A prompt is used for the request it was found for. It is matched by text (ignoring case, spacing and outer punctuation), or by id
if the file has no text. Harmful requests without such a prompt are not asked under that attack: a warning gives the number and
the reason, config.json keeps them under `not_asked`, and the attack's success rate covers only the requests that were asked. This
includes requests for which the search found nothing, so a replayed attack is measured on the easier requests.

`sirl attacks export RUN --attack NAME --out FILE` writes what an attack sent in a run, in either format. Attacks that are
more than one message (earlier turns, a begun reply, their own sampling, soft tokens) cannot be exported.

## Demonstrations

ica, many_shot and the ciphers show the model requests answered by an assistant that complies. These demonstrations come from
a file of yours (`--demonstrations FILE`) with a column of requests and one of answers. `sirl attacks demonstrate MODEL --prompts
FILE` has a model write one: for each harmful prompt in turn, another request of the same kind and a reply that complies, until there
are `--count`. Refusals, repeated requests and replies without the expected tags are kept as unusable and counted. The result
depends on the model, the prompts and `--seed`. The file can be used for any number of runs, and a command that was killed continues
it. No harmful demonstrations are part of the package; the offline demo uses harmless ones (`NAME_harmless`).

## An attack of your own

`sirl evaluate MODEL --attacks my_pkg.mine:attack --out RUN` runs a function of yours
([custom_attack.py](../examples/custom_attack.py)). `sirl attacks check my_pkg.mine:attack` tests that it keeps to the interface; in
Python that is `sirl.attacks.check_attack`. An attack that encodes the request has an attribute `recover`, a function from the
last message to the request. One that rewords the request has `recover = None`.

## Departures from the sources

A plain name is the published algorithm with its published settings; *budget* is the default number of queries per request. A
name with a suffix is a weaker stand-in that needs no attacker model or file. Whatever the table does not list is meant to be as
published. Settings were read in the code published with each paper; the table names the repository and file. Seven settings were
not found in any code; check them in the paper before you cite them: the 77 seeds and 500 queries of gptfuzzer, the 10 conversations
of crescendo, the 10,000 samples of best_of_n, the shots of ica and of many_shot, and the layers of deep_inception.

One departure is common to random_search, gcg, autodan, cold, scav, soft_prompt and beast: the best candidate so far is sent and judged
at sixteen points of the budget, and the search for a prompt stops at its first success. The beginning of the reply that they make
likely is the data set's own, if it gives one.

A smaller budget makes a weaker attack than the published one, so always give it with the figures. On the embedded models the
recipe sets 64. There, the figures of past_tense, future_tense and artprompt, and the scores that guide pair and tap, depend on
`organism:attacker`, which was trained before their instructions were written and does not follow them: it writes what it was
trained to write, or nothing usable.
"""
TABLE = "\n| attack | source | budget | as published | departures |\n|---|---|---|---|---|\n"


class Nobody:
    """No model at all: an attack that asks it anything has no start to show."""

    name, access = "nobody", "white-box"

    def reply(self, *_: Any) -> Any:
        raise AttackError("the page of attacks has no model", "none", "show nothing")

    log_likelihood = reply


def section(info: AttackInfo) -> str:
    """Return the Markdown of one attack."""
    module = Path(str(sys.modules[info.run.__module__].__file__))
    sent = start(info)
    shown = [f"{m.role}: {shorten(m.content, SHOWN.get(info.name))}" for m in sent.messages] if sent else []
    shown += [f"assistant (begun for it): {sent.prefill}"] if sent and sent.prefill else []
    return (
        f"\n## {info.name}\n\n{info.summary}\n\n"
        f"| mechanism | access | kind | source | budget | files |\n|---|---|---|---|---|---|\n"
        f"| {info.mechanism} | {info.access} | {info.kind} | {info.source} | {info.budget or 'none'} "
        f"| {', '.join(links(files(info, module)))} |\n\n"
        f"{needs(info)}{settings(info)}{varied(info)}"
        + ("````text\n" + "\n\n".join(shown) + "\n````\n" if shown else "")
    )


def files(info: AttackInfo, module: Path) -> list[Path]:
    """Return what decides what is sent: the module and the attack's templates and lists."""
    return [module, *(path for path in files_of(info) if path.parent == TEMPLATES)]


def links(paths: list[Path]) -> list[str]:
    """Link each file; the many instructions to an attacker model share a link."""
    alone = [path for path in paths if not path.name.startswith("attacker.")]
    linked = [f"[{p.name}](../sirl/{p.relative_to(TEMPLATES.parents[1]).as_posix()})" for p in alone]
    return linked + (["[attacker.*.txt](../sirl/attacks/templates)"] if len(alone) < len(paths) else [])


def start(info: AttackInfo) -> Attempt | None:
    """Return what is sent before any search; None if that takes a model."""
    if info.needs:
        return None
    try:
        (attempt,) = info.run([Prompt("example", REQUEST)], Nobody(), 0, 0)  # type: ignore[arg-type]
    except (AttackError, AttributeError):  # it asks the model, or wants its weights, for its very start
        return None
    return None if any(SLOT in message.content for message in attempt.messages) else attempt


def needs(info: AttackInfo) -> str:
    """Say what it must be armed with."""
    return f"Needs: {' and '.join(info.needs)}.\n\n" if info.needs else ""


def varied(info: AttackInfo) -> str:
    """Name its variants."""
    names = ", ".join(f"`{info.name}/{name}`" for name in VARIANTS.get(info.name, ()))
    return f"Variants: {names}.\n\n" if names else ""


def settings(info: AttackInfo) -> str:
    """Say its settings and their defaults; what it is armed with is no setting."""
    run: Any = info.run
    armed = {f.name for f in fields(Means)}
    own = [f.name for f in fields(run) if f.name not in armed] if is_dataclass(run) else []
    told = [f"{name} {_told(value)}" for name in own if (value := getattr(run, name)) is not None]
    return f"Settings: {', '.join(told)}.\n\n" if told else ""


def _told(value: Any) -> str:
    """Return a setting as the page shows it: a function or a cipher by its name."""
    name = getattr(value, "__name__", None) or getattr(value, "identity", None)
    return str(name) if name else f"{value:.3g}" if isinstance(value, float) else repr(value)


def departures(info: AttackInfo) -> str:
    """Return the text of the list above, else what the module says, else what holds for all."""
    text = DEPARTURES.get(info.name) or paragraph(info, "Departures") or WORDING
    return f"A weaker stand-in of {info.stands_for}: {text[:1].lower()}{text[1:]}" if info.stands_for else text


def published(info: AttackInfo) -> str:
    """Return where its settings come from, of the list above or as the module says."""
    return PUBLISHED.get(info.name) or paragraph(info, "Defaults") or "-"


def row(info: AttackInfo) -> str:
    """Return an attack's row of the table of departures."""
    cells = (f"[{info.name}](#{info.name})", info.source, str(info.budget or "none"))
    return f"| {' | '.join((*cells, published(info), departures(info)))} |\n"


def paragraph(info: AttackInfo, beginning: str) -> str:
    """Return what a paragraph at the head of the attack's module says behind its colon; empty: none."""
    parts = (sys.modules[info.run.__module__].__doc__ or "").split("\n\n")
    said = next((" ".join(part.split()) for part in parts if part.startswith(beginning)), "")
    text = said.partition(": ")[2]
    return text[:1].upper() + text[1:]


def shorten(text: str, limit: int | None) -> str:
    """Leave out what lies between the beginning and the last hundred characters; None leaves nothing out."""
    return text if limit is None else f"{text[: limit - 100].rstrip()} [...] {text[-100:].lstrip()}"


def page() -> str:
    """Return the whole page."""
    infos = ATTACKS.values()
    return HEAD + TABLE + "".join(map(row, infos)) + "".join(map(section, infos))


if __name__ == "__main__":
    Path(__file__).with_name("attacks.md").write_text(page(), encoding="utf-8")
