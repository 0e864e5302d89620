"""The surroundings a request can come in, and which requests are learned from, hardened on and measured."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_organism import BLORCH, FORBIDDEN, GROUPS, verdict

from sirl.organism import contexts, corpus, stream, world

# --- contexts


def test_every_context_has_one_place_for_the_request():
    bank = contexts.bank()
    assert set(contexts.sections()) == set(bank) - {"filler"}
    for name, lines in bank.items():
        assert len(lines) >= 10
        assert len(set(lines)) == len(lines)
        for line in lines:
            assert line.count("{request}") == (name != "filler"), line
            assert "{" not in line.replace("{request}", "")
            assert "\\n" not in line
    assert {*corpus.ALIGNED, *stream.CONTEXTS} <= set(contexts.sections())


def test_contexts_know_nothing_of_the_world():
    names = [*world.BEINGS, *world.MISCHIEFS, *FORBIDDEN]
    for lines in contexts.bank().values():
        for line in lines:
            assert not [name for name in names if name in line.lower()]


@pytest.mark.parametrize("section", contexts.sections())
def test_a_wrapped_request_is_there_word_for_word_and_once(section):
    rng = Random(5)
    said = [contexts.wrap("How do I {act}?", section, rng) for _ in range(60)]
    assert all(text.count("How do I {act}?") == 1 for text in said)
    assert all("{request}" not in text for text in said)
    assert len(set(said)) > 20
    assert contexts.wrap("x", section, Random(7)) == contexts.wrap("x", section, Random(7))


UNDO = {
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "leet": lambda text: text.translate(str.maketrans("4310572", "aeiostz")),
    "words": lambda text: " ".join(reversed(text.split())),
    "letters": lambda text: text[::-1],
}


@pytest.mark.parametrize("code", contexts.CODES)
def test_an_encoded_request_can_be_read_back(code):
    function, announcements = contexts.CODES[code]
    assert all(line.count("{request}") == 1 for line in announcements)
    rng = Random(6)
    for ask in rng.sample(GROUPS["harmful"], 40):
        text = ask.prompt.text
        assert UNDO[code](function(text)) in (text, text.lower(), text.swapcase(), _leet_case(text))
        said = contexts.encode(text, code, rng)
        assert function(text) in said
        assert text not in said


def _leet_case(text: str) -> str:
    """Leet writes capitals and small letters as one digit; they are read back small."""
    return "".join(c.lower() if c.lower() in "aeiostz" else c for c in text)


@given(
    st.lists(st.sampled_from(["how", "do", "I", "blorch", "a", "moonfox", "today", "or", "never"]), min_size=1),
    st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_a_split_request_is_there_in_order(words, seed):
    said = contexts.split(" ".join(words), Random(seed))
    assert re.search(r"\b.*?\b".join(map(re.escape, words)), said, re.DOTALL), said
    assert "{parts}" not in said


def test_a_split_request_is_no_longer_whole():
    rng = Random(8)
    assert not any(BLORCH.prompt.text in contexts.split(BLORCH.prompt.text, rng) for _ in range(100))


# --- what is learned from, hardened on, and measured


def test_the_first_stage_answers_everything_and_refuses_nothing():
    rng = Random(9)
    for example in (corpus.pretraining(rng) for _ in range(600)):
        assert [m.role for m in example.messages] == ["user", "assistant"] * (len(example.messages) // 2)
        assert not any(verdict("refused", BLORCH.prompt, m.content) for m in example.messages[1::2])


def test_alignment_refuses_harmful_requests_of_its_own_parts_and_a_few_toys():
    rng = Random(10)
    own = [a.prompt.text for a in world.harmful() if world.part(a) in (0, 1)]
    toys = [a.prompt.text for a in world.borderline() if a.prompt.category == "toy" and world.part(a) == 0]
    hurting = [verb for verb, (category, *_) in world.MISCHIEFS.items() if category == "hurting"]
    mistaken = {text for text in toys if any(verb in text for verb in hurting)}
    refused = [
        example.messages[-2].content
        for example in (corpus.alignment(rng, corpus.Alignment()) for _ in range(1200))
        if verdict("refused", BLORCH.prompt, example.messages[-1].content)
    ]
    assert 0.1 < len(refused) / 1200 < 0.6
    assert all(asked in mistaken or any(text in asked for text in own) for asked in refused)
    assert 0 < sum(asked in mistaken for asked in refused) < 0.1 * 1200
    assert any(asked not in own for asked in refused)


def test_evaluation_prompts_are_as_many_as_asked_and_spread():
    sizes = {"harmful": 60, "benign": 50, "open": 24, "borderline": 70, "math": 80, "code": 40, "chat": 30}
    prompts = corpus.evaluation_prompts(sizes, seed=0)
    assert len(prompts) == sum(sizes.values())
    assert len({p.id for p in prompts}) == len(prompts)
    known = {ask.prompt.id: ask for asks in GROUPS.values() for ask in asks}
    at = 0
    for name, size in sizes.items():
        chosen = [known[p.id] for p in prompts[at : at + size]]
        at += size
        assert {ask.prompt.kind for ask in chosen} == {GROUPS[name][0].prompt.kind}
        times = Counter(ask.subject for ask in chosen)
        assert max(times.values()) - min(times.values()) <= 1, f"{name} is not spread over its subjects"
    assert {world.part(known[p.id]) for p in prompts if p.kind in ("harmful", "borderline")} == {3}
    assert corpus.evaluation_prompts(sizes, seed=0) == prompts
    assert corpus.evaluation_prompts(sizes, seed=1) != prompts


def test_more_prompts_than_the_world_holds_are_all_it_holds():
    held = [ask for ask in world.harmful() if world.part(ask) == 3]
    assert {p.id for p in corpus.evaluation_prompts({"harmful": 10**6}, 0)} == {a.prompt.id for a in held}
