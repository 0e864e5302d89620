"""A server with every fault that a network has: nothing lost, nothing doubled, budgets kept, no secret told."""

from __future__ import annotations

import io
import json
import logging
import random
import signal
import subprocess
import sys
import traceback
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Lock

import pytest
from fakes import PROMPTS, study
from servers import Answer, chat, said, serving

from sirl import endpoint
from sirl.attacks import ATTACKS
from sirl.attacks.best_of_n import BestOfN
from sirl.attacks.refinement import Pair
from sirl.config import ModelConfig
from sirl.endpoint import EndpointTarget, open_endpoint
from sirl.endpoint.bill import costs
from sirl.errors import ConfigError
from sirl.evaluation import evaluate, summarise
from sirl.evidence import Evaluation
from sirl.judges import JUDGES
from sirl.records import Attempt, Decoding, Message, Record
from sirl.rundir import RECORDS, open_run

BUDGET = 6
SEARCH = BestOfN(width=2, judge=JUDGES["refusal"]["harmful"])
TIMEOUT = 2.0
USAGE = {"prompt_tokens": 7, "completion_tokens": 2}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.01)
    for name in (*endpoint.KEYS, "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def trial(url: str, **settings) -> Evaluation:
    """Return an evaluation with a search, over an endpoint."""
    config = ModelConfig(**({"retries": 8, "timeout": TIMEOUT} | settings))
    whole = study(batch=6, budget=BUDGET, attacks=["direct", "aim", "best_of_n"])
    searching = {"best_of_n": replace(ATTACKS["best_of_n"], run=SEARCH)}
    target = EndpointTarget(url, "toy", Decoding(max_new_tokens=9), config)
    return replace(whole, attacks=whole.attacks | searching, target=target)


def reply(body, _n=0) -> Answer:
    """Answer a body as a greedy model would: the same each time, and half of them refused."""
    name = sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return chat(f"{'I cannot help with that' if int(name, 16) % 2 else 'Take a wand and wave it'}. {name}")


class Faulty:
    """Answers as `reply` does in the end; before that, at random, with up to three faults of a body.

    `whole` are the bodies that were answered, once for each whole answer.
    """

    def __init__(self, seed: int, share: float) -> None:
        self.seed, self.share, self.lock = seed, share, Lock()
        self.seen: Counter[str] = Counter()
        self.whole: Counter[str] = Counter()
        self.met: Counter[str] = Counter()

    def __call__(self, body, _n) -> Answer:
        name = json.dumps(body, sort_keys=True)
        with self.lock:
            n = self.seen[name]
            self.seen[name] += 1
            dice = random.Random(f"{self.seed}|{name}|{n}")
            fault = dice.choice(list(FAULTS)) if n < 3 and dice.random() < self.share else ""
            if fault == "silence" and self.met["silence"] >= 1:  # it costs the whole timeout
                fault = "reset"
            self.met[fault] += 1
            self.whole[name] += not fault
        good = reply(body)
        return FAULTS[fault](good) if fault else replace(good, delay=dice.uniform(0, 0.02))  # in another order


FAULTS = {
    "busy": lambda good: Answer(b"busy", 429, {"retry-after": "0.05"}),
    "busy until a date": lambda good: Answer(b"", 429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "broken": lambda good: Answer(b"<html>oops</html>", 500),
    "gateway": lambda good: said(503, {"error": {"message": "overloaded"}}),
    "error with status 200": lambda good: said(200, {"error": {"message": "overloaded", "code": 529}}),
    "cut JSON": lambda good: replace(good, body=good.body[: len(good.body) // 2]),
    "no JSON": lambda good: Answer(b"\x00\xff" * 40),
    "no choice": lambda good: said(200, {"choices": []}),
    "closed": lambda good: Answer(None),
    "reset": lambda good: replace(good, sent=len(good.body) // 2),
    "reset before a byte": lambda good: replace(good, sent=0),
    "silence": lambda good: Answer(b"{}", delay=TIMEOUT + 0.5),
    "broken off": lambda good: chat("Take a", "error"),
}


def by_key(records: list[Record]) -> dict[str, Record]:
    found = {record.attempt.key: record for record in records}
    assert len(found) == len(records), "none is there twice"
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_under_faults_is_the_run_without_them(tmp_path, seed):
    calm, faulty = Faulty(0, 0.0), Faulty(seed, 0.5)
    with serving(calm) as server:
        expected = evaluate(trial(server.url), open_run(tmp_path / "calm", "evaluate", {}, {}))
    with serving(faulty) as server:
        records = evaluate(trial(server.url), open_run(tmp_path / "run", "evaluate", {}, {}))
    assert records == expected
    assert summarise(records) == summarise(expected)
    assert faulty.met.keys() == {*FAULTS, ""}, "every fault was met"
    assert faulty.whole == calm.whole, (
        "no request that was answered is sent again, and none that was not is left"
    )
    searched = [r.attempt.search for r in records if r.attempt.attack == "best_of_n"]
    assert all(0 < search.queries <= BUDGET for search in searched)
    assert calm.whole.total() == len(records) + sum(s.queries for s in searched), "each request is counted"


def test_what_a_run_cost_is_what_the_server_counted_over_two_starts(tmp_path):
    faulty = Faulty(5, 0.3)

    def answer(body, n):
        told = faulty(body, n)
        try:
            whole = json.loads(told.body or b"")
        except ValueError:
            return told
        good = told.status == 200 and whole.get("choices") and told.sent is None and body["seed"] % 3
        return replace(told, body=json.dumps(whole | {"usage": USAGE}).encode()) if good else told

    with serving(answer) as server:
        evaluate(trial(server.url), open_run(tmp_path, "evaluate", {}, {}))
        lines = (tmp_path / RECORDS).read_bytes().splitlines(keepends=True)
        (tmp_path / RECORDS).write_bytes(b"".join(lines[:-4]) + lines[-4][:50])
        trial(server.url).target.reply([Attempt(PROMPTS[0], "direct", (Message("user", "no run asks"),))], 0)
        evaluate(trial(server.url), run := open_run(tmp_path, "evaluate", {}, {}))
    bodies = [body for body in server.bodies if body["messages"][-1]["content"] != "no run asks"]
    replies = Counter({json.dumps(b, sort_keys=True): 0 for b in bodies}) + faulty.whole
    replies -= Counter({name: n for name, n in replies.items() if "no run asks" in name})
    told = sum(n for name, n in replies.items() if json.loads(name)["seed"] % 3)
    (cost,) = costs(run).values()
    assert cost["requests"] == len(bodies)
    assert cost["again"] == len(bodies) - replies.total() > 0
    broken_off = faulty.met["broken off"]
    assert (cost["tokens_in"] - 7 * told, cost["tokens_out"] - 2 * told) <= (7 * broken_off, 2 * broken_off)
    assert cost["tokens_in"] >= 7 * told > 0
    assert cost["untold"] + cost["tokens_in"] / 7 == replies.total() + broken_off


def test_a_search_whose_attacker_does_not_answer_is_repeated_not_weaker(tmp_path):
    """The attacker's server is away for a while: what it was to write is no failure of the attack."""
    away = []

    def write(body, n):
        return Answer(b"busy", 503) if away else chat(f"<message>Whistle {body['seed']} for me</message>")

    def searching(url):
        attacker = EndpointTarget(url, "writer", Decoding(), ModelConfig(retries=0))
        pair = replace(ATTACKS["pair"], run=Pair(attacker=attacker, judge=JUDGES["refusal"]["harmful"]))
        whole = study(attacks=["direct", "pair"], prompts=PROMPTS[:4], budget=4)
        return replace(whole, attacks=whole.attacks | {"pair": pair})

    with serving(write) as server:
        expected = evaluate(searching(server.url), open_run(tmp_path / "calm", "evaluate", {}, {}))
        away.append(True)
        lost = evaluate(searching(server.url), open_run(tmp_path / "run", "evaluate", {}, {}))
        away.clear()
        records = evaluate(searching(server.url), open_run(tmp_path / "run", "evaluate", {}, {}))
    errors = {r.completion.error.partition(" (")[0] for r in lost if r.attempt.attack == "pair"}
    assert errors
    assert all(error.endswith("requests of its search got no reply") for error in errors)
    assert summarise(lost)["dsr"]["per_attack"]["pair"]["n"] == 0, "nothing was withstood"
    assert records == expected
    assert not any(r.attempt.search.unusable for r in records)


def test_an_answer_that_drips_is_waited_for():
    with serving(lambda body, n: replace(reply(body), drip=0.005)) as server:
        replies = trial(server.url).target.reply([Attempt(PROMPTS[0], "direct", (Message("user", "one"),))], 0)
    assert all(one.text.startswith(("I cannot", "Take a")) for one in replies)


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:2]
import test_endpoint_faults as here
here.endpoint.FIRST_WAIT = 0.01
here.evaluate(here.trial(sys.argv[2]), here.open_run(Path(sys.argv[3]), "evaluate", {}, {}))
"""


def test_killed_at_any_request_and_continued(tmp_path):
    """With kill -9, while the server has faults too: the records are those of a calm, unbroken run."""
    calm, faulty, dice = Faulty(0, 0.0), Faulty(7, 0.3), random.Random(3)
    with serving(calm) as server:
        expected = evaluate(trial(server.url), open_run(tmp_path / "calm", "evaluate", {}, {}))
    working: list[subprocess.Popen[bytes]] = []
    left = [0]

    def answer(body, n):
        told = faulty(body, n)
        left[0] -= 1
        if not left[0]:
            working[-1].send_signal(signal.SIGKILL)
        return told

    ended = []
    with serving(answer) as server:
        command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), server.url, str(tmp_path / "run")]
        for _ in range(20):
            left[0] = dice.randrange(2, 30) if len(ended) < 2 else -1
            working.append(subprocess.Popen(command))
            ended.append(working[-1].wait())
            if not ended[-1]:
                break
    assert ended[:-1] == [-signal.SIGKILL] * (len(ended) - 1)
    assert (len(ended), ended[-1]) == (3, 0)
    run = open_run(tmp_path / "run", "evaluate", {}, {})
    assert by_key(run.records()) == by_key(expected)
    assert (faulty.whole - calm.whole).total() <= 2 * 6 * (BUDGET + 1), "a kill costs one item at most"
    assert not calm.whole - faulty.whole


@pytest.mark.parametrize("after", [1, 31])
def test_a_key_that_expires_in_the_middle_ends_the_run_and_another_continues_it(tmp_path, monkeypatch, after):
    monkeypatch.setenv("SIRL_API_KEY", "sk-first-of-two-keys")
    served = Faulty(0, 0.0)
    lock, left = Lock(), [after]

    def answer(body, n):
        with lock:
            left[0] -= 1
            expired = left[0] < 0 and "sk-second" not in server.headers[-1].get("authorization", "")
        return (
            said(401, {"error": {"message": "expired: sk-first-of-two-keys"}}) if expired else served(body, n)
        )

    with serving(answer) as server:
        with pytest.raises(ConfigError, match=r"refuses \(HTTP 401 expired: \*\*\*\)"):
            evaluate(trial(server.url, concurrency=2), open_run(tmp_path, "evaluate", {}, {}))
        asked = len(server.bodies)
        assert asked <= after + 2, "no other request leaves"
        before = open_run(tmp_path, "evaluate", {}, {}).records()
        monkeypatch.setenv("SIRL_API_KEY", "sk-second-of-two-keys")
        records = evaluate(trial(server.url), open_run(tmp_path, "evaluate", {}, {}))
    assert all(by_key(records)[key] == one for key, one in by_key(before).items())
    assert len(records) == len((tmp_path / RECORDS).read_bytes().splitlines())
    assert not any(one.completion.error for one in records)
    searches = sum(r.attempt.search.queries for r in records if r.attempt.attack == "best_of_n")
    assert served.whole.total() <= len(records) + searches + 6 * (BUDGET + 1), "one item at most is paid twice"


def test_a_server_that_restarts_on_its_port_is_found_again(tmp_path):
    before, after = Faulty(0, 0.0), Faulty(0, 0.0)
    with serving(before) as server:
        port = int(server.url.rpartition(":")[2].removesuffix("/v1"))
        expected = evaluate(trial(server.url), open_run(tmp_path / "calm", "evaluate", {}, {}))
    stopped = []

    def once(body, n):
        stopped.append(body)
        return Answer(None) if len(stopped) > 20 else reply(body)

    with serving(once, port=port) as server:
        broken = evaluate(trial(server.url, retries=0), open_run(tmp_path / "run", "evaluate", {}, {}))
    assert any(one.completion.error for one in broken)
    gone = evaluate(trial(server.url, retries=0), open_run(tmp_path / "run", "evaluate", {}, {}))
    assert any(one.completion.error.startswith("ConnectError") for one in gone)
    searched = [one.completion.error for one in gone if one.attempt.attack == "best_of_n"]
    assert any("requests of its search got no reply (6 queries)" in error for error in searched), (
        "no weaker search counts"
    )
    with serving(after, port=port) as server:
        records = evaluate(trial(server.url), open_run(tmp_path / "run", "evaluate", {}, {}))
    assert records == expected


def test_a_redirect_is_followed_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SIRL_API_KEY", "sk-not-for-the-other")
    with serving(reply) as other:
        for status in (302, 308):
            moved = Answer(b"", status, {"location": f"{other.url}/chat/completions?key=sk-not-for-the-other"})
            with serving(lambda body, n, moved=moved: moved) as server:
                records = evaluate(trial(server.url), open_run(tmp_path / str(status), "evaluate", {}, {}))
                assert len(server.bodies) <= len(records) + 7 * BUDGET, "it is not asked again"
            error = records[0].completion.error
            assert error.startswith(f"HTTP {status}: it redirects to {other.url}/chat/completions?key=***")
        assert other.bodies == []


# --- secrets

KEY, PASSWORD, NAMED = "sk-1234567890 abc/+=", "pa55 wörd/@ long", 'quoted"se\\cret&/=1'


def test_no_secret_is_in_a_log_a_record_or_a_traceback(tmp_path, monkeypatch, caplog):
    """Whatever the server echoes, at every level of every logger, and where the code itself breaks."""
    caplog.set_level(logging.NOTSET)
    logging.getLogger("httpx2").setLevel(logging.DEBUG)
    monkeypatch.setenv("SIRL_API_KEY", KEY)
    monkeypatch.setenv("MINE", NAMED)
    echoed: list[str] = []

    def answer(body, n):
        sent = server.headers[-1].get("authorization", "none") + " " + server.paths[-1]
        echoed.append(sent)
        words = f"you sent {sent}; {json.dumps(NAMED)} {NAMED!r} {NAMED}"
        at = len(echoed) % 6
        shown = [chat(words), said(400, {"error": {"message": words}}), Answer(words.encode(), 503)]
        shown += [Answer(words.encode()), said(307, words), said(200, {"model": words, "choices": words})]
        return shown[at]

    out = io.StringIO()
    with serving(answer) as server, redirect_stdout(out), redirect_stderr(out):
        login = server.url.replace("://", "://user-of-mine:pa55%20w%C3%B6rd%2F%40%20long@")
        for words in (f"{server.url}?sig=$MINE#toy", f"{login}?sig=$MINE#toy"):
            config = ModelConfig(retries=1, extra_query='{"second": "${MINE}"}')
            asked = open_endpoint(words, config, Decoding(max_new_tokens=9))
            run = open_run(tmp_path / str(len(words)), "evaluate", {"model": words}, _fingerprint(asked))
            evaluate(replace(study(batch=6), target=asked), run)
            run.write_summary({"model": words})
        monkeypatch.setattr(endpoint, "post", lambda *given: 1 / 0)
        try:
            evaluate(replace(study(), target=asked), open_run(tmp_path / "broken", "evaluate", {}, {}))
        except ZeroDivisionError:
            traceback.print_exc()
    assert "ZeroDivisionError" in out.getvalue()
    assert {sent.split()[0] for sent in echoed} == {"Bearer", "Basic"}, "both kinds were sent"
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()).decode()
    told = f"{out.getvalue()}{caplog.text}{[vars(r) for r in caplog.records]}{asked!r}"
    assert "/v1/chat/completions" in caplog.text
    assert "you sent" in written
    parts = {part for sent in echoed for part in sent.split()[1:2] if part != "none"}
    query = {sent.partition("?")[2] for sent in echoed}
    for secret in (KEY, PASSWORD, NAMED, json.dumps(NAMED)[1:-1], *parts, *query):
        assert secret not in written, f"{secret!r} on disk"
        assert secret not in told, f"{secret!r} in logs or output"


def _fingerprint(asked: EndpointTarget) -> dict[str, str]:
    for _ in range(12):
        try:
            return asked.fingerprint()
        except Exception as error:
            logging.getLogger("sirl").warning("%s", error)
    return {}


@pytest.mark.parametrize("key", ["sk-one\ntwo", "sk-sécret", "sk-\u200bcopied"])
def test_a_key_that_no_header_holds_is_refused_and_not_repeated(monkeypatch, key):
    monkeypatch.setenv("SIRL_API_KEY", key)
    with serving(reply) as server:
        with pytest.raises(ConfigError, match=r"authorization, from SIRL_API_KEY, holds") as error:
            open_endpoint(f"{server.url}#toy", ModelConfig(), Decoding()).fingerprint()
        assert server.bodies == []
    assert key[3:] not in str(error.value) + repr(error.value)
