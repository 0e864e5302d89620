"""A run shared by several processes: whatever the parts, the order and the kills, it ends as the single run."""

from __future__ import annotations

import random
import tempfile
import tracemalloc
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from fakes import PROMPTS, FakeTarget, study
from hypothesis import given, settings
from hypothesis import strategies as st

from sirl.entropy_gap import measure_gap
from sirl.entropy_gap import plan as gap_plan
from sirl.errors import ConfigError, RunError
from sirl.evaluation import evaluate, plan
from sirl.evidence import protocol_hashes
from sirl.records import Record
from sirl.rundir import RECORDS, open_run, read_run
from sirl.shards import Shard, open_shards, parse_shard
from sirl.workflows.measure import merge, numbers

ATTACKS = ("direct", "aim", "random_search")


def opened(folder, trial, shard="", kind="evaluate", **config):
    settings = {
        "model": "fake",
        "seed": trial.seed,
        "settings": asdict(trial.config),
        "seen_in_training": ["aim"],
        **({"shard": shard} if shard else {}),
        **config,
    }
    return open_run(Path(folder), kind, settings, protocol_hashes(trial))


def do(folder, shard="", kind="evaluate", target=None, **changes):
    """Do a run or a shard of it, and write its summary as the command line does."""
    trial = study(target or FakeTarget(), ATTACKS, **changes)
    run = opened(folder, trial, shard, kind)
    work = evaluate if kind == "evaluate" else measure_gap
    records = work(trial, run, shard=parse_shard(shard))
    run.write_summary(numbers(run, records) | {"seconds": {kind: 1.0}})
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return do(tmp_path_factory.mktemp("whole"))


# What happens to a shard: the share of its file that a kill leaves (None: no kill), and how its lines lie then.
FATES = st.tuples(st.none() | st.floats(0, 1), st.none() | st.integers(0, 99))


@given(st.lists(FATES, min_size=1, max_size=5), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_shards_in_any_number_and_order_some_killed_merge_into_the_single_run(whole, fates, order):
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / f"s{i}" for i in range(len(fates))]
        for i, (folder, (left, shuffle)) in enumerate(zip(folders, fates, strict=True)):
            do(folder, f"{i}/{len(fates)}")
            lines = (folder / RECORDS).read_bytes()
            if left is not None:
                (folder / RECORDS).write_bytes(lines[: round(left * len(lines))])
                do(folder, f"{i}/{len(fates)}")
            if shuffle is not None:
                rows = (folder / RECORDS).read_bytes().splitlines(keepends=True)
                random.Random(shuffle).shuffle(rows)
                (folder / RECORDS).write_bytes(b"".join(rows))
        random.Random(order).shuffle(folders)
        summary = merge(folders, Path(place) / "merged").summary()
        merged = read_run(Path(place) / "merged")
        assert merged.records() == whole.records()
        assert summary | {"seconds": 0} == whole.summary() | {"seconds": 0}
        assert summary["seconds"] == {"evaluate": len(fates)}
        assert merged.config == whole.config
        assert merged.environment == whole.environment


@given(st.integers(1, 7))
def test_shards_part_the_plan(count):
    chunks = plan(study(attacks=ATTACKS))
    parts = [Shard(i, count).take(chunks) for i in range(count)]
    assert sorted(c.keys for part in parts for c in part) == sorted(c.keys for c in chunks)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for attack in ATTACKS:  # each attack is spread over all
        sizes = [sum(c.attack.name == attack for c in part) for part in parts]
        assert max(sizes) - min(sizes) <= 1 or attack == "direct"  # direct is planned in three stretches


def test_a_gap_is_shared_in_the_same_way(tmp_path):
    single = do(tmp_path / "whole", kind="gap")
    for i in range(2):
        do(tmp_path / f"s{i}", f"{i}/2", kind="gap")
    summary = merge([tmp_path / "s1", tmp_path / "s0"], tmp_path / "merged").summary()
    assert summary | {"seconds": 0} == single.summary() | {"seconds": 0}
    assert len(read_run(tmp_path / "merged").records()) == sum(
        len(c.keys) for c in gap_plan(study(attacks=ATTACKS))
    )


@pytest.mark.parametrize("kind", ["evaluate", "gap"])
def test_every_figure_of_a_run_cut_down_is_the_whole_ones(tmp_path, kind):
    run = do(tmp_path, kind=kind, samples=2, temperature=1.0)
    assert numbers(run, run.figures()) == numbers(run, run.records())


