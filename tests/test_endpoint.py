"""Endpoints against a real server on this machine: order, waits, failures, secrets."""

from __future__ import annotations

import json
import logging
import socket
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from threading import Thread
from time import monotonic

import pytest
from conftest import attempts
from fakes import study
from servers import Answer, chat, serving

from sirl import endpoint
from sirl.config import ModelConfig
from sirl.endpoint import EndpointTarget, backoff, open_endpoint, retry_after, wire
from sirl.endpoint.address import headers_of, query_of, read_address
from sirl.entropy_gap import measure_gap, summarise_gap
from sirl.errors import AttackError, ConfigError, DataError
from sirl.evaluation import evaluate, summarise
from sirl.records import SLOT, Completion, Decoding, Message, Record, from_json, item_seed, to_json
from sirl.rundir import RECORDS, open_run

GREEDY = Decoding(max_new_tokens=9)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits, no keys and no proxy of the user's."""
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.01)
    for name in (*endpoint.KEYS, "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def target(url: str, **settings) -> EndpointTarget:
    return EndpointTarget(url, "toy", GREEDY, ModelConfig(**({"retries": 2, "timeout": 5.0} | settings)))


def replies(answer, texts=("one",), **settings) -> tuple[list[Completion], object]:
    with serving(answer) as server:
        return target(server.url, **settings).reply(attempts(list(texts)), 0), server


def echo(body, n):
    return chat(f"to {body['messages'][-1]['content']}")


# --- what is sent, and whose reply is whose


def test_replies_meet_their_prompts_though_the_first_asked_is_the_last_answered():
    texts = [f"prompt {i}" for i in range(12)]

    def slow_first(body, n):
        text = body["messages"][-1]["content"]
        return replace(echo(body, n), delay=0.02 * (12 - int(text.split()[1])))

    done, _ = replies(slow_first, texts, concurrency=12)
    assert [c.text for c in done] == [f"to {text}" for text in texts]
    assert [c.attempt.prompt.id for c in done] == [f"p{i}" for i in range(12)]
    assert all(c.token_ids == () and c.entropies is None and c.logprobs is None for c in done)


def test_no_more_requests_are_under_way_than_asked_for():
    under_way, most = [], []

    def watch(body, n):
        under_way.append(1)
        most.append(len(under_way))
        endpoint.sleep(0.02)
        under_way.pop()
        return chat("yes")

    replies(watch, [str(i) for i in range(12)], concurrency=3)
    assert 1 < max(most) <= 3


def test_the_body_says_how_to_draw_and_an_attempts_own_decoding_wins():
    own = replace(attempts(["hot"])[0], decoding=Decoding(0.7, 0.9, 5, 33))
    talk = replace(attempts(["b"])[0], messages=(Message("system", "be brief"), Message("user", "b")))
    with serving(echo) as server:
        target(server.url, concurrency=1).reply([talk, own], 3)
    first, second = server.bodies
    assert first == {
        "model": "toy",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "b"}],
        "temperature": 0.0,
        "max_tokens": 9,
        "seed": item_seed(3, talk),
    }
    assert (second["temperature"], second["top_p"], second["top_k"], second["max_tokens"]) == (0.7, 0.9, 5, 33)


def test_the_seed_is_of_the_run_and_the_attempt_alone():
    one, two = attempts(["a", "b"])
    assert item_seed(0, one) == item_seed(0, replace(one, messages=()))
    assert (
        len({item_seed(0, one), item_seed(1, one), item_seed(0, two), item_seed(0, replace(one, sample=1))})
        == 4
    )
    assert 0 <= item_seed(0, one) < 2**31


@pytest.mark.parametrize(
    ("answer", "text", "finished"),
    [
        (chat("whole"), "whole", True),
        (chat("cut", "length"), "cut", False),
        (chat("unsaid", None), "unsaid", True),
        (chat("", "stop"), "", True),
        (chat(None, refusal="I will not."), "I will not.", True),
        (chat("half \ud800"), "half ?", True),
    ],
)
def test_text_and_whether_it_ended(answer, text, finished):
    (done,), _ = replies(lambda body, n: answer)
    assert (done.text, done.finished, done.error) == (text, finished, "")
    done.text.encode()


