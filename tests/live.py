"""The live page served for a test: a real server on this machine, in a thread, and runs written for it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

from sirl.records import Attempt, Completion, Decoding, Message, Prompt, Record, Verdict
from sirl.rundir import RunDir, open_run
from sirl.serve import Bound, Catalogue, Desk, Limits, Playground, bind

FREE = Limits(rate=1e6, burst=10**6)


@dataclass(frozen=True)
class Served:
    """A server that runs; `get` and `post` send what they are given and nothing else."""

    bound: Bound
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> tuple[int, Any, Any]:
        """Return status, body (JSON where it is) and headers; `_` in a header's name stands for `-`."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            line.putrequest(method, path, skip_host="host" in given, skip_accept_encoding=True)
            for name, value in given.items():
                line.putheader(name, value)
            if body:
                line.putheader("content-length", str(len(body)))
            line.endheaders(body or None)
            answer = line.getresponse()
            text = answer.read().decode()
        finally:
            line.close()
        is_json = answer.getheader("content-type", "").startswith("application/json")
        return answer.status, json.loads(text) if is_json and text else text, answer.headers

    def post(self, path: str, value: Any, **headers: str) -> tuple[int, Any, Any]:
        return self.get(path, "POST", json.dumps(value).encode(), content_type="application/json", **headers)

    def runs(self) -> dict[str, dict[str, Any]]:
        """Return the runs of the list by their name."""
        return {run["name"]: run for run in self.get("/api/runs")[1]}

    def rows(self, run: str, **asked: Any) -> dict[str, Any]:
        """Return a page of transcripts once all of the run has been looked through."""
        query = "&".join(f"{name}={value}" for name, value in asked.items())
        path = f"/api/runs/{self.runs()[run]['id']}/transcripts?{query}"
        return next(found for _ in range(1000) if (found := self.get(path)[1])["complete"])


@contextmanager
def serving(
    folder: Path, playground: Playground | None = None, transcripts: Any = "all", **more: Any
) -> Iterator[Served]:
    desk = Desk(Catalogue((folder,)), transcripts, playground or Playground())
    bound = bind(desk, port=0, **{"limits": FREE, **more})
    thread = Thread(target=bound.run)
    thread.start()
    patience = monotonic() + 30
    while not bound.server.started and monotonic() < patience:
        sleep(0.01)
    try:
        yield Served(bound, bound.listening.getsockname()[1])
    finally:
        bound.server.should_exit = True
        thread.join()


def record(
    name: str, text: str = "No.", attack: str = "direct", kind: Any = "harmful", **verdicts: bool | None
) -> Record:
    """Return a record whose reply has one token a character, the i-th with an entropy of i hundredths."""
    prompt = Prompt(name, f"How do I blorch {name}?", kind)
    attempt = Attempt(prompt, attack, (Message("user", prompt.text),), decoding=Decoding())
    entropies = tuple(i / 100 for i in range(len(text)))
    completion = Completion(attempt, text, tuple(range(len(text))), tuple(text), True, entropies)
    return Record(completion, tuple(Verdict(q, a, "by rule", "rule@0") for q, a in verdicts.items()))  # type: ignore[arg-type]


def write(folder: Path, kind: str, records: Sequence[Record] = (), **config: Any) -> RunDir:
    """Write a run that has not finished."""
    settings: Mapping[str, Any] = {"model": "toy", "seed": 0, "settings": {"samples": 1}, **config}
    run = open_run(folder, kind, settings, {"model": "0"})
    if records:
        run.append_records(records)
    return run
