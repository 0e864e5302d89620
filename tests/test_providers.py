"""Servers that differ from the form: what each kind refuses, blocks and calls the end of a reply."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from conftest import attempts
from hypothesis import given, settings
from hypothesis import strategies as st
from providers import BLOCKS, BROKEN, CUT, ENDED, REFUSALS, WITHHELD
from servers import Answer, chat, said, serving

from sirl import endpoint
from sirl.config import ModelConfig, load_recipe
from sirl.endpoint import EndpointTarget, open_endpoint
from sirl.endpoint.answers import read_reply
from sirl.endpoint.faults import FaultError, read_fault
from sirl.errors import ConfigError, DataError, StoppedError
from sirl.records import Completion, Decoding, Message

GREEDY, WARM = Decoding(max_new_tokens=9), Decoding(1.0, max_new_tokens=9)
FINE = chat("fine")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits, no keys and no proxy of the user's."""
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.01)
    for name in (*endpoint.KEYS, "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def target(url: str, decoding: Decoding = GREEDY, **settings) -> EndpointTarget:
    config = ModelConfig(**({"retries": 2, "timeout": 5.0, "concurrency": 2} | settings))
    return open_endpoint(f"{url}#toy", config, decoding)


def ask(answer, texts=("one",), **settings) -> list[Completion]:
    with serving(lambda body, n: answer) as server:
        return target(server.url, **settings).reply(attempts(list(texts)), 0)


def refusing(shape, field):
    """Serve a server that refuses one field and answers every other body."""
    return lambda body, n: REFUSALS[shape](field) if field in body else FINE


# --- fields that a server refuses


@pytest.mark.parametrize("field", ["seed", "max_tokens", "temperature", "top_p"])
@pytest.mark.parametrize("shape", REFUSALS)
def test_a_field_that_a_server_refuses_by_name_is_given_up_before_anything_is_drawn(shape, field):
    with serving(refusing(shape, field)) as server:
        asked = target(server.url, WARM)
        told = asked.fingerprint()["request body"]
        opening = len(server.bodies)
        done = asked.reply(attempts(["one", "two", "three"]), 0)
    assert [c.text for c in done] == ["fine"] * 3
    assert len(server.bodies) == opening + 3, "no reply was asked for twice"
    other = {"max_tokens": "max_completion_tokens"}.get(field)
    assert told == (f"{other} for {field}" if other else f"without {field} (the server refuses it)")
    usual = {"model", "messages", "temperature", "top_p", "max_tokens", "seed"}
    assert {*server.bodies[-1]} == usual - {field} | ({other} if other else set())


def test_several_fields_are_given_up_one_by_one():
    fields = ["seed", "top_p", "max_tokens"]
    detail = [{"type": "extra_forbidden", "loc": ["body", f], "msg": "no"} for f in fields]

    def answer(body, n):
        return (
            said(422, {"detail": [d for d in detail if d["loc"][1] in body]})
            if body.keys() & {*fields}
            else FINE
        )

    with serving(answer) as server:
        told = target(server.url, WARM).fingerprint()["request body"]
    refused = "(the server refuses it)"
    assert told == f"without seed {refused}, without top_p {refused}, max_completion_tokens for max_tokens"


def test_of_two_fields_that_exclude_each_other_the_harmless_one_goes():
    words = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."

    def answer(body, n):
        return said(400, {"error": {"message": words}}) if {"temperature", "top_p"} <= body.keys() else FINE

    with serving(answer) as server:
        told = target(server.url).fingerprint()["request body"]
    assert told == "without top_p (the server refuses it)"


def test_a_lost_temperature_is_said_loudly():
    shape = "openai, azure"
    with serving(refusing(shape, "temperature")) as server:
        asked = target(server.url)
        asked.fingerprint()
    assert "REPLIES ARE DRAWN AT THE SERVER'S OWN TEMPERATURE" in asked.form.losses()[0]


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("`temperature` must be strictly positive", "temperature"),
        ("max_tokens must be less than or equal to 4096", "max_tokens"),
        ("max_tokens is too large: 9. This model supports at most 8 completion tokens", "max_tokens"),
        ("unknown role in messages", "messages"),
        ("something is wrong", "nothing"),
    ],
)
def test_a_value_that_is_refused_is_not_given_up_and_the_settings_are_told(words, field):
    refusal = said(400, {"error": {"message": words, "param": field}})
    with serving(lambda body, n: refusal) as server, pytest.raises(DataError, match="omit_body=NAME") as error:
        target(server.url).fingerprint()
    assert words[:20] in str(error.value)
    assert len(server.bodies) == 1


