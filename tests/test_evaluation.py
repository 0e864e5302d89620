"""The plan of an evaluation and the numbers of its summary."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import PROMPTS, FakeTarget, study
from hypothesis import given, settings
from hypothesis import strategies as st

from sirl.evaluation import DIVERSITY_SAMPLES, evaluate, plan, summarise
from sirl.metrics import split_draws
from sirl.prompts import load_prompts
from sirl.rundir import open_run


def evaluated(folder, trial):
    return evaluate(trial, open_run(Path(folder), "evaluate", {}, {}))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return evaluated(tmp_path_factory.mktemp("run"), study())


def test_harmful_prompts_meet_every_attack_and_the_rest_are_asked_plainly(records):
    ordinary, _ = split_draws(records)
    met = {(r.prompt.id, r.attempt.attack) for r in ordinary}
    harmful = {p.id for p in PROMPTS if p.kind == "harmful"}
    assert met == {(i, a) for i in harmful for a in ("direct", "aim")} | {
        (p.id, "direct") for p in PROMPTS if p.id not in harmful
    }
    assert len(ordinary) == len(met)
    assert all(r.attempt.decoding.temperature == 0 for r in ordinary)


def test_the_contrasts_of_a_set_on_over_refusal_are_asked_plainly(tmp_path):
    file = tmp_path / "xstest.csv"
    rows = [
        f"{i},how do I {'kill' if i % 2 else 'greet'} a moonfox {i}?,t,{'un' * (i % 2)}safe" for i in range(8)
    ]
    file.write_text("id,prompt,type,label\n" + "\n".join(rows) + "\n")
    loaded = load_prompts(file)
    trial = replace(study(prompts=(*PROMPTS, *loaded.prompts)), sources=(loaded.provenance,))
    found = evaluated(tmp_path / "r", trial)
    met = {r.attempt.attack for r in found if r.prompt.source == file.name}
    assert met == {"direct"}
    assert sum(r.prompt.source == file.name and r.prompt.kind == "harmful" for r in found) == 4
    summary = summarise(found)
    assert summary["dsr"]["per_attack"]["aim"]["n"] == 7
    assert summary["dsr"]["per_attack"]["direct"]["n"] == 7  # the same prompts as under the attacks
    sources = summary["by_source"]
    assert (sources[file.name]["prompts"], sources[file.name]["attacks"]) == (4, 0)
    assert (sources[""]["prompts"], sources[""]["attacks"]) == (7, 1)
    assert (
        summary["refusals"]["harmful"]["full"]["n"] + summary["refusals"]["harmful"]["full"]["unscored"] == 11
    )


def test_open_prompts_are_drawn_eight_times_more_at_temperature_1(records):
    _, draws = split_draws(records)
    assert sorted({r.prompt.id for r in draws}) == ["o0", "o1"]
    assert [r.attempt.sample for r in draws] == [*range(1, 1 + DIVERSITY_SAMPLES)] * 2
    assert all(r.attempt.decoding.temperature == 1 for r in draws)


def test_the_rest_is_asked_plainly_though_direct_is_not_among_the_attacks(tmp_path):
    trial = study(attacks=("aim",))
    attacks = {(r.prompt.kind, r.attempt.attack) for r in evaluated(tmp_path / "r", trial)}
    assert ("harmful", "direct") not in attacks
    assert ("benign", "direct") in attacks


def test_several_samples_are_numbered_before_the_extra_draws(tmp_path):
    trial = study(samples=2, temperature=0.5)
    ordinary, draws = split_draws(evaluated(tmp_path / "r", trial), samples=2)
    assert {r.attempt.sample for r in ordinary} == {0, 1}
    assert {r.attempt.sample for r in draws} == set(range(2, 10))


def test_the_summary_has_the_documented_shape(records):
    summary = json.loads(json.dumps(summarise(records, seen=["aim"])))
    assert {"mean", "low", "high", "worst", "n", "unscored", "per_attack"} <= set(summary["dsr"])
    row = summary["dsr"]["per_attack"]["aim"]
    assert {"rate", "low", "high", "n", "unscored", "exposure"} <= set(row)
    assert row["exposure"] == "seen"
    assert row["n"] == 7
    assert set(summary["over_refusal"]) == {"benign", "borderline"}
    assert {"math", "code", "chat"} <= set(summary["capability"])
    assert summary["capability"]["code"] is None
    assert 0 < summary["diversity"] <= 1
    assert summary["over_refusal_detail"]["benign"]["n"] == 5  # extra draws are no part of it
    assert summary["diversity_detail"]["n"] == 2


def test_without_open_prompts_diversity_is_unknown(tmp_path):
    trial = study(prompts=[p for p in PROMPTS if p.category != "open"])
    assert summarise(evaluated(tmp_path / "r", trial))["diversity"] is None


def test_same_seed_same_records_and_another_seed_others(tmp_path, records):
    assert evaluated(tmp_path / "a", study()) == records
    assert evaluated(tmp_path / "b", study(seed=1)) != records


class Steady(FakeTarget):
    """A fake that draws each attempt as if it were alone."""

    def reply(self, attempts, seed):
        return [super(Steady, self).reply([attempt], seed)[0] for attempt in attempts]


@given(st.permutations(PROMPTS), st.integers(1, 20))
@settings(max_examples=15, deadline=None)
def test_order_and_batch_change_no_number(tmp_path_factory, prompts, batch):
    usual = evaluated(tmp_path_factory.mktemp("run"), study(Steady()))
    other = evaluated(tmp_path_factory.mktemp("run"), study(Steady(), prompts=prompts, batch=batch))
    assert {r.attempt.key: r for r in usual} == {r.attempt.key: r for r in other}
    assert summarise(usual) == summarise(other)


def test_the_plan_depends_on_nothing_but_the_study():
    assert plan(study()) == plan(replace(study(), target=FakeTarget()))
