"""The loop that turns attempts into records: nothing lost, nothing twice, nothing different after a kill."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import PROMPTS, FakeTarget, study
from hypothesis import given, settings
from hypothesis import strategies as st

from sirl.attacks import ATTACKS
from sirl.errors import AttackError, DataError, JudgeError, RunError
from sirl.evaluation import evaluate, plan
from sirl.evidence import Instructed, cut, gather, instruct, protocol_hashes
from sirl.judges import get_judges, judged
from sirl.records import Attempt, Decoding, Message, Verdict
from sirl.rundir import RECORDS, locked, open_run


def run_in(folder, kind="evaluate"):
    return open_run(Path(folder), kind, {"n": 1}, {})


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    records = evaluate(study(attacks=("direct", "aim", "random_search")), run_in(folder))
    return records, (folder / RECORDS).read_bytes()


def test_the_file_holds_what_is_returned_in_the_plans_order(unbroken, tmp_path):
    records, data = unbroken
    (tmp_path / "r").mkdir()
    run = run_in(tmp_path / "r")
    (run.path / RECORDS).write_bytes(data)
    assert run.records() == records
    keys = [key for chunk in plan(study(attacks=("direct", "aim", "random_search"))) for key in chunk.keys]
    assert [r.attempt.key for r in records] == keys
    assert len(set(keys)) == len(keys)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_cut_anywhere_and_continued_the_run_is_the_unbroken_one(unbroken, data):
    records, whole = unbroken
    at = data.draw(st.integers(0, len(whole)))
    with tempfile.TemporaryDirectory() as folder:
        run = run_in(folder)
        (run.path / RECORDS).write_bytes(whole[:at])
        target = FakeTarget()
        again = evaluate(study(target, ("direct", "aim", "random_search")), run_in(folder))
        assert again == records
        assert run.records() == records  # to the last bit, but for the seconds that searches took
        assert len(target.calls) <= len(plan(study(attacks=("direct", "aim", "random_search"))))


@given(st.permutations(range(10)))
@settings(max_examples=10, deadline=None)
def test_lines_in_another_order_give_the_same_records(unbroken, order):
    records, whole = unbroken
    lines = whole.splitlines(keepends=True)
    shuffled = [lines[i] for i in order] + lines[10:]
    with tempfile.TemporaryDirectory() as folder:
        run = run_in(folder)
        (run.path / RECORDS).write_bytes(b"".join(shuffled[: len(shuffled) // 2]))
        assert evaluate(study(attacks=("direct", "aim", "random_search")), run_in(folder)) == records


def test_a_kill_between_chunks_repeats_no_finished_chunk(tmp_path):
    whole = evaluate(study(), run_in(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        evaluate(study(FakeTarget(patience=3)), run_in(tmp_path / "killed"))
    target = FakeTarget()
    assert evaluate(study(target), run_in(tmp_path / "killed")) == whole
    assert len(target.calls) == len(plan(study())) - 3
    assert (tmp_path / "killed" / RECORDS).read_bytes() == (tmp_path / "whole" / RECORDS).read_bytes()
    idle = FakeTarget()
    assert evaluate(study(idle), run_in(tmp_path / "killed")) == whole
    assert idle.calls == []


def test_progress_counts_attempts_and_names_the_attack_at_work(tmp_path):
    seen = []

    class Asked(FakeTarget):
        def reply(self, attempts, seed):
            assert {a.attack for a in attempts} == {seen[-1][2]}
            return super().reply(attempts, seed)

    records = evaluate(study(Asked()), run_in(tmp_path / "r"), lambda *step: seen.append(step))
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[0][0] == 0
    assert seen[-1] == (len(records), len(records), "")
    assert {label for _, _, label in seen[:-1]} == {"direct", "aim"}


def test_chunks_hold_all_draws_of_a_prompt_and_about_a_batch():
    many = study(samples=2, temperature=1.0, batch=5)
    chunks = cut(many, many.attacks["aim"], PROMPTS[:5])
    assert [len(chunk.keys) for chunk in chunks] == [4, 4, 2]
    assert chunks[0].keys == ["h0|aim|0", "h0|aim|1", "h1|aim|0", "h1|aim|1"]
    assert [len(c.keys) for c in cut(study(samples=9, temperature=1.0), many.attacks["aim"], PROMPTS[:2])] == [
        9,
        9,
    ]


def test_an_attack_chooses_how_tokens_are_drawn_but_not_how_many(tmp_path):
    def hot(prompts, target, budget, seed):
        return [replace(a, decoding=Decoding(2.0, 0.9, 5, 4096)) for a in say(prompts, target, budget, seed)]

    say = ATTACKS["direct"].run
    trial = study(attacks=("direct",), max_reply_tokens=7, prompts=PROMPTS[:1])
    info = replace(ATTACKS["direct"], name="hot", run=hot)
    trial = replace(trial, attacks={"direct": ATTACKS["direct"], "hot": info})
    plain, heated = evaluate(trial, run_in(tmp_path / "r"))
    assert plain.attempt.decoding == Decoding(0.0, max_new_tokens=7)
    assert heated.attempt.decoding == Decoding(2.0, 0.9, 5, 7)


def flaky(completions):
    if any("h1" in c.attempt.key for c in completions):
        raise TimeoutError("no reply from the judge")
    return [Verdict("refused", False, "", "flaky@1") for _ in completions]


def test_a_judge_that_fails_costs_one_verdict_and_no_record(tmp_path):
    records = evaluate(study(judges={**get_judges(["refusal"]), "refused": flaky}), run_in(tmp_path / "r"))
    for record in records:
        verdict = next(v for v in record.verdicts if v.question == "refused")
        assert verdict.answer is (None if record.prompt.id == "h1" else False)
        if record.prompt.id == "h1":
            assert "TimeoutError: no reply from the judge" in verdict.evidence
            assert verdict.judge.startswith("test_evidence:flaky@")


def test_a_judge_that_breaks_the_contract_stops_the_run(tmp_path):
    with pytest.raises(JudgeError, match="0 verdicts"):
        evaluate(study(judges={"refused": lambda completions: []}), run_in(tmp_path / "r"))


def test_each_question_is_put_only_where_it_means_something(tmp_path):
    for record in evaluate(study(), run_in(tmp_path / "r")):
        asked = {verdict.question for verdict in record.verdicts}
        assert asked == {"refused", "harmful" if record.prompt.kind == "harmful" else "correct"}
    assert judged([], get_judges()) == []


def test_records_of_another_plan_are_refused(tmp_path):
    evaluate(study(), run_in(tmp_path / "r"))
    with pytest.raises(RunError, match="not in this plan"):
        evaluate(study(attacks=("direct",)), run_in(tmp_path / "r"))
    changed = [replace(PROMPTS[0], text="something else"), *PROMPTS[1:]]
    with pytest.raises(RunError, match="not in this plan"):
        evaluate(study(prompts=changed), run_in(tmp_path / "r"))


def test_a_record_held_twice_is_refused(tmp_path):
    run = run_in(tmp_path / "r")
    records = evaluate(study(), run)
    run.append_records(records[:1])
    with pytest.raises(RunError, match="twice"):
        evaluate(study(), run)


def test_shared_ids_a_busy_run_and_a_careless_target_are_refused(tmp_path):
    run = run_in(tmp_path / "r")
    with pytest.raises(DataError, match="two prompts have the id"):
        evaluate(study(prompts=[PROMPTS[0], PROMPTS[0]]), run)
    with locked(run), pytest.raises(RunError, match="another process"):
        evaluate(study(), run)

    class Careless(FakeTarget):
        def reply(self, attempts, seed):
            return super().reply(attempts, seed)[::-1]

    with pytest.raises(RunError, match="do not match"):
        evaluate(study(Careless()), run)


def test_an_attack_that_breaks_its_contract_stops_the_run(tmp_path):
    info = replace(ATTACKS["direct"], name="lazy", run=lambda prompts, target, budget, seed: [])
    trial = replace(study(), attacks={"lazy": info})
    with pytest.raises(AttackError, match="lazy"):
        gather(trial, cut(trial, info, PROMPTS[:2]), run_in(tmp_path / "r"))


def test_protocol_hashes_change_with_what_they_name():
    base = protocol_hashes(study())
    assert set(base) == {
        "prompts",
        "system",
        "attack direct",
        "attack aim",
        "judge harmful",
        "judge refused",
        "judge correct",
    }
    fewer = protocol_hashes(study(prompts=PROMPTS[1:], judges={**get_judges(["refusal"]), "refused": flaky}))
    assert {name for name in base if base[name] != fewer[name]} == {"prompts", "judge refused"}


class Listening(FakeTarget):
    """A fake that remembers what it was sent and offers one thing more, as a white box does."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def reply(self, attempts, seed):
        self.heard += attempts
        return super().reply(attempts, seed)

    def log_likelihood(self, attempts, beginnings):
        self.heard += attempts
        return super().log_likelihood(attempts, beginnings)

    def gradients(self, attempts, count):
        self.heard += attempts
        return [count] * len(attempts)

    layers = 3