def test_a_field_of_the_settings_is_never_given_up():
    with serving(refusing("mistral", "seed")) as server, pytest.raises(DataError, match="not permitted"):
        target(server.url, extra_body='{"seed": 3}').fingerprint()


def test_nothing_changes_once_the_server_has_been_opened():
    fickle = []

    def answer(body, n):
        return REFUSALS["mistral"]("seed") if fickle and "seed" in body else FINE

    with serving(answer) as server:
        asked = target(server.url)
        asked.fingerprint()
        fickle.append(1)
        (done,) = asked.reply(attempts(["one"]), 0)
    assert done.error == "HTTP 422 not permitted (try 1 of 3)"
    assert "seed" in server.bodies[-1]


def test_what_an_attack_chose_is_not_given_up():
    chosen = replace(attempts(["one"])[0], decoding=Decoding(0.7, 0.9, 5, 9))
    for field in ("top_p", "top_k"):
        with serving(refusing("groq", field)) as server:
            (done,) = target(server.url).reply([chosen], 0)
        assert f"property '{field}' is unsupported" in done.error


def test_the_opening_question_has_the_form_of_what_follows():
    with serving(lambda body, n: FINE) as server:
        asked = target(server.url, extra_body='{"reasoning_effort": "low"}')
        asked.fingerprint()
        asked.reply(attempts(["one"]), 0)
    greedy, by_chance, drawn = ({**body, "messages": 0, "seed": 0} for body in server.bodies)
    assert greedy == drawn
    assert by_chance == {**drawn, "temperature": 1.0, "top_p": 1.0}


# --- settings


def test_settings_add_leave_out_and_rename_fields():
    changes = (
        'model.extra_body={"chat_template_kwargs": {"enable_thinking": false}, "top_k": -1}',
        "model.omit_body=seed,temperature",
        "model.token_limit=max_completion_tokens",
    )
    config = load_recipe("default", changes).model
    with serving(lambda body, n: FINE) as server:
        asked = open_endpoint(f"{server.url}#toy", config, GREEDY)
        told = asked.fingerprint()["request body"]
    assert server.bodies[0] == {
        "model": "toy",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_completion_tokens": 9,
        "chat_template_kwargs": {"enable_thinking": False},
        "top_k": -1,
    }
    assert told.startswith(
        "without seed (as set), without temperature (as set), max_completion_tokens for max_tokens"
    )
    assert '{"enable_thinking": false}' in told


@pytest.mark.parametrize(
    "change",
    [
        "model.extra_body=[1]",
        "model.extra_body={not json",
        'model.extra_body={"messages": []}',
        "model.omit_body=messages",
        "model.token_limit=max tokens",
        'model.extra_headers={"api-key": "s3cret"}',
        'model.extra_headers={"Authorization": "Bearer s3cret"}',
        'model.extra_query={"key": "s3cret"}',
        'model.extra_headers={"x": 3}',
    ],
)
def test_slips_in_settings_are_told_without_secrets(change):
    with pytest.raises(ConfigError) as error:
        load_recipe("default", [change])
    assert "s3cret" not in str(error.value)


def test_azure_takes_its_key_in_a_header_and_its_version_in_the_query(monkeypatch, caplog):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "s3cret/key")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    path = "/openai/deployments/toy/chat/completions"
    with serving(lambda body, n: said(400, "s3cret/key s3cret%2Fkey is odd") if n else FINE, path) as server:
        base = server.url.removesuffix("/v1")
        words = f"{base}/openai/deployments/toy?api-version=2024-10-21#gpt"
        config = ModelConfig(extra_headers='{"api-key": "$AZURE_OPENAI_API_KEY"}')
        asked = open_endpoint(words, config, WARM)
        told = asked.fingerprint()
        (done,) = asked.reply([replace(attempts(["x"])[0], messages=(Message("user", "Hello"),))], 0)
    assert server.paths == [f"{path}?api-version=2024-10-21"] * 2
    assert server.headers[0]["api-key"] == "s3cret/key"
    assert "authorization" not in server.headers[0], "another provider's key is nobody's business"
    assert told["query"] == "api-version=2024-10-21"
    assert asked.name == f"{base}/openai/deployments/toy#gpt"
    assert done.error == "HTTP 400 *** *** is odd (try 1 of 6)"
    assert "s3cret" not in f"{told}{asked!r}{caplog.text}"


