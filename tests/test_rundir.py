from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import tracemalloc
from contextlib import nullcontext, suppress
from dataclasses import replace

import pytest
from disks import Disk

from sirl.errors import RunError
from sirl.records import Attempt, Completion, Message, Prompt, Record, Verdict
from sirl.rundir import RECORDS, STEPS, begun_run, locked, open_run, protocol_differences, read_run

CONFIG = {"model": "toy", "seed": 0, "settings": {"attacks": ("aim", "direct"), "batch": 8}}
HASHES = {"weights": "abc", "judge harmful": "j@1"}
ROWS = [{"step": 1, "said": "zürich"}, {"step": 2, "said": 'a "b"\n\u2028c'}, {"step": 3, "said": "日本"}]


def opened(path, kind="evaluate", config=CONFIG, hashes=HASHES):
    return open_run(path, kind, config, hashes)


def record(name="p0", text="so") -> Record:
    attempt = Attempt(Prompt(name, "how?"), "direct", (Message("user", "how?"),))
    return Record(
        Completion(attempt, text, (1, 2), ("s", "o"), True, (0.5, 1.5)), (Verdict("refused", None, "", "j"),)
    )


# --- opening


def test_a_new_run_says_what_it_is(tmp_path):
    run = opened(tmp_path / "deep" / "run")
    assert run.kind == "evaluate"
    assert json.loads((run.path / "config.json").read_text()) == {
        "kind": "evaluate",
        "model": "toy",
        "seed": 0,
        "settings": {"attacks": ["aim", "direct"], "batch": 8},
    }
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["hashes"] == HASHES
    assert environment["versions"]["python"] == sys.version.split()[0]
    assert {"sirl", "torch", "trl"} < environment["versions"].keys()
    assert run.rows(RECORDS) == run.records() == []
    assert run.summary() == {}


def test_the_same_protocol_continues_with_what_was_written(tmp_path):
    first = opened(tmp_path)
    first.append_records([record()])
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    again = opened(tmp_path)
    assert (again.kind, again.config, again.environment) == (first.kind, first.config, first.environment)
    assert again.records() == [record()]
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files
    read = read_run(tmp_path)
    assert (read.kind, read.config, read.environment) == (again.kind, again.config, again.environment)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "gap"}, "a run with kind = 'evaluate', not 'gap'"),
        ({"config": CONFIG | {"seed": 1}}, "a run with seed = 0, not 1"),
        (
            {"config": {"model": "toy", "seed": 0}},
            "a run with settings = {'attacks': ['aim', 'direct'], 'batch': 8}",
        ),
        ({"config": CONFIG | {"role": "after"}}, "a run with role = None, not 'after'"),
        ({"hashes": HASHES | {"weights": "abd"}}, "a run with weights = 'abc', not 'abd'"),
        ({"hashes": {"weights": "abc"}}, "a run with judge harmful = 'j@1', not None"),
        ({"hashes": HASHES | {"attack aim": "x"}}, "a run with attack aim = None, not 'x'"),
    ],
)
def test_another_protocol_is_refused_and_named(tmp_path, change, sentence):
    opened(tmp_path).append_records([record()])
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(RunError) as error:
        opened(tmp_path, **change)
    assert sentence in str(error.value)
    assert str(error.value).endswith("repeat the old settings or name another --out.")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files


def test_a_run_is_found_before_all_of_its_settings_are_known(tmp_path):
    assert begun_run(tmp_path, "evaluate", CONFIG, HASHES) is None
    run = opened(tmp_path, config=CONFIG | {"forced": True})
    assert begun_run(tmp_path, "evaluate", CONFIG, HASHES).config == run.config
    with pytest.raises(RunError, match="seed = 0, not 1"):
        begun_run(tmp_path, "evaluate", CONFIG | {"seed": 1}, HASHES)
    with pytest.raises(RunError, match="weights = 'abc', not 'def'"):
        begun_run(tmp_path, "evaluate", CONFIG, HASHES | {"weights": "def"})


def test_what_is_no_folder_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(RunError, match=r"notes.txt is a file; expected a folder; name another --out"):
        opened(path)
    assert path.read_text() == "mine"


