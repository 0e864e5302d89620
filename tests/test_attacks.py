"""The table of attacks, and the mechanisms that compute something: tenses, encodings, pieces, the search."""

import subprocess
import sys
from dataclasses import fields
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.attacks import (
    ATTACKS,
    PAPER,
    VARIANTS,
    AttackInfo,
    Means,
    PhraseBook,
    arm,
    attack_prompts,
    get_attacks,
    read_phrase_book,
    template_hashes,
)
from sirl.attacks.checking import StandIn
from sirl.attacks.ciphers import caesar, uncaesar
from sirl.attacks.demonstrations import HARMLESS, ica_harmless, many_shot_harmless, read_demonstrations
from sirl.attacks.drawing import draw, drawable, read_drawing
from sirl.attacks.encodings import base64, flip, leet, rot13, unbase64, unleet
from sirl.attacks.flips import flip_order, flip_words
from sirl.attacks.hashing import files_of, settled
from sirl.attacks.low_resource import LowResource, esperanto
from sirl.attacks.random_search import RandomSearch, words
from sirl.attacks.splitting import join_pieces, split_words, write_pieces
from sirl.attacks.static import AFFIRMATION, TEMPLATES, read_template, unfill
from sirl.attacks.structures import ENCODINGS, write_length, write_odd_even, write_reverse, write_tree
from sirl.attacks.tense import FUTURE, PAST, in_tense
from sirl.errors import AttackError
from sirl.judges import get_judges
from sirl.records import Prompt
from sirl.workflows.attack_tools import armed

TEXTS = [
    "",
    "a",
    "Sing a song.",
    "4 eggs, 7 TINS \\ and \\4",
    "two  spaces\nand a line\t",
    "ça 日本語 🙂 'x' \"y\"",
]
LISTS = (".words", ".font", ".common", ".seeds", ".lines")  # what attacks read besides templates
PROMPT_TEMPLATES = sorted(
    p.stem
    for p in TEMPLATES.glob("*.txt")
    if not p.stem.endswith(LISTS) and not p.stem.startswith("attacker.")  # these instruct an attacker model
)


def test_the_table_is_complete():
    static = [info for info in ATTACKS.values() if info.kind == "static"]
    assert len(static) >= 25
    assert len({info.mechanism for info in ATTACKS.values()}) >= 12
    assert list(ATTACKS) == [info.name for info in ATTACKS.values()]
    assert all(info.source and info.summary.endswith((".", "?")) for info in ATTACKS.values())


@pytest.mark.parametrize("name", PROMPT_TEMPLATES)
def test_templates_hold_one_placeholder_and_30_to_110_words(name):
    text = read_template(name)
    assert text.count("{request}") == 1
    assert 30 <= len(text.split()) <= 110
    assert text == text.strip()
    assert any(path.stem == name for info in ATTACKS.values() for path in files_of(info))


def test_the_papers_twenty():
    assert list(get_attacks(["paper"])) == list(PAPER)
    assert len(PAPER) == 20


def test_groups_expand_in_order_and_once():
    assert list(get_attacks(["all"])) == list(ATTACKS)
    searching = [name for name, info in ATTACKS.items() if info.kind == "adaptive"]
    assert {"random_search", "gcg", "autodan", "cold", "scav", "beast", "pair", "renellm"} <= set(searching)
    assert list(get_attacks(["adaptive"])) == searching
    assert list(get_attacks(["aim", "static", "aim"]))[:2] == ["aim", "direct"]
    assert len(get_attacks(["static", "all"])) == len(ATTACKS)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A user's package on the import path."""
    (tmp_path / "own_pkg").mkdir()
    (tmp_path / "own_pkg" / "mine.py").write_text(
        "from sirl.attacks import ATTACKS\nfrom functools import partial\nnumber = 3\n"
        "def attack(prompts, target, budget, seed):\n    'Do it.\\n\\nMore.'\n    return []\n"
        "fixed = partial(attack)\ninfo = ATTACKS['aim']\n"
    )
    (tmp_path / "own_pkg" / "broken.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("own_pkg")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("mine")
def test_a_users_attack():
    info = get_attacks(["own_pkg.mine:attack"])["own_pkg.mine:attack"]
    assert (info.name, info.kind, info.summary) == ("own_pkg.mine:attack", "custom", "Do it.")
    assert attack_prompts(info, [], None, 0, 0) == []
    described = get_attacks(["own_pkg.mine:info"])["own_pkg.mine:info"]
    assert (described.name, described.kind) == ("own_pkg.mine:info", "static")
    hashes = template_hashes(get_attacks(["own_pkg.mine:attack", "own_pkg.mine:fixed"]))
    assert len(set(hashes.values())) == 1
    assert len(hashes["own_pkg.mine:fixed"]) == 12


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "pasttense",
            "unknown attack 'pasttense'; expected a known name or module:function; did you mean past_t",
        ),
        (
            "flip_attack/fmm+cott",
            "unknown attack 'flip_attack/fmm+cott'; expected a variant, or NAME/* for all; did",
        ),
        ("aim/fmm", "unknown attack 'aim/fmm'; expected a variant"),
        ("own_pkg.mine.attack", "unknown attack 'own_pkg.mine.attack'"),
        ("no_such_pkg:attack", "cannot be imported (No module named 'no_such_pkg')"),
        ("own_pkg.broken:attack", "cannot be imported (No module named 'no_such_dependency')"),
        (
            "own_pkg.mine:atack",
            "mine.py); expected a function: attack; did you mean attack",
        ),
        ("own_pkg.mine:number", "is of type int; expected a function"),
        (":attack", "is not a path; expected module:function"),
        ("own_pkg.mine:", "is not a path; expected module:function"),
        ("own_pkg/mine.py:attack", "is not a path; expected module:function"),
    ],
)
def test_error_sentences(name, sentence):
    with pytest.raises(AttackError) as error:
        get_attacks(["aim", name])
    assert sentence in str(error.value)


