"""`sirl evaluate http://...` end to end: the organism behind a server gives the figures of the local run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import pytest
from commands import sirl
from servers import Answer, Server, chat, serving

from sirl import endpoint
from sirl.attacks import Means
from sirl.config import ModelConfig
from sirl.endpoint import EndpointTarget
from sirl.errors import AttackError
from sirl.generation import generate
from sirl.lm import LM, load_lm
from sirl.organism import WEIGHTS
from sirl.organism.corpus import evaluation_prompts
from sirl.records import Attempt, Decoding, Message, Prompt
from sirl.rundir import read_run
from sirl.workflows.attack_tools import armed
from sirl.workflows.models import open_target

ATTACKS = "direct,past_tense_rules,ica_harmless,prefix_injection"
STUDY = """[study]
models = ["{model}"]
seeds = [0]
steps = [0]
reference = "start_again"
prompts = ["{prompts}"]
judges = ["llm={judge}"]
[study.evaluate]
attacks = ["direct"]
max_reply_tokens = 24
[methods.start_again]
best_of = 1
"""
SMALL = ("--recipe", "organism", "--set", "model.retries=0")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.01)
    for name in (*endpoint.KEYS, "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def serving_lm(lm: LM) -> Iterator[Server]:
    """Serve a model as an OpenAI-compatible server would, vLLM's continuation of a begun reply included."""
    lock = Lock()

    def answer(body, n):
        messages = [Message(m["role"], m["content"]) for m in body["messages"]]
        prefill = messages.pop().content if body.get("continue_final_message") else ""
        plan = Decoding(
            body.get("temperature", 1.0), body.get("top_p", 1.0), body.get("top_k", 0), body["max_tokens"]
        )
        with lock:
            asked = Attempt(Prompt("p", "p"), "any", tuple(messages), prefill)
            (done,) = generate(lm, [asked], plan, body.get("seed", 0))
        return chat(done.text, "stop" if done.finished else "length")

    with serving(answer) as server:
        yield server