def test_a_folder_of_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        opened(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "left", [["environment.json.part"], ["environment.json"], ["environment.json", "config.json.part"]]
)
def test_a_run_killed_while_it_was_opened_is_opened_again(tmp_path, left):
    opened(tmp_path / "whole")
    (tmp_path / "torn").mkdir()
    for name in left:
        whole = (tmp_path / "whole" / name.removesuffix(".part")).read_text()
        (tmp_path / "torn" / name).write_text(whole[:20] if name.endswith(".part") else whole)
    assert opened(tmp_path / "torn").config == opened(tmp_path / "whole").config


# --- lines


@pytest.mark.parametrize("file", [RECORDS, STEPS])
def test_a_last_line_torn_at_any_byte_is_cut_off(tmp_path, file):
    run = opened(tmp_path)
    run.append(file, ROWS)
    data = (tmp_path / file).read_bytes()
    assert data.count(b"\n") == 3
    for length in range(len(data) + 1):
        (tmp_path / file).write_bytes(data[:length])
        kept = opened(tmp_path).rows(file)
        assert kept == ROWS[: data[:length].count(b"\n")]
        run.append(file, ROWS[len(kept) :])
        assert (tmp_path / file).read_bytes() == data


def test_rows_are_what_was_appended(tmp_path):
    run = opened(tmp_path)
    assert run.rows(STEPS) == []
    run.append(STEPS, ROWS[:1])
    run.append(STEPS, [])
    run.append(STEPS, ROWS[1:])
    assert run.rows(STEPS) == ROWS


def test_records_are_what_was_appended(tmp_path):
    run = opened(tmp_path)
    run.append_records([record("a"), record("b", "line\u2028break \n\x85 \ufffd")])
    assert run.records() == [record("a"), record("b", "line\u2028break \n\x85 \ufffd")]


def test_keep_rows_drops_the_others_whole(tmp_path):
    run = opened(tmp_path)
    run.keep_rows(STEPS, lambda _: False)
    assert not (tmp_path / STEPS).exists()
    run.append(STEPS, ROWS)
    (tmp_path / f"{STEPS}.part").write_text('{"step": 9}\n{"st')  # an earlier kill
    run.keep_rows(STEPS, lambda row: row["step"] != 2)
    assert run.rows(STEPS) == [ROWS[0], ROWS[2]]
    assert not (tmp_path / f"{STEPS}.part").exists()
    file = (tmp_path / STEPS).stat().st_ino
    run.keep_rows(STEPS, lambda row: True)
    assert (tmp_path / STEPS).stat().st_ino == file


def test_a_line_in_the_middle_that_is_not_json_is_named(tmp_path):
    run = opened(tmp_path)
    (tmp_path / STEPS).write_text('{"step": 1}\n{"step": \n{"step": 3}\n')
    with pytest.raises(RunError, match=r"line 2 of .*steps.jsonl is not JSON; expected one JSON object"):
        run.rows(STEPS)


@pytest.mark.parametrize(
    "line", ["[1]", "[]", '"abc"', "5", "null", "{}", '{"completion": {}, "verdicts": []}']
)
def test_lines_that_are_not_records_are_refused(tmp_path, line):
    run = opened(tmp_path)
    run.append_records([record()])
    with (tmp_path / RECORDS).open("a") as handle:
        handle.write(f"{line}\n")
    with pytest.raises(RunError, match=r"records.jsonl"):
        run.records()


@pytest.mark.parametrize("line", ["[1]", "[]", '"abc"', "5"])
def test_steps_that_are_not_objects_are_refused(tmp_path, line):
    run = opened(tmp_path)
    (tmp_path / STEPS).write_text(f"{line}\n")
    with pytest.raises(RunError, match=r"line 1 of .*steps.jsonl"):
        run.rows(STEPS)


def test_records_without_tokens_keep_what_is_counted_and_little_memory(tmp_path):
    run = opened(tmp_path)
    long = Completion(record().attempt, "so", tuple(range(512)), ("piece",) * 512, True, (0.25,) * 512)
    run.append_records([Record(replace(long, attempt=replace(long.attempt, sample=n)), ()) for n in range(150)])
    tracemalloc.start()
    light = run.records(tokens=False)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < (tmp_path / RECORDS).stat().st_size / 3, "neither all lines nor all tokens lie in memory"
    assert [one.mean_entropy for one in light] == [0.25] * 150
    assert light[0].completion.token_ids == light[0].completion.pieces == ()
    nine, seven = run.with_tokens([light[9], light[7]])
    assert (nine.attempt.sample, seven.attempt.sample) == (9, 7)
    assert seven.completion == replace(long, attempt=light[7].attempt)


