"""Tables as people have them: encodings, separators, shapes of JSON, spellings of nothing; or a clear error."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import math
import os

import pyarrow
import pyarrow.parquet
import pytest
from commands import sirl
from hypothesis import given, settings
from hypothesis import strategies as st

from sirl.errors import DataError
from sirl.prompts import guarded, is_missing, load_prompts, read_table, unguarded
from sirl.prompts.cells import MISSING, number_text, text_of
from sirl.prompts.encodings import damaged

ROWS = [
    {"id": "a", "prompt": "Fold a kite, and say “when”.", "kind": "task", "category": "sky", "answer": "42"},
    {
        "id": "b",
        "prompt": 'Say "go";\nthen polish\tit | twice',
        "kind": "harmful",
        "category": "",
        "answer": "",
    },
    {"id": "c", "prompt": "Où est le café ?", "kind": "benign", "category": "été", "answer": ""},
]
WANTED = [tuple(row[name] for name in ("id", "prompt", "kind", "category", "answer")) for row in ROWS]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def as_csv(rows=ROWS, **style) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), **style)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read(path, **more):
    return [(p.id, p.text, p.kind, p.category, p.answer) for p in load_prompts(path, **more).prompts]


def refused(path, **more) -> str:
    with pytest.raises(DataError) as caught:
        load_prompts(path, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- encodings

ENCODINGS = {
    "utf-8": ("", "utf-8"),
    "utf-8 with a mark": ("utf-8-sig", "utf-8"),
    "utf-16": ("utf-16", "utf-16-le"),
    "utf-16-le": ("utf-16-le", "utf-16-le"),
    "utf-16-be": ("utf-16-be", "utf-16-be"),
    "utf-32": ("utf-32", "utf-32-le"),
    "utf-32-be": ("utf-32-be", "utf-32-be"),
    "windows-1252": ("windows-1252", "windows-1252"),
}


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl"])
def test_every_encoding_is_read_and_named(tmp_path, name, suffix):
    codec, told = ENCODINGS[name]
    text = {
        "csv": as_csv(),
        "tsv": as_csv(delimiter="\t"),
        "json": json.dumps(ROWS, ensure_ascii=False),
        "jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
    }[suffix]
    path = write(tmp_path / f"x.{suffix}", text.encode(codec or "utf-8"))
    if name == "windows-1252" and suffix.startswith("json"):
        assert "is not UTF-8" in refused(path)  # JSON is UTF-8 by its standard: anything else is damage
        return
    assert read(path) == WANTED
    provenance = load_prompts(path).provenance
    assert provenance.encoding == told
    assert bool(provenance.notes) == (told == "windows-1252")


def test_the_quotation_marks_of_a_spreadsheet_are_no_control_characters(tmp_path):
    path = write(tmp_path / "x.csv", b"prompt\nWhat\x92s a \x93foo\x94 \x96 in \x80?\n")
    assert load_prompts(path).prompts[0].text == "What’s a “foo” – in €?"


@pytest.mark.parametrize(
    "content",
    [
        b"prompt\nfine\nthis \x81 is not\n",  # undefined in Windows-1252
        "prompt\nКак сложить змея?\n".encode("cp1251"),
        "prompt\n凧の折り方\n".encode("shift-jis"),
        "prompt\n怎么折风筝\n".encode("gbk"),
        "prompt\nfine\n".encode("utf-16") + b"\0",
    ],
)
def test_what_is_in_no_known_encoding_is_refused(tmp_path, content):
    assert "save it as UTF-8" in refused(write(tmp_path / "x.csv", content))


@pytest.mark.parametrize("text", ["Whatâ€™s that?", "cafÃ©", "so Â° or so", "a\x92b", "lost \ufffd", "a\0b"])
def test_signs_of_a_wrong_encoding_are_told(tmp_path, text):
    assert damaged(text)
    path = write(tmp_path / "x.json", json.dumps([text, "fine"]))
    assert any("1 texts show a wrong encoding" in note for note in load_prompts(path).provenance.notes)
    assert load_prompts(path).prompts[0].text == text  # told, not changed


@given(st.text(st.characters(codec="latin-1", exclude_categories=["Cc"])))
def test_western_text_is_not_called_damaged_for_its_letters(text):
    assert not damaged(text.replace("Â", "").replace("Ã", "").replace("â", ""))


# --- delimited text


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_separator_and_line_end_is_read(tmp_path, separator, end):
    path = write(tmp_path / "x.csv", as_csv(delimiter=separator, lineterminator=end))
    assert read(path) == WANTED
    told = [note for note in load_prompts(path).provenance.notes if "separated by" in note]
    assert bool(told) == (separator in ";|")


def test_excels_own_first_line_names_the_separator(tmp_path):
    assert read(write(tmp_path / "x.csv", "sep=;\r\n" + as_csv(delimiter=";"))) == WANTED


def test_a_separator_that_only_some_rows_fit_is_no_separator(tmp_path):
    path = write(tmp_path / "x.csv", "id,prompt,a|b\n1,Fold a kite,x|y\n2,Fold it,z\n")
    assert [p.text for p in load_prompts(path).prompts] == ["Fold a kite", "Fold it"]
    both = write(tmp_path / "y.csv", "prompt;note,kind\nFold a kite;x,harmful\n")
    assert "comma and semicolon" in refused(both)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prompt,kind\nHow, now?,harmful\n", "line 2 of"),
        ('prompt,kind\n"a\nb",harmful\nlost\n', "line 4 of"),
        ("prompt,kind\nHow\n", "has 1 cells and the header 2"),
        ("prompt;kind\nHow; now?;harmful\n", "holds a semicolon"),
        ('prompt,kind\n"How,harmful\n', "begins on line 2"),
        ('id,prompt\n1, "How, now?"\n', "space before a quotation mark"),
        ('id,prompt\n1, "How now?"\n', "space before a quotation mark"),
        ("prompt,prompt\na,b\n", "two columns 'prompt' and 'prompt'"),
        ("Prompt,kind,prompt \na,harmful,b\n", "two columns 'Prompt' and 'prompt'"),
        ("\ufeffprompt,\ufeffprompt\na,b\n", "two columns"),
        ("How do I fold a kite?,harmful\nHow do I fly it?,harmful\n", "add a header line"),
        ("prompt^kind\nHow^harmful\n", "separated by comma, semicolon, tab or |"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_its_line(tmp_path, text, says):
    assert says in refused(write(tmp_path / "x.csv", text))


def test_columns_are_found_in_any_case_and_without_a_name_ignored(tmp_path):
    path = write(tmp_path / "x.csv", ",Unnamed: 0,Prompt , KIND\n0,0,Fold it,Benign\n")
    assert [(p.text, p.kind) for p in load_prompts(path).prompts] == [("Fold it", "benign")]


def test_a_cell_may_be_of_any_length_and_the_process_keeps_its_limit(tmp_path):
    before = csv.field_size_limit()
    text = "word " * 200_000
    assert load_prompts(write(tmp_path / "x.csv", f"prompt\n{text}\n")).prompts[0].text == text.strip()
    assert csv.field_size_limit() == before


def test_a_text_file_is_one_prompt_a_line(tmp_path):
    path = write(tmp_path / "x.txt", "Fold a kite, please.\r\n\nFly it\x0cnow\u2028here.\n")
    assert [p.text for p in load_prompts(path).prompts] == ["Fold a kite, please.", "Fly it\x0cnow\u2028here."]
    assert "looks like a header" in refused(write(tmp_path / "y.txt", "prompt\tkind\nFold\tharmful\n"))


# --- JSON

PLAIN = [{"prompt": "Fold a kite", "kind": "benign"}, {"prompt": "Fly it", "kind": "harmful"}]
COLUMNS = {name: [row[name] for row in PLAIN] for name in PLAIN[0]}
SHAPES = {
    "records": PLAIN,
    "list": COLUMNS,
    "columns": {name: dict(zip("01", cells, strict=True)) for name, cells in COLUMNS.items()},
    "index": dict(zip("01", PLAIN, strict=True)),
    "split": {"columns": list(COLUMNS), "index": [0, 1], "data": [list(row.values()) for row in PLAIN]},
    "table": {"schema": {"fields": []}, "data": [{"index": i, **row} for i, row in enumerate(PLAIN)]},
    "one list": {"version": 2, "goals": PLAIN},
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_every_shape_of_pandas_is_read(tmp_path, name, suffix):
    data = json.dumps(SHAPES[name], indent=1).encode()
    path = write(tmp_path / f"x{suffix}", gzip.compress(data) if suffix.endswith("gz") else data)
    assert [(p.text, p.kind) for p in load_prompts(path).prompts] == [tuple(row.values()) for row in PLAIN]


def test_lines_are_read_whatever_the_suffix_says(tmp_path):
    lines = "\r\n".join(map(json.dumps, PLAIN)) + "\n\n"
    for path in (write(tmp_path / "x.json", lines), write(tmp_path / "x.ndjson", lines)):
        assert [p.text for p in load_prompts(path).prompts] == ["Fold a kite", "Fly it"]
    whole = write(tmp_path / "whole.jsonl", json.dumps(PLAIN, indent=1))
    assert [p.text for p in load_prompts(whole).prompts] == ["Fold a kite", "Fly it"]
    one = write(tmp_path / "one.json", json.dumps(PLAIN[0]))
    assert [p.text for p in load_prompts(one).prompts] == ["Fold a kite"]


@pytest.mark.parametrize("inner", [PLAIN, COLUMNS, ["Fold a kite", "Fly it"]])
@pytest.mark.parametrize("names", [("train", "test"), ("train_sft", "test_sft"), ("harmful", "benign")])
def test_one_split_is_chosen_by_its_name(tmp_path, inner, names):
    path = write(tmp_path / "x.json", json.dumps({names[0]: inner, names[1]: inner}))
    assert f"choose one, as {path}@{names[0]}" in refused(path)
    one = load_prompts(f"{path}@{names[0]}")
    assert [p.text for p in one.prompts] == ["Fold a kite", "Fly it"]
    assert one.provenance.source == f"x.json@{names[0]}"
    assert "has no split 'tset'" in refused(f"{path}@tset")


def test_a_file_may_have_an_at_in_its_name(tmp_path):
    path = write(tmp_path / "mine@home.csv", as_csv())
    assert read(path) == WANTED
    assert "has no split" in refused(write(tmp_path / "x.csv", as_csv()).with_name("x.csv@train"))


def test_harmbench_test_cases_are_prompts_by_behaviour(tmp_path):
    cases = {"kite_fold": ["Fold it !!", "Fold it twice"], "kite_fly": ["Fly it !!"]}
    path = write(tmp_path / "x.json", json.dumps(cases))
    assert [(p.id, p.text) for p in load_prompts(path).prompts] == [
        ("kite_fold/1", "Fold it !!"),
        ("kite_fold/2", "Fold it twice"),
        ("kite_fly", "Fly it !!"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.jsonl", '{"prompt": "a"},\n{"prompt": "b"}\n', "line 1 of"),
        ("x.jsonl", '{"prompt": "a"},\n{"prompt": "b"}\n', "remove the comma"),
        ("x.jsonl", '{"prompt": "a"}\n\n{"prompt": "b"\n', "line 3 of"),
        ("x.json", '[{"prompt": "a", "prompt": "b"}]', "'prompt' stands twice"),
        ("x.json", '[{"prompt": "a"}, {"Prompt": "b"}]', "two columns 'prompt' and 'Prompt'"),
        ("x.json", '{"prompt": ["a", "b"], "kind": ["task"]}', "differ in length"),
        ("x.json", '{"columns": ["prompt", "prompt"], "data": [["a", "b"]]}', "one name"),
        ("x.json", '{"columns": ["prompt"], "data": [["a", "b"]]}', "item 1 of"),
        ("x.json", '[["a", "b"]]', "item 1 of"),
        ("x.json", '{"easy": [{"prompt": "a"}], "hard": [{"prompt": "b"}]}', "choose one"),
        ("x.json", '[{"prompt": [{"role": "system", "content": "a"}]}]', "is no text"),
        ("x.json", '[{"prompt": "a", "answer": [1, 2]}]', "is a list"),
        ("x.xlsx", "PK", "save the sheet as CSV"),
        ("x.pkl", "", "JSON lines or Parquet"),
        ("x.csv", "version https://git-lfs.github.com/spec/v1\noid 1\n", "git lfs pull"),
        ("x.csv.gz", b"\x1f\x8bnot gzip", "cannot be read"),
        ("x.gz", b"", "unknown format"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, name, text, says):
    assert says in refused(write(tmp_path / name, text))


def test_a_chat_of_one_turn_is_its_users_request(tmp_path):
    rows = [{"prompt": [{"role": "user", "content": "Fold it"}]}]
    assert load_prompts(write(tmp_path / "x.json", json.dumps(rows))).prompts[0].text == "Fold it"


# --- nothing


@pytest.mark.parametrize("word", [*sorted(MISSING), "NAN", "none", " nan ", "\ufeff", "\u200b"])
@pytest.mark.parametrize("column", ["id", "category", "answer", "target", "kind"])
def test_a_word_for_nothing_is_nothing_and_counted(tmp_path, word, column):
    for suffix, text in (("csv", as_csv([{"prompt": "Fold it", column: word}])), ("json", json.dumps([
        {"prompt": "Fold it", column: word}]))):  # fmt: skip
        one = load_prompts(write(tmp_path / f"x.{suffix}", text), kind="benign")
        (found,) = one.prompts
        assert (found.category, found.answer, found.target, found.kind) == ("", "", "", "benign")
        assert len(found.id) == 12
        counted = [note for note in one.provenance.notes if note.startswith(f"1 cells of {column}")]
        assert bool(counted) == bool(word.strip().strip("\ufeff\u200b"))


@pytest.mark.parametrize("number", ["NaN", "null", "nan"])
def test_a_missing_number_of_json_is_nothing(tmp_path, number):
    text = f'{{"prompt": "Fold it", "target": {number}, "answer": {number}, "id": {number}}}\n'
    path = write(tmp_path / "x.jsonl", text)
    if number == "nan":
        assert "line 1" in refused(path)
        return
    (found,) = load_prompts(path).prompts
    assert (found.answer, found.target, len(found.id)) == ("", "", 12)


def test_missing_cells_of_parquet_are_nothing(tmp_path):
    columns = {"prompt": ["Fold it", None], "id": [1.0, math.nan], "target": [None, None], "answer": [7.0, 2.5]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    one = load_prompts(tmp_path / "x.parquet")
    assert [(p.id, p.text, p.answer, p.target) for p in one.prompts] == [("1", "Fold it", "7", "")]
    assert one.provenance.dropped == {"empty": 1}


def test_a_prompt_that_says_nothing_is_dropped_for_that_reason(tmp_path):
    one = load_prompts(write(tmp_path / "x.json", '["nan", "None", "None of this", "", "x"]'))
    assert [p.text for p in one.prompts] == ["None of this", "x"]
    assert one.provenance.dropped == {"a word for nothing, as nan or None": 2, "empty": 1}


def test_values_become_text_as_people_mean_them():
    assert [text_of(value, "") for value in (1.0, 2.5, 7, True, 1e300, None, math.nan, "a ")] == [
        *("1", "2.5", "7", "True", "1e+300", "", "", "a")
    ]
    assert text_of(["a", "b"], "") == text_of({"a": True, "c": False, "b": True}, "") == "a, b"
    assert [number_text(text) for text in ("1.0", "12.00", "1.5", "v1.0", "1.", ".0")] == [
        *("1", "12", "1.5", "v1.0", "1.", ".0")
    ]
    assert not is_missing(0)
    assert not is_missing(False)


# --- other formats


def test_arrow_and_the_folders_of_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_list(ROWS)
    one.save_to_disk(tmp_path / "saved")
    assert read(tmp_path / "saved") == WANTED
    splits = datasets.DatasetDict({"train": one, "test": one.select([0])})
    splits.save_to_disk(tmp_path / "splits")
    assert "choose one" in refused(tmp_path / "splits")
    assert read(f"{tmp_path / 'splits'}@test") == WANTED[:1]
    one.to_json(tmp_path / "lines.json")
    assert read(tmp_path / "lines.json") == WANTED
    with pyarrow.ipc.new_file(tmp_path / "x.arrow", one.data.table.schema) as file:
        file.write_table(one.data.table)
    assert read(tmp_path / "x.arrow") == WANTED
    (tmp_path / "empty").mkdir()
    assert "is a folder" in refused(tmp_path / "empty")


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip), ("bz2", bz2), ("xz", lzma)])
def test_compressed_files_are_read(tmp_path, suffix, pack):
    assert read(write(tmp_path / f"x.csv.{suffix}", pack.compress(as_csv().encode()))) == WANTED


def test_two_columns_of_parquet_may_not_share_a_name(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["prompt", "prompt"])
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    assert "two columns" in refused(tmp_path / "x.parquet")


# --- round trips

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
TABLES = st.lists(st.fixed_dictionaries({"id": st.text("abcxyz", min_size=1), "prompt": CELL, "answer": CELL}))
WRITERS = {
    "x.csv": lambda rows: as_csv(rows).encode(),
    "y.csv": lambda rows: as_csv(rows, delimiter=";").encode("utf-8-sig"),
    "z.csv": lambda rows: as_csv(rows, quoting=csv.QUOTE_ALL).encode("utf-16"),
    "x.tsv": lambda rows: as_csv(rows, delimiter="\t").encode("utf-16-le"),
    "x.json": lambda rows: json.dumps(rows).encode(),
    "y.json": lambda rows: json.dumps({n: [row[n] for row in rows] for n in rows[0]}).encode("utf-16"),
    "x.jsonl.gz": lambda rows: gzip.compress(
        "\n".join(json.dumps(r, ensure_ascii=False) for r in rows).encode()
    ),
}


@settings(max_examples=40, deadline=None)  # the first call opens pyarrow
@given(rows=TABLES.filter(bool))
def test_a_table_is_the_same_in_every_format_and_encoding(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    for name, written in WRITERS.items():
        found = read_table(write(folder / name, written(rows)), ("prompt",))
        assert [dict(row) for _, row in found.rows] == rows, name
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "x.parquet")
    assert [row for _, row in read_table(folder / "x.parquet").rows] == rows


@settings(deadline=None)
@given(text=st.text(st.characters(codec="windows-1252", exclude_categories=["Cc"]), max_size=5))
def test_windows_1252_is_read_as_it_was_written(tmp_path_factory, text):
    words = (
        "Fold the caf\xe9s kite: n\xe3o, fa\xe7ade, 5 \u20ac. " * 6
    )  # so that it is a Western text, and no UTF-8
    content = as_csv([{"prompt": words + text, "kind": "task"}]).encode("windows-1252")
    found = read_table(write(tmp_path_factory.mktemp("west") / "x.csv", content))
    assert (found.encoding, found.rows[0][1]["prompt"]) == ("windows-1252", words + text)


# --- through the command line

SMALL = ("--set", "evaluate.max_reply_tokens=2", "--set", "evaluate.max_unscored=1", "--attacks", "direct")


def evaluated(tmp_path, *words):
    out = tmp_path / "run"
    code, _, err = sirl("evaluate", "organism:llama", "--out", out, *SMALL, *words)
    return code, err, json.loads((out / "config.json").read_text()) if code == 0 else {}


def test_a_kind_that_nobody_states_is_taken_as_harmful_and_told(tmp_path):
    path = write(tmp_path / "x.csv", "prompt,kind\nFold a kite,\nFly it,benign\nSail it,nan\nSail it,\n")
    code, err, config = evaluated(tmp_path, "--prompts", path)
    assert code == 0
    assert "x.csv: 3 of 4 rows state no kind and are taken as harmful; --kind says otherwise" in err
    assert "x.csv: 1 of 4 rows are left out (duplicate: 1)" in err
    (source,) = config["prompts"]
    assert source["assumed"] == {"harmful": 3}
    assert source["kinds"] == {"benign": 1, "harmful": 2}
    code, err, config = evaluated(tmp_path / "again", "--prompts", path, "--kind", "borderline")
    assert "3 of 4 rows have an empty kind and are taken as borderline" in err
    assert config["prompts"][0]["assumed"] == {}


def test_splits_and_errors_reach_the_command_line(tmp_path):
    path = write(tmp_path / "x.json", json.dumps({"train": ["Fold a kite"], "test": ["Fly it"]}))
    code, err, _ = evaluated(tmp_path, "--prompts", path)
    assert code == 2
    assert f"choose one, as {path}@train" in err
    code, err, config = evaluated(tmp_path, "--prompts", f"{path}@train", "--prompts", f"{path}@test")
    assert code == 0, err
    assert [source["source"] for source in config["prompts"]] == ["x.json@train", "x.json@test"]


def test_harmbench_test_cases_are_replayed_on_their_behaviours(tmp_path):
    rows = [
        {"Behavior": f"{do} a kite", "SemanticCategory": "sky", "BehaviorID": f"kite_{do}"}
        for do in ("fold", "fly")
    ]
    prompts = write(tmp_path / "behaviours.csv", as_csv(rows))
    cases = write(
        tmp_path / "cases.json", json.dumps({"kite_fold": ["Fold !!", "Fold ??"], "kite_fly": ["Fly !!"]})
    )
    code, err, config = evaluated(tmp_path, "--prompts", prompts, "--attack-prompts", cases)
    assert code == 0, err
    assert config["settings"]["attacks"] == ["direct", "test_case_1@cases", "test_case_2@cases"]
    assert config["not_asked"]["test_case_2@cases"] == {"no row": 1, "nothing found": 0}
    lines = map(json.loads, (tmp_path / "run" / "records.jsonl").read_text().splitlines())
    sent = [line["completion"]["attempt"] for line in lines]
    assert {
        (a["attack"], a["prompt"]["id"], a["messages"][-1]["content"]) for a in sent if "@" in a["attack"]
    } == {
        ("test_case_1@cases", "harmbench:kite_fold", "Fold !!"),
        ("test_case_1@cases", "harmbench:kite_fly", "Fly !!"),
        ("test_case_2@cases", "harmbench:kite_fold", "Fold ??"),
    }


# --- questions with choices

FOUR = ["a kite", "a boat", "a moon", "a newt"]
CHOICES = [
    {"choices": FOUR, "answer": 1},
    {"choices": FOUR, "answer": "B"},
    {"choices": FOUR, "answer": "a boat"},
    {"choices": {"text": FOUR, "label": list("ABCD")}, "answerKey": "B"},
    {"options": dict(zip("ABCD", FOUR, strict=True)), "answer": "b"},
    {"choices": json.dumps(FOUR), "answer": "1"},
    {"choices": repr(FOUR), "answer": 1.0},
    {**dict(zip("ABCD", FOUR, strict=True)), "answer": "B"},
]


@pytest.mark.parametrize("row", CHOICES)
def test_choices_join_the_question_and_the_answer_is_a_letter(tmp_path, row):
    path = write(tmp_path / "x.json", json.dumps([{"question": "What sails?", **row}]))
    (found,) = load_prompts(path, kind="task").prompts
    assert found.text == "What sails?\n\nA. a kite\nB. a boat\nC. a moon\nD. a newt"
    assert found.answer == "B"


def test_choices_of_parquet_are_those_of_json(tmp_path):
    table = pyarrow.Table.from_pylist([{"question": "What sails?", "choices": FOUR, "answer": 1}])
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    assert load_prompts(tmp_path / "x.parquet").prompts[0].answer == "B"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"choices": FOUR, "answer": 4}, "the answer '4' in row 1"),
        ({"choices": FOUR, "answer": "E"}, "none of its choices"),
        ({"choices": "a kite or a boat", "answer": 1}, "no list of choices"),
        ({"choices": ["a kite"], "answer": 0}, "no list of choices"),
    ],
)
def test_choices_that_cannot_be_read_are_refused(tmp_path, row, says):
    assert says in refused(write(tmp_path / "x.json", json.dumps([{"question": "What sails?", **row}])))


def test_choices_without_an_answer_are_left_alone(tmp_path):
    path = write(tmp_path / "x.json", json.dumps([{"question": "What sails?", "choices": "many"}]))
    assert load_prompts(path).prompts[0].text == "What sails?"


def test_a_worked_answer_is_kept_whole(tmp_path):
    worked = "He has 3+4=<<3+4=7>>7 lanterns.\n#### 7"
    path = write(tmp_path / "x.jsonl", json.dumps({"question": "How many?", "answer": worked}))
    assert load_prompts(path).prompts[0].answer == worked


def test_a_pipe_or_an_endless_device_is_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    for name in ("pipe.csv", "zero.jsonl"):
        with pytest.raises(DataError, match="is a pipe, a device"):
            read_table(tmp_path / name)


def test_no_cell_that_is_written_begins_a_formula_and_all_come_back():
    for text in ("=1+1", "+1", "-a", "@SUM(A1)", "'=1", "''-", "'quoted'", "plain", ""):
        assert not guarded(text).startswith(("=", "+", "-", "@"))
        assert unguarded(guarded(text)) == text
