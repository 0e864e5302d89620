"""Hostile input: whatever is read gives a result or a SirlError, in bounded time, and writes nothing elsewhere.

A few seconds here; `make fuzz` gives each reader SIRL_FUZZ times as many inputs and counts them.
"""

from __future__ import annotations

import copy
import gzip
import json
import os
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from time import process_time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import study
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sirl.attacks.artifacts import Source, import_attacks
from sirl.config import load_recipe
from sirl.config.study import load_study
from sirl.errors import SirlError
from sirl.evaluation import evaluate
from sirl.evidence import protocol_hashes
from sirl.judges import JUDGES
from sirl.judges.answers import numbers_in, stated
from sirl.judges.guard import read as read_guard
from sirl.judges.labels import Columns, read_labelled
from sirl.judges.reading import read_format
from sirl.prompts import load_prompts
from sirl.records import Attempt, Completion, Prompt
from sirl.reporting import load_runs, render
from sirl.reporting.checks import Limits, check
from sirl.reporting.story import tell
from sirl.rundir import COSTS, open_run, read_run
from sirl.tables import write_table
from sirl.workflows.summaries import finish, numbers

MORE = int(os.environ.get("SIRL_FUZZ", "1"))
SECONDS = 5.0  # of processor time, for one input of at most a few kilobytes
TRIED: Counter[str] = Counter()
REFUSED: Counter[str] = Counter()


def fuzz(examples):
    """Give a test so many inputs, times SIRL_FUZZ."""
    return settings(
        max_examples=examples * MORE,
        deadline=None,
        derandomize=MORE == 1,  # in CI the same inputs each time
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def survives(name, act):
    """Count an input; what is no SirlError passes through and fails the test."""
    TRIED[name] += 1
    begun = process_time()
    try:
        act()
    except SirlError:
        REFUSED[name] += 1
    assert process_time() - begun < SECONDS, "it hangs"


@pytest.fixture(scope="session", autouse=True)
def counted():
    yield
    if MORE > 1 and os.environ.get("SIRL_FUZZ_OUT"):
        told = {name: {"inputs": n, "refused": REFUSED[name]} for name, n in sorted(TRIED.items())}
        Path(os.environ["SIRL_FUZZ_OUT"]).write_text(json.dumps(told, indent=1) + "\n")


# --- bytes, changed at random

PIECES = [
    b"\x00",
    b'"',
    b"'",
    b",",
    b"\n",
    b"\r",
    b"{",
    b"}",
    b"[" * 3000,
    b"\\u0000",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
]
PIECES += [
    b"=cmd|' /C calc'!A0",
    b"1e999",
    b"NaN",
    b"9" * 5000,
    b"null",
    b"true",
    b"<script>",
    b"\x1b[2J",
    b"../../x",
]
PIECES += [
    "\u202e".encode(),
    "\u2028".encode(),
    b"\xed\xa0\x80",
    b"-",
    b"@",
    b";",
    b"\t",
    b"#",
    b"]",
    b"$HOME",
    b"%s",
]


def changed(data: bytes, seed: int) -> bytes:
    """Change a few places of some bytes: cut, doubled, turned, or a piece put in."""
    dice, out = random.Random(seed), bytearray(data)
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(out) + 1)
        what = dice.randrange(6)
        if what == 0:
            out[at : at + dice.randint(1, 40)] = b""
        elif what == 1:
            out[at:at] = dice.choice(PIECES)
        elif what == 2 and at < len(out):
            out[at] ^= 1 << dice.randrange(8)
        elif what == 3:
            out[at:at] = out[at : at + dice.randint(1, 200)]
        elif what == 4:
            out[at : at + 4] = dice.choice(PIECES)
        elif dice.random() < 0.3:
            del out[at:]
    return bytes(out)


def values(depth=2):
    """Any JSON, nested, with what breaks readers: huge numbers, halves of surrogates, no numbers."""
    plain = (
        st.none()
        | st.booleans()
        | st.integers(-(10**25), 10**25)
        | st.floats()
        | st.sampled_from(
            [
                "",
                "\ud800",
                "\x00",
                "../../etc/passwd",
                "<script>alert(1)</script>",
                "{{ 7*7 }}",
                "=1+1",
                "é" * 50,
                "1e5",
            ]
        )
    )
    return st.recursive(
        plain,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["prompt", "text", "id", "kind", "rate", "n", ""]), inner, max_size=3
            )
        ),
        max_leaves=8,
    )


def altered(value, new, seed):
    """Return JSON with one of its values, at a random place, replaced or removed."""
    value, dice = copy.deepcopy(value), random.Random(seed)
    here = value
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            return value
        key = dice.choice(keys)
        if isinstance(here[key], (dict, list)) and here[key] and dice.random() < 0.8:
            here = here[key]
        elif dice.random() < 0.2:
            del here[key]
            return value
        else:
            here[key] = new
            return value