def test_a_begun_reply_is_continued_where_the_server_can():
    begun = attempts(["how?"], "prefill", "Sure, ")
    with serving(echo) as server:
        with pytest.raises(AttackError, match=r"begins the reply.*model\.prefill=true"):
            target(server.url).reply(begun, 0)
        assert server.bodies == []
        open_ended = target(server.url, prefill=True)
        open_ended.reply(begun, 0)
    (body,) = server.bodies
    assert body["messages"][-1] == {"role": "assistant", "content": "Sure, "}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert (target("http://x/v1").access, open_ended.access) == ("black-box", "prefill")


def test_what_an_endpoint_cannot_do_is_said():
    closed = target("http://127.0.0.1:1/v1")
    with pytest.raises(AttackError, match="cannot score 1 beginnings"):
        closed.log_likelihood(attempts(["a"]), ["Sure"])
    soft = replace(attempts([f"a {SLOT}"])[0], soft=((0.0,),))
    with pytest.raises(AttackError, match="sends embeddings"):
        closed.reply([soft], 0)


# --- what passes and what does not


@pytest.mark.parametrize(
    "failure",
    [
        Answer(b"busy", 429),
        Answer(b"broken", 500),
        Answer(b"<html>gateway</html>", 503),
        Answer(b"not json at all"),
        Answer(b"\xff\xfe"),
        Answer(b"[" * 100_000),
        Answer(b"[]"),
        Answer(b'{"choices": []}'),
        Answer(b'{"choices": [{"message": {"content": 7}}]}'),
        Answer(b'{"choices": [{"message": null}]}'),
        Answer(None),
        Answer(b"{}", delay=1.0),
    ],
    ids=lambda a: f"{a.status}-{(a.body or b'cut')[:12]!r}-{a.delay}",
)
def test_what_passes_is_tried_again(failure):
    done, server = replies(lambda body, n: echo(body, n) if n == 2 else failure, timeout=0.3)
    assert [c.text for c in done] == ["to one"]
    assert server.asked("one") == 3


def test_a_reply_that_never_comes_costs_no_other():
    def answer(body, n):
        return Answer(b"broken", 500) if "two" in body["messages"][-1]["content"] else echo(body, n)

    done, server = replies(answer, ["one", "two", "three"])
    assert [c.text for c in done] == ["to one", "", "to three"]
    assert [c.error for c in done] == ["", "HTTP 500 broken (try 3 of 3)", ""]
    assert [c.finished for c in done] == [True, False, True]
    assert server.asked("two") == 3


def test_what_will_not_pass_is_not_tried_again():
    (long,), server = replies(lambda body, n: Answer(b"context too long", 400))
    assert (long.error, server.asked("one")) == ("HTTP 400 context too long (try 1 of 3)", 1)
    (later,), server = replies(lambda body, n: Answer(b"", 429, {"retry-after": "86400"}))
    assert (later.error, server.asked("one")) == ("HTTP 429 (try 1 of 3)", 1)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_an_unknown_model_ends_the_run(status):
    with pytest.raises(ConfigError, match=rf"refuses \(HTTP {status} who\?\).*SIRL_API_KEY"):
        replies(lambda body, n: Answer(b"who?", status), ["one", "two"])


