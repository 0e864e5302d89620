"""Kill -9 at random moments: does a continued run end as an unbroken one? `make torture`.

Each command is run once unbroken, then again and again in new folders, killed at a random moment of its work
and repeated, until it has been killed so many times. Its work begins where its folder does: a kill before that
kills nothing. Compared with the unbroken run: every line of its JSON Lines files, its summary and its weights.
Seconds are left out, as they are measured. `skills` needs lm-eval in the environment.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

STUDY = """
[study]
recipe = "organism"
models = ["organism:llama"]
seeds = [0]
steps = [0, 3]
reference = "distill"
[study.evaluate]
attacks = ["direct", "aim"]
[study.sizes]
harmful = 4
benign = 4
open = 2
borderline = 4
math = 4
code = 2
chat = 2
[study.train]
steps = 3
prompts_per_step = 4
save_every = 1
micro_batch = 4
search.attacks = []
max_reply_tokens = 24
stop.refusal_budget = 1.0
stop.diversity_budget = 1.0
stop.allow_less_safe = true
[methods.distill]
method = "distill"
"""
SMALL = ["steps=4", "prompts_per_step=4", "save_every=1", "max_reply_tokens=24", "search.attacks=[]"]
SMALL += ["micro_batch=8", "stop.refusal_budget=1.0", "stop.diversity_budget=1.0", "stop.allow_less_safe=true"]
LOOK = 0.05  # seconds between two looks at a process
MEASURED = "seconds"  # the one thing that differs between two runs


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one command: kills, folders finished, and the rows that were lost, doubled or changed.

    `midway` are the kills that left lines or a checkpoint of a run that was not finished.
    """

    command: str
    unbroken: float  # processor seconds
    begins: float  # of these until its folder was there
    kills: int
    midway: int
    folders: int
    lost: int
    doubled: int
    other: tuple[str, ...]  # files that differ in another way


def main() -> None:
    """Torture the commands named, print a table and write it as JSON; exit code 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commands", nargs="*", default=list(COMMANDS), help=", ".join(COMMANDS))
    parser.add_argument("--kills", type=int, default=50, help="of each command")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of each command, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/torture"))
    given = parser.parse_args()
    found = []
    for name in given.commands:
        home = given.out / name
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        limits = (given.kills, time.monotonic() + 60 * given.minutes)
        found.append(torture(name, home, limits, random.Random(given.seed)))
        print(*vars_of(found[-1]).items(), flush=True)
        (given.out / "torture.json").write_text(json.dumps([vars_of(one) for one in found], indent=1) + "\n")
    sys.exit(any(one.lost or one.doubled or one.other for one in found))


def torture(name: str, home: Path, limits: tuple[int, float], dice: random.Random) -> Outcome:
    """Kill a command so often, or until a time; compare each folder that it finishes with the unbroken one."""
    kills, last = limits
    command = COMMANDS[name](home / "unbroken")  # which may prepare something: no part of the time
    begins, took = timed(command, home / "unbroken")
    wanted = contents(home / "unbroken")
    killed, midway, folders, lost, doubled, other = 0, 0, 0, 0, 0, []
    while killed < kills and time.monotonic() < last:
        out = home / f"broken-{folders}"
        command = COMMANDS[name](out)
        while killed < kills and not run(command, kill_after=dice.uniform(begins, took)):
            killed += 1
            midway += has_work(out) and not (out / "summary.json").exists()
        run(command)
        folders += 1
        found = contents(out)
        for file in sorted(wanted.keys() | found.keys()):
            missing, extra = (
                Counter(wanted.get(file, ())) - Counter(found.get(file, ())),
                Counter(found.get(file, ())) - Counter(wanted.get(file, ())),
            )
            twice = sum(n for row, n in extra.items() if row in wanted.get(file, ()))
            lost += max(0, missing.total() - extra.total() + twice)
            doubled += twice
            other += [f"{out.name}/{file}"] if missing or extra else []
        if not any(place.startswith(f"{out.name}/") for place in other):
            shutil.rmtree(out)  # else it is evidence
        print(f"  {name}: {killed} of {kills} kills, {midway} midway, {folders} folders", flush=True)
    times = (round(took, 1), round(begins, 1))
    return Outcome(name, *times, killed, midway, folders, lost, doubled, tuple(other))


def timed(words: list[str], out: Path) -> tuple[float, float]:
    """Run a command to its end; return the processor seconds until its folder held a run, and those it took."""
    begins = took = 0.0
    with started(words) as process:
        while (spent := seconds_of(process)) is not None:
            if not begins and any(out.rglob("config.json")):
                begins = spent
            took = spent
            time.sleep(LOOK)
    return begins, took


def run(words: list[str], kill_after: float = math.inf) -> bool:
    """Run a command to its end, or kill it after some processor seconds; return whether it ended by itself.

    Of the processor: on a busy machine a kill by the clock could come before the work begins.
    """
    with started(words) as process:
        while (spent := seconds_of(process)) is not None:
            if spent >= kill_after:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return False
            time.sleep(LOOK)
    return True


@contextmanager
def started(words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command; at the end of the block it has ended. Raises SystemExit if it failed by itself."""
    with tempfile.TemporaryFile() as told:
        with subprocess.Popen(words, stdout=told, stderr=told) as process:
            yield process
        if process.returncode not in (0, -signal.SIGKILL):
            told.seek(0)
            raise SystemExit(
                f"{' '.join(words)} ended with {process.returncode}: {told.read()[-2000:].decode()}"
            )


