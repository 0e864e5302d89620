from __future__ import annotations

import copy
import json
from dataclasses import FrozenInstanceError, fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirl.records import (
    KINDS,
    Attempt,
    Completion,
    Decoding,
    Message,
    Prompt,
    Rate,
    Record,
    Search,
    Verdict,
    from_json,
    to_json,
)

TEXT = st.text(max_size=12)  # any Unicode, line breaks and quotes among it
COUNT = st.integers(0, 10**6)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
PROMPTS = st.builds(Prompt, TEXT, TEXT, st.sampled_from(KINDS), TEXT, TEXT, TEXT, TEXT)
DECODINGS = st.builds(Decoding, NUMBER, NUMBER, COUNT, COUNT)
SEARCHES = st.builds(
    Search,
    st.sampled_from(["static", "adaptive"]),
    COUNT,
    COUNT,
    COUNT,
    NUMBER,
    st.lists(st.tuples(COUNT, NUMBER), max_size=3).map(tuple),
    COUNT,
    COUNT,
    COUNT,
    st.none() | TEXT,
)
ATTEMPTS = st.builds(
    Attempt,
    PROMPTS,
    TEXT,
    st.lists(st.builds(Message, TEXT, TEXT), max_size=3).map(tuple),
    TEXT,
    st.none() | DECODINGS,
    COUNT,
    st.lists(st.tuples(NUMBER, NUMBER), max_size=2).map(tuple),
    SEARCHES,
)
NUMBERS = st.none() | st.lists(NUMBER, max_size=4).map(tuple)
COMPLETIONS = st.builds(
    Completion,
    ATTEMPTS,
    TEXT,
    st.lists(COUNT, max_size=4).map(tuple),
    st.lists(TEXT, max_size=4).map(tuple),
    st.booleans(),
    NUMBERS,
    NUMBERS,
)
QUESTIONS = st.sampled_from(["harmful", "refused", "correct"])
VERDICTS = st.builds(Verdict, QUESTIONS, st.sampled_from([True, False, None]), TEXT, TEXT)
RECORDS = st.builds(Record, COMPLETIONS, st.lists(VERDICTS, max_size=3).map(tuple))


def record(entropies=(1.0, 2.0, 6.0), verdicts=(), **changes) -> Record:
    prompt = Prompt("p7", "how?", "benign", "a.csv", "care", "42")
    decoding = Decoding(0.7, 0.9, 40, 8)
    messages = (Message("system", "be kind"), Message("user", "how?"))
    attempt = Attempt(prompt, "aim", messages, "Sure", decoding, **({"sample": 2} | changes))
    return Record(Completion(attempt, "so", (5, 6, 7), ("s", "o", ""), True, entropies), tuple(verdicts))


@given(RECORDS)
@settings(max_examples=60, deadline=None)
def test_a_record_comes_back_from_json_as_it_was(original):
    assert from_json(json.loads(json.dumps(to_json(original)))) == original


def test_what_is_written_shares_nothing_with_the_record():
    original = record()
    row = to_json(original)
    row["completion"]["attempt"]["prompt"]["text"] = "changed"
    assert original.prompt.text == "how?"


def test_a_key_names_prompt_attack_and_sample():
    assert record().attempt.key == "p7|aim|2"
    assert record(sample=0, search=Search(queries=9, surrogate="other")).attempt.key == "p7|aim|0"


def test_mean_entropy_is_that_of_the_recorded_tokens():
    assert record().mean_entropy == 3.0
    assert record(entropies=()).mean_entropy is None
    assert record(entropies=None).mean_entropy is None


def test_an_answer_is_the_verdict_on_that_question():
    found = record(verdicts=[Verdict("harmful", False, "", "j"), Verdict("refused", None, "", "j")])
    assert found.answer("harmful") is False
    assert found.answer("refused") is None
    assert found.answer("correct") is None


def test_a_record_leads_to_its_attempt_and_prompt():
    found = record()
    assert found.attempt is found.completion.attempt
    assert found.prompt is found.completion.attempt.prompt


def test_a_rate_of_nothing_has_no_value():
    assert Rate(3, 4, 9, 0.3, 0.9).value == 0.75
    assert Rate(0, 0, 9, None, None).value is None


@pytest.mark.parametrize(
    "noun", [record(), record().completion, record().attempt, record().prompt, Rate(0, 1, 0, 0.0, 1.0)]
)
def test_nouns_are_frozen(noun):
    for field in fields(noun):
        with pytest.raises(FrozenInstanceError):
            setattr(noun, field.name, None)


@pytest.mark.parametrize(
    "path",
    [
        ("completion",),
        ("verdicts",),
        ("completion", "attempt"),
        ("completion", "entropies"),
        ("completion", "attempt", "decoding"),
        ("completion", "attempt", "messages"),
        ("completion", "attempt", "prompt", "id"),
    ],
    ids=".".join,
)
def test_a_row_with_a_part_missing_is_foreign(path):
    row = to_json(record())
    place = row
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    with pytest.raises((KeyError, TypeError)):
        from_json(row)


@pytest.mark.parametrize("row", [{}, {"completion": None, "verdicts": []}, {"completion": "x", "verdicts": []}])
def test_a_row_of_something_else_is_foreign(row):
    with pytest.raises((KeyError, TypeError)):
        from_json(row)


def test_a_row_with_more_than_a_record_holds_is_foreign():
    row = json.loads(json.dumps(to_json(record())))
    for add in (
        lambda r: r["completion"].update(mood="merry"),
        lambda r: r["completion"]["attempt"]["prompt"].update(label=1),
        lambda r: r["verdicts"].append({"question": "harmful", "answer": True}),
    ):
        changed = copy.deepcopy(row)
        add(changed)
        with pytest.raises(TypeError):
            from_json(changed)