def test_a_variable_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
        target("http://127.0.0.1:9/v1", extra_headers='{"api-key": "${NO_SUCH_KEY}"}').fingerprint()


def test_a_query_may_hold_a_secret_by_its_variable(monkeypatch):
    monkeypatch.setenv("MY_KEY", "s3cret")
    with pytest.raises(ConfigError, match="secret written out") as error:
        open_endpoint("http://h/v1?key=s3cret#m", ModelConfig(), GREEDY)
    assert "s3cret" not in str(error.value)
    with serving(lambda body, n: FINE) as server:
        told = open_endpoint(f"{server.url}?key=$MY_KEY#m", ModelConfig(), GREEDY).fingerprint()
    assert server.paths[0] == "/v1/chat/completions?key=s3cret"
    assert told["query"] == "key=$MY_KEY"


# --- what the provider's filter blocks


@pytest.mark.parametrize("shape", BLOCKS)
def test_what_the_filter_blocks_is_that_requests_outcome(shape):
    def answer(body, n):
        return BLOCKS[shape] if "bad" in body["messages"][-1]["content"] else FINE

    with serving(answer) as server:
        first, held, last = target(server.url).reply(attempts(["one", "bad", "two"]), 0)
    assert (first.text, last.text) == ("fine", "fine")
    assert (held.text, held.blocked) == ("", True)
    assert held.error.startswith("blocked by the provider's filter: ")
    assert server.asked("bad") == 1


@pytest.mark.parametrize("reason", WITHHELD)
def test_a_reply_that_the_filter_takes_back_is_blocked(reason):
    (done,) = ask(chat("half of it", reason))
    assert (done.text, done.blocked) == ("", True)
    assert reason in done.error


@pytest.mark.parametrize(
    "answer",
    [
        said(400, {"error": {"message": "the context length is exceeded", "code": "context_length_exceeded"}}),
        said(413, "too long"),
        said(422, {"detail": [{"loc": ["body", "messages"], "msg": "bad", "input": "flagged by moderation"}]}),
        said(503, "the moderation service is away"),
        said(429, {"error": {"message": "too many flagged requests", "code": "rate_limit_exceeded"}}),
        said(500, "content filter crashed"),
    ],
)
def test_other_failures_are_not_blocked(answer):
    (done,) = ask(answer, retries=0)
    assert (bool(done.error), done.blocked) == (True, False)


@pytest.mark.parametrize(
    "page",
    [
        "<html><h1>Forbidden</h1></html>",
        '{"error": {"message": "violates guidelines"}}',
        '{"error": {"code": "permission_denied", "message": "Request blocked"}}',
    ],
)
def test_a_403_of_one_request_is_told_from_one_of_the_key(page):
    revoked = []

    def answer(body, n):
        wrong = revoked or "bad" in body["messages"][-1]["content"]
        return said(403, page) if wrong else FINE

    with serving(answer) as server:
        asked = target(server.url, concurrency=1)
        one, held, two = asked.reply(attempts(["one", "bad", "two"]), 0)
        assert [one.text, held.blocked, two.text] == ["fine", True, "fine"]
        assert (server.asked("bad"), server.asked("Hello")) == (2, 1)
        revoked.append(1)
        with pytest.raises(ConfigError, match="refuses"):
            asked.reply(attempts(["three"]), 0)


def test_a_403_that_passes_costs_no_reply():
    with serving(
        lambda body, n: said(403, "wait") if body["messages"][0]["content"] == "one" and not n else FINE
    ) as s:
        (done,) = target(s.url).reply(attempts(["one"]), 0)
    assert done.text == "fine"


# --- what ends the run


@pytest.mark.parametrize(
    "answer",
    [
        said(401, {"error": {"message": "bad key", "code": "invalid_api_key"}}),
        said(402, {"error": {"message": "Insufficient Balance"}}),
        said(404, "no model"),
        said(429, {"error": {"message": "quota", "code": "insufficient_quota"}}),
        said(200, {"error": {"code": 401, "message": "no auth"}}),
    ],
)
def test_what_can_never_succeed_ends_the_run_with_what_came_before(answer):
    def served(body, n):
        return answer if body["messages"][-1]["content"] in ("three", "four") else FINE

    with serving(served) as server, pytest.raises(StoppedError, match="refuses") as stopped:
        target(server.url, concurrency=1).reply(attempts(["one", "two", "three", "four"]), 0)
    assert [c.text for c in stopped.value.replies] == ["fine", "fine"]
    assert server.asked("four") == 0


