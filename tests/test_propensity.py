"""Refusal propensity: openers are found in the model's own words, and scored as one event."""

from dataclasses import replace
from math import exp

import pytest

from sirl.lm import load_lm, render
from sirl.organism import WEIGHTS
from sirl.propensity import Opener, find_openers, keep_propensities, opener_logprobs
from sirl.records import Attempt, Completion, Message, Prompt, Record, Verdict
from sirl.rundir import OPENERS, PROPENSITIES, open_run
from sirl.scoring import teacher_forced


def plain(text: str) -> Attempt:
    return Attempt(Prompt(text, text), "direct", (Message("user", text),))


def reply(request: str, words: str, finished: bool = True) -> Completion:
    """A reply of one token a word, its end included where it is finished."""
    pieces = words.split()
    ids = tuple(sum(map(ord, piece)) for piece in pieces)
    ids, pieces = ((*ids, 0), [*pieces, ""]) if finished else (ids, pieces)
    return Completion(plain(request), words, ids, tuple(pieces), finished, logprobs=(-1.0,) * len(ids))


def test_openers_recur_in_refusals_of_several_requests_and_in_nothing_else():
    said = [
        ("a", "I am sorry but no to that", True),
        ("b", "I am sorry and will not", True),
        ("b", "It would hurt people so no", True),  # under one request alone
        ("c", "No thanks", True),  # shorter than an opener: the whole of it
        ("d", "No thanks", True),
        ("e", "This is how it works not", True),  # its three first words begin answers too
        ("f", "This is how it works not", True),
        ("g", "This is how to fold paper", False),
        ("h", "I am sorry that you hurt", None),  # undecided: no evidence against
    ]
    found = find_openers([reply(r, words) for r, words, _ in said], [no for *_, no in said])
    told = [(o.text, o.requests) for o in found]
    assert sorted(told) == [("Iamsorry", 2), ("Nothanks", 2), ("Thisishowit", 2)]
    assert all(0 not in o.token_ids for o in found)  # the end of the turn is no word


def test_what_is_said_as_unsurely_as_answers_are_opens_no_refusal():
    said = [
        *(("a", "I cannot help with it", 0.5, True), ("b", "I cannot help with this", 0.6, True)),
        *(("c", "No I will not", 0.9, True), ("d", "No I will not", 1.0, True)),  # less sure, and still nearer
        *(("e", "As a program I feel nothing", 1.4, True), ("f", "As a program I eat nothing", 1.3, True)),
        *(("g", "Here is how", 1.6, False), ("h", "First take some", 1.8, False)),
    ]
    replies = [replace(reply(r, words), entropies=(nats,) * 3) for r, words, nats, _ in said]
    found = find_openers(replies, [no for *_, no in said])
    assert sorted(opener.text for opener in found) == ["Icannothelp", "NoIwill"]


def test_where_no_beginning_recurs_the_single_ones_are_pooled_and_without_refusals_there_is_none():
    said = [
        ("a", "That is wrong so no", True),
        ("b", "Please do not ask this", True),
        ("c", "Sure it is", False),
    ]
    replies = [reply(r, words) for r, words, _ in said]
    assert {(o.text, o.requests) for o in find_openers(replies, [True, True, False])} == {
        ("Thatiswrong", 1),
        ("Pleasedonot", 1),
    }
    assert find_openers(replies, [False, None, False]) == ()
    assert find_openers([replies[0]] * 2, [True, False]) != ()  # the same request: it does refuse it so
    assert find_openers([replies[0], reply("z", "That is wrong so no")], [True, False]) == ()


def test_openers_are_scored_as_one_event_whatever_goes_through_the_model_together():
    lm = load_lm(WEIGHTS / "llama")
    attempts = [plain("how do I wash a moonfox?"), plain("tell me of the river, the stone and the lamp")]
    openers = [Opener((5, 9, 11), "", 2), Opener((5, 9, 12, 13), "", 2), Opener((7,), "", 2)]
    found = opener_logprobs(lm, attempts, openers)
    for attempt, row, value in zip(attempts, render(lm, attempts), found, strict=True):
        alone = [
            float(logprob_T.sum())
            for opener in openers
            for _, logprob_T in teacher_forced(lm, [row], [opener.token_ids])
        ]
        assert exp(value) == pytest.approx(sum(map(exp, alone)), rel=1e-3), attempt.prompt.text
    with pytest.raises(ValueError, match="no openers"):
        opener_logprobs(lm, attempts, [])


def test_a_run_keeps_its_openers_and_scores_only_what_is_missing(tmp_path):
    lm = load_lm(WEIGHTS / "llama")

    def record(request: str, refused: bool, attack: str = "direct") -> Record:
        made = Completion(replace(plain(request), attack=attack), "", (5, 9, 11, 7), ("",) * 4, False)
        return Record(made, (Verdict("refused", refused, "", "j@1"),))

    run = open_run(tmp_path / "r", "gap", {}, {})
    keep_propensities(lm, [record("a", False), record("b", False)], run)
    assert run.rows(OPENERS) == run.rows(PROPENSITIES) == []  # nothing is refused, so nothing can be scored

    records = [record("a", True), record("b", True), record("c", True, attack="aim")]
    keep_propensities(lm, records, run)
    rows = run.rows(PROPENSITIES)
    assert [row["id"] for row in rows] == ["a", "b"]  # of plain requests alone
    assert [row["requests"] for row in run.rows(OPENERS)] == [2]
    run.keep_rows(PROPENSITIES, lambda row: row["id"] == "a")  # as a kill might leave it
    keep_propensities(lm, records, run)
    again = run.rows(PROPENSITIES)
    assert again[0] == rows[0]
    assert again[1]["logprob"] == pytest.approx(rows[1]["logprob"], rel=1e-4)