def test_shards_are_merged_in_the_memory_of_a_few_records(tmp_path):
    for i in range(2):
        run = do(tmp_path / f"s{i}", f"{i}/2", "gap", samples=3, temperature=1.0)
        long = [
            replace(r.completion, text="x", token_ids=(7,) * 1000, pieces=(" word",) * 1000)
            for r in run.records()
        ]
        run.keep_rows(RECORDS, lambda row: False)
        run.append_records([Record(replace(c, entropies=(0.5,) * 1000), ()) for c in long])
    size = sum((tmp_path / f"s{i}" / RECORDS).stat().st_size for i in range(2))
    tracemalloc.start()
    merge([tmp_path / "s0", tmp_path / "s1"], tmp_path / "merged")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < size * 2, "neither all lines nor all tokens lie in memory"


def test_a_shards_own_summary_says_what_it_is(tmp_path):
    assert do(tmp_path / "s", "1/3").summary()["shard"] == "1/3"


@pytest.mark.parametrize("text", ["1", "2/2", "1/0", "a/b", "-1/2", "1/2/3"])
def test_a_shard_that_cannot_be(text):
    with pytest.raises(ConfigError, match="i from 0 to n - 1"):
        parse_shard(text)


def test_the_whole_run_is_no_shard():
    assert parse_shard("") is None
    assert str(parse_shard("1/4")) == "1/4"


def test_what_cannot_be_merged_is_told(tmp_path, whole):
    for i in range(2):
        do(tmp_path / f"s{i}", f"{i}/2")
    do(tmp_path / "third", "0/3")
    do(tmp_path / "seed", "1/2", seed=1)
    do(tmp_path / "short", "1/2", prompts=PROMPTS[1:])
    do(tmp_path / "batch", "1/2", batch=5)
    one, two = tmp_path / "s0", tmp_path / "s1"
    cases = [
        ([one], "the shards 0/2; expected each of 0/2, 1/2 once"),
        ([one, one], "the shards 0/2, 0/2"),
        ([one, tmp_path / "third"], "expected each of"),
        ([one, whole.path], "is no shard"),
        ([one, tmp_path / "seed"], "differ in seed: 0 and 1"),
        ([one, tmp_path / "short"], "differ in prompts"),
        ([one, tmp_path / "batch"], "differ in settings"),
        ([], "no shard"),
    ]
    for paths, says in cases:
        with pytest.raises(RunError, match=says):
            merge(paths, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    merge([one, two], tmp_path / "out")
    with pytest.raises(RunError, match="already has records"):
        merge([one, two], tmp_path / "out")


def test_missing_double_and_foreign_records_are_told(tmp_path):
    runs = [do(tmp_path / f"s{i}", f"{i}/2") for i in range(2)]
    lines = (tmp_path / "s1" / RECORDS).read_bytes().splitlines(keepends=True)
    foreign = (tmp_path / "s0" / RECORDS).read_bytes().splitlines(keepends=True)[0]
    for content, says in (
        (lines[:-2], rf"lacks 2 of {len(lines)} records; expected finished shards"),
        ([*lines, lines[0]], "a record twice"),
        ([*lines, foreign], "of another shard or plan"),
    ):
        (tmp_path / "s1" / RECORDS).write_bytes(b"".join(content))
        with pytest.raises(RunError, match=says):
            merge([run.path for run in runs], tmp_path / "out")


def test_shards_of_other_machines_keep_their_versions(tmp_path):
    for i, version in enumerate(("2.8", "2.9")):
        trial = study(attacks=ATTACKS)
        base = opened(tmp_path / "base", trial)
        versions = base.environment["versions"] | {"torch": version}
        config = {k: v for k, v in base.config.items() if k != "kind"} | {"shard": f"{i}/2"}
        run = open_run(tmp_path / f"s{i}", "evaluate", config, protocol_hashes(trial), versions)
        evaluate(trial, run, shard=Shard(i, 2))
    merge([tmp_path / "s0", tmp_path / "s1"], tmp_path / "out")
    found = read_run(tmp_path / "out").environment["versions"]
    assert found["torch"] == "2.8 | 2.9"
    assert "|" not in found["sirl"]


def test_two_plans_are_two_runs(tmp_path):
    for i in range(2):
        do(tmp_path / f"s{i}", f"{i}/2")
    run = read_run(tmp_path / "s1")
    run.write_plan(run.plan()[::-1])
    with pytest.raises(RunError, match="differ in plan"):
        open_shards([tmp_path / "s0", tmp_path / "s1"])
