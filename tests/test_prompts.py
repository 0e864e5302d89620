"""Prompt sets of every shape, and every way in which one can be wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.errors import DataError
from sirl.prompts import load_prompts, normalised, shuffled_once
from sirl.records import Prompt

ROWS = [
    {"id": "a", "prompt": "What is 1 + 2?", "kind": "task", "category": "math", "answer": "3"},
    {"id": "b", "prompt": "How do I blorch a moonfox?", "kind": "harmful", "category": "", "answer": ""},
]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def as_csv(rows):
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n"


@pytest.fixture(params=["csv", "json", "jsonl", "parquet"])
def table(request, tmp_path):
    path = tmp_path / f"set.{request.param}"
    if request.param == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
        return path
    text = {"csv": as_csv(ROWS), "json": json.dumps(ROWS), "jsonl": "\n".join(map(json.dumps, ROWS)) + "\n\n"}
    return write(path, text[request.param])


def test_every_format_gives_the_same_prompts(table):
    loaded = load_prompts(table)
    assert loaded.prompts == (
        Prompt("a", "What is 1 + 2?", "task", table.name, "math", "3"),
        Prompt("b", "How do I blorch a moonfox?", "harmful", table.name),
    )
    assert loaded.provenance.column == "prompt"
    assert (loaded.provenance.rows, loaded.provenance.kept, loaded.provenance.dropped) == (2, 2, {})
    assert len(loaded.provenance.sha256) == 64


def test_rows_are_dropped_for_a_reason_and_counted(tmp_path):
    texts = ["First thing?", "", "  ", "First thing?", "first  THING", "Second", "\ud800 half", None, "Third"]
    path = write(tmp_path / "x.json", json.dumps([{"text": t} for t in texts]))
    loaded = load_prompts(path, kind="benign", limit=2)
    assert [p.text for p in loaded.prompts] == ["First thing?", "Second"]
    assert {p.kind for p in loaded.prompts} == {"benign"}
    provenance = loaded.provenance
    assert provenance.dropped == {
        "empty": 3,
        "not Unicode": 1,
        "duplicate": 1,
        "near duplicate": 1,
        "past the limit": 1,
    }
    assert provenance.rows == provenance.kept + sum(provenance.dropped.values())


def test_near_duplicates_with_other_answers_are_other_questions(tmp_path):
    rows = [{"prompt": "Say it", "answer": "A"}, {"prompt": "say it!", "answer": "B"}]
    assert len(load_prompts(write(tmp_path / "x.json", json.dumps(rows))).prompts) == 2


def test_an_absent_id_comes_from_the_text_alone(tmp_path):
    one = load_prompts(write(tmp_path / "one.csv", "goal\nfirst\nsecond\n")).prompts
    path = write(tmp_path / "two.jsonl", '"second"\n')
    two = load_prompts(path)
    assert {p.text: p.id for p in one}["second"] == two.prompts[0].id
    assert one[0].id != one[1].id


@pytest.mark.parametrize("column", ["Goal", "Behavior", "forbidden_prompt", "instruction", "text"])
def test_well_known_columns_are_found(tmp_path, column):
    path = write(tmp_path / "x.csv", f"n,{column}\n1,Hello there\n")
    assert load_prompts(path).provenance.column == column


def test_a_named_column_wins(tmp_path):
    path = write(tmp_path / "x.csv", "prompt,question_en\nno,yes\n")
    assert load_prompts(path, column="question_en").prompts[0].text == "yes"


def test_an_artefact_with_one_list_is_read(tmp_path):
    artefact = {"parameters": {"n": 1}, "jailbreaks": [{"prompt": "hello"}]}
    assert load_prompts(write(tmp_path / "x.json", json.dumps(artefact))).prompts[0].text == "hello"


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path):
    assert load_prompts(write(tmp_path / "x.csv", b"\xef\xbb\xbfprompt\nhi\n")).prompts[0].text == "hi"


def test_a_quoted_cell_may_hold_lines_and_commas(tmp_path):
    assert load_prompts(write(tmp_path / "x.csv", 'prompt\n"a,\nb"\n')).prompts[0].text == "a,\nb"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.docx", "hello", "unknown format"),
        ("x.csv", "", "no rows"),
        ("x.csv", "prompt\n", "no rows"),
        ("x.csv", "prompt\n \n", "no usable row"),
        ("x.csv", "promt,id\nhi,1\n", "did you mean promt"),
        ("x.csv", "prompt\nhello, world\n", "line 2"),
        ("x.csv", 'prompt\n"open\n', "not CSV"),
        ("x.csv", "prompt,kind\nhi,evil\n", "kind 'evil'"),
        ("x.csv", "id,prompt\n1,one\n1,two\n", "two texts"),
        ("x.jsonl", '{"prompt": "é"}'.encode("latin-1"), "line 1 of"),
        ("x.jsonl", '{"prompt": "a"}\n{"prompt": \n', "line 2"),
        ("x.jsonl", '{"prompt": "a"}\n[1]\n', "is a list"),
        ("x.jsonl", '{"prompt": 3}\n', "is no text"),
        ("x.jsonl", b"\xff\xfe", "no rows"),
        ("x.json", "{", "not JSON"),
        ("x.json", "[" * 100_000, "not JSON"),
        ("x.json", '"hi"', "no list of rows"),
        ("x.json", '{"a": [], "b": 3, "c": []}', "no list of rows"),
        ("x.parquet", "PAR?", "not Parquet"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, name, content, says):
    with pytest.raises(DataError) as caught:
        load_prompts(write(tmp_path / name, content))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_folders_kinds_limits_and_columns(tmp_path):
    good = write(tmp_path / "x.csv", "prompt,other\nhi,there\n")
    (tmp_path / "folder.csv").mkdir()
    wrong = [
        (tmp_path / "none.csv", {}, "cannot be read"),
        (tmp_path / "folder.csv", {}, "cannot be read"),
        (good, {"kind": "harmfull"}, "did you mean harmful"),
        (good, {"limit": 0}, "1 or more"),
        (good, {"column": "othr"}, "did you mean other"),
    ]
    for path, options, says in wrong:
        with pytest.raises(DataError, match=says):
            load_prompts(path, **options)


@given(st.lists(st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True), min_size=1))
def test_case_spacing_and_outer_marks_are_no_difference(words):
    assert normalised("  ".join(words).upper() + " ?!") == normalised(" ".join(words))


@given(st.text())
def test_any_text_can_be_normalised(text):
    assert "  " not in normalised(text)


def test_signs_inside_a_text_keep_their_meaning():
    assert normalised("3 - 4?") != normalised("3 + 4?")
    assert normalised("???") == "???"


@pytest.mark.parametrize("column", ["target", "Target"])
def test_the_beginning_of_a_complying_reply_is_read(tmp_path, column):
    """AdvBench spells the column small, JailbreakBench with a capital."""
    path = tmp_path / "set.csv"
    path.write_text(f'goal,{column}\nBlorch a moonfox,"Sure, here is how"\nVexify a newt,\n')
    assert [p.target for p in load_prompts(path).prompts] == ["Sure, here is how", ""]


def test_prompts_are_shuffled_and_asked_once_whatever_their_labels():
    texts = [f"how {i}?" for i in range(20)]
    prompts = [Prompt(f"p{i}", text) for i, text in enumerate(texts)]
    order = [prompt.id for prompt in shuffled_once(prompts, 0)]
    assert sorted(order) == sorted(prompt.id for prompt in prompts)
    assert order != [prompt.id for prompt in prompts]
    assert order == [prompt.id for prompt in shuffled_once(prompts[::-1], 0)]
    assert order != [prompt.id for prompt in shuffled_once(prompts, 1)]
    twice = [*prompts, Prompt("again", "How 3", answer="another answer")]  # the same request, another label
    assert len(shuffled_once(twice, 0)) == 20
    relabelled = [replace(prompt, answer="x", kind="benign") for prompt in twice]
    assert [p.id for p in shuffled_once(twice, 0)] == [p.id for p in shuffled_once(relabelled, 0)]
