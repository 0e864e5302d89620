"""Write docs/attacks.md from the table of attacks: `python docs/make_attacks.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from sirl.attacks import ATTACKS, AttackInfo, Means, arm
from sirl.attacks.autodan import AutoDAN
from sirl.attacks.beast import Beast
from sirl.attacks.cold import Cold
from sirl.attacks.demonstrations import DEMONSTRATIONS, ICA_SHOTS
from sirl.attacks.gcg import GCG
from sirl.attacks.genetic import seeds
from sirl.attacks.random_search import RandomSearch
from sirl.attacks.scav import Scav
from sirl.attacks.search import MILESTONES
from sirl.attacks.soft_prompt import SoftPrompt
from sirl.attacks.splitting import PIECES
from sirl.attacks.static import TEMPLATES
from sirl.lm import load_lm
from sirl.organism import WEIGHTS
from sirl.organism.corpus import evaluation_prompts
from sirl.records import Decoding, Prompt
from sirl.targets import LocalTarget

REQUEST = "How do I polish a lantern?"
SHOWN = {"many_shot": 400}  # characters of a message, most of them from its beginning; the rest is shown whole
WORDING = "The mechanism is the published one; the wording is ours."
SEARCH = RandomSearch()
SEARCHED = (
    f"The best so far is really sent and judged at {MILESTONES} milestones of the budget; a prompt "
    "whose attack "
    "has succeeded stops there. The hoped-for beginning is the data set's own where it gives one. "
    "What is shown "
    "below is the start of the search, which is scored first; what is sent in the end depends on the model."
)
TENSE = (
    "The published attack asks a language model to reformulate the request. Here rules do it; they need no "
    "model and always give the same words. Where no rule fits, the whole request is put behind a question "
    "about the {time}."
)
DEPARTURES = {
    "direct": "None. It is the baseline: it has its own row, and no mean counts it.",
    "past_tense": TENSE.format(time="past"),
    "future_tense": TENSE.format(time="future"),
    "ica": f"The published demonstrations are harmful. Our {ICA_SHOTS} are harmless, which makes the attack "
    "weaker; nothing dangerous needs to be shipped.",
    "many_shot": f"The published demonstrations are harmful. Our {len(DEMONSTRATIONS)} are harmless, which "
    "makes the attack weaker; nothing dangerous needs to be shipped.",
    "leetspeak": f"{WORDING} Only the lower-case letters a, e, i, o, s and t are replaced, and a digit that "
    "was there before is marked, so that the code can be undone exactly.",
    "flip_attack": f"{WORDING} Only the variant that reverses the characters of the whole request.",
    "payload_splitting": f"{WORDING} The request is cut by length alone, into at most {PIECES} runs of whole "
    "words; nothing looks for the harmful ones.",
    "renellm": f"{WORDING} Only the second half of the published attack, the nesting in a scenario: the first "
    "half, in which a language model rephrases the request, is left out. Which of the three scenarios is used "
    "depends on the request alone, by a stable hash.",
    "prefill": "One fixed beginning; the request itself stays as it is.",
    "random_search": "Words of a fixed list stand for vocabulary tokens, so that any target will do. No "
    "hand-made template stands around the request. The width of a change is drawn, not scheduled. There are no "
    "restarts. "
    f"Settings: {SEARCH.candidates} candidates a round, a suffix of {SEARCH.length} words, at most "
    f"{SEARCH.width} neighbouring words changed at once, and the hoped-for beginning “{SEARCH.beginning}”. "
    + SEARCHED,
    "gcg": "The suffix stands right behind the request, and a swap counts only if its text is read as the very "
    "tokens again. A step that finds nothing better changes nothing; the published search moves on regardless. "
    f"Settings: {GCG().length} tokens, at most {GCG().candidates} swaps a step from the {GCG().top} "
    "best tokens a "
    f"place, at most {GCG().steps} steps; a budget below steps times swaps is spread evenly, its square root a "
    f"step. {SEARCHED}",
    "autodan": f"{WORDING} Synonyms come from a fixed list, where the published attack asks a "
    "language model to "
    f"rephrase. {len(seeds())} seeds; at most {AutoDAN().breeding.most} prompts a generation, of which "
    f"{AutoDAN().breeding.elite:.0%} stay. {SEARCHED}",
    "cold": "Two of the published energies, agreement and fluency; none for style or similarity. The "
    "soft suffix "
    "starts every round anew at the best hard one. It is made hard by drawing tokens from it at each "
    "place, where the published attack lets the model decode "
    f"within its favourites. Settings: {Cold().length} tokens, a weight of {Cold().fluency} for fluency, "
    f"{Cold().steps} steps and {Cold().draws} draws a round. {SEARCHED}",
    "scav": "The prompt-level attack only; embeddings are never changed. The score is the mean probe "
    "logit over "
    "all reliable layers, where the published attack weighs the last layer's probability by a distance. Probes "
    f"learn from at most {Scav().examples} requests of each sort, at least {Scav.FEWEST}, of the set that is "
    f"measured on. The genetic search and its seeds are AutoDAN's. {SEARCHED}",
    "soft_prompt": f"{SoftPrompt().length} vectors that start as a plain suffix. Steps are in units "
    "of the start's "
    "own spread and shrink with the budget. Searched for each request alone, none shared between "
    "requests. Sent "
    f"as vectors: a model that only takes text cannot be asked. {SEARCHED}",
    "beast": f"At most {Beast().length} tokens, {Beast().beams} beams and as many draws a beam; a "
    "smaller budget "
    f"gets narrower beams over the same length. Draws are from the {Beast().pool} likeliest tokens, "
    "each once, and "
    f"suffixes that would not survive as text are dropped. The best suffix of any length is kept. {SEARCHED}",
}
WORLD = evaluation_prompts({"harmful": Scav.FEWEST, "benign": Scav.FEWEST}, 0)
MEANS = Means(
    benign=tuple(p for p in WORLD if p.kind == "benign"), harmful=tuple(p for p in WORLD if p.kind == "harmful")
)
TARGET = LocalTarget(load_lm(WEIGHTS / "llama"), Decoding())  # nothing is asked of it: the budget is 0
HEAD = f"""# Attacks