# --- the reply in an answer


@pytest.mark.parametrize("reason", [*CUT, *ENDED])
def test_unfinished_is_what_the_length_limit_cut(reason):
    (done,) = ask(chat("a reply", reason))
    assert (done.text, done.finished, done.error) == ("a reply", reason not in CUT, "")


@pytest.mark.parametrize("reason", BROKEN)
def test_a_reply_that_breaks_off_is_asked_for_again(reason):
    with serving(lambda body, n: FINE if n else chat("half", reason)) as server:
        (done,) = target(server.url).reply(attempts(["one"]), 0)
    assert done.text == "fine"


PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "I might refuse."}]},
    {"type": "reasoning", "text": "I might refuse."},
    {"type": "text", "text": "Take a "},
    {"type": "image_url", "image_url": {"url": "x"}},
    {"type": "output_text", "text": "cloth."},
]


@pytest.mark.parametrize(
    ("content", "more", "text"),
    [
        (PARTS, {}, "Take a cloth."),
        ([{"type": "refusal", "refusal": "I will not."}], {}, "I will not."),
        ("Take a cloth.", {"reasoning_content": "I might refuse."}, "Take a cloth."),
        ("Take a cloth.", {"tool_calls": [{"id": 1}]}, "Take a cloth."),
        (None, {"refusal": "I will not."}, "I will not."),
    ],
)
def test_a_reply_is_what_is_said_in_words(content, more, text):
    (done,) = ask(chat(content, "stop", **more))
    assert (done.text, done.error) == (text, "")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (chat(None, "tool_calls", tool_calls=[{"id": 1}]), "no reply in words but tool_calls"),
        (chat(None, "stop", function_call={"name": "f"}), "no reply in words but function_call"),
        (chat("", "length", reasoning_content="hm"), "no reply within the length limit: its thoughts used"),
        (chat(None, "length"), "no reply within the length limit: something that is not shown used"),
        (chat(PARTS[:1], "length"), "no reply within the length limit: its thoughts used"),
        (chat(None, "stop", reasoning="hm"), "no reply beside its reasoning"),
        (chat(PARTS[3:4]), "no reply in words but parts of type image_url"),
        (Answer(b'data: {"choices": []}\n\ndata: [DONE]\n'), "the server streams though nobody asked"),
    ],
)
def test_what_is_no_reply_is_no_empty_reply(answer, why):
    with serving(lambda body, n: answer) as server:
        (done,) = target(server.url).reply(attempts(["one"]), 0)
    assert done.error.startswith(why)
    assert (done.text, done.blocked, server.asked("one")) == ("", False, 1)


@pytest.mark.parametrize(
    ("error", "status"),
    [({"code": 502, "message": "away"}, 502), ("away", 500), ({"code": "503", "message": "away"}, 503)],
)
def test_an_error_told_with_status_200_is_one(error, status):
    for answer in (said(200, {"error": error}), said(200, {"choices": [{"index": 0, "error": error}]})):
        with serving(lambda body, n, answer=answer: FINE if n == 1 else answer) as server:
            asked = target(server.url, retries=1)
            assert asked.reply(attempts(["one"]), 0)[0].text == "fine"
        (done,) = ask(answer, retries=0)
        assert done.error == f"HTTP {status} away (try 1 of 1)"


def test_of_several_choices_the_first_is_the_reply():
    choices = [{"index": i, "message": {"content": text}} for i, text in ((1, "second"), (0, "first"))]
    (done,) = ask(said(200, {"choices": choices}))
    assert done.text == "first"


NAMES = (
    "choices",
    "message",
    "content",
    "error",
    "code",
    "detail",
    "finish_reason",
    "index",
    "type",
    "text",
    "loc",
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(0, 600), st.sampled_from([*NAMES, "length", "[1", "{}"])
)
JSON = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=12,
)


@given(JSON, st.sampled_from([200, 400, 403, 422, 500]))
@settings(max_examples=300, deadline=None)
def test_whatever_a_server_answers_is_a_reply_or_a_fault(body, status):
    fault = read_fault(status, json.dumps(body))
    assert fault.words.startswith(f"HTTP {status}")
    fault.named({"seed", "max_tokens"})
    for answer in (body, {"choices": [body]}, {"choices": [{"message": body}]}):
        with suppress(FaultError):
            text, finished = read_reply(answer)
            assert (isinstance(text, str), isinstance(finished, bool)) == (True, True)