def test_a_system_prompt_stands_before_every_attempt_that_has_none(tmp_path):
    target = Listening()
    attacks = ("direct", "random_search", "ica_harmless")
    records = evaluate(study(target, attacks, system="Be kind."), run_in(tmp_path / "r"))
    heads = [record.attempt.messages[0] for record in records]
    assert set(heads) == {Message("system", "Be kind.")}
    assert all([m.role for m in r.attempt.messages].count("system") == 1 for r in records)
    assert all(attempt.messages[0] == heads[0] for attempt in target.heard)  # searches meet it too
    own = replace(records[0].attempt, messages=(Message("system", "own"), Message("user", "x")))
    assert instruct(own, "Be kind.") == own
    assert instruct(own, "") == own


def test_what_else_a_target_offers_is_met_under_the_system_prompt():
    target = Listening()
    plain = Attempt(PROMPTS[0], "direct", (Message("user", "x"),))
    wrapped = Instructed(target, "Be kind.")
    assert (wrapped.name, wrapped.access, wrapped.layers) == ("fake", "white-box", 3)
    assert wrapped.gradients([plain], 2) == [2]
    assert target.heard[-1] == instruct(plain, "Be kind.")
    with pytest.raises(AttributeError):
        wrapped.absent  # noqa: B018


def test_a_system_prompt_is_part_of_the_protocol():
    hashes = [protocol_hashes(study(system=text))["system"] for text in ("", "Be kind.", "Be cruel.")]
    assert hashes[0] == "the template's own"
    assert len(set(hashes)) == 3
