"""The only opener of run files: a folder that survives kill -9 and refuses to mix two protocols.

    config.json       kind of run and every setting, written once
    environment.json  versions and hashes, written once
    steps.jsonl       one line a training step        (append-only)
    records.jsonl     one line of evidence an attempt (append-only)
    openers.jsonl     one line a refusal opener; of a gap run only (append-only)
    propensities.jsonl  one line a plain request, likewise (append-only)
    scores.jsonl      one line a document of a task; of a skills run only (append-only)
    measured.jsonl    one line a model measured; of a cell of a study only (append-only)
    costs.jsonl       what servers were asked meanwhile, and tokens; of endpoints only (append-only)
    plan.json         keys of the whole plan, chunk by chunk; of a shard only
    expected.json     how many lines a file will have when the run has finished, for whoever looks on
    checkpoint/       what training resumes from; gone when it is done
    snapshots/STEP/   the model after some steps, if asked for
    model/            what training made
    summary.json      the numbers, recomputable from the lines above

This room knows lines and folders, not what a line means beyond `records.to_json`. `files` opens the files: a
folder may be a stranger's, and links in it are not followed.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

from sirl.config.before import now_named, refuse_run_of_before
from sirl.config.requests import without_logins
from sirl.errors import RunError
from sirl.records import Lean, Record, from_json, to_json, without_tokens
from sirl.rundir.files import PRIVATE, append_synced, held, refuse_links, replace_synced, writing
from sirl.rundir.lines import cut_torn_line, each_line, json_object, lines_at, read_json, write_json
from sirl.rundir.shapes import require_shape

RECORDS, STEPS, SUMMARY, PLAN = "records.jsonl", "steps.jsonl", "summary.json", "plan.json"
MEASURED, SNAPSHOTS, EXPECTED = "measured.jsonl", "snapshots", "expected.json"
OPENERS, PROPENSITIES, SCORES, COSTS = "openers.jsonl", "propensities.jsonl", "scores.jsonl", "costs.jsonl"
# What two sides must share. The batch too: how many rows are drawn together rounds logits otherwise.
_MEASURED = ("budget", "temperature", "max_reply_tokens", "samples", "best_of", "batch", "longest")
# Beginnings of names of hashes, likewise; `request body` is what an endpoint's requests lack or add.
_HASHED = ("prompts", "system", "chat_template", "request body", "attack ", "judge ", "task ")
_AT_ONCE = 64  # lines in memory while a file is rewritten
_VERSIONED = ("sirl", "torch", "transformers", "trl", "peft", "accelerate", "numpy", "scipy")


@dataclass(frozen=True, slots=True)
class RunDir:
    """A run folder on disk: its kind (gap, train, evaluate, skills, study) and the protocol of its start."""

    path: Path
    kind: str
    config: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    def append(self, file: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add JSON lines with one write and flush them to disk; call with a batch that belongs together.

        A last line torn by a kill is cut off first. Hold the run with `locked`.
        """
        self.append_lines(file, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def append_lines(self, file: str, lines: Iterable[str]) -> None:
        """Add whole lines, each with its line break, as `append` does."""
        cut_torn_line(self.path / file)
        append_synced(self.path / file, "".join(lines))

    def append_records(self, records: Sequence[Record]) -> None:
        self.append(RECORDS, map(to_json, records))

    def rows(self, file: str) -> list[dict[str, Any]]:
        """Return every whole line of a JSONL file; an absent file has none, a torn last line does not count.

        Raises RunError on a line that is not a JSON object.
        """
        return list(self._each(file))

    def _each(self, file: str, holding: Sequence[bytes] = (b"",)) -> Iterator[dict[str, Any]]:
        """Yield the whole lines of a JSONL file that hold one of some bytes, one at a time."""
        path = self.path / file
        if not path.exists():
            return
        for number, (_, line) in enumerate(each_line(path), 1):
            if line.strip() and any(some in line for some in holding):
                yield json_object(line, f"line {number} of {path}", "remove that line")

    def keep_rows(self, file: str, wanted: Callable[[Mapping[str, Any]], bool]) -> None:
        """Drop the other lines; the file is replaced whole, so a kill leaves the old or the new."""
        if all(map(wanted, self._each(file))):
            return
        part = self.path / f"{file}.part"
        part.unlink(missing_ok=True)
        kept = filter(wanted, self._each(file))
        self.append(part.name, [])  # also where none is kept
        while some := list(islice(kept, _AT_ONCE)):
            self.append(part.name, some)
        replace_synced(part, self.path / file)

    def records(self, tokens: bool = True) -> list[Record]:
        """Return the evidence. Raises RunError if a line is not a record.

        Without `tokens` a reply keeps its text and its mean entropy, as its only one: a thousandth of the
        memory of a long one's tokens.
        """
        return [record if tokens else without_tokens(record) for record in self.each_record()]

    def figures(self) -> list[Record]:
        """Return the evidence as far as figures need it (`records.Lean`). Raises as `records`."""
        return list(map(Lean(), self.each_record()))

    def each_record(self, holding: Sequence[bytes] = (b"",)) -> Iterator[Record]:
        """Yield the evidence of lines that hold some of those bytes, one by one, whole. Raises as `records`."""
        return map(self._read, self._each(RECORDS, holding))

    def with_tokens(self, records: Sequence[Record]) -> list[Record]:
        """Return records of this run that were read without tokens, same order, whole. Raises as `records`."""
        # As `append` writes it: a line that cannot hold one of the prompts is not read as JSON.
        ids = {json.dumps(record.prompt.id, ensure_ascii=False).encode() for record in records}
        keys = [record.attempt.key for record in records]
        wanted = set(keys)
        found = {r.attempt.key: r for r in self.each_record(tuple(ids)) if r.attempt.key in wanted}
        return [found[key] for key in keys]

    def _read(self, row: Mapping[str, Any]) -> Record:
        try:
            return from_json(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"{self.path / RECORDS} holds a line that is not a record ({error!r})",
                "lines written by this version of sirl",
                "use the version that wrote the run, or a new folder",
            ) from error

    def records_from(self, start: int) -> Iterator[tuple[int, int, Record]]:
        """Yield evidence from byte `start` on, without tokens: where each line begins, ends, and its record.

        Raises as `records`.
        """
        path = self.path / RECORDS
        for at, line in each_line(path, start) if path.exists() else ():
            yield at, at + len(line), without_tokens(self._read_line(at, line))

    def record_at(self, start: int) -> Record:
        """Return the record whose line begins at a byte, whole. Raises as `records`, and if there is none."""
        return self._read_line(*next(lines_at(self.path / RECORDS, [start])))

    def _read_line(self, at: int, line: bytes) -> Record:
        return self._read(
            json_object(line, f"the line at byte {at} of {self.path / RECORDS}", "remove that line")
        )

    def stamp(self, file: str) -> tuple[int, int, float] | None:
        """Return what tells a file from another of its name, its size in bytes, and when it was last written.

        None if there is none. A link is not followed.
        """
        try:
            found = (self.path / file).lstat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime

    def expect(self, file: str, lines: int) -> None:
        """Say how many lines a file will have when the run has finished."""
        write_json(self.path / EXPECTED, {file: lines})

    def expected(self, file: str) -> int | None:
        """Return how many lines a file will have; None if nobody has said."""
        path = self.path / EXPECTED
        lines = read_json(path).get(file) if path.exists() else None
        return lines if isinstance(lines, int) and lines > 0 else None

    def write_plan(self, chunks: Sequence[Sequence[str]]) -> None:
        """Write the keys of the whole plan, of which this run does a part."""
        write_json(self.path / PLAN, {"chunks": [list(chunk) for chunk in chunks]})

    def plan(self) -> list[list[str]]:
        """Return the keys of the whole plan, chunk by chunk. Raises RunError if it was not written."""
        return list(read_json(self.path / PLAN).get("chunks", []))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_json(self.path / SUMMARY, without_logins(summary))

    def summary(self) -> dict[str, Any]:
        """Return summary.json; empty if the run has not finished."""
        path = self.path / SUMMARY
        return read_json(path) if path.exists() else {}


def open_run(
    path: Path,
    kind: str,
    config: Mapping[str, Any],
    hashes: Mapping[str, str],
    versions: Mapping[str, str] | None = None,
) -> RunDir:
    """Open a run folder for writing, new or to be continued; `versions` None are those of this process.

    Of several processes that start at once the first fixes the protocol. Raises RunError if the folder holds
    other files, another kind of run or one made under other settings or hashes: evidence from two protocols is
    never mixed.
    """
    # As it will read back: tuples become lists. Logins in models' addresses are written nowhere.
    config = without_logins(json.loads(json.dumps({"kind": kind, **config})))
    environment = {"versions": _versions() if versions is None else dict(versions), "hashes": dict(hashes)}
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file", "a folder", "name another --out")
    with writing(path):
        path.mkdir(PRIVATE, parents=True, exist_ok=True)
    refuse_links(path)
    if not (path / "config.json").exists():
        _refuse_other_files(path)
        with held(path, patience=10):  # of several first starts one writes; the others then compare
            if not (path / "config.json").exists():
                write_json(path / "environment.json", environment)
                write_json(path / "config.json", config)
    _refuse_other_protocol(path, config, hashes)
    return RunDir(path, kind, config, read_json(path / "environment.json"))


def begun_run(path: Path, kind: str, config: Mapping[str, Any], hashes: Mapping[str, str]) -> RunDir | None:
    """Return the run that a folder already holds, None if it holds none; `config` may lack some settings.

    Raises RunError if that run is of another kind or was made under other settings or hashes.
    """
    if not (path / "config.json").is_file():
        return None
    run = read_run(path)
    told = json.loads(json.dumps({"kind": kind, **config}))
    _refuse_other_protocol(path, {**run.config, **told}, hashes)
    return run


def read_run(path: Path) -> RunDir:
    """Open a run folder for reading. Raises RunError if there is none."""
    for file in ("config.json", "environment.json"):
        if not (path / file).is_file():
            raise RunError(f"no {file} in {path}", "a run folder", "give a folder written with --out")
    config, environment = (read_json(path / file) for file in ("config.json", "environment.json"))
    require_shape(path, config, environment)
    return RunDir(path, str(config.get("kind")), now_named(config), environment)


def protocol_differences(one: RunDir, other: RunDir) -> list[str]:
    """Name what two runs were measured differently by; empty if they can be compared.

    Compared are prompts, attacks, judges, chat template, system prompt, decoding, budget and seed; the model
    and its weights are what a comparison is about.
    """
    first, second = _protocol(one), _protocol(other)
    return [
        f"{name} ({first.get(name, 'not recorded')} and {second.get(name, 'not recorded')})"
        for name in sorted({*first, *second})
        if first.get(name) != second.get(name)
    ]


def _protocol(run: RunDir) -> dict[str, Any]:
    settings = run.config.get("settings") or {}
    told = {name: settings[name] for name in _MEASURED if name in settings}
    hashes = run.environment.get("hashes") or {}
    told |= {name: value for name, value in hashes.items() if name.startswith(_HASHED)}
    return told | {"seed": run.config.get("seed"), "shard": run.config.get("shard")}


@contextmanager
def locked(run: RunDir) -> Iterator[None]:
    """Hold the run for this process; the system releases it even on kill -9. Raises RunError if busy."""
    with held(run.path, patience=0):
        yield


def _refuse_other_files(path: Path) -> None:
    if any(not _half_made(file) for file in path.iterdir() if file.name != "config.json"):
        if (path / "config.json").exists():
            return  # another process has opened the run since, and is at work in it
        raise RunError(
            f"{path} is not empty and holds no run", "an empty or a run folder", "name another --out"
        )


def _refuse_other_protocol(path: Path, config: Mapping[str, Any], hashes: Mapping[str, str]) -> None:
    old = read_json(path / "config.json")
    refuse_run_of_before(path, old)
    old_hashes = read_json(path / "environment.json")["hashes"]
    for before, now in ((old, config), (old_hashes, dict(hashes))):
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                raise RunError(
                    f"{path} holds a run with {name} = {before.get(name)!r}, not {now.get(name)!r}",
                    "the same protocol when a run continues",
                    "repeat the old settings or name another --out",
                )


def _half_made(file: Path) -> bool:
    """Say whether a kill between the first two files of a new run can have left this one."""
    return file.name in ("environment.json", ".lock") or file.suffix == ".part"


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in _VERSIONED:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "absent"
    return versions
