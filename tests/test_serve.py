"""sirl serve behind its guard: who may ask, what is shown, what a stranger's folder can do; and sirl watch."""

from __future__ import annotations

import json
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Thread
from time import sleep

import pytest
import schemathesis
from commands import sirl
from hypothesis import HealthCheck, given, settings
from live import record, serving, write

from sirl.phases import showing
from sirl.records import to_json
from sirl.rundir import RECORDS, STEPS, lines
from sirl.serve import Catalogue, Desk, Limits, Playground, bind
from sirl.serve.guard import Access
from sirl.serve.playground import LONGEST_PROMPT, MOST_TOKENS, WAITING
from sirl.serve.table import Asked, Table
from sirl.workflows.watching import watch

SECRETS = ("hunter2", "root:")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One evaluation of 30 records, finished, and a training run that is at work."""
    folder = tmp_path_factory.mktemp("served")
    records = [
        *(
            record(f"h{i}", "No." if i % 3 else "Sure, take.", "aim", harmful=not i % 3, refused=bool(i % 3))
            for i in range(20)
        ),
        *(record(f"b{i}", "Brush it.", kind="benign", refused=None if i else True) for i in range(10)),
    ]
    run = write(folder / "after", "evaluate", records)
    run.expect(RECORDS, len(records))
    run.write_summary({"done": True})
    write(folder / "train", "train", train={"steps": 40}).append(STEPS, [{"step": 1, "reward": -0.5}])
    return folder


@pytest.fixture(scope="module")
def served(folder):
    with serving(folder) as served:
        yield served


# --- who may ask


def test_only_its_own_names_are_served(served):
    for host in (
        "127.0.0.1",
        f"localhost:{served.port}",
        "LOCALHOST",
        "[::1]:1",
    ):  # a tunnel has a port of its own
        assert served.get("/api/runs", host=host)[0] == 200, host
    for host in (
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "",
        "192.168.0.9",
        "a b",
        "[::1",
    ):
        assert served.get("/api/runs", host=host)[0] in (400, 421), host
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        line.sendall(b"GET /api/runs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert b" 200 " not in line.recv(100)


def test_other_origins_get_nothing(served):
    own = served.url.replace("http://", "")
    ask = {"model": "0" * 12, "prompt": "x"}
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"https://{own}"},
        {"origin": "http://127.0.0.1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"},
    ):
        assert served.post("/api/playground", ask, **headers)[0] == 403, headers
    assert served.post("/api/playground", ask, origin=served.url, sec_fetch_site="same-origin")[0] == 404
    assert served.get("/api/runs", sec_fetch_site="cross-site", sec_fetch_mode="no-cors")[0] == 403
    framed = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}
    assert served.get("/", **framed)[0] == 403
    opened = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert served.get("/", **opened)[0] == 200
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        assert served.get("/api/runs", method)[0] == 405


def test_every_answer_forbids_what_a_page_does_not_need(served):
    for path in ("/", "/playground", "/api/runs", "/static/run.js", "/nowhere", "/api/runs/0"):
        headers = served.get(path)[2]
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'"), path
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["access-control-allow-origin"] is None


def test_a_token_is_asked_for(folder):
    with serving(folder, token=True) as served:
        token = served.bound.url.partition("token=")[2]
        assert len(token) >= 43
        wrong = ("", "x", token[:-1], token + "x", token.swapcase(), "é" * 43)
        for path in ("/", "/api/runs", "/static/run.js", "/openapi.json", "/report?run=0"):
            assert served.get(path)[0] == 401, path
        for given_ in wrong:
            assert (
                served.get("/api/runs", authorization=f"Bearer {given_}".encode().decode("latin-1"))[0] == 401
            )
        assert served.get("/api/runs?token=x")[0] == 401
        assert served.post(f"/api/playground?token={token}", {})[0] == 401
        assert served.get("/api/runs", authorization=f"Bearer {token}")[0] == 200
        status, _, headers = served.get(f"//evil.example/runs/0?token={token}&run=1")
        assert (status, headers["location"]) == (303, "/evil.example/runs/0?run=1")
        cookie, *attributes = headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} == set(attributes)
        assert served.get("/api/runs", cookie=f"a=b; {cookie}")[0] == 200
        assert served.get("/api/runs", cookie=cookie + "x")[0] == 401
        assert served.get("/api/runs", cookie="\x00;;==")[0] in (400, 401)


def test_other_machines_need_a_token(folder):
    bound = bind(Desk(Catalogue((folder,))), "0.0.0.0", 0)
    bound.listening.close()
    assert bound.access.token
    assert bound.access.token in bound.url
    assert bound.access.serves("192.168.0.9:80")
    assert bound.access.serves(socket.gethostname())
    assert not bound.access.serves("evil.example")
    assert Access(frozenset({"localhost"})).token == ""


def test_requests_are_bounded(folder):
    with serving(folder, limits=Limits(rate=0.5, burst=6, body=2000, streams=1)) as served:
        assert served.post("/api/playground", {"prompt": "x" * 3000})[0] == 413
        chunked = b"7d0\r\n" + b"x" * 2000 + b"\r\n7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n"
        with socket.create_connection(("127.0.0.1", served.port)) as line:
            line.sendall(
                b"POST /api/playground HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                + chunked
            )
            assert line.recv(100).startswith(b"HTTP/1.1 413")
        with socket.create_connection(("127.0.0.1", served.port)) as line:
            line.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"text/event-stream" in line.recv(2000)
            assert served.get("/api/events")[0] == 429  # the one place is taken
        codes = [served.get("/api/runs") for _ in range(8)]
        assert codes[0][0] == 200
        status, told, headers = codes[-1]
        assert (status, told["detail"]) == (429, "too many requests")
        assert int(headers["retry-after"]) >= 1


PATHS = (
    *("/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/"),
    *("/runs/../../../etc/passwd", "/runs/%2fetc%2fpasswd", "/api/runs/..%2f..%2fetc", "/api/runs/%00/events"),
    *("/api/runs/../../etc/passwd/transcripts", "/etc/passwd", "//etc/passwd", "/report?run=../../etc/passwd"),
    *("/report?run=/etc/passwd", "/static/run.html", "/report", "/docs", "/redoc", "/api/runs/0123456789ab"),
)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_in_a_request_is_a_path(served, path):
    status, body, _ = served.get(path)
    assert status in (404, 405, 422)
    assert "root:" not in str(body)
    assert "Traceback" not in str(body)


@pytest.mark.filterwarnings("ignore")  # of the library's own
def test_the_api_keeps_to_its_document(served):
    """Hundreds of requests, right and wrong, each answered as /openapi.json says."""
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    operations = [operation.ok() for operation in schema.get_all_operations()]
    assert len(operations) == 5
    quick = settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    for operation in operations:

        @quick
        @given(case=operation.as_strategy())
        def holds(case):
            case.call_and_validate()

        holds()


# --- what is shown


def test_runs_are_listed_with_how_far_they_are(served):
    runs = served.runs()
    assert runs["after"] | {"id": "", "written": 0, "group": ""} == {
        **{
            "id": "",
            "name": "after",
            "group": "",
            "kind": "evaluate",
            "model": "toy",
            "seed": "0",
            "error": "",
        },
        **{"state": "finished", "done": 30, "total": 30, "unit": "replies", "latest": "", "written": 0},
    }
    train = runs["train"]
    assert (train["state"], train["done"], train["total"], train["unit"]) == ("not finished", 1, 40, "steps")
    assert train["latest"] == "reward −0.5"
    assert served.get(f"/api/runs/{train['id']}")[1] == train


def test_transcripts_are_filtered_ordered_and_paged(served):
    every = served.rows("after", size=50)
    assert (every["matching"], every["pages"], len(every["rows"])) == (30, 1, 30)
    assert every["choices"] == {
        "attack": ["aim", "direct"],
        "kind": ["benign", "harmful"],
        "outcome": ["complied", "refused", "undecided"],
    }
    broken = served.rows("after", outcome="complied")
    assert [row["prompt_id"] for row in broken["rows"]] == ["h0", "h3", "h6", "h9", "h12", "h15", "h18"]
    assert served.rows("after", kind="benign", outcome="refused")["matching"] == 1
    assert served.rows("after", words="BLORCH%20H1")["matching"] == 11
    assert served.rows("after", attack="gcg")["rows"] == []
    means = [r["reply"]["mean"] for r in served.rows("after", order="least%20certain%20first", size=50)["rows"]]
    assert means == sorted(means, reverse=True)
    pages = [served.rows("after", size=7, page=n) for n in range(1, 6)]
    assert [row["prompt_id"] for page in pages for row in page["rows"]] == [
        r["prompt_id"] for r in every["rows"]
    ]
    assert served.rows("after", size=7, page=99)["page"] == 5
    first = broken["rows"][0]
    assert first["reply"]["tokens"] == [[c, i / 100] for i, c in enumerate("Sure, take.")]
    assert first["folded"]


@pytest.mark.parametrize("transcripts", ["redacted", "none"])
def test_what_may_harm_is_withheld(folder, transcripts):
    with serving(folder, transcripts=transcripts) as served:
        broken = json.dumps(served.rows("after", outcome="complied"))
        refused = json.dumps(served.rows("after", attack="aim", outcome="refused"))
        assert '"S"' not in broken
        assert "Sure" not in broken
        assert ("blorch h1?" in refused, '"N"' in refused) == (
            (True, True) if transcripts == "redacted" else (False, False)
        )
        assert served.rows("after", words="blorch")["matching"] == (30 if transcripts == "redacted" else 0)


def test_the_report_is_the_one_of_sirl_report(served):
    identity = served.runs()["train"]["id"]
    status, page, headers = served.get(f"/report?run={identity}")
    assert status == 200
    assert "<title>SIRL report: toy</title>" in page
    assert "script-src" not in headers["content-security-policy"]
    assert headers["content-security-policy"].startswith("default-src 'none'")


def test_the_index_follows_the_file(tmp_path):
    run = write(tmp_path / "run", "evaluate", [record("h0", harmful=False, refused=True)])
    table = Table(run, "all")
    assert (table.read(), len(table.find(Asked()))) == ((1.0, True), 1)
    run.append_records([record(f"h{i}", harmful=True) for i in range(1, 400)])
    assert table.read(seconds=0.0)[1] is False  # it takes no longer than it may
    while not table.read(seconds=0.01)[1]:
        pass
    assert [t.prompt.id for t in table.records(table.find(Asked())[-2:])] == ["h398", "h399"]
    assert [(t.kind, t.replies, t.scored, t.good) for t in table.tally()] == [("harmful", 400, 400, 1)]
    run.keep_rows(RECORDS, lambda row: row["verdicts"][0]["answer"] is False)  # as a run that is continued
    assert table.read() == (1.0, True)
    assert len(table.find(Asked())) == 1
    with (run.path / RECORDS).open("a") as file:
        file.write('{"half')
    assert table.read()[1] is True
    assert table.error == ""


# --- a stranger's folder


def test_a_hostile_folder_runs_nothing_leads_nowhere_and_stops_nobody(tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    write(secret / "mine", "evaluate", [record("h0", "hunter2", harmful=False, refused=True)])
    folder = tmp_path / "stranger"
    evil = "<script>parent.x=1</script>\x1b[2J\u202e"
    write(folder / "words", "evaluate", [record(evil, evil, evil, harmful=False, refused=True)], model=evil)
    (folder / "linked").symlink_to(secret)
    for name in ("records.jsonl", "config.json", "summary.json"):
        run = write(folder / f"link-{name.partition('.')[0]}", "evaluate")
        (run.path / name).unlink(missing_ok=True)
        (run.path / name).symlink_to(secret / "mine" / name if "rec" in name else "/etc/passwd")
    os.mkfifo(write(folder / "pipe", "evaluate").path / RECORDS)
    monkeypatch.setattr(lines, "LONGEST", 10_000)
    (write(folder / "long", "evaluate").path / RECORDS).write_bytes(b"[" * 20_000)
    row = to_json(record("h0", harmful=True))
    for name, value in {
        "text": 5,
        "entropies": ["a"],
        "pieces": {},
        "attempt": None,
        "defended": {"calls": "9"},
    }.items():
        bad = {**row, "completion": {**row["completion"], name: value}}
        write(folder / f"bad-{name}", "evaluate").append(RECORDS, [row, bad])
    nan = replace(record("h0").completion, entropies=(float("nan"),) * 3)
    write(folder / "nan", "evaluate", [replace(record("h0"), completion=nan)])
    odd = [
        {"step": []},
        {"step": 1e400, "reward": "x"},
        {"step": 1, "reward": 1e308},
        {"step": 2, "reward": -1e308},
    ]
    write(folder / "steps", "train", train={"steps": "many"}).append(STEPS, odd)
    write(folder / "model", "train", model="organism:/etc", train=7).write_summary({})
    (folder / "model" / "model").mkdir()
    (folder / "model" / "model" / "config.json").write_text("{}")
    (folder / "model" / "model" / "model.safetensors").symlink_to("/etc/passwd")
    with serving(folder, Playground((), lambda _: pytest.fail("opened"))) as served:
        runs = served.runs()
        assert "linked/mine" not in runs
        everything = json.dumps(runs)
        for name, run in runs.items():
            status, found, _ = served.get(f"/api/runs/{run['id']}/transcripts")
            assert status in (200, 422), name
            everything += json.dumps(found)
            with socket.create_connection(("127.0.0.1", served.port)) as line:
                line.sendall(f"GET /api/runs/{run['id']}/events HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                line.settimeout(5)
                everything += line.recv(100_000).decode("utf-8", "replace")
            assert served.get(f"/report?run={run['id']}")[0] in (200, 422), name
        assert not [word for word in SECRETS if word in everything]
        assert "\\u001b" not in everything
        assert runs["link-config"]["state"] == "damaged"
        assert "symbolic link" in served.get(f"/api/runs/{runs['link-records']['id']}/transcripts")[1]["error"]
        assert "more than 10000 bytes" in served.get(f"/api/runs/{runs['long']['id']}/transcripts")[1]["error"]
        assert served.get(f"/api/runs/{runs['bad-text']['id']}/transcripts")[1]["matching"] == 1
        assert served.get("/api/playground")[1]["models"] == []


def test_logins_in_addresses_are_not_shown(tmp_path):
    write(tmp_path / "run", "evaluate", [record("h0", harmful=True)])
    config = tmp_path / "run" / "config.json"  # as one that was written before logins were left out
    config.write_text(config.read_text().replace('"toy"', '"https://me:hunter2@host/v1#m"'))
    with serving(tmp_path, Playground(("http://me:hunter2@host/v1#m",), lambda _: None)) as served:
        shown = json.dumps([served.runs(), served.get("/api/playground")[1]])
        assert "host/v1#m" in shown
        assert "hunter2" not in shown


# --- the playground's limits


def test_one_reply_at_a_time_few_wait_and_names_are_of_the_lists(tmp_path):
    begun, free = Event(), Event()
    most, at_work = [0], [0]

    def speak(asked):
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        begun.set()
        free.wait(20)
        at_work[0] -= 1
        return record("x", asked.prompt).completion

    playground = Playground(("toy",), lambda _: speak)
    with serving(tmp_path, playground) as served:
        [model] = served.get("/api/playground")[1]["models"]
        good = {"model": model["name"], "prompt": "hello"}
        for wrong in (
            *({"prompt": ""}, {"prompt": " \n"}, {"prompt": "x" * (LONGEST_PROMPT + 1)}, {"prompt": 5}),
            *({"tokens": 0}, {"tokens": MOST_TOKENS + 1}, {"tokens": "many"}, {"model": "other"}),
            *({"attack": "os:system"}, {"attack": "gcg"}, {"attack": "ica"}, {"defence": "os:system"}),
            *({"defence": "guard_input"}, {"defence": "paraphrase=http://x/v1#m"}, {"more": 1}),
        ):
            status, told, _ = served.post("/api/playground", good | wrong)
            assert (status, bool(told["detail"])) == (422, True), wrong
        assert served.post("/api/playground", good | {"model": "0" * 12})[0] == 404
        halves = b'{"prompt":"\\ud800"}'  # of a surrogate pair, which no answer can hold
        assert served.get("/api/playground", "POST", halves, content_type="application/json")[0] == 422
        with ThreadPoolExecutor(WAITING) as pool:
            waiting = [pool.submit(served.post, "/api/playground", good) for _ in range(WAITING)]
            begun.wait(20)
            assert _all_wait(playground)
            code = served.post("/api/playground", good)[0]
            free.set()
            assert [done.result()[0] for done in waiting] == [200] * WAITING
        assert code == 429
        assert most == [1]
        status, told, _ = served.post("/api/playground", good)
        assert (status, told["tokens"][1], told["mean"]) == (200, ["e", 0.01], 0.02)


def _all_wait(playground) -> bool:
    """Say whether every place of the queue is taken, as soon as it is."""
    for _ in range(500):
        if playground._places._value == 0:
            return True
        sleep(0.01)
    return False


# --- the command line


def test_without_the_extra_the_error_names_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    code, out, err = sirl("serve", tmp_path)
    assert (code, out) == (2, "")
    assert "pip install 'sirl[serve]'" in err


def test_a_port_or_folder_that_cannot_be_had_is_told(tmp_path, served):
    code, _, err = sirl("serve", tmp_path, "--port", served.port)
    assert code == 2
    assert "cannot be had" in err
    assert "no folder" in sirl("serve", tmp_path / "none")[2]
    assert "redacted" in sirl("serve", tmp_path, "--transcripts", "some")[2]


def test_watch_shows_a_run_until_it_has_finished(tmp_path):
    run = write(tmp_path / "run", "train", train={"steps": 4})

    def work():
        for step in range(1, 5):
            run.append(STEPS, [{"step": step, "reward": -1 / step}])
            sleep(0.2)
        run.write_summary({"steps": 4})

    told = []

    @contextmanager
    def phase(title):
        yield lambda *moved: told.append((title, *moved))

    worker = Thread(target=work)
    worker.start()
    with showing(phase):
        came = watch(run.path, every=0.05)
    worker.join()
    assert (came.done, came.finished) == (4, True)
    assert ("train run", 2, 4, "reward −0.5") in told
    assert told[-1] == ("train run", 4, 4, "reward −0.25")
    assert sirl("watch", run.path)[:2] == (0, f"{run.path} has finished: 4 steps\n")
    assert "a run folder" in sirl("watch", tmp_path)[2]
