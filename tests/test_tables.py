"""`sirl table`: one row a reply and verdict, withheld as on the page, and never all in memory."""

import csv
import random
import re
import tracemalloc
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from commands import sirl
from test_docs import ROOT
from test_report import evaluation, harmful, write_run

from sirl.prompts import unguarded
from sirl.records import Prompt, Verdict
from sirl.rundir import read_run
from sirl.tables import COLUMNS, TEXTS, frame, rows, write_table

HOSTILE = ("=1+1", "+cmd", "-2", "@SUM(A1)", "\tx", "'=quoted", 'a "b",\r\nc', "\ud800 half", "")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return an evaluate run with replies that would compute in a spreadsheet."""
    records = evaluation(random.Random(1), {"aim": 0.5}, count=3)
    for i, text in enumerate(HOSTILE):
        one = harmful(900 + i, "aim", i % 2 == 0, random.Random(i))
        records.append(
            replace(one, completion=replace(one.completion, text=text.encode("utf-8", "replace").decode()))
        )
    unjudged = harmful(990, "aim", True, random.Random(2))
    path = tmp_path_factory.mktemp("tables") / "run"
    write_run(path, "evaluate", [*records, replace(unjudged, verdicts=())], settings={"samples": 1})
    return read_run(path)


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_there_is_a_row_for_each_reply_and_verdict(run, tmp_path):
    code, out, err = sirl("table", run.path, "--out", tmp_path / "t.parquet", "--transcripts", "all")
    assert (code, err) == (0, "")
    records = run.records()
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.num_rows == sum(max(1, len(r.verdicts)) for r in records)
    assert f"wrote {table.num_rows} rows" in out
    assert "harmful replies" in out
    assert table.column_names == list(COLUMNS)
    found = {(r["prompt_id"], r["attack"], r["sample"], r["question"]): r for r in table.to_pylist()}
    for record in records:
        for verdict in record.verdicts or (Verdict("", None, "", ""),):
            key = (record.prompt.id, record.attempt.attack, record.attempt.sample, verdict.question or None)
            row = found.pop(key)
            assert (row["reply"], row["answer"]) == (record.completion.text, verdict.answer)
            assert row["mean_entropy"] == pytest.approx(record.mean_entropy)
            assert row["reply_tokens"] == len(record.completion.token_ids)
    assert not found
    assert sum(r["extra_draw"] for r in table.to_pylist()) == 8 * 3  # of four draws of an open prompt, three


def test_a_spreadsheet_computes_nothing_and_the_text_can_be_had_back(run, tmp_path):
    write_table([run], tmp_path / "t.csv", "all")
    table = read_csv(tmp_path / "t.csv")
    assert not [
        cell
        for row in table
        for cell in row.values()
        if re.match(r"[=+@\t\r-]", cell) and not re.fullmatch(r"-?\d.*", cell)
    ]
    assert {unguarded(row["reply"]) for row in table} == {r.completion.text for r in run.records()}


def test_three_sizes_withhold_what_the_page_withholds(run, tmp_path):
    harm = {
        r.completion.text
        for r in run.records()
        if r.prompt.kind == "harmful" and r.answer("harmful") is not False
    }
    harm -= {""}
    whole, redacted, figures = (list(rows([run], size)) for size in ("all", "redacted", "none"))
    replies = {row["reply"] for row in redacted if row["prompt_kind"] == "harmful"}
    assert harm <= {row["reply"] for row in whole}
    assert not harm & replies
    assert any(reply and "withheld" not in reply for reply in replies)
    assert all(row["prefill"] != "Sure, " for row in redacted)
    assert {row[name] for row in figures for name in TEXTS} == {None}
    numbers = [{k: v for k, v in row.items() if k not in TEXTS} for row in whole]
    assert numbers == [{k: v for k, v in row.items() if k not in TEXTS} for row in figures]
    write_table([run], tmp_path / "t.csv")  # redacted is the default
    kept = {unguarded(row["reply"]) for row in read_csv(tmp_path / "t.csv") if row["prompt_kind"] == "harmful"}
    assert kept == replies


def test_a_large_run_does_not_fill_the_memory(tmp_path):
    one = harmful(0, "aim", False, random.Random(0))
    long = "x" * 100_000
    many = [
        replace(
            one,
            completion=replace(
                one.completion, attempt=replace(one.attempt, prompt=Prompt(f"p{i}", "?", "harmful")), text=long
            ),
        )
        for i in range(120)
    ]  # 12 MB of text
    run = write_run(tmp_path / "run", "evaluate", many)
    for name in ("t.csv", "t.parquet"):
        tracemalloc.start()
        number = write_table([run], tmp_path / name, "all")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert number == 240
        assert peak < 4_000_000


def test_a_frame_has_the_same_rows(run):
    table = frame([run], "none")
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == len(list(rows([run], "none")))


def test_what_cannot_be_a_table(run, tmp_path):
    code, _, err = sirl("table", run.path, "--out", tmp_path / "t.xlsx")
    assert code == 2
    assert ".csv or .parquet" in err
    write_run(tmp_path / "train", "train")
    code, _, err = sirl("table", tmp_path / "train", "--out", tmp_path / "t.csv")
    assert code == 2
    assert "holds no replies" in err
    assert not list(tmp_path.glob("t.*"))


def test_the_schema_is_documented():
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    names = {str: "text", bool: "yes/no", int: "whole", float: "number"}
    told = dict(re.findall(r"^\| `(\w+)` \| ([\w/]+) \|", text, re.MULTILINE))
    assert told == {name: names[kind] for name, kind in COLUMNS.items()}