def test_a_record_cut_down_to_its_figures_takes_less_than_half_a_kilobyte(tmp_path):
    run = opened(tmp_path)
    words = "so it was said of old " * 20
    verdict = Verdict("refused", True, f"full refusal, {words}", "refusal@1")
    said = Completion(record().attempt, words, tuple(range(9)), ("piece",) * 9, True, (0.25,) * 9)
    sent = [replace(said.attempt, sample=n, messages=(Message("user", f"{n} {words}"),)) for n in range(1200)]
    run.append_records([Record(replace(said, attempt=a, text=f"{a.sample} {words}"), (verdict,)) for a in sent])
    del sent
    tracemalloc.start()
    held = run.figures()
    now, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(held) == 1200
    assert now / 1200 < 500, "bytes a record"


def test_a_file_is_rewritten_and_a_torn_line_cut_off_in_little_memory(tmp_path):
    run = opened(tmp_path)
    rows = [{"n": n, "text": "x" * 20_000} for n in range(400)]
    run.append(STEPS, rows)
    with (tmp_path / STEPS).open("a") as handle:
        handle.write('{"n": 400, "te')
    tracemalloc.start()
    run.keep_rows(STEPS, lambda row: row["n"] != 7)
    run.append(STEPS, [])
    run.keep_rows(STEPS, lambda row: row["n"] != 9)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 400 * 20_000 * 0.75, "not all lines at once"
    assert [row["n"] for row in run.rows(STEPS)] == [n for n in range(400) if n not in (7, 9)]


# --- a folder from a stranger


def test_a_line_and_a_file_longer_than_any_that_a_run_writes_are_refused(tmp_path, monkeypatch):
    run = opened(tmp_path)
    run.append_records([record()])
    longest = (tmp_path / RECORDS).stat().st_size
    for most, refused in ((longest, False), (longest - 1, True)):
        monkeypatch.setattr("sirl.rundir.lines.LONGEST", most)
        for read in (run.records, run.figures, lambda: run.record_at(0), lambda: list(run.records_from(0))):
            with pytest.raises(RunError, match=r"a line of more than") if refused else nullcontext():
                read()
    monkeypatch.setattr("sirl.rundir.lines.LARGEST", 10)
    with pytest.raises(RunError, match=r"config.json has more than 10 bytes"):
        read_run(tmp_path)


def test_a_run_folder_is_its_owners_alone(tmp_path):
    assert opened(tmp_path / "deep" / "run").path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "name", [".lock", RECORDS, "config.json", "environment.json", "summary.json", "records.jsonl.part", "model"]
)
def test_a_link_in_a_run_folder_is_followed_neither_in_writing_nor_in_reading(tmp_path, name):
    run = opened(tmp_path / "run")
    precious = tmp_path / "precious"
    if (run.path / name).exists():
        precious.write_bytes((run.path / name).read_bytes())
        (run.path / name).unlink()
    else:
        precious.write_text('{"mine": 1}\n')
    before = precious.read_bytes()
    (run.path / name).symlink_to(precious)
    with pytest.raises(RunError, match=rf"{name} is a symbolic link to .*precious"):
        opened(run.path)
    if name in (RECORDS, "config.json", "environment.json", "summary.json"):
        with pytest.raises(RunError, match="is a symbolic link"):
            _ = (read_run(run.path).records(), read_run(run.path).summary())
    if name == ".lock":
        with pytest.raises(RunError, match="is a symbolic link"), locked(run):
            pass
    with suppress(RunError):  # a run that was open when the link came
        run.append_records([record()])
    run.keep_rows(RECORDS, lambda _: False) if name == "records.jsonl.part" else None
    assert precious.read_bytes() == before