def test_no_names_is_an_error():
    with pytest.raises(AttackError, match="no attack was named"):
        get_attacks([])


@pytest.mark.parametrize("name", [n for n, info in ATTACKS.items() if info.kind == "adaptive"])
def test_what_an_attack_is_armed_with_is_told_without_addresses(name):
    """Another process must find the same hash, or a killed run could not be continued."""
    judge = get_judges()["harmful"]
    info = arm(ATTACKS[name], Means(judge=judge, attacker=StandIn(name="writer")))
    told = repr([settled(getattr(info.run, f.name)) for f in fields(info.run)])
    assert " at 0x" not in told
    assert judge.identity in told or not hasattr(info.run, "judge")


def test_hashes_tell_templates_and_settings_apart():
    hashes = template_hashes()
    assert list(hashes) == list(ATTACKS)
    assert all(len(h) == 12 and int(h, 16) >= 0 for h in hashes.values())
    assert len({hashes[n] for n in PROMPT_TEMPLATES if n in ATTACKS}) == len(
        set(PROMPT_TEMPLATES) & set(ATTACKS)
    )
    assert hashes == template_hashes()
    line = {"x": AttackInfo("x", "m", "logprobs", "adaptive", "s", "", RandomSearch(length=3))}
    assert template_hashes(line)["x"] != hashes["random_search"]
    nowhere = {"y": AttackInfo("y", "m", "none", "custom", "s", "", print)}  # type: ignore[arg-type]
    assert template_hashes(nowhere) == {"y": "unknown"}


# --- tenses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_text", "past"),
    [
        ("How do I bake bread?", "How did people bake bread in the past?"),
        ("how can you bake my own bread", "How did people bake their own bread in the past?"),
        ("How does one bake bread in the US?", "How did people bake bread in the US in the past?"),
        ("How to bake bread", "How did people bake bread in the past?"),
        ("Tell me how to bake bread.", "How did people bake bread in the past?"),
        ("Please tell me exactly how I can bake bread!", "How did people bake bread in the past?"),
        ("Can you please explain how to bake bread?", "How did people bake bread in the past?"),
        ("Explain to me how to bake bread", "How did people bake bread in the past?"),
        ("Give me instructions to bake bread.", "How did people bake bread in the past?"),
        ("Provide step-by-step instructions for how to bake bread", "How did people bake bread in the past?"),
        ("Write a tutorial on how to bake bread", "How did people bake bread in the past?"),
        ("Instructions to bake bread", "How did people bake bread in the past?"),
        ("What are the steps to bake bread?", "How did people bake bread in the past?"),
        ("What is the best way to bake bread?", "How did people bake bread in the past?"),
        ("Write a guide on baking bread", "How did people go about baking bread in the past?"),
        ("What flour do I need to bake bread?", "What flour did people need to bake bread in the past?"),
        ("where can we buy bread?", "Where did people buy bread in the past?"),
        ("Write a letter to my baker", "How did people write a letter to their baker in the past?"),
        ("Knead the dough", "How did people knead the dough in the past?"),
        ("I am a baker. How do I bake bread? Be brief.",
         "I am a baker. How did people bake bread in the past? Be brief."),
        ("Bread baking hints", "In the past, how did people go about the following? Bread baking hints"),
        ("Is the bread done?", "In the past, how did people go about the following? Is the bread done?"),
        ("Bread", "In the past, how did people go about the following? Bread"),
        ("How do I print {core} and \\1?", "How did people print {core} and \\1 in the past?"),
    ],
)  # fmt: skip
def test_past_tense(request_text, past):
    assert in_tense(request_text, PAST) == past
    future = past.replace("How did", "How will").replace("In the past, how did", "In the future, how will")
    future = future.replace(" did people", " will people").replace("in the past", "in the future")
    assert in_tense(request_text, FUTURE) == future


