"""What every attack promises: the public check, run over the whole table, and real models."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import RAISES, byte_tokenizer, random_lm, spaced_tokenizer

from sirl.attacks import (
    ATTACKS,
    AttackInfo,
    Means,
    arm,
    attack_prompts,
    check_attack,
    get_attacks,
    read_phrase_book,
)
from sirl.attacks.checking import PROMISES, PROMPTS, StandIn, Trial
from sirl.attacks.hashing import attack_hash, files_of
from sirl.attacks.static import TEMPLATES
from sirl.errors import AttackError
from sirl.lm import LM, load_lm, render
from sirl.organism import WEIGHTS
from sirl.records import (
    SLOT,
    Attempt,
    Completion,
    Decoding,
    Message,
    Prompt,
    Search,
    Target,
    Verdict,
    item_seed,
)
from sirl.targets import LocalTarget

PLAIN, _, SHORT, *_ = PROMPTS
CUSTOM = "examples.custom_attack:attack"
BUDGET = 21
FEW = Decoding(max_new_tokens=2)
MEANS = (  # harmless and harmful requests
    tuple(Prompt(f"b{i}", f"How do I fold {i} napkins?", "benign") for i in range(9)),
    tuple(Prompt(f"h{i}", f"How do I scratch {i} cars?") for i in range(9)),
)


def judge(completions):
    """Find every other reply harmful, by its text alone."""
    return [Verdict("harmful", len(c.text) % 2 == 0, "its length", "double@1") for c in completions]


class Writer:
    """An attacker model's double: it says back the last thing it was told."""

    name, access = "writer", "black-box"

    def reply(self, attempts, seed):
        return [Completion(a, a.messages[-1].content, (1,), ("?",), finished=True) for a in attempts]

    def log_likelihood(self, attempts, beginnings):
        raise AttackError("the writer scores nothing", "replies", "ask for replies")


@cache
def tiny() -> LM:
    return random_lm("llama", tokenizer=byte_tokenizer(RAISES))


def model_for(info: AttackInfo) -> Target:
    """Return what an attack searches on: real weights, random ones, if it cannot do without."""
    return LocalTarget(tiny(), FEW) if info.access == "white-box" else StandIn()


