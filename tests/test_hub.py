"""Data sets by `hf:`, folders of data files, the shapes that libraries write, and bounds on what is read.

`datasets` reads a folder as it reads the hub: the real loader, on files of ours.
"""

import gzip
import json

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

from sirl.errors import DataError
from sirl.judges.labels import Columns, read_labelled
from sirl.prompts import load_prompts, read_table
from sirl.prompts.hub import Address, address
from sirl.workflows.sources import PromptSources

ROWS = [{"ask": "a kite", "id": "k"}, {"ask": "a boat", "id": "b"}]
CONFIGS = """---
configs:
- config_name: air
  data_files: air.jsonl
- config_name: water
  data_files: [{split: train, path: lake.jsonl}, {split: test, path: "data/test-*.jsonl"}]
---
"""


@pytest.fixture
def folder(tmp_path):
    """Return a folder as the hub has them: configurations told in its README, splits as files."""
    root = tmp_path / "set"
    (root / "data").mkdir(parents=True)
    (root / "README.md").write_text(CONFIGS)
    (root / "air.jsonl").write_text(json.dumps(ROWS[0]))
    (root / "lake.jsonl").write_text(json.dumps({"ask": "a raft", "id": "r"}))
    (root / "data" / "test-0.jsonl").write_text(json.dumps(ROWS[1]))
    return root


def texts(source, **more):
    return [p.text for p in load_prompts(source, **more).prompts]


def test_a_configuration_a_split_and_a_column_are_chosen(folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert texts(f"hf:{folder}?config=water&split=test&column=ask") == ["a boat"]
    assert texts(f"hf:{folder}?config=air", column="ask") == ["a kite"]
    one = load_prompts(f"hf:{folder}?config=water&split=test&column=ask").provenance
    assert (one.source, one.encoding, one.column) == (f"{folder}, water, test", "datasets", "ask")
    sources = PromptSources(
        (f"hf:{folder}?config=air", f"hf:{folder}?config=water&split=train"), ("ask",), ("benign",)
    )
    assert [p.kind for one in sources.load(0) for p in one.prompts] == ["benign", "benign"]
    for spec, says in {
        f"hf:{folder}?config=water": "choose one, as hf:.*config=water&split=train",
        f"hf:{folder}?config=fire": "fire",
        f"hf:{folder}": "air.*water",
        f"hf:{folder}?config=water&split=dev": "dev",
        f"hf:{folder}?config=air&column=say": "has the columns ask, id; expected column 'say'",
    }.items():
        with pytest.raises(DataError, match=says):
            load_prompts(spec)
    with pytest.raises(DataError, match="leave one of them out"):
        load_prompts(f"hf:{folder}?column=ask", column="id")


def test_a_folder_of_files_needs_no_prefix(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text(f"prompt,label\n{split} it,1\n")
    assert texts(f"{tmp_path}@test") == ["test it"]
    with pytest.raises(DataError, match="has the splits train, test"):
        load_prompts(tmp_path)
    columns = Columns("prompt", ("label",), ("1",))
    assert [row.reply for row in read_labelled(f"hf:{tmp_path}?split=train", columns)] == ["train it"]


def test_what_save_to_disk_wrote_is_read_under_both_names(tmp_path):
    DatasetDict({"a": Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "saved")
    assert texts(f"{tmp_path / 'saved'}@a", column="ask") == ["a kite", "a boat"]
    assert texts(f"hf:{tmp_path / 'saved'}?split=a&column=ask") == ["a kite", "a boat"]


def test_classes_have_names_and_pictures_are_not_read(tmp_path):
    features = Features(
        {"prompt": Value("string"), "kind": ClassLabel(names=["benign", "harmful"]), "seen": Image()}
    )
    rows = [{"prompt": "a kite", "kind": 0, "seen": None}, {"prompt": "a boat", "kind": None, "seen": None}]
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "train.parquet")
    one = load_prompts(f"hf:{tmp_path}")
    assert [p.kind for p in one.prompts] == ["benign", "unlabelled"]
    assert "seen hold pictures" in one.provenance.notes[0]


def test_no_code_of_a_data_set_is_run_and_nothing_is_unpickled(tmp_path):
    mark = tmp_path / "ran"
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "set.py").write_text(f"open({str(mark)!r}, 'w')\n")
    (tmp_path / "set" / "rows.pkl").write_bytes(b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.")
    with pytest.raises(DataError, match="cannot be read"):
        load_prompts(f"hf:{tmp_path / 'set'}")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("hf:owner/name?splt=x", "did you mean split"),
        ("hf:owner/name?split", "'split' in"),
        ("hf:owner/name?split=a&split=b", "stands twice"),
        ("hf:csv", "names no data set"),
        ("hf:", "names no data set"),
        ("hf:owner/name@", "names no data set"),
        ("hf:./absent/folder", "names no data set"),
    ],
)
def test_a_wrong_spelling_is_told(spec, says):
    with pytest.raises(DataError, match=says):
        address(spec)
    assert address("hf:owner/name@v1?split=train[:10%]") == Address("owner/name", "v1", split="train[:10%]")


