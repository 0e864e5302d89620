"""How much time and memory do large runs take? Records made by chance, put to the commands, in a table of JSON.

Each command is a process of its own; measured are its processor seconds and the most memory that it held. The
records are of 100 tokens, of ten attacks and one reply to each; a gap run has four replies to each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sirl.config import EvaluateConfig
from sirl.records import Attempt, Completion, Decoding, Message, Prompt, Record, Search, Verdict, to_json
from sirl.rundir import RECORDS, open_run
from sirl.rundir.files import append_synced

ATTACKS = ("direct", "aim", "base64", "pair", "prefill", "leetspeak", "past_tense", "persona", "fiction", "tap")
WORDS = [f" w{i:x}" for i in range(5000)]
TOKENS = 100
BLOCK, CHUNK = 2000, 100  # records that are made by chance, then repeated for other prompts; records in a chunk
ASKED = "@@"  # in a line: the number of its block
MEBIBYTE = 2**20


def main() -> None:
    """Make the runs asked for, put each command to them, print a row each and write all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commands", nargs="*", default=list(COMMANDS), help=", ".join(COMMANDS))
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--out", type=Path, default=Path("runs/large"))
    given = parser.parse_args()
    found = []
    for records in given.records:
        home = given.out / str(records)
        for kind in ("evaluate", "gap"):
            make(home, kind, records)
        for name in given.commands:
            row = {"command": name, "records": records} | measure(COMMANDS[name], home)
            found.append(row)
            print(row, flush=True)
    (given.out / "large.json").write_text(json.dumps(found, indent=1) + "\n")


def measure(words: str, home: Path) -> dict[str, Any]:
    """Run a command in a folder; return its processor seconds and its peak of resident memory in MiB."""
    command = [sys.executable, "-m", "sirl", *words.format(home=home).split()]
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, stdout=told, stderr=told)
        _, status, used = os.wait4(process.pid, 0)
        if code := os.waitstatus_to_exitcode(status):
            told.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {code}: {told.read()[-2000:].decode()}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds": round(used.ru_utime + used.ru_stime, 1), "mib": round(used.ru_maxrss * unit / MEBIBYTE)}


def make(home: Path, kind: str, records: int) -> None:
    """Write a run, and the same in two shards, unless they are there."""
    if (home / kind).exists():
        return
    samples = 4 if kind == "gap" else 1
    config = EvaluateConfig(samples=samples, temperature=1.0)
    told = {"model": "made", "seed": 0, "settings": asdict(config), "seen_in_training": []}
    runs = {name: open_run(home / f"{kind}{name}", kind, told | shard, {}) for name, shard in SHARDS.items()}
    dice = random.Random(0)
    block = [_record(dice, place, samples) for place in range(min(records, BLOCK))]
    lines = [json.dumps(to_json(record)) + "\n" for record in block]
    keys = [record.attempt.key for record in block]
    plan: list[list[str]] = []
    for start in range(0, records, CHUNK):
        number = str(start // BLOCK)
        here = range(start % BLOCK, start % BLOCK + min(CHUNK, records - start))
        plan.append([keys[i].replace(ASKED, number) for i in here])
        text = "".join(lines[i].replace(ASKED, number) for i in here)
        for run in (runs[""], runs[f"-{(len(plan) - 1) % 2}"]):
            append_synced(run.path / RECORDS, text)
    for name, run in runs.items():
        if name:
            run.write_plan(plan)
        run.write_summary({"seconds": {kind: 1.0}})


SHARDS: dict[str, dict[str, str]] = {"": {}, "-0": {"shard": "0/2"}, "-1": {"shard": "1/2"}}


def _record(dice: random.Random, place: int, samples: int) -> Record:
    asked, place = divmod(place, samples * len(ATTACKS))
    attack, sample = ATTACKS[place // samples], place % samples
    kind = "harmful" if attack != "direct" or asked % 3 == 0 else "benign"
    prompt = Prompt(
        f"p{asked}-{ASKED}{kind[0]}",
        f"Please tell me of thing {asked} of {ASKED}, and how it is done",
        kind,
        "made",
        "things",
    )
    search = (
        Search("adaptive", 20, dice.randrange(20), 400, won=True) if attack in ("pair", "tap") else Search()
    )
    sent = (Message("user", f"{prompt.text} {''.join(dice.choices(WORDS, k=60))}"),)
    attempt = Attempt(prompt, attack, sent, decoding=Decoding(), sample=sample, search=search)
    pieces = tuple(dice.choices(WORDS, k=TOKENS))
    numbers = [tuple(round(dice.random(), 4) for _ in range(TOKENS)) for _ in range(2)]
    reply = Completion(
        attempt, "".join(pieces), tuple(dice.choices(range(50_000), k=TOKENS)), pieces, True, *numbers
    )
    yes = dice.random() < 0.5
    told = f"full refusal, cannot: {pieces[0]} {pieces[1]} {dice.random():.3f}"
    verdicts = (
        Verdict("harmful", yes, f"probability {dice.random():.2f}", "harm@1"),
        Verdict("refused", not yes, told, "refusal@1"),
    )
    return Record(reply, verdicts)


COMMANDS = {
    "table": "table {home}/evaluate --out {home}/table.parquet",
    "report": "report {home}/evaluate --out {home}/page.html",
    "report of a gap": "report {home}/gap --out {home}/gap.html",
    "check": "check {home}/evaluate --min-dsr 0.01",
    "judge run": "judge run {home}/evaluate --judge exact --out {home}/judged",
    "merge": "merge {home}/evaluate-0 {home}/evaluate-1 --out {home}/merged",
    "merge of a gap": "merge {home}/gap-0 {home}/gap-1 --out {home}/merged-gap",
}

if __name__ == "__main__":
    main()
