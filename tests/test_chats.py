"""Chats as prompts: the request is one turn of the user; whatever else a chat holds is told, never cut off."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from sirl.errors import DataError
from sirl.judges.labels import Columns, read_labelled
from sirl.prompts import load_prompts

ASKED = "How do I fold a kite?"


def turns(*said, keys=("role", "content")):
    return [dict(zip(keys, one, strict=True)) for one in said]


USER, REPLY, SYSTEM = ("user", ASKED), ("assistant", "Fold it twice."), ("system", "Be brief.")
HUMAN, GPT = ("human", ASKED), ("gpt", "Fold it twice.")
SHAREGPT = turns(HUMAN, GPT, keys=("from", "value"))


def load(tmp_path, *rows, name="x.jsonl"):
    path = tmp_path / name
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return load_prompts(path)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": turns(USER)},
        {"messages": turns(USER, REPLY)},
        {"messages": turns(("system", ""), USER, REPLY)},
        {"prompt": turns(USER)},
        {"conversations": SHAREGPT},
        {"conversation": turns(USER, REPLY)},
        {"conversations": {"from": ["human", "gpt"], "value": [ASKED, "Fold it."]}},
        {"messages": json.dumps(turns(USER, REPLY))},
        {"prompt": str(turns(USER))},  # as pandas writes a list into a CSV
        {"messages": turns(("user", [{"type": "text", "text": ASKED}]))},
        {"messages": [*turns(USER), {"role": "assistant", "tool_calls": [{"name": "fold"}]}]},
    ],
    ids=repr,
)
def test_the_request_of_a_chat_is_its_one_user_turn(tmp_path, row):
    one = load(tmp_path, row | {"id": "k"})
    assert [(p.id, p.text) for p in one.prompts] == [("k", ASKED)]


@pytest.mark.parametrize(
    ("chat", "why"),
    [
        (turns(SYSTEM, USER), "a chat with a system turn"),
        (turns(("developer", "Be brief."), USER), "a chat with a system turn"),
        (turns(USER, REPLY, USER), "a chat with turns before the request"),
        (turns(USER, REPLY, USER, REPLY), "a chat with turns before the request"),
        (turns(REPLY, USER), "a chat with turns before the request"),
        (turns(REPLY), "a chat in which no user speaks"),
        ([], "a chat in which no user speaks"),
        (turns(("user", [{"type": "image", "url": "x"}])), "a chat with an image, a sound or a file"),
    ],
)
def test_a_chat_that_no_prompt_can_hold_is_left_out_and_counted(tmp_path, chat, why):
    one = load(tmp_path, {"messages": turns(USER, REPLY)}, {"messages": chat})
    assert [p.text for p in one.prompts] == [ASKED]
    assert one.provenance.dropped == {why: 1}
    assert "1 chats go on after their first request; only that is asked" in one.provenance.notes
    with pytest.raises(DataError, match="one user turn"):
        load(tmp_path, {"messages": chat})


def test_a_role_that_nobody_knows_is_an_error(tmp_path):
    with pytest.raises(DataError, match="role 'narrator' in messages in row 1"):
        load(tmp_path, {"messages": turns(("narrator", "Once"), USER)})


def test_one_chat_alone_and_chats_without_a_name_are_rows(tmp_path):
    for value in ({"messages": turns(USER, REPLY)}, [turns(USER), turns(("user", "And a boat?"))]):
        one = load(tmp_path, value, name="x.json")
        assert one.prompts[0].text == ASKED
    lines = load(tmp_path, turns(USER), turns(("user", "And a boat?")))
    assert len(lines.prompts) == 2
    column = load(tmp_path, {"messages": [turns(USER), turns(SYSTEM, USER)]}, name="x.json")
    assert column.provenance.rows == 2


def test_chats_in_parquet_are_those_in_json(tmp_path):
    table = pyarrow.Table.from_pylist([{"conversations": SHAREGPT}, {"conversations": SHAREGPT[:1]}])
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    one = load_prompts(tmp_path / "x.parquet")
    assert one.prompts[0].text == ASKED
    assert one.provenance.dropped == {"duplicate": 1}


def test_what_stands_behind_an_instruction_is_sent_and_a_system_text_is_told(tmp_path):
    alpaca = {"instruction": "Sum up.", "input": "A kite is a toy.", "output": "Kites are toys."}
    one = load(tmp_path, alpaca, alpaca | {"instruction": ASKED, "input": "", "system": "Be brief."})
    assert [p.text for p in one.prompts] == ["Sum up.\n\nA kite is a toy.", ASKED]
    assert one.provenance.notes[-1] == "1 rows have a text in system, which is not sent"


def test_labelled_replies_may_be_chats_of_one_turn(tmp_path):
    path = tmp_path / "x.jsonl"
    row = {"prompt": turns(USER), "completion": turns(REPLY), "label": "yes"}
    path.write_text(json.dumps(row))
    columns = Columns("completion", ("label",), ("yes",), "prompt")
    (one,) = read_labelled(path, columns)
    assert (one.request, one.reply, one.label) == (ASKED, "Fold it twice.", True)
    path.write_text(json.dumps(row | {"completion": turns(USER, REPLY)}))
    with pytest.raises(DataError, match="a chat of 2 turns"):
        read_labelled(path, columns)
