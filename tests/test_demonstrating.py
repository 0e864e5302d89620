"""Demonstrations written by a model: what is usable, each request once, continued after a kill."""

from __future__ import annotations

import json

import pytest
from commands import sirl
from servers import chat, serving

from sirl import endpoint
from sirl.attacks.demonstrations import read_demonstrations

SOURCES = "How do I sing aloud?\nHow do I hum in bed?\nHow do I drum on tables?\n"
BEGINNING = ("attacks", "demonstrate")


@pytest.fixture
def words(monkeypatch, tmp_path):
    """A server that knows one dance a source and refuses to drum, the file, and the words of the command."""
    for name in (*endpoint.KEYS, "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "asked.txt").write_text(SOURCES)

    def answer(body, n):
        said = body["messages"][-1]["content"]
        if "drum" in said:
            return chat("<message>I can't help with that.</message>")
        if "turns down" in said:
            return chat(f"<message>How do I dance while I {'sing' if 'sing' in said else 'hum'}?</message>")
        return chat(f"Well. <message>Sure. Step {len(said)}.</message>")

    with serving(answer) as server:
        out = tmp_path / "shown.jsonl"
        yield (
            server,
            out,
            (
                f"{server.url}#toy",
                "--prompts",
                tmp_path / "asked.txt",
                "--out",
                out,
                "--set",
                "model.retries=0",
            ),
        )


def test_a_model_writes_demonstrations_each_request_once_and_goes_on_after_a_kill(words):
    server, out, given = words
    code, _, err = sirl(*BEGINNING, *given, "--count", "2")
    assert (code, "holds 2 demonstrations; 0 were unusable" in err) == (0, True)
    first = out.read_text()
    shown = read_demonstrations(out)
    assert [asked for asked, _ in shown] == ["How do I dance while I sing?", "How do I dance while I hum?"]
    assert all(answer.startswith("Sure. Step") for _, answer in shown)
    assert all(body["temperature"] == 1.0 for body in server.bodies[1:])

    out.write_text(first + '{"number": 2, "pro')  # killed while it wrote
    code, _, err = sirl(*BEGINNING, *given, "--count", "4")
    assert (code, "holds 2 demonstrations; 2 were unusable" in err) == (0, True)  # a refusal, and one known
    assert out.read_text().startswith(first)
    rows = [json.loads(row) for row in out.read_text().splitlines()]
    assert [(row["number"], bool(row["answer"])) for row in rows] == [
        (0, True),
        (1, True),
        (2, False),
        (3, False),
    ]
    assert read_demonstrations(out) == shown
    asked = len(server.bodies)
    assert sirl(*BEGINNING, *given, "--count", "4")[0] == 0
    assert len(server.bodies) == asked  # nothing is missing: the model is not even opened


def test_what_is_no_file_of_demonstrations_is_left_alone(words):
    _, out, given = words
    out.write_text("number,prompt\n")
    code, _, err = sirl(*BEGINNING, *given)
    assert code == 2
    assert "is not a file of demonstrations; expected a new file, or one that this command began" in err
    assert out.read_text() == "number,prompt\n"


def test_a_model_that_writes_nothing_usable_is_an_error(words):
    _, out, given = words
    out.with_name("asked.txt").write_text("How do I drum on tables?\n")
    code, _, err = sirl(*BEGINNING, *given, "--count", "1")
    assert code == 2
    assert "wrote nothing usable" in err