FRAME = pandas.DataFrame({"prompt": ["a kite", "a boat"], "kind": ["benign", None]})
ORIENTS = ("records", "columns", "index", "split", "table")


@pytest.mark.parametrize("orient", ORIENTS)
@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_every_orient_of_pandas_is_the_same_table(tmp_path, orient, suffix):
    FRAME.to_json(tmp_path / f"x{suffix}", orient=orient)
    one = load_prompts(tmp_path / f"x{suffix}", kind="task")
    assert [(p.text, p.kind) for p in one.prompts] == [("a kite", "benign"), ("a boat", "task")]


def test_values_without_names_are_prompts_only_if_they_are_alone(tmp_path):
    for orient in (*ORIENTS[:4], "values"):
        FRAME["prompt"].rename("ask" if orient == "split" else "prompt").to_json(
            tmp_path / "x.json", orient=orient
        ) if (orient != "columns") else FRAME[["prompt"]].to_json(tmp_path / "x.json", orient="values")
        assert texts(tmp_path / "x.json") == ["a kite", "a boat"], orient
    FRAME.to_json(tmp_path / "x.json", orient="values")
    with pytest.raises(DataError, match='orient="records"'):
        load_prompts(tmp_path / "x.json")


def test_what_stands_under_data_is_read(tmp_path):
    path = tmp_path / "x.json"
    for inner in ([{"prompt": "a kite"}], {"prompt": ["a kite"]}, {"train": [{"prompt": "a kite"}]}):
        path.write_text(json.dumps({"version": "1", "data": inner}))
        assert texts(path) == ["a kite"]


def test_rows_with_features_are_read_and_shortened_ones_refused(tmp_path):
    path = tmp_path / "x.json"
    rows = [{"row_idx": n, "row": row, "truncated_cells": []} for n, row in enumerate(ROWS)]
    page = {"features": [{"name": "ask"}], "rows": rows, "num_rows_total": 9, "partial": False}
    path.write_text(json.dumps(page))
    assert texts(path, column="ask") == ["a kite", "a boat"]
    assert "2 of the 9 rows" in load_prompts(path, column="ask").provenance.notes[0]
    rows[1]["truncated_cells"] = ["ask"]
    path.write_text(json.dumps(page))
    with pytest.raises(DataError, match=r"item 2 of .* only the beginning of ask"):
        load_prompts(path, column="ask")


def test_what_a_file_holds_is_bounded_packed_or_not(tmp_path, monkeypatch):
    monkeypatch.setattr("sirl.prompts.tables.LARGEST", 1 << 21)
    bomb = tmp_path / "x.jsonl.gz"
    bomb.write_bytes(gzip.compress(b" " * (64 << 20)))
    assert bomb.stat().st_size < 1 << 17
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["x" * 1000] * 9000}), tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size < 1 << 17
    for path, says in ((bomb, "more than 2,097,152 bytes"), (tmp_path / "x.parquet", "9,000 rows of")):
        with pytest.raises(DataError, match=says):
            read_table(path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json"])
def test_every_text_may_be_packed(tmp_path, suffix):
    text = {".json": '[{"prompt": "a kite"}]', ".txt": "a kite"}.get(suffix, '{"prompt": "a kite"}')
    text = {".csv": "prompt,n\na kite,1\n", ".tsv": "prompt\tn\na kite\t1\n"}.get(suffix, text)
    (tmp_path / f"x{suffix}.gz").write_bytes(gzip.compress(text.encode()))
    assert texts(tmp_path / f"x{suffix}.gz") == ["a kite"]


def test_test_cases_taken_as_prompts_say_that_they_are_attacks(tmp_path):
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"kite": ["Fold it !!", "Bend it !!"], "boat": ["Row it !!"]}))
    one = load_prompts(path)
    assert [p.id for p in one.prompts] == ["kite/1", "kite/2", "boat"]
    assert "--attack-prompts replays them" in one.provenance.notes[0]