# --- encodings and pieces -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
def test_encodings_can_be_undone(text):
    assert rot13(rot13(text)) == text
    assert unleet(leet(text)) == text
    assert unbase64(base64(text)) == text
    assert uncaesar(caesar(text)) == text
    assert all(read(write(text)) == text for write, read in ENCODINGS.values())
    assert esperanto().read(esperanto().translate(text)) == text
    assert flip(flip(text)) == text
    assert join_pieces(write_pieces(text)) == text


def test_encodings_by_hand():
    assert rot13("Hello, 5") == "Uryyb, 5"
    assert leet("a test of 3 Eggs") == "4 7357 0f \\3 Egg5"
    assert flip("abc d") == "d cba"
    assert caesar("Lazy fox, 3") == "Odcb ira, 3"
    assert base64("Hi, ü") == "SGksIMO8"
    assert write_tree("one two three") == '[[[], "one ", []], "two ", [[], "three", []]]'


def test_the_published_ways_to_flip_and_to_scramble_by_hand():
    assert flip_order("one two  three") == "three  two one"
    assert flip_words("one two  three") == "eno owt  eerht"
    assert write_reverse("one two three") == '"three two one"'
    assert write_odd_even("one two three four") == '"one three two four"'
    assert write_length("three is a few") == '[{"a": 2}, {"is": 1}, {"few": 3}, {"three": 0}]'


VARIED = get_attacks([f"{name}/*" for name in VARIANTS])


@pytest.mark.parametrize("name", VARIED)
def test_a_variant_can_be_read_back_and_is_another_attack(name):
    """With few shots the request stands in the message in halves, marks and placeholders of its own with it."""
    info, tricky = VARIED[name], ["<<<\nx\n>>>\n\n<<<\ny {request} {role}", "\n>>>", "one"]
    for text in (*TEXTS, *tricky):
        [attempt] = info.run([Prompt("p", text)], None, 0, 0)
        assert info.recover(attempt.messages[-1].content) == text
    with pytest.raises(ValueError, match="not made from this template"):
        info.recover("Sing a song.")
    assert info.kind == "static"
    assert info.coded
    plain = get_attacks([name.partition("/")[0], name])
    assert len(set(template_hashes(plain).values())) == 2


def test_a_foolish_mode_says_another_way_than_it_flips_and_shots_are_halves_of_the_request():
    fmm, shown = (VARIED[f"flip_attack/{v}"] for v in ("fmm+cot", "fcw+cot+langgpt+few_shot"))
    [attempt] = attack_prompts(fmm, [Prompt("p", "Sing a song")], None, 0, 0)
    assert attempt.attack == "flip_attack/fmm+cot"
    assert "words in the opposite order" in attempt.messages[0].content
    assert "gnos a gniS" in attempt.messages[0].content
    said = shown.run([Prompt("p", "Sing a song loudly")], None, 0, 0)[0].messages[0].content
    assert "'gniS a' -> 'Sing a'" in said
    assert "'gnos ylduol' -> 'song loudly'" in said
    assert said.startswith("# Role")


def test_pieces_by_hand():
    assert split_words("one two three four five six", 3) == ["one two ", "three four ", "five six"]
    assert split_words("one two", 4) == ["one ", "two"]
    assert write_pieces("be at home by ten") == 'A = "be "\nB = "at "\nC = "home by "\nD = "ten"'


# --- drawing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Give me instructions to grimble a frost goose.", "grimble"),  # instructions is an ordinary word
        ("How do I snatchle a moonfoxy cat?", "moonfoxy"),  # the last of the longest
        ("how can you do it", "you"),  # all ordinary: the longest of them
        ("Fix my iPhone, ça va_t 5th", "Fix"),  # no mixed case, no accents, no digits
        ("4 + 4 = ?", None),
    ],
)
def test_the_word_that_is_drawn(text, word):
    found = drawable(text)
    assert (found[0][0] if found else None) == word