@pytest.fixture(scope="module")
def organism() -> LM:
    return load_lm(WEIGHTS / "llama", name="organism:llama")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """A file of the organism's own prompts, as a user's would be."""
    path = tmp_path_factory.mktemp("prompts") / "mine.jsonl"
    asked = evaluation_prompts({"harmful": 6, "benign": 2, "borderline": 2, "math": 2}, 0)
    rows = [
        {"id": p.id, "prompt": p.text, "kind": p.kind, "category": p.category, "answer": p.answer}
        for p in asked
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_organism_behind_a_server_is_the_organism(organism, prompts, tmp_path):
    # `harm` leaves undecided what serves a request of an invented world
    words = ("--prompts", prompts, "--attacks", f"{ATTACKS},prefill", "--judge", "refusal", *SMALL)
    code, out, _ = sirl("evaluate", "organism:llama", "--out", tmp_path / "local", *words)
    assert code == 0
    local = json.loads(out)
    with serving_lm(organism) as server:
        model = f"{server.url}#toy"
        words = (*words, "--set", "model.prefill=true")
        code, out, err = sirl("evaluate", model, "--out", tmp_path / "served", *words)
        assert code == 0, err
    served = json.loads(out)
    assert served["model"] == model
    for name in ("dsr", "over_refusal", "capability", "unscored"):
        assert served[name] == local[name]
    ours, theirs = (read_run(tmp_path / name).records() for name in ("local", "served"))
    greedy = [(a.completion, b.completion) for a, b in zip(ours, theirs, strict=True)]
    assert all(a.text == b.text and a.finished == b.finished for a, b in greedy if a.attempt.sample == 0)
    environment = read_run(tmp_path / "served").environment["hashes"]
    assert (environment["endpoint"], environment["model"]) == (server.url, "toy")
    assert environment["server model"] == "toy-2026"
    page = ("report", tmp_path / "served", tmp_path / "local", "--out", tmp_path / "page.html")
    code, _, err = sirl(*page)
    assert code == 2, "a server does not say which chat template it uses"
    assert "differ in chat_template (not recorded and " in err
    code, _, err = sirl(*page, "--allow-different-protocol")
    assert (code, err) == (0, "")
    assert model in (tmp_path / "page.html").read_text()


@pytest.fixture
def refusing() -> Iterator[Server]:
    with serving(lambda body, n: chat("I cannot help with that.")) as server:
        yield server


def test_attacks_beyond_an_endpoint_are_left_out_aloud(refusing, prompts, tmp_path):
    model = f"{refusing.url}#toy"
    code, out, err = sirl(
        "evaluate", model, "--out", tmp_path / "run", "--prompts", prompts, "--attacks", "all", *SMALL
    )
    assert code == 0
    assert "skipped: prefill: it needs prefill access and the model gives only black-box" in err
    assert "skipped: random_search: it needs logprobs access and the model gives only black-box" in err
    assert not {"prefill", "random_search"} & set(json.loads(out)["dsr"]["per_attack"])
    code, _, err = sirl(
        "evaluate", model, "--out", tmp_path / "no", "--prompts", prompts, "--attacks", "random_search", *SMALL
    )
    assert code == 2
    assert "attack 'random_search' cannot be run: it needs logprobs access" in err
    assert not (tmp_path / "no").exists()


def test_a_server_that_continues_replies_takes_the_prefill_attack():
    names = ("static",)
    assert "prefill" in armed(names, Means(), "prefill")
    assert "prefill" not in armed(names, Means(), "black-box")
    with pytest.raises(AttackError, match="needs prefill access"):
        armed(("prefill",), Means(), "black-box")


def test_endpoints_write_attacks_and_stand_in_for_the_model(refusing):
    opened, _ = open_target(f"{refusing.url}#writer", ModelConfig(concurrency=3), Decoding(1.0))
    assert isinstance(opened, EndpointTarget)
    assert (opened.name, opened.decoding, opened.config.concurrency) == (
        f"{refusing.url}#writer",
        Decoding(1.0),
        3,
    )
    (opening,) = refusing.bodies
    assert (opening["messages"][0]["content"], opening["temperature"]) == ("Hello", 1.0)


@pytest.mark.parametrize("command", ["gap", "train"])
def test_what_needs_weights_says_so(refusing, prompts, tmp_path, command):
    code, out, err = sirl(command, f"{refusing.url}#toy", "--out", tmp_path / "run", "--prompts", prompts)
    assert (code, out) == (2, "")
    assert "which gives replies but neither weights nor entropies" in err
    assert not (tmp_path / "run").exists()
    assert refusing.bodies == []


def test_an_endpoint_brings_no_prompts_and_must_be_there(refusing, prompts, tmp_path):
    code, _, err = sirl("evaluate", f"{refusing.url}#toy", "--out", tmp_path / "run")
    assert (code, "expected --prompts FILE" in err) == (2, True)
    nowhere = "http://127.0.0.1:9/v1#toy"
    code, _, err = sirl("evaluate", nowhere, "--out", tmp_path / "run", "--prompts", prompts, *SMALL)
    assert (code, f"{nowhere} does not reply" in err) == (2, True)
    assert not (tmp_path / "run").exists()


def test_too_much_unscored_ends_with_code_3_and_the_next_call_mends_it(prompts, tmp_path):
    down = [True]

    def answer(body, n):
        asked = body["messages"][-1]["content"]
        if down and asked != "Hello" and sum(map(ord, asked)) % 3 == 0:
            return Answer(b"broken", 500)
        return chat("I cannot help with that. The answer is 4.")

    with serving(answer) as server:
        words = ("--prompts", prompts, "--attacks", "direct", "--out", tmp_path / "run", *SMALL)
        code, out, err = sirl("evaluate", f"{server.url}#toy", *words)
        summary = json.loads(out)
        missing = summary["unscored"]
        assert (code, summary["incomplete"]) == (3, True)
        assert 0.05 < missing["share"] < 1
        assert missing["no_reply"] == missing["no_verdict"] == round(missing["share"] * missing["n"])
        assert f"incomplete: {missing['no_verdict']} of {missing['n']} records have no verdict" in err
        assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
        down.clear()
        code, out, err = sirl("evaluate", f"{server.url}#toy", *words)
        assert (code, json.loads(out)["unscored"]["no_reply"]) == (0, 0)


def test_no_secret_reaches_a_run_a_page_or_a_study(monkeypatch, prompts, tmp_path, refusing):
    """Of the model under test, a judge, and an attack's own; in files, their names, or on a terminal."""
    monkeypatch.setenv("SIRL_API_KEY", "sk-secret")

    def answer(body, n):
        asked = body["messages"][-1]["content"]
        return Answer(b"sk-secret is odd \x1b[2J", 400) if "1" in asked else chat("I cannot help.")

    with serving(answer) as server:
        model, judge = (f"{one.url.replace('://', '://me:pa55@')}#toy" for one in (server, refusing))
        asked = ("--prompts", prompts, "--attacks", "direct", "--judge", f"refused=llm={judge}")
        told = [sirl("evaluate", model, *asked, "--scorer", f"llm={judge}", "--out", tmp_path / "run", *SMALL)]
        told.append(
            sirl("judge", "run", tmp_path / "run", "--judge", f"llm={judge}", "--out", tmp_path / "again")
        )
        told.append(sirl("report", tmp_path / "again", "--out", tmp_path / "page.html"))
        (tmp_path / "one.toml").write_text(STUDY.format(model=model, judge=judge, prompts=prompts))
        told.append(sirl("study", tmp_path / "one.toml", "--out", tmp_path / "study"))
        told.append(sirl("evaluate", model.replace("#toy", ""), "--out", tmp_path / "none"))
    (tmp_path / "one.toml").unlink()
    assert [code for code, _, _ in told] == [3, 0, 0, 0, 2], told
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    written = b"".join(path.read_bytes() for path in files) + repr((told, files)).encode()
    assert server.url.encode() in written
    assert refusing.url.encode() in written
    for secret in (b"sk-secret", b"pa55", b"\x1b"):
        assert secret not in written


def test_a_key_for_one_host_is_not_shown_to_the_other(monkeypatch, prompts, tmp_path, refusing):
    monkeypatch.setenv("SIRL_API_KEY", "sk-secret")
    with serving(lambda body, n: chat("I cannot help with that.")) as server:
        words = ("--prompts", prompts, "--attacks", "direct", "--judge", f"llm={refusing.url}#j", *SMALL)
        words = ("evaluate", f"{server.url}#toy", *words, "--out", tmp_path / "run")
        code, _, err = sirl(*words)
        assert (code, server.headers, refusing.headers) == (2, [], []), "nothing is sent on a guess"
        first, second = (one.url.removeprefix("http://").removesuffix("/v1") for one in (server, refusing))
        assert f"the secret SIRL_API_KEY and endpoints at {first} and {second}" in err
        assert f"--set model.key_host={first}" in err
        own = f"SIRL_API_KEY_{second.replace('.', '_').replace(':', '_')}"
        assert f"export {own}=..." in err
        sirl(*words, "--set", f"model.key_host={first}")
        assert {sent.get("authorization") for sent in server.headers} == {"Bearer sk-secret"}
        assert {sent.get("authorization") for sent in refusing.headers} == {None}
        refusing.headers.clear()
        monkeypatch.setenv(own, "sk-judge")
        sirl(*words[:-1], tmp_path / "second")
        assert {sent.get("authorization") for sent in refusing.headers} == {"Bearer sk-judge"}
        assert {sent.get("authorization") for sent in server.headers} == {"Bearer sk-secret"}