def test_a_refused_connection_is_a_failed_reply():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, never listening
        (done,) = target(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", retries=1).reply(attempts(["one"]), 0)
    assert done.error.startswith("ConnectError: ")
    assert done.error.endswith(" (try 2 of 2)")


def test_retry_after_is_kept_to_by_every_request():
    times = []

    def answer(body, n):
        times.append(monotonic())
        return Answer(b"", 429, {"retry-after": "0.5"}) if len(times) == 1 else echo(body, n)

    done, _ = replies(answer, ["one", "two"], concurrency=1)
    assert [c.text for c in done] == ["to one", "to two"]
    assert times[1] - times[0] >= 0.45


def test_retry_after_in_seconds_or_as_a_date():
    assert retry_after({}) == retry_after({"retry-after": "soon"}) == retry_after({"retry-after": "-4"}) == 0
    assert retry_after({"retry-after": "2.5"}) == 2.5
    later = datetime.now(UTC) + timedelta(seconds=30)
    assert 27 < retry_after({"retry-after": format_datetime(later, usegmt=True)}) <= 30
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({"retry-after": "nan"}) == 0


def test_waits_double_and_are_spread(monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.5)
    for tries, most in [(0, 0.5), (1, 1.0), (3, 4.0), (20, 60.0)]:
        waits = [backoff(tries) for _ in range(200)]
        assert most / 2 <= min(waits) < 0.6 * most
        assert 0.9 * most < max(waits) <= most


def test_requests_keep_to_the_rate_over_several_calls():
    times = []

    def answer(body, n):
        times.append(monotonic())
        return chat("yes")

    with serving(answer) as server:
        slow = target(server.url, requests_per_minute=600.0)  # one in 0.1 s
        slow.reply(attempts(["a", "b"]), 0)
        slow.reply(attempts(["c", "d"]), 0)
    assert len(times) == 4
    assert times[-1] - times[0] >= 0.28
    assert all(later - sooner > 0.05 for sooner, later in pairwise(sorted(times)))


@pytest.mark.parametrize(
    "said",
    ["9" * 5000, "1e999", "nan", "Mon, 01 Jan 2024 00:00:00 +99999999999999", "Mon, 01 Jan 99999 00:00:00 GMT"],
)
def test_no_time_to_wait_is_too_odd_to_read(said):
    assert retry_after({"retry-after": said}) >= 0


def test_an_answer_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(wire, "LONGEST_ANSWER", 2000)
    (done,), server = replies(lambda body, n: chat("so " * 1000))
    assert (done.text, len(server.bodies)) == ("", 1)
    assert done.error == "an answer of more than 2000 bytes (try 1 of 3)"


def test_an_answer_that_drips_is_given_up(monkeypatch):
    monkeypatch.setattr(endpoint, "LONGER", 1)

    def drip():
        line, _ = door.accept()
        line.recv(65536)
        line.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        with line, suppress(OSError):
            while True:
                line.sendall(b" ")
                endpoint.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as door:
        Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{door.getsockname()[1]}/v1"
        (done,) = target(url, retries=0, timeout=0.5).reply(attempts(["one"]), 0)
    assert done.error.startswith("an answer that has not ended after 0.5 s")


def test_what_may_be_billed_twice_is_told_once(caplog):
    replies(lambda body, n: chat("yes") if n else Answer(None), ["a", "b"], concurrency=1)
    (told,) = [line for line in caplog.messages if "may be billed" in line]
    assert "#toy: no answer to a request (" in told


# --- addresses and secrets


def test_an_address_names_server_and_model():
    found = open_endpoint("https://host:8000/v1/#org/model#2", ModelConfig(), GREEDY)
    assert (found.url, found.model) == ("https://host:8000/v1", "org/model#2")
    assert found.name == "https://host:8000/v1#org/model#2"
    assert open_endpoint("http://[::1]:80/v1#m", ModelConfig(), GREEDY).url == "http://[::1]:80/v1"


@pytest.mark.parametrize(
    "words",
    ["http://me:a b@host/v1#m", "http://host/v1", "http://host/v1#", "http:///v1#m", "http://host:port/v1#m"],
)
def test_other_addresses_are_refused(words):
    with pytest.raises(ConfigError, match="expected http"):
        open_endpoint(words, ModelConfig(), GREEDY)


def test_the_key_is_sent_and_kept_nowhere(monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    monkeypatch.setenv("SIRL_API_KEY", "sk-secret")
    caplog.set_level(logging.DEBUG)
    with serving(lambda body, n: Answer(b"your key sk-secret is odd", 400)) as server:
        asked = target(server.url)
        (done,) = asked.reply(attempts(["one"]), 0)
    assert server.headers[0]["authorization"] == "Bearer sk-secret"
    assert done.error == "HTTP 400 your key *** is odd (try 1 of 3)"
    assert "sk-" not in repr(asked) + asked.name + caplog.text
    monkeypatch.delenv("SIRL_API_KEY")
    _, server = replies(echo)
    assert "authorization" not in server.headers[0], "OpenAI's key is for OpenAI's hosts"


@pytest.mark.parametrize(
    ("url", "settings", "key"),
    [
        ("https://api.openai.com/v1", {}, "sk-openai"),
        ("https://eu.api.openai.com/v1", {}, "sk-openai"),
        ("https://api.openai.com.other.org/v1", {}, "sk-bare"),
        ("https://notapi.openai.com/v1", {"key_host": "other.org"}, ""),
        ("https://other.org/v1", {"key_host": "other.org"}, "sk-bare"),
        ("https://other.org:8443/v1", {"key_host": "other.org"}, "sk-bare"),
        ("https://other.org:8443/v1", {"key_host": "other.org:8444"}, ""),
        ("https://gpu-1.lan/v1", {}, "sk-gpu"),
        ("https://gpu-1.lan:99/v1", {"key_host": "other.org"}, "sk-gpu-99"),
        ("http://127.9.9.9/v1", {}, "sk-bare"),
        ("http://[::1]:8000/v1", {}, "sk-bare"),
        ("http://localhost:8000/v1", {}, "sk-bare"),
        ("http://other.org/v1", {"secrets_over_http": True}, "sk-bare"),
        ("http://other.org/v1", {}, None),
        ("http://localhost.other.org/v1", {}, None),
        ("http://gpu-1.lan/v1", {"key_host": "other.org"}, None),
        ("http://other.org/v1", {"key_host": "gpu-1.lan"}, ""),
    ],
)
def test_a_key_goes_to_its_own_host_and_not_where_it_can_be_read_on_the_way(monkeypatch, url, settings, key):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("SIRL_API_KEY", "sk-bare")
    monkeypatch.setenv("SIRL_API_KEY_GPU_1_LAN", "sk-gpu")
    monkeypatch.setenv("SIRL_API_KEY_GPU_1_LAN_99", "sk-gpu-99")
    config = ModelConfig(**settings)
    if key is None:
        with pytest.raises(ConfigError, match="unencrypted"):
            headers_of(config, read_address(f"{url}#m"))
    else:
        sent = headers_of(config, read_address(f"{url}#m")).get("authorization", "")
        assert sent.removeprefix("Bearer ") == key


def test_a_secret_of_a_header_or_a_login_is_as_good_as_a_key(monkeypatch):
    monkeypatch.setenv("MINE", "s3cret")
    config = ModelConfig(
        extra_headers='{"api-key": "$MINE", "x": "1"}', extra_query='{"sig": "$MINE"}', key_host="a.org"
    )
    its, other = read_address("https://a.org/v1#m"), read_address("https://b.org/v1#m")
    assert (headers_of(config, its)["api-key"], query_of(config, its)) == ("s3cret", {"sig": "s3cret"})
    assert (headers_of(config, other).get("api-key"), query_of(config, other)) == (None, {})
    assert headers_of(config, other)["x"] == "1"
    for words in ("http://me:pw@b.org/v1#m", "http://a.org/v1#m", "http://b.org/v1?key=$MINE#m"):
        with pytest.raises(ConfigError, match="unencrypted") as error:
            headers_of(config, read_address(words))
        assert "pw" not in str(error.value)


def test_a_login_in_the_address_is_used_and_not_shown(caplog):
    caplog.set_level(logging.DEBUG)
    with serving(lambda body, n: Answer(b"go away p@ss", 400)) as server:
        words = f"{server.url.replace('://', '://me:p%40ss@')}#toy"
        asked = open_endpoint(words, ModelConfig(), GREEDY)
        (done,) = asked.reply(attempts(["one"]), 0)
    assert server.headers[0]["authorization"] == "Basic bWU6cEBzcw=="
    assert asked.name == f"{server.url}#toy"
    shown = repr(asked) + asked.name + done.error + caplog.text
    assert "p@ss" not in shown
    assert "p%40ss" not in shown


def test_the_fingerprint_is_what_the_server_says():
    def answer(body, n):
        said = json.loads(chat("hello").body) | {"system_fingerprint": "fp_7"}
        return Answer(json.dumps(said).encode())

    with serving(answer) as server:
        assert target(server.url).fingerprint() == {
            "endpoint": server.url,
            "model": "toy",
            "server model": "toy-2026",
            "server system_fingerprint": "fp_7",
        }
    with pytest.raises(DataError, match="does not reply"):
        target(server.url, retries=0).fingerprint()


# --- as evidence


def test_failed_replies_are_unscored_and_asked_for_again(tmp_path):
    broken = {"h1", "o0", "t1"}

    def answer(body, n):
        text = body["messages"][-1]["content"]
        wrong = any(p.text in text for p in trial.prompts if p.id in broken)
        return Answer(b"broken", 500) if wrong else chat("I cannot help with that. The answer is 1.")

    trial = study(batch=4)
    with serving(answer) as server:
        trial = replace(trial, target=target(server.url, retries=0))
        first = evaluate(trial, open_run(tmp_path, "evaluate", {}, {}))
        failed = [r for r in first if r.completion.error]
        assert {r.prompt.id for r in failed} == broken
        assert all(
            v.answer is None and v.evidence.startswith("no reply: HTTP 500 broken")
            for r in failed
            for v in r.verdicts
        )
        numbers = summarise(first)
        assert numbers["dsr"]["per_attack"]["direct"]["n"] == 6
        assert numbers["dsr"]["per_attack"]["direct"]["unscored"] == 1
        assert numbers["capability_detail"]["math"]["n"] == 1
        assert numbers["capability_detail"]["math"]["unscored"] == 1
        assert numbers["diversity_detail"]["n"] == 1  # prompts: the failed one has no distinct replies
        broken.clear()
        whole = evaluate(trial, open_run(tmp_path, "evaluate", {}, {}))
        asked = len(server.bodies)
        assert evaluate(trial, open_run(tmp_path, "evaluate", {}, {})) == whole
        assert len(server.bodies) == asked
    assert not any(r.completion.error for r in whole)
    assert [r.attempt for r in whole] == [r.attempt for r in first]
    assert len((tmp_path / RECORDS).read_bytes().splitlines()) == len(whole)


def test_a_failed_reply_survives_the_disk_and_old_lines_have_none():
    (done,), _ = replies(lambda body, n: Answer(b"", 400))
    row = json.loads(json.dumps(to_json(Record(done, ()))))
    assert from_json(row).completion == done
    del row["completion"]["error"]
    del row["completion"]["blocked"]
    old = from_json(row).completion
    assert (old.error, old.blocked) == ("", False)


def test_the_gap_says_that_entropy_is_not_recorded(tmp_path):
    with serving(lambda body, n: chat("I cannot help with that.")) as server:
        trial = replace(study(), target=target(server.url))
        records = measure_gap(trial, open_run(tmp_path, "gap", {}, {}))
    found = summarise_gap(records)
    assert found["gap"]["unscored"] == sum(r.prompt.kind == "harmful" for r in records) > 0
    assert found["gap"]["difference"] is None
    assert found["gap"]["verdict"].startswith("unknown: ")
    assert "their entropy was not recorded" in found["gap"]["verdict"]
    assert found["entropy_along"]["position"] == []