@pytest.mark.parametrize("name", [RECORDS, "config.json", ".lock"])
def test_a_pipe_in_a_run_folder_hangs_nobody(tmp_path, name):
    run = opened(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises((RunError, OSError)), locked(run):
        read_run(tmp_path).records()


def test_deep_json_is_told(tmp_path):
    run = opened(tmp_path)
    (tmp_path / STEPS).write_text('{"a": ' + "[" * 200_000 + "\n")
    with pytest.raises(RunError, match=r"line 1 of .*steps.jsonl is not JSON"):
        run.rows(STEPS)


# --- a power cut


def test_what_is_written_is_on_disk_before_it_is_relied_upon(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    run = opened(tmp_path / "run")
    run.append(STEPS, ROWS)
    run.keep_rows(STEPS, lambda row: row["step"] != 2)
    run.write_summary({"done": True})
    assert len(disk.renamed) == 4
    disk.check(run.path)


# --- one writer


def test_a_file_system_without_locks_is_not_taken_for_another_process(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    run = opened(tmp_path)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunError, match=r"cannot be locked \(No locks available\)"), locked(run):
        pass


def test_a_run_is_written_by_one_process(tmp_path):
    run = opened(tmp_path)
    code = (
        "import sys\nfrom pathlib import Path\nfrom sirl.rundir import locked, read_run\n"
        "with locked(read_run(Path(sys.argv[1]))):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=r"is being written by another process"), locked(run):
            pass
        other.kill()  # SIGKILL: the system lets go of the lock
        other.wait()
        with locked(run):
            pass


def test_a_lock_is_let_go_when_the_work_fails(tmp_path):
    run = opened(tmp_path)
    with pytest.raises(ZeroDivisionError), locked(run):
        1 / 0  # noqa: B018
    with locked(run), pytest.raises(RunError), locked(run):
        pass


# --- reading


def test_what_is_no_run_cannot_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RunError, match=r"no config.json in .*; expected a run folder"):
            read_run(path)
    opened(tmp_path)
    (tmp_path / "environment.json").unlink()
    with pytest.raises(RunError, match=r"no environment.json"):
        read_run(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "environment.json"])
@pytest.mark.parametrize("content", [b"{", b"", b"\xff", b"[1]", b"[]", b"3", b'"ab"'])
def test_a_damaged_run_is_told(tmp_path, file, content):
    opened(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(RunError, match=rf"{file} is (not )?JSON"):
        read_run(tmp_path)
    with pytest.raises(RunError):
        opened(tmp_path)


def test_a_summary_comes_back_and_is_replaced_whole(tmp_path):
    run = opened(tmp_path)
    run.write_summary({"dsr": {"mean": 0.5, "low": None}})
    run.write_summary({"dsr": {"mean": 0.75, "low": None}, "name": "ü"})
    assert run.summary() == {"dsr": {"mean": 0.75, "low": None}, "name": "ü"}
    assert read_run(tmp_path).summary() == run.summary()
    assert not list(tmp_path.glob("*.part"))
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(RunError, match=r"summary.json is not JSON"):
        run.summary()


def test_a_checkpoint_lives_in_the_run(tmp_path):
    assert opened(tmp_path).checkpoint == tmp_path / "checkpoint"


STARTING = """
import sys, time
from pathlib import Path
from sirl import rundir
from sirl.errors import RunError

path, name, slow = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "slow"
write = rundir.write_json

def slowly(file, value):
    write(file, value)
    if file.name == "environment.json":
        print("half way", flush=True)
        time.sleep(1.5)

rundir.write_json = slowly if slow else write
try:
    run = rundir.open_run(path, "evaluate", {"model": name}, {"weights": name})
    print(run.config["model"], run.environment["hashes"]["weights"])
except RunError as error:
    print(error)
"""


def test_of_two_first_starts_with_other_settings_one_is_refused(tmp_path):
    command = [sys.executable, "-c", STARTING, str(tmp_path / "run")]
    with subprocess.Popen([*command, "one", "slow"], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "half way\n"  # the second comes before the first has said what it is
        second = subprocess.run([*command, "two", "fast"], capture_output=True, text=True, check=False)
        assert first.stdout.read() == "one one\n"
    assert "holds a run with model = 'one', not 'two'" in second.stdout, second.stderr
    run = read_run(tmp_path / "run")
    assert (run.config["model"], run.environment["hashes"]) == ("one", {"weights": "one"})


def test_runs_of_another_batch_are_measured_differently(tmp_path):
    one = opened(tmp_path / "one")
    other = opened(tmp_path / "other", config=CONFIG | {"settings": {**CONFIG["settings"], "batch": 9}})
    assert protocol_differences(one, one) == []
    assert protocol_differences(one, other) == ["batch (8 and 9)"]