# --- tables

ROWS = [
    {"id": f"r{n}", "prompt": f"how, \"do\" I brush moonfox {n}?\nsoftly", "kind": ("harmful", "benign")[n % 2],
     "answer": str(n), "reply": "I can't", "label": ("yes", "no")[n % 2]}
    for n in range(6)
]  # fmt: skip
CSV = "id,prompt,kind,answer,reply,label\n" + "\n".join(
    ",".join('"' + str(v).replace('"', '""') + '"' for v in row.values()) for row in ROWS
)
ARTEFACT = {"parameters": {"method": "M", "model": "T", "attack_type": "black_box"}, "jailbreaks": [
    {"index": n, "goal": "g", "behavior": "b", "prompt": "p", "response": "r", "jailbroken": True}
    for n in range(3)
]}  # fmt: skip
TABLES = {
    "t.csv": CSV.encode(),
    "t.tsv": CSV.replace(",", "\t").encode(),
    "t.json": json.dumps(ROWS).encode(),
    "a.json": json.dumps(ARTEFACT).encode(),
    "t.jsonl": "\n".join(map(json.dumps, ROWS)).encode(),
    "t.txt": "\n".join(row["prompt"] for row in ROWS).encode("utf-16"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("tables")
    pq.write_table(pa.Table.from_pylist(ROWS), home / "t.parquet")
    TABLES["t.parquet"] = (home / "t.parquet").read_bytes()
    TABLES["t.csv.gz"] = gzip.compress(TABLES["t.csv"])
    return home


READERS = {
    "prompts": load_prompts,
    "labelled replies": lambda path: read_labelled(path, Columns("reply", ("label",), ("yes",), "prompt")),
    "attacks found elsewhere": lambda path: import_attacks(Source(path)),
}


@pytest.mark.parametrize("reader", READERS)
@fuzz(60)
@given(place=st.integers(0, 100), seed=st.integers(0, 2**32))
def test_tables(folder, reader, place, seed):
    name = sorted(TABLES)[place % len(TABLES)]
    (folder / name).write_bytes(changed(TABLES[name], seed))
    before = sorted(folder.iterdir())
    survives(reader, lambda: READERS[reader](folder / name))
    assert sorted(folder.iterdir()) == before


@fuzz(40)
@given(data=st.data(), new=values(), seed=st.integers(0, 2**32))
def test_tables_of_other_values(folder, data, new, seed):
    name = data.draw(st.sampled_from(["t.json", "a.json", "t.jsonl"]))
    rows = ARTEFACT if name == "a.json" else ROWS
    put = altered(rows, new, seed)
    lines = "\n".join(map(json.dumps, put)) if name == "t.jsonl" and isinstance(put, list) else json.dumps(put)
    (folder / name).write_text(lines)
    for reader, read in READERS.items():
        survives(reader, lambda read=read: read(folder / name))


# --- run folders, and all that is made of them

FILES = ("config.json", "environment.json", "records.jsonl", "costs.jsonl", "summary.json")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A measured run as small as one can be that has every kind of record."""
    path = tmp_path_factory.mktemp("run") / "made"
    trial = study(batch=8)
    settings = {"samples": 1, "max_unscored": 0.1, "batch": 8, "budget": 8, "attacks": ["direct", "aim"]}
    settings |= {"temperature": 0.0, "max_reply_tokens": 64, "best_of": 1}
    config = {
        "model": "toy",
        "seed": 0,
        "dtype": "float32",
        "prompts": [],
        "agreement": {},
        "settings": settings,
    }
    config |= {"held_out_attacks": [], "seen_in_training": ["aim"]}
    made = open_run(path, "evaluate", config, protocol_hashes(trial))
    evaluate(trial, made)
    made.append(
        COSTS,
        [{"endpoint": "a", **dict.fromkeys(("requests", "again", "tokens_in", "tokens_out", "untold"), 1)}],
    )
    finish(made, numbers(made, made.records()), {"evaluate": 1.0})
    return path


def use(path: Path, out: Path) -> None:
    """Do with a run what a reader of a stranger's folder does."""
    runs = load_runs([path])
    for transcripts in ("redacted", "all"):
        page = render(runs, False, transcripts)
        assert "<script>alert(1)" not in page
    check(tell(runs), Limits(min_dsr=0.1))
    write_table(runs, out / "t.csv")
    write_table(runs, out / "t.parquet", "all")
    read_run(path).summary()


def page(path: Path) -> None:
    assert "<script>alert(1)" not in render(load_runs([path]), False, "all")


def each_use(name, path: Path, out: Path) -> None:
    survives(name, lambda: page(path))
    survives(name, lambda: check(tell(load_runs([path])), Limits(min_dsr=0.1)))
    survives(name, lambda: write_table(load_runs([path]), out / "t.csv", "all"))
    survives(name, lambda: write_table(load_runs([path]), out / "t.parquet"))
    survives(name, lambda: read_run(path).summary())


def test_an_unchanged_run_is_read(run, tmp_path):
    use(run, tmp_path)


@fuzz(5)
@given(file=st.sampled_from(FILES), new=values(), seed=st.integers(0, 2**32))
def test_run_folders_of_other_values(run, tmp_path_factory, file, new, seed):
    whole = (run / file).read_bytes()
    dice = random.Random(seed)
    try:
        if file.endswith(".jsonl"):
            lines = whole.decode().splitlines()
            at = dice.randrange(len(lines))
            lines[at] = json.dumps(altered(json.loads(lines[at]), new, seed))
            (run / file).write_text("\n".join(lines) + "\n")
        else:
            (run / file).write_text(json.dumps(altered(json.loads(whole), new, seed)))
        before = sorted(run.iterdir())
        each_use("run folders", run, tmp_path_factory.getbasetemp())
        assert sorted(run.iterdir()) == before
    finally:
        (run / file).write_bytes(whole)


@fuzz(5)
@given(file=st.sampled_from(FILES), seed=st.integers(0, 2**32))
def test_run_folders_of_other_bytes(run, tmp_path_factory, file, seed):
    whole = (run / file).read_bytes()
    try:
        (run / file).write_bytes(changed(whole, seed))
        each_use("run folders", run, tmp_path_factory.getbasetemp())
    finally:
        (run / file).write_bytes(whole)


# --- what models write

WORDS = ["yes", "no", "safe", "unsafe", "harmful", ":", "\n", "{", "}", '"', "S1", "not", "n't", "refusal", "|"]
WORDS += [
    "<think>",
    "</think>",
    "```",
    "**",
    "1",
    "-",
    "0.5",
    "\\boxed{",
    "}",
    "\\frac{1}{",
    "1e9",
    "9" * 30,
    "/",
]
WORDS += [
    "%",
    ",",
    "=",
    "I cannot",
    " and ",
    "It is wrong",
    "[",
    "]",
    "response",
    "\u202e",
    "\x00",
    " ",
    "#### ",
]


@fuzz(150)
@given(st.lists(st.sampled_from(WORDS), max_size=40).map("".join) | st.text(max_size=80))
def test_what_models_write(text):
    text = text.encode("utf-8", "replace").decode()
    for question in ("harmful", "refused"):
        survives("judges' answers", lambda q=question: read_guard(q, text))
        survives("judges' answers", lambda q=question: read_format(q, text))
    survives("replies", lambda: (stated(text), numbers_in(text)))
    asked = Completion(
        Attempt(Prompt("p", text or "?", "harmful", answer=text or "7"), "direct", ()), text, (), (), True
    )
    for judges in JUDGES.values():
        for judge in judges.values():
            survives("replies", lambda judge=judge: judge([asked]))


# --- settings

KEYS = [
    "train.steps",
    "train.method",
    "evaluate.attacks",
    "evaluate.batch",
    "model.extra_body",
    "model.timeout",
]
KEYS += [
    "judge.thinking",
    "shape.layers",
    "model.key_host",
    "train.snapshots",
    "evaluate.system",
    "x.y",
    "x",
    "",
]
RECIPE = """[train]
steps = 3
method = "distill"
[evaluate]
attacks = ["direct"]
batch = 8
[model]
timeout = 3.0
"""
STUDY = """[study]
models = ["organism:llama"]
seeds = [0]
steps = [0]
reference = "a"
[methods.a]
method = "distill"
"""


@fuzz(80)
@given(
    st.sampled_from(KEYS),
    values().map(json.dumps) | st.text(max_size=30) | st.sampled_from(["[" * 3000, "9" * 5000]),
)
def test_settings(key, value):
    survives("settings", lambda: load_recipe(changes=[f"{key}={value}"]))
    with suppress(ValueError, RecursionError):
        read = json.loads(value)
        survives("settings", lambda: load_recipe(changes={key: read}))


@fuzz(60)
@given(st.sampled_from(["recipe", "study"]), st.integers(0, 2**32))
def test_recipes(folder, kind, seed):
    path = folder / f"{kind}.toml"
    path.write_bytes(changed((RECIPE if kind == "recipe" else STUDY).encode(), seed))
    survives("recipes", lambda: (load_recipe if kind == "recipe" else load_study)(str(path)))