def seconds_of(process: subprocess.Popen[bytes]) -> float | None:
    """Return the processor seconds that a process has had; None once it has ended."""
    if process.poll() is not None:
        return None
    with suppress(psutil.NoSuchProcess):
        spent = psutil.Process(process.pid).cpu_times()
        return float(spent.user + spent.system)
    return None


def has_work(out: Path) -> bool:
    """Say whether a folder holds lines or a checkpoint."""
    lines = any(path.stat().st_size for path in out.rglob("*.jsonl"))
    return lines or any(out.rglob("checkpoint"))


def contents(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return what a run folder holds by file: lines without their seconds, and hashes of weights."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".jsonl":
            found[name] = tuple(map(_untimed, path.read_text(encoding="utf-8").splitlines()))
        elif path.name in ("summary.json", "config.json") and "model" not in path.parts:
            found[name] = (_untimed(path.read_text(encoding="utf-8")),)
        elif path.suffix == ".safetensors":
            found[name] = (hashlib.sha256(path.read_bytes()).hexdigest(),)
    return found


def _untimed(line: str) -> str:
    return json.dumps(_without_seconds(json.loads(line)), sort_keys=True)


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_seconds(v) for k, v in value.items() if k != MEASURED}
    return [_without_seconds(v) for v in value] if isinstance(value, list) else value


def vars_of(one: Outcome) -> dict[str, Any]:
    """Return an outcome by its fields."""
    return {name: getattr(one, name) for name in Outcome.__slots__}


def _train(recipe: str) -> Callable[[Path], list[str]]:
    settings = [word for one in SMALL for word in ("--set", f"train.{one}")]
    words = ["train", "organism:llama", "--recipe", recipe, *settings, "--force"]
    return lambda out: [*SIRL, *words, "--out", str(out)]


def _evaluate(out: Path) -> list[str]:
    words = [
        "evaluate",
        "organism:llama",
        "--attacks",
        "direct,aim,best_of_n,pair,random_search",
        "--limit",
        "4",
    ]
    return [*SIRL, *words, "--set", "evaluate.budget=6", "--set", "evaluate.batch=8", "--out", str(out)]


def _judge(out: Path) -> list[str]:
    """Judge a measured run again, which is made once, each of its replies many times over: judges are quick."""
    measured = out.parent / "measured"
    if not (measured / "summary.json").exists():
        words = [
            "evaluate",
            "organism:llama",
            "--attacks",
            "direct,aim",
            "--limit",
            "8",
            "--out",
            str(measured),
        ]
        run([*SIRL, *words])
        records = measured / "records.jsonl"
        rows = list(map(json.loads, records.read_text(encoding="utf-8").splitlines()))
        with records.open("w", encoding="utf-8") as handle:
            for sample in range(JUDGED // len(rows) + 1):
                for row in rows:
                    row["completion"]["attempt"]["sample"] = sample
                    handle.write(json.dumps(row) + "\n")
    return [*SIRL, "judge", "run", str(measured), "--judge", "refusal", "--judge", "harm", "--out", str(out)]


def _skills(out: Path) -> list[str]:
    words = [
        "skills",
        "organism:llama",
        "--tasks",
        "organism_math,organism_code,organism_chat",
        "--limit",
        "40",
    ]
    return [*SIRL, *words, "--set", "evaluate.batch=8", "--out", str(out)]


def _study(out: Path) -> list[str]:
    recipe = out.parent / "study.toml"
    recipe.write_text(STUDY)
    return [*SIRL, "study", str(recipe), "--out", str(out)]


JUDGED = 4000  # replies that are judged again
SIRL = [sys.executable, "-m", "sirl"]
COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "distill": _train("organism"),
    "sirl": _train("organism-gated"),
    "evaluate": _evaluate,
    "judge": _judge,
    "study": _study,
    "skills": _skills,
}

if __name__ == "__main__":
    main()