@pytest.fixture(params=[*ATTACKS, CUSTOM])
def info(request, monkeypatch) -> AttackInfo:
    """Each attack, armed with doubles of what it may need."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent)
    found = get_attacks([request.param])[request.param]
    shown = tuple((f"How do I sort {i} socks?", f"Begin with {i}.") for i in range(3))
    return arm(found, Means(judge, Writer(), StandIn(name="surrogate"), *MEANS, demonstrations=shown))


@pytest.mark.parametrize("promise", PROMISES)
def test_every_attack_keeps_every_promise(info, promise):
    PROMISES[promise](Trial(info, model_for(info), budget=BUDGET))


def test_attempts_carry_the_name_and_what_was_counted(info):
    attempts = attack_prompts(info, PROMPTS, model_for(info), BUDGET, 0)
    assert {a.attack for a in attempts} == {info.name}
    assert len({a.key for a in attempts}) == len(PROMPTS)
    assert {a.search.kind for a in attempts} == {info.kind}
    assert all(a.search.queries <= a.search.budget for a in attempts)


def test_target_is_needed_by_adaptive_attacks_only(info):
    if info.kind == "adaptive":
        with pytest.raises(AttackError, match=r"was given no target; expected the model under test; pass one"):
            attack_prompts(info, PROMPTS, None, BUDGET, 0)
        with pytest.raises(AttackError, match="no target"):
            info.run(PROMPTS, None, BUDGET, 0)
    else:
        alone = attack_prompts(info, PROMPTS, None, BUDGET, 0)
        assert [a.messages for a in alone] == [a.messages for a in run(info, PROMPTS)]


# --- real models ----------------------------------------------------------------------------------------


def organism(arch: str) -> LM:
    return load_lm(WEIGHTS / arch)


MODELS = {
    "llama": cache(lambda: organism("llama")),
    "qwen2": cache(lambda: organism("qwen2")),
    "no system role": tiny,
    "a space in front": cache(lambda: random_lm("qwen2", tokenizer=spaced_tokenizer(RAISES))),
}


def test_one_of_the_tokenizers_puts_a_space_in_front():
    lm = MODELS["a space in front"]()
    [ids] = render(lm, [Attempt(PLAIN, "x", (Message("user", "hi"),))])
    assert lm.tokenizer.decode(ids, skip_special_tokens=False) == "<|user|> hi<|end|><|assistant|>"


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_attack_gets_replies_from_real_models(info, model):
    """Rendered with nothing lost, and answered; searching on that very model where the attack searches."""
    lm = MODELS[model]()
    target = LocalTarget(lm, FEW)
    prompts = PROMPTS[1:2]
    attempts = attack_prompts(info, prompts, target, 5, 0)
    for attempt, ids in zip(attempts, render(lm, attempts), strict=True):
        text = lm.tokenizer.decode([i for i in ids if i >= 0], skip_special_tokens=False)  # no soft places
        said = [m.content.strip() for m in attempt.messages if SLOT not in m.content]
        assert all(part in text for part in said)
        assert text.endswith(attempt.prefill)
    completions = target.reply(attempts, 0)
    assert [replace(c.attempt, decoding=None) for c in completions] == [
        replace(a, decoding=None) for a in attempts
    ]
    for c in completions:
        assert 1 <= len(c.token_ids) <= (c.attempt.decoding or FEW).max_new_tokens
        assert all(h >= 0 for h in c.entropies)


# --- replies drawn at random ------------------------------------------------------------------------------


class Coin:
    """A model whose replies are tosses of a coin, drawn from the seed and the key of an attempt."""

    def __init__(self, target) -> None:
        self.target = target

    def __getattr__(self, name):
        return getattr(self.target, name)

    def reply(self, attempts, seed):
        tosses = [np.random.default_rng(item_seed(seed, a)).random() < 0.5 for a in attempts]
        said = ["heads" if toss else "I can't" for toss in tosses]
        return [Completion(a, text, (1,), ("x",), True) for a, text in zip(attempts, said, strict=True)]


class Obliging(Writer):
    """An attacker model whose every output can be used."""

    def reply(self, attempts, seed):
        texts = [f"Yes. <message>{a.key.replace('|', ' ')} {{request}}</message>" for a in attempts]
        return [Completion(a, text, (1,), ("?",), True) for a, text in zip(attempts, texts, strict=True)]


def heads(completions):
    return [Verdict("harmful", c.text == "heads", "", "toss@1") for c in completions]


@pytest.mark.parametrize("name", [n for n, info in ATTACKS.items() if info.kind == "adaptive"])
def test_what_was_found_is_measured_by_draws_of_its_own(name):
    """A search over tosses finds heads; tossed again, what it found gives heads every other time."""
    found = set()

    def judge(completions):
        found.update(c.attempt.prompt.id for c in completions if c.text == "heads")
        return heads(completions)

    benign, harmful = MEANS
    info = arm(ATTACKS[name], Means(judge, Obliging(), benign=benign, harmful=harmful))
    prompts = [Prompt(f"c{i}", f"How do I juggle {i} balls?") for i in range(80)]
    target = Coin(model_for(info))
    attempts = attack_prompts(info, prompts, target, 34 if name == "scav" else 8, 0)
    again = [v.answer for v in heads(target.reply([a for a in attempts if a.prompt.id in found], 0))]
    assert len(found) > (
        64 if info.access == "black-box" and name != "artprompt" else 24
    )  # a search whose tosses are one finds 40
    assert 0.25 * len(found) < sum(again) < 0.75 * len(found)


# --- attacks that break a promise -----------------------------------------------------------------------


def run(info, prompts, seed=0, budget=BUDGET):
    return attack_prompts(info, prompts, model_for(info), budget, seed)


def custom(run) -> AttackInfo:
    return AttackInfo("mine", "custom", "unknown", "custom", "test", "", run)


def say(prompt, text="hello", role="user", **fields):
    return Attempt(prompt, "mine", (Message(role, text),), **fields)


def greedy(prompts, target, budget, seed):
    target.reply([say(p) for p in prompts for _ in range(budget + 1)], seed)
    return [say(p) for p in prompts]


def stranger(prompts, target, budget, seed):
    target.log_likelihood([say(Prompt("new", "?"))], ["Sure"])
    return [say(p) for p in prompts]


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        (lambda *_: None, "returned NoneType; expected a list of Attempt"),
        (lambda prompts, *_: [say(p) for p in prompts][1:], "returned 6 attempts; expected 7, one a prompt"),
        (lambda prompts, *_: [p.text for p in prompts], "returned a str in its list"),
        (lambda prompts, *_: [say(p) for p in prompts][::-1], "returned prompt 'q3' where 'p1' was given"),
        (
            lambda prompts, *_: [say(p, search=Search(queries=22)) for p in prompts],
            "spent 22 queries on prompt 'p1'; expected",
        ),
        (lambda prompts, *_: [say(p, " \n") for p in prompts], "sent an empty message for prompt 'p1'"),
        (lambda prompts, *_: [Attempt(p, "mine", ()) for p in prompts], "sent an empty message"),
        (
            lambda prompts, *_: [say(p, role="tool") for p in prompts],
            "used the roles tool; expected only system",
        ),
        (lambda prompts, *_: [say(p, role="assistant") for p in prompts], "ended with a message of the assist"),
        (greedy, "spent 22 queries on prompt 'p1'; expected at most 21"),
        (stranger, "queried the target about 'new'; expected only prompts it was given"),
    ],
)
def test_a_broken_attack_is_told_what_it_broke(attack, sentence):
    with pytest.raises(AttackError) as error:
        run(custom(attack), PROMPTS)
    assert sentence in str(error.value)
    assert str(error.value).startswith("attack 'mine' ")


def test_a_static_attack_may_not_query():
    info = AttackInfo(
        "mine", "m", "none", "static", "s", "", lambda ps, *_: [say(p, search=Search(queries=1)) for p in ps]
    )
    with pytest.raises(AttackError, match="is static and reports 1 queries; expected 0"):
        run(info, PROMPTS)


def test_queries_are_counted_even_if_not_reported():
    def quiet(prompts, target, budget, seed):
        target.reply([say(p) for p in prompts], seed)
        target.log_likelihood([say(p) for p in prompts], ["Sure"] * len(prompts))
        return [say(p) for p in prompts]

    assert {a.search.queries for a in run(custom(quiet), PROMPTS)} == {2}


def test_bad_arguments():
    with pytest.raises(AttackError, match="two prompts have the same id"):
        run(ATTACKS["direct"], [PLAIN, PLAIN])
    with pytest.raises(AttackError, match="budget is -1"):
        run(ATTACKS["direct"], [PLAIN], budget=-1)


def asks(prompts, target, budget, seed):
    return [say(p, p.text) for p in prompts]


def drawn(prompts, target, budget, seed):
    drawn.calls += 1
    return [say(p, f"{p.text} {drawn.calls}") for p in prompts]


drawn.calls = 0


def coded(prompts, target, budget, seed):
    return [say(p, p.text[::-1]) for p in prompts]


def meddles(prompts, target, budget, seed):
    for prompt in prompts:
        object.__setattr__(prompt, "text", "changed")
    return [say(p, p.text) for p in prompts]


def sorts(prompts, target, budget, seed):
    prompts.sort(key=lambda p: p.text)
    return [say(p, p.text) for p in prompts]


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        (lambda ps, *_: [say(p) for p in ps], "did not send the request of prompt 'p1'"),
        (lambda ps, *_: [say(p, f"{p.text} {{request}}") for p in ps], "left {request} in what it sends"),
        (lambda ps, *_: [say(p, f"{p.text} {p.text.format(request=1)}") for p in ps],
         "failed with IndexError"),
        (drawn, "gave other attempts under the same seed"),
        (lambda ps, *_: [say(p, f"{i} {p.text}") for i, p in enumerate(ps)],
         "gave other attempts in another order"),
        (lambda ps, *_: [say(p, f"{len(ps)} {p.text}") for p in ps], "gave another attempt to a prompt alone"),
        (coded, "did not send the request"),
        (lambda ps, *_: [say(ps[0], ps[0].text), *(say(p, p.text) for p in ps[1:])], "failed with IndexError"),
        (lambda ps, *_: [Attempt(p, "x", (Message("user", "a"), Message("user", p.text))) for p in ps],
         "sent turns of user, user for prompt 'p1'; expected user and assistant in turn"),
        (lambda ps, t, b, s: t.reply([say(p, p.text) for p in ps for _ in range(9)], s) and asks(ps, t, b, s),
         "spent 1 queries on prompt 'p1'; expected at most 0"),
        (sorts, "changed the prompts it was given"),
        (meddles, "changed the prompts it was given"),
    ],
)  # fmt: skip
def test_the_check_tells_the_promise_that_was_broken(attack, sentence):
    with pytest.raises(AttackError) as error:
        check_attack(attack)
    assert sentence in str(error.value)


def test_the_check_passes_what_keeps_its_promises():
    assert check_attack(asks) == list(PROMISES)
    reader = replace(ATTACKS["direct"], name="mine", run=WithReader(lambda text: text[::-1]))
    assert check_attack(reader) == list(PROMISES)
    assert check_attack(replace(reader, run=WithReader(None))) == list(PROMISES)
    assert check_attack(ATTACKS["random_search"]) == list(PROMISES)
    with pytest.raises(AttackError, match="did not send the request"):
        check_attack(replace(reader, run=WithReader(str.upper)))


class WithReader:
    """An attack that writes backwards, and says how to read that."""

    def __init__(self, recover) -> None:
        self.recover = recover

    def __call__(self, prompts, target, budget, seed):
        return coded(prompts, target, budget, seed)


def test_the_check_wants_the_attack_armed():
    class Needy(WithReader):
        NEEDS = ("attacker",)
        attacker = None

    with pytest.raises(
        AttackError, match=r"attack 'needy' cannot be run: it needs an attacker model .*; .* arm it first"
    ):
        check_attack(replace(ATTACKS["direct"], name="needy", run=Needy(None)))


def test_the_check_of_a_phrase_book_of_ones_own():
    book = read_phrase_book(TEMPLATES / "low_resource.phrases.tsv")
    assert check_attack(arm(ATTACKS["low_resource"], Means(phrase_book=book))) == list(PROMISES)


# --- what a hash knows ------------------------------------------------------------------------------------


def forget() -> None:
    """Empty every cache of the room, so that templates and tables are read anew."""
    for module in [module for name, module in sys.modules.items() if name.startswith("sirl.attacks")]:
        for value in vars(module).values():
            getattr(value, "cache_clear", lambda: None)()


@pytest.fixture
def read(monkeypatch) -> Iterator[set[Path]]:
    """The files of the room that are opened as text, from here on."""
    seen: set[Path] = set()
    plain = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, *a, **kw: seen.add(path) or plain(path, *a, **kw))
    forget()
    yield seen
    forget()


def test_whatever_an_attack_runs_and_reads_is_in_its_hash(info, read, monkeypatch):
    """Change any file it uses, module, template or table, and the hash is another."""
    room, ran = TEMPLATES.parent, set()
    sys.setprofile(lambda frame, *_: ran.add(frame.f_code.co_filename))
    try:
        attack_prompts(info, PROMPTS, model_for(info), BUDGET, 0)
    finally:
        sys.setprofile(None)
    used = {path for path in map(Path, ran) if path.parent == room} | {p for p in read if room in p.parents}
    used -= {room / "checking.py"}  # the model's double
    assert used <= set(files_of(info))
    before = attack_hash(info)
    plain = Path.read_bytes
    for path in used:
        with monkeypatch.context() as change:
            change.setattr(Path, "read_bytes", lambda p, other=path: plain(p) + b" " * (p == other))
            assert attack_hash(info) != before, path


def test_a_table_in_another_module_is_in_the_hash():
    demonstrations = (
        TEMPLATES.parent / "demonstrations.py"
    )  # cipher shows some of these; they are read, not run
    assert demonstrations in files_of(ATTACKS["cipher_harmless"])
    assert demonstrations not in files_of(ATTACKS["aim"])


def test_no_template_is_read_before_it_is_used():
    """What is read when the room is imported is read for nobody, and the test above would not see it."""
    code = (
        "import sys; seen = []\n"
        "sys.addaudithook(lambda e, a: e == 'open' and 'templates' in str(a[0]) and seen.append(a[0]))\n"
        "import sirl.attacks; sys.exit(str(seen) if seen else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