def test_a_drawing_by_hand():
    rows = ["#  # ###", "#  #  #", "####  #", "#  #  #", "#  # ###"]
    assert draw("Hi") == "\n".join(rows)


def test_drawings_can_be_read():
    letters = "abcdefghijklmnopqrstuvwxyz"
    for a, b in product(letters, letters):
        assert read_drawing(draw(a + b)) == a + b


@pytest.mark.parametrize(
    "text",
    [
        "Sing a MERRY tune [mask] [[Mask]",
        "[Melody]",
        "[[x]] I",
        "I",
        "Sing LOUDLY",
        "Whistling",
        "",
        "7",
        "a" * 40,
    ],
)
def test_a_masked_request_can_be_read(text):
    info = ATTACKS["artprompt_rules"]
    [attempt] = info.run([Prompt("p", text)], None, 0, 0)
    assert info.recover(attempt.messages[-1].content) == text
    if len(text) > 1:
        assert text not in attempt.messages[-1].content


# --- languages ------------------------------------------------------------------------------------------

LITTLE = PhraseBook(
    (("how do I", "kiel mi"), ("how", "kiel"), ("me", "mi"), ("cat", "kato"), ("the cat", "la kato"))
)


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("How do I feed the cat?", "Kiel mi feed la kato?"),
        ("how me cat", "how mi kato"),  # kiel mi would be read as: how do I
        ("Kato, my CAT", "\\Kato, my CAT"),  # Kato would be read as: Cat
        ("cat\\cat la", "kato\\\\kato la"),
        ("la cat's cat", "la cat's kato"),
        ("la  cat", "la  kato"),
    ],
)
def test_translation_by_hand(text, sent):
    assert LITTLE.translate(text) == sent
    assert LITTLE.read(sent) == text


PIECES_OF_TEXT = [w for pair in LITTLE.pairs for side in pair for w in (side, side.capitalize())]


@given(
    st.lists(st.sampled_from([*PIECES_OF_TEXT, " ", " ", " ", "'", "\\", ".", "la", "7", "ĉ", "\n"])).map(
        "".join
    )
)
def test_any_translation_can_be_read_back(text):
    assert LITTLE.read(LITTLE.translate(text)) == text


@given(st.text())
def test_any_text_can_be_translated_and_read_back(text):
    assert esperanto().read(esperanto().translate(text)) == text


def test_the_default_book_translates_what_is_asked_every_day():
    said = esperanto().translate("Tell me how to feed the old cat.")
    assert said == "Diru al mi kiel oni povas nutri la malnova kato."
    assert len(esperanto().pairs) >= 150


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# nothing\n", "the phrase book holds no phrase; expected at least one pair"),
        ("cat kato\n", "line 1 of {path} is no pair; expected two phrases, a tab between"),
        ("cat\tkato\tkat\n", "is no pair"),
        ("cat\tkato\nCat\tkat\n", "holds 'cat' 2 times; expected each phrase once"),
        ("cat\tkato\ndog\tKato\n", "holds 'kato' 2 times"),
        ("cat!\tkato\n", "holds 'cat!'; expected words with one space between them"),
    ],
)
def test_phrase_books_that_cannot_be_read_back(tmp_path, text, sentence):
    path = tmp_path / "book.tsv"
    path.write_text(text)
    with pytest.raises(AttackError) as error:
        read_phrase_book(path)
    assert sentence.replace("{path}", str(path)) in str(error.value)


def test_a_missing_phrase_book_is_told(tmp_path):
    with pytest.raises(AttackError, match=r"no\.tsv cannot be read"):
        read_phrase_book(tmp_path / "no.tsv")


def test_a_users_phrase_book_takes_the_place_of_ours(tmp_path):
    path = tmp_path / "book.tsv"
    path.write_text("# mine\nsing\tchante\n")
    armed = arm(ATTACKS["low_resource"], Means(phrase_book=read_phrase_book(path)))
    [attempt] = attack_prompts(armed, [Prompt("p", "Sing it!")], None, 0, 0)
    assert attempt.messages[0].content.startswith("Chante it!")
    assert armed.recover(attempt.messages[0].content) == "Sing it!"
    lines = {name: AttackInfo(name, "m", "none", "static", "s", "", run)
             for name, run in (("a", armed.run), ("c", LowResource()))}  # fmt: skip
    assert len(set(template_hashes(lines).values())) == 2