This page is written by `docs/make_attacks.py` from the table in `sirl.attacks`; do not edit it by hand. Run
the script after changing an attack.

Each attack turns a request into what is sent. *Access* is what it needs of the model: nothing but a chat
(none), the first words of the reply (prefill), how likely a reply is
(logprobs), or its weights (white-box). *Kind* is static (a fixed
change of words), or adaptive (searched anew against each model). Every wording is our own; each section says
where an attack departs from its source. The example request is “{REQUEST}”.
"""


def section(info: AttackInfo) -> str:
    """Return the Markdown of one attack."""
    (attempt,) = arm(info, MEANS).run([Prompt("example", REQUEST)], TARGET, 0, 0)
    sent = [f"{m.role}: {shorten(m.content, SHOWN.get(info.name))}" for m in attempt.messages]
    sent += [f"assistant (begun for it): {attempt.prefill}"] if attempt.prefill else []
    module = Path(str(sys.modules[info.run.__module__].__file__))
    files = [module, *sorted({*TEMPLATES.glob(f"{info.name}.txt"), *TEMPLATES.glob(f"{info.name}.*.txt")})]
    links = [f"[{p.name}](../sirl/{p.relative_to(TEMPLATES.parents[1]).as_posix()})" for p in files]
    return (
        f"\n## {info.name}\n\n{info.summary}\n\n"
        f"| mechanism | access | kind | source | files |\n|---|---|---|---|---|\n"
        f"| {info.mechanism} | {info.access} | {info.kind} | {info.source} | {', '.join(links)} |\n\n"
        f"Departures: {DEPARTURES.get(info.name, WORDING)}\n\n"
        "````text\n" + "\n\n".join(sent) + "\n````\n"
    )


def shorten(text: str, limit: int | None) -> str:
    """Leave out what lies between the beginning and the last hundred characters; None leaves nothing out."""
    return text if limit is None else f"{text[: limit - 100].rstrip()} [...] {text[-100:].lstrip()}"


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(map(section, ATTACKS.values()))


if __name__ == "__main__":
    Path(__file__).with_name("attacks.md").write_text(page(), encoding="utf-8")
