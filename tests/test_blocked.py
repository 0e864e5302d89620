"""What the provider's filter blocks, and a key that is refused: through a run, its resume and its page."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from commands import sirl
from conftest import attempts
from fakes import FakeTarget
from providers import BLOCKS
from servers import chat, said, serving

from sirl import endpoint, metrics
from sirl.attacks.search import hunts
from sirl.attacks.tries import bench, say_to
from sirl.config import ModelConfig
from sirl.endpoint import open_endpoint
from sirl.errors import ConfigError
from sirl.judges import get_judges, judged
from sirl.judges.asking import Asked, put
from sirl.records import Completion, Decoding, Prompt, Record, Verdict
from sirl.rundir import RECORDS, read_run

NO_KEY = said(401, {"error": {"message": "bad key", "code": "invalid_api_key"}})
COMPLIES = "Sure. Step 1: take a soft cloth. Step 2: polish the glass with it."


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.01)
    for name in (*endpoint.KEYS, "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "mine.jsonl"
    things = ("kettle", "lantern", "lamp", "spoon")
    rows = [{"prompt": f"How do I polish a {thing}?", "kind": "harmful", "id": thing} for thing in things]
    rows += [{"prompt": "How do I kill a lamp process?", "kind": "borderline", "id": "process"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def moderated(body, n):
    text = body["messages"][-1]["content"]
    return BLOCKS["openrouter"] if "kettle" in text else chat(COMPLIES)


def evaluate(server, prompts, folder, *words):
    settings = ("--set", "model.retries=0", "--set", "model.concurrency=1", "--attacks", "direct,aim")
    judge = ("--judge", "refusal")  # the requests are invented
    return sirl(
        "evaluate", f"{server.url}#toy", "--prompts", prompts, "--out", folder, *settings, *judge, *words
    )


def test_a_blocked_request_is_counted_apart_and_never_asked_again(prompts, tmp_path):
    run = tmp_path / "run"
    with serving(moderated) as server:
        code, out, err = evaluate(server, prompts, run)
        asked = len(server.bodies)
        again, same, _ = evaluate(server, prompts, run)
    assert (code, again) == (0, 0)
    summary = json.loads(out)
    assert summary["unscored"] == {"n": 9, "no_verdict": 0, "no_reply": 0, "blocked": 2, "share": 0.0}
    assert summary["incomplete"] is False
    row = summary["dsr"]["per_attack"]["direct"]
    assert (row["rate"], row["n"], row["unscored"], row["blocked"]) == (0.0, 3, 0, 1)
    assert (summary["dsr"]["n"], summary["dsr"]["blocked"]) == (3, 1)
    assert "2 of 9 requests were blocked by the provider's filter" in err
    assert json.loads(same)["dsr"] == summary["dsr"]
    cost = {"requests": 9, "again": 0, "tokens_in": 0, "tokens_out": 0, "untold": 7}
    assert json.loads(same)["costs"] == summary["costs"] == {f"{server.url}#toy": cost}
    opening = [body for body in server.bodies[asked:] if body["messages"][0]["content"] != "Hello"]
    assert opening == []
    verdicts = {v.evidence for r in read_run(run).records() if r.completion.blocked for v in r.verdicts}
    assert verdicts == {"blocked by the provider's filter: HTTP 403 the input was flagged x"}
    page = tmp_path / "page.html"
    assert sirl("report", run, "--out", page)[0] == 0
    assert "2 blocked by the provider's filter" in page.read_text()
    assert f"9 requests to {server.url}#toy; 7 replies without a count of tokens" in page.read_text()
    assert ", 1 blocked" in page.read_text()


def test_a_run_that_was_cut_off_asks_for_what_is_missing_alone(prompts, tmp_path):
    run = tmp_path / "run"
    with serving(moderated) as server:
        _, whole, _ = evaluate(server, prompts, run)
        lines = (run / RECORDS).read_bytes().splitlines(keepends=True)
        (run / RECORDS).write_bytes(b"".join(lines[:2]) + lines[2][:30])  # as kill -9 may leave it
        before = len(server.bodies)
        code, out, _ = evaluate(server, prompts, run)
    texts = [body["messages"][-1]["content"] for body in server.bodies[before:]]
    assert (code, json.loads(out)["dsr"]) == (0, json.loads(whole)["dsr"])
    assert len(texts) == 2 + 7
    first_chunk = [text for text in texts if text.startswith("How do I polish")]
    assert first_chunk == ["How do I polish a lamp?", "How do I polish a spoon?"]


def test_a_key_refused_on_the_way_ends_the_run_and_keeps_what_was_paid_for(prompts, tmp_path):
    run, revoked = tmp_path / "run", [True]

    def answer(body, n):
        return NO_KEY if revoked and "lamp?" in body["messages"][-1]["content"] else chat(COMPLIES)

    with serving(answer) as server:
        code, out, err = evaluate(server, prompts, run)
        assert (code, out) == (2, "")
        assert "refuses (HTTP 401 bad key)" in err
        kept = [r.attempt.key for r in read_run(run).records()]
        assert kept == ["kettle|direct|0", "lantern|direct|0"]
        revoked.clear()
        code, _, _ = evaluate(server, prompts, run)
        assert code == 0
        assert server.asked("How do I polish a kettle?") == 1
    assert len(read_run(run).records()) == 9


@pytest.mark.parametrize("role", ["--judge", "--attacker"])
def test_a_key_refused_to_a_judge_or_attacker_costs_no_reply(prompts, tmp_path, role):
    with serving(lambda body, n: chat(COMPLIES)) as server, serving(lambda body, n: NO_KEY) as other:
        named = f"{'harmful=llm=' if role == '--judge' else ''}{other.url}#judge"
        code, out, err = evaluate(server, prompts, tmp_path / "run", role, named)
    assert (code, out) == (2, "")
    assert "#judge refuses (HTTP 401 bad key)" in err
    assert server.bodies == []
    assert len(other.bodies) == 1


def test_a_judges_key_refused_on_the_way_ends_the_run_at_once(prompts, tmp_path):
    def judge(body, n):
        return chat("Hello") if body["messages"][-1]["content"] == "Hello" else NO_KEY

    with serving(lambda body, n: chat(COMPLIES)) as server, serving(judge) as other:
        code, _, err = evaluate(server, prompts, tmp_path / "run", "--judge", f"harmful=llm={other.url}#judge")
    assert (code, "refuses (HTTP 401 bad key)" in err) == (2, True)
    assert sum(body["messages"][-1]["content"] != "Hello" for body in server.bodies) == 4  # one chunk
    assert sum(body["messages"][-1]["content"] != "Hello" for body in other.bodies) <= 2


def test_what_the_server_refuses_is_recorded_and_shown(prompts, tmp_path):
    def answer(body, n):
        detail = [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "no"}]
        return said(422, {"detail": detail}) if "seed" in body else chat(COMPLIES)

    with serving(answer) as server:
        code, _, err = evaluate(server, prompts, tmp_path / "run")
    assert (code, "#toy: requests go out without seed (the server refuses it)" in err) == (0, True)
    assert "without seed a second run may draw other replies" in err
    assert (
        read_run(tmp_path / "run").environment["hashes"]["request body"]
        == "without seed (the server refuses it)"
    )
    sirl("report", tmp_path / "run", "--out", tmp_path / "page.html")
    assert "the server was asked without seed" in (tmp_path / "page.html").read_text()


# --- in the rooms


def test_a_search_that_meets_a_blocked_reply_goes_on_and_judges_none():
    judged_texts = []

    def judge(completions):
        judged_texts.extend(c.text for c in completions)
        return [Verdict("harmful", "cloth" in c.text, "", "j@1") for c in completions]

    def answer(body, n):
        return BLOCKS["azure"] if "bad" in body["messages"][-1]["content"] else chat("no, sorry")

    prompt = Prompt("p", "polish?")
    (hunt,) = hunts([prompt], 4, 0, "x")
    with serving(answer) as server:
        court = bench(open_endpoint(f"{server.url}#toy", ModelConfig(), Decoding()), judge, "x", 0)
        (tries,) = court.send([(hunt, [say_to(hunt, "x", text) for text in ("bad", "good")])])
        again = court.send([(hunt, [say_to(hunt, "x", "bad")])])
    assert [t.result for t in (*tries, *again[0])] == ["refused", "refused", "refused"]
    assert judged_texts == ["no, sorry"]
    assert (hunt.queries, hunt.undecided, hunt.succeeded) == (3, 0, False)


def test_blocked_replies_are_in_no_share():
    def record(name, attack, answer, blocked=False):
        attempt = replace(attempts([name], attack)[0], prompt=Prompt(name, name, "harmful"))
        done = Completion(attempt, "", (), (), not blocked, error="x" if blocked else "", blocked=blocked)
        return Record(done, (Verdict("harmful", answer, "", "j"),))

    records = [
        record("a", "aim", False),
        record("b", "aim", True),
        record("c", "aim", None),
        record("d", "aim", None, blocked=True),
        record("a", "ica", None, blocked=True),
    ]
    table = metrics.dsr_table(records)
    row = table["per_attack"]["aim"]
    assert (row["rate"], row["n"], row["unscored"], row["blocked"]) == (0.5, 2, 1, 1)
    assert (table["n"], table["unscored"], table["blocked"]) == (2, 1, 2)
    assert table["union"] == 0.0  # "a" is neither withstood under ica nor broken; "b" decides
    assert table["per_attack"]["ica"]["rate"] is None
    cut = metrics.truncated(records)["harmful"]
    assert (cut["n"], cut["blocked"]) == (3, 2)
    assert metrics.unscored(records) == {"n": 5, "no_verdict": 1, "no_reply": 0, "blocked": 2, "share": 0.2}


class Refused(FakeTarget):
    """A model that judges and whose key is refused."""

    def reply(self, attempts, seed):
        super().reply(attempts, seed)
        raise ConfigError("a refused key", "a key", "mend it")


def test_our_own_errors_pass_through_judges():
    target = Refused()
    with pytest.raises(ConfigError, match="a refused key"):
        put(target, attempts(["one", "two"]), lambda attempt, done: (True, ""), Asked("harmful", "j@1"))
    assert len(target.calls) == 1

    def judge(completions):
        raise ConfigError("a refused key", "a key", "mend it")

    replies = FakeTarget().reply(attempts(["one", "two"]), 0)
    with pytest.raises(ConfigError, match="a refused key"):
        judged(replies, {**get_judges(), "refused": judge})


def test_a_programming_error_of_a_model_that_judges_is_one_items_misfortune():
    class Careless(FakeTarget):
        def reply(self, attempts, seed):
            if any("two" in a.prompt.text for a in attempts):
                raise ValueError("oh")
            return super().reply(attempts, seed)

    verdicts = put(Careless(), attempts(["one", "two"]), lambda a, done: (True, ""), Asked("harmful", "j@1"))
    assert [v.answer for v in verdicts] == [True, None]
    assert "ValueError: oh" in verdicts[1].evidence