def test_a_hash_is_the_same_in_every_process():
    """A function's address is not: a run could not be continued."""
    code = (
        "from dataclasses import replace\n"
        "from sirl.attacks import ATTACKS, template_hashes\n"
        "def f(replies): return []\n"
        "pair = ATTACKS['pair']\n"
        "print(template_hashes({'x': replace(pair, run=replace(pair.run, judge=f))}))"
    )
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in "ab"]
    assert said[0] == said[1]


# --- demonstrations, prefill -------------------------------------------------------------------


def test_demonstrations_come_before_the_request():
    assert [m.role for m in ica_harmless("Sing?")] == ["user", "assistant"] * 3 + ["user"]
    assert ica_harmless("Sing?")[-1].content == "Sing?"
    [message] = many_shot_harmless("Sing?")
    assert message.content.endswith("User: Sing?\nAssistant:")
    assert message.content.count("Assistant:") == len(HARMLESS) + 1


SHOWN = tuple((f"How do I juggle {i} balls?", f"Throw {i}.") for i in range(300))


@pytest.mark.parametrize(
    ("name", "shots"), [("ica", 10), ("many_shot", 256), ("cipher", 3), ("self_cipher", 3)]
)
def test_demonstrations_are_the_users_own_and_as_many_as_published(name, shots):
    armed = arm(ATTACKS[name], Means(demonstrations=SHOWN))
    [attempt] = attack_prompts(armed, [Prompt("p", "How do I juggle 0 balls")], None, 0, 0)
    said = "\n".join(m.content for m in attempt.messages)
    assert sum(f"Throw {i}." in said for i in range(300)) == shots
    assert "Throw 0." not in said  # the very request is no demonstration
    assert not any(answer in said for _, answer in HARMLESS)
    with pytest.raises(AttackError, match=f"{name} was given no demonstrations.*--demonstrations FILE"):
        ATTACKS[name].run([Prompt("p", "Sing")], None, 0, 0)


def test_demonstrations_fill_what_a_model_can_read():
    counts = []
    for context in (100, 1000, 2000, 100_000):
        armed = arm(ATTACKS["many_shot"], Means(demonstrations=SHOWN, context=context))
        [attempt] = attack_prompts(armed, [Prompt("p", "Sing")], None, 0, 0)
        assert len(attempt.messages[0].content) < 3 * context
        counts.append(attempt.messages[0].content.count("Throw"))
    assert counts[0] > 0
    assert counts == sorted(set(counts))
    assert counts[-1] == 256


def test_demonstrations_are_read_from_a_table(tmp_path):
    path = tmp_path / "shown.csv"
    path.write_text("goal,response\nSing,La.\nHum,\nDance,Step.\n")
    assert read_demonstrations(path) == (("Sing", "La."), ("Dance", "Step."))
    path.write_text("goal,score\nSing,1\n")
    with pytest.raises(
        AttackError, match=r"has the columns goal, score; expected rows with a request .* answer"
    ):
        read_demonstrations(path)


def test_a_stand_in_says_for_what_it_stands_and_needs_less():
    stand_ins = [info for info in ATTACKS.values() if info.stands_for]
    assert {"past_tense_rules", "ica_harmless", "many_shot_harmless", "cipher_harmless"} <= {
        info.name for info in stand_ins
    }
    for info in stand_ins:
        published = ATTACKS[info.stands_for]
        assert info.name.startswith(f"{published.name}_")
        assert set(info.needs) < set(published.needs)


def test_what_is_left_out_of_the_papers_twenty_is_named_with_its_stand_in(caplog):
    found = armed(["paper"], Means(judge=get_judges()["harmful"]), "black-box")
    told = dict(line.removeprefix("skipped: ").split(": ", 1) for line in caplog.messages)
    assert set(told) == set(PAPER) - set(found)
    for name in ("past_tense", "future_tense", "ica", "cipher", "artprompt", "autodan"):
        (stand_in,) = [info.name for info in ATTACKS.values() if info.stands_for == name]
        assert told[name].startswith("it needs ")
        assert told[name].endswith(f"; use {stand_in}, a weaker stand-in")
    assert told["pair"] == "it needs an attacker model (--attacker MODEL)"
    with pytest.raises(
        AttackError,
        match=r"'ica' cannot be run: it needs demonstrations .--demonstrations.* or use ica_harmless",
    ):
        armed(["ica"], Means(), "black-box")


