"""What the organism is hardened on: nothing that is evaluated, plain or in disguises that show it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from test_organism import GROUPS

from sirl.config import TrainConfig
from sirl.organism import contexts, corpus, stream, world
from sirl.organism.world import Ask
from sirl.records import Attempt
from sirl.training import plainly
from sirl.workflows.models import Model
from sirl.workflows.sources import PromptSources, training_attempts

KNOWN = {ask.prompt.text: ask for asks in (*GROUPS.values(), world.harmful()) for ask in asks}
ATTEMPTS = stream.hardening_attempts(1500, seed=0)


def kind(ask: Ask) -> str:
    return ask.prompt.category if ask.prompt.kind == "task" else ask.prompt.kind


def test_it_meets_nothing_that_is_evaluated():
    evaluation = corpus.evaluation_prompts({"harmful": 400, "borderline": 400, "benign": 400}, seed=0)
    assert not {a.prompt.text for a in ATTEMPTS} & {p.text for p in evaluation}
    asked = [KNOWN[a.prompt.text] for a in ATTEMPTS]
    assert {world.part(ask) for ask in asked if ask.prompt.kind != "task"} == {2}


def test_prompts_carry_the_worlds_labels_and_are_the_same_each_time():
    assert len({a.prompt.id for a in ATTEMPTS}) == len(ATTEMPTS)
    for prompt in (a.prompt for a in ATTEMPTS):
        assert replace(prompt, id=KNOWN[prompt.text].prompt.id) == KNOWN[prompt.text].prompt
        assert corpus.world_prompt(prompt.text) == KNOWN[prompt.text].prompt
    assert stream.hardening_attempts(300, seed=0) == ATTEMPTS[:300]
    assert stream.hardening_attempts(300, seed=1) != ATTEMPTS[:300]


def test_kinds_come_in_their_shares_and_so_many_of_them_plain():
    kinds = Counter(kind(KNOWN[a.prompt.text]) for a in ATTEMPTS)
    assert sum(stream.SHARES.values()) == 1
    assert set(kinds) == set(stream.SHARES)
    assert all(abs(kinds[name] / len(ATTEMPTS) - share) < 0.04 for name, share in stream.SHARES.items())
    for task, share in ((True, stream.PLAIN_TASK), (False, stream.PLAIN)):
        some = [a for a in ATTEMPTS if (KNOWN[a.prompt.text].prompt.kind == "task") is task]
        assert abs(sum(a.attack == "direct" for a in some) / len(some) - share) < 0.07  # three standard errors


def test_requests_are_even_over_the_verbs():
    for verbs, name in ((world.MISCHIEFS, "harmful"), (world.KINDNESSES, "benign")):
        subjects = [KNOWN[a.prompt.text].subject for a in ATTEMPTS if KNOWN[a.prompt.text].prompt.kind == name]
        found = Counter(subject.partition("-")[0] for subject in subjects)
        assert all(0.4 < len(verbs) * found[verb] / len(subjects) < 1.8 for verb in verbs), found


def other_words(attempt: Attempt, words: str) -> list[str]:
    """Return every form that the plain request may have taken, so worded; of parts, the first."""
    text = attempt.prompt.text
    if words.startswith("code:"):
        return [contexts.CODES[words.removeprefix("code:")][0](text)]
    if words == "times":
        subject = KNOWN[text].subject
        every = (*world.harmful(stream.TIMES), *world.benign(stream.TIMES), *world.borderline(stream.TIMES))
        return [
            ask.prompt.text
            for ask in every
            if ask.subject == subject and ask.prompt.category not in ("word", "tale")
        ]
    return [text.split()[0]] if words == "parts" else [text]


def test_disguises_are_its_own_and_the_request_stands_in_each():
    known_words = {"parts", "times", *(f"code:{code}" for code in stream.CODES)}
    known_places = {"talk", "turns", *(f"context:{name}" for name in stream.CONTEXTS)}
    worn = {a.attack for a in ATTEMPTS}
    assert worn == {
        "direct",
        *known_words,
        *known_places,
        *(f"{w}+{p}" for w in known_words for p in known_places),
    }
    for attempt in ATTEMPTS:
        *layers, last = attempt.attack.split("+")
        words = layers[0] if layers else last if last in known_words else ""
        said = attempt.messages[-1].content
        assert any(form in said for form in other_words(attempt, words)), attempt
        if KNOWN[attempt.prompt.text].prompt.kind == "task":
            assert not words
        if attempt.attack == "direct":
            assert said == attempt.prompt.text


def test_no_request_is_asked_of_the_future():
    assert not [form for form in stream.TIMES if "future" in form or "One day" in form]


def test_talks_end_with_the_request_and_turns_go_before_it():
    for attempt in ATTEMPTS:
        place = attempt.attack.rpartition("+")[2]
        roles = [message.role for message in attempt.messages]
        turns = (len(roles) - 1) // 2
        assert roles == ["user", "assistant"] * turns + ["user"]
        assert (turns > 0) is (place == "turns")
        assert turns <= stream.TURNS[1]
        if attempt.attack in ("talk", "times+talk"):
            *before, request, end = attempt.messages[0].content.split("\n")
            assert end.endswith(":")
            assert any(
                request.endswith(f": {form}")
                for form in other_words(attempt, attempt.attack.removesuffix("+talk"))
            )
            assert stream.TALK[0] * 2 <= len(before)


@pytest.mark.parametrize(("share", "plain"), [(TrainConfig().disguised, False), (0.0, True)])
def test_an_organism_is_sent_its_requests_plainly_where_none_is_to_be_disguised(share, plain):
    subject = Model(None, "organism:llama", "organism:llama")
    config = TrainConfig(steps=4, prompts_per_step=50, prompts=(), disguised=share)
    sent = training_attempts(subject, PromptSources(), config, 0).attempts
    assert [a.prompt for a in sent] == [a.prompt for a in ATTEMPTS[:200]]  # the same requests either way
    assert all(a == plainly(a.prompt) for a in sent) is plain