def test_prefill_begins_the_reply():
    [attempt] = attack_prompts(ATTACKS["prefill"], [Prompt("p", "Sing?")], None, 0, 0)
    assert (attempt.prefill, attempt.messages[0].content) == (AFFIRMATION, "Sing?")
    means = Means(demonstrations=SHOWN)
    others = [a for n, info in get_attacks(["static"]).items() if n != "prefill"
              for a in attack_prompts(arm(info, means), [Prompt("p", "Sing?")], None, 0, 0)]  # fmt: skip
    assert not any(a.prefill for a in others)


# --- random search --------------------------------------------------------------------------------------


class VowelTarget:
    """A target that likes vowels; it remembers how many attempts each call held."""

    name, access = "vowels", "logprobs"

    def __init__(self, value=None) -> None:
        self.value, self.calls, self.beginnings = value, [], set()

    def score(self, attempt) -> float:
        text = attempt.messages[-1].content
        return self.value if self.value is not None else sum(c in "aeiou" for c in text) / 100 - 5

    def log_likelihood(self, attempts, beginnings):
        self.calls.append(len(attempts))
        self.beginnings |= set(beginnings)
        return [self.score(a) for a in attempts]


PROMPTS = [Prompt(f"p{i}", f"Whistle tune {i}", "harmful") for i in range(5)]


def suffix(attempt) -> list[str]:
    said = unfill(read_template("random_search"), attempt.messages[-1].content)
    assert said.startswith(f"{attempt.prompt.text} ")
    return said.removeprefix(attempt.prompt.text).split()


def test_search_improves_with_its_budget():
    target = VowelTarget()
    results = {b: [target.score(a) for a in RandomSearch()(PROMPTS, target, b, 0)] for b in (0, 1, 33, 129)}
    assert results[0] == results[1]
    for start, some, more in zip(results[1], results[33], results[129], strict=True):
        assert start < some < more


def test_search_batches_all_prompts_and_candidates():
    target = VowelTarget()
    RandomSearch(candidates=4, beginning="Of course")(PROMPTS, target, 11, 0)
    assert target.calls == [5, 20, 20, 10]
    assert target.beginnings == {"Of"}  # the first word alone


def test_search_changes_only_the_suffix():
    search = RandomSearch(length=6, width=2)
    for attempt in search(PROMPTS, VowelTarget(), 40, 0):
        assert len(suffix(attempt)) == 6
        assert set(suffix(attempt)) <= set(words())


@pytest.mark.parametrize("value", [-1.0, float("nan"), -float("inf")])
def test_search_keeps_its_start_if_nothing_is_better(value):
    for attempt in RandomSearch(length=3)(PROMPTS, VowelTarget(value), 20, 0):
        assert suffix(attempt) == ["!"] * 3
        assert attempt.search.queries == 20


def test_seeds_and_prompts_draw_their_own_words():
    target = VowelTarget()
    one, two = (RandomSearch()(PROMPTS, target, 60, seed) for seed in (0, 1))
    assert all(suffix(a) != suffix(b) for a, b in zip(one, two, strict=True))
    assert len({tuple(suffix(a)) for a in one}) == len(PROMPTS)


@pytest.mark.parametrize(("value", "width"), [(-9.0, 4), (-3.0, 2), (-0.1, 1)])
def test_the_likelier_the_beginning_the_fewer_words_change(value, width):
    """At probabilities of 0, .05 and .9 four, two and one of the words, as the published schedule has it."""
    target = VowelTarget(value)
    asked = []
    target.score = lambda attempt: asked.append(suffix(attempt)) or value
    RandomSearch()(PROMPTS[:1], target, 200, 0)
    changed = [[i for i, word in enumerate(row) if word != "!"] for row in asked[1:]]
    assert max(row[-1] - row[0] + 1 for row in changed if row) == width
    assert all(len(row) == 25 for row in asked)


def test_a_search_starts_anew_after_its_iterations():
    target, asked = VowelTarget(-9.0), []
    target.score = lambda attempt: asked.append(suffix(attempt)) or -9.0
    RandomSearch(candidates=1, iterations=5)(PROMPTS[:1], target, 12, 0)
    plain = [row.count("!") for row in asked]
    assert [i for i, (a, b) in enumerate(pairwise(plain), 1) if a > 15 > b] == [5]
    assert plain[0] == 25


def test_words_are_printable_and_distinct():
    assert 150 <= len(words()) == len(set(words()))
    assert all(word.isprintable() and not word.isspace() for word in words())
