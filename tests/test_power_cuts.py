"""A power cut at every moment: what was not synced is gone or torn, and the same command goes on from there."""

from __future__ import annotations

import os
import random
import resource
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from disks import PowerCuts, restore
from fakes import FakeTarget, study

from sirl.errors import RunError
from sirl.evaluation import evaluate
from sirl.evidence import Evaluation, protocol_hashes
from sirl.records import Completion
from sirl.rundir import open_run, read_run
from sirl.workflows.summaries import finish, numbers

MORE = int(os.environ.get("SIRL_FUZZ", "1"))
CONFIG = {
    "model": "toy",
    "seed": 0,
    "seen_in_training": [],
    "agreement": {},
    "settings": {"samples": 1, "max_unscored": 1.0},
}


class Failing(FakeTarget):
    """Gives no reply to some requests while it is down: their records are dropped when the run goes on."""

    down = True

    def _reply(self, attempt, name):
        if self.down and attempt.prompt.id in ("h1", "b2"):
            return Completion(attempt, "", (), (), finished=False, error="down")
        return super()._reply(attempt, name)


def command(path, target=None):
    """Do what `sirl evaluate` does in a run folder, from nothing or from what is there."""
    trial: Evaluation = study(target or FakeTarget(), batch=4)
    run = open_run(path, "evaluate", CONFIG, protocol_hashes(trial))
    records = evaluate(trial, run)
    finish(run, numbers(run, records), {})
    return records


@contextmanager
def cutting(folder):
    with pytest.MonkeyPatch.context() as patch:
        cuts = PowerCuts(patch, folder)
        try:
            yield cuts
        finally:
            cuts.close()


def test_a_measured_run_survives_a_power_cut_at_any_moment(tmp_path):
    with cutting(tmp_path / "run") as cuts:
        failing = Failing()
        command(tmp_path / "run", failing)
        failing.down = False
        expected = command(tmp_path / "run", failing)  # it goes on, and rewrites the lines of failed replies
    assert len(cuts.images) > 40
    whole = read_run(tmp_path / "run")
    for number, image in enumerate(cuts.images):
        folder = restore(image, tmp_path / str(number))
        kept = [line for line in image.get("records.jsonl", b"").split(b"\n")[:-1] if b'"error": ""' in line]
        assert command(folder) == expected
        run = read_run(folder)
        written = (folder / "records.jsonl").read_bytes().splitlines()
        assert len(written) == len(expected), "none lost, none doubled"
        assert set(kept) <= set(written), "what was on disk is not drawn again"
        assert run.summary() == whole.summary()


@contextmanager
def room_for(size):
    """Let no file of this process grow beyond so many bytes: as a full disk does, with a part of it written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_at_any_moment_costs_nothing_that_was_written(tmp_path):
    expected = command(tmp_path / "whole")
    size = max(path.stat().st_size for path in (tmp_path / "whole").iterdir())
    dice, full = random.Random(2), 0
    for number in range(12 * MORE):
        folder, room = tmp_path / str(number), dice.randrange(size + 100)
        told = ""
        try:
            with room_for(room):
                command(folder)
        except RunError as error:
            full, told = full + 1, str(error)
        assert not told or "cannot be written (File too large)" in told  # what the limit says for a full disk
        kept = (folder / "records.jsonl").read_bytes() if (folder / "records.jsonl").exists() else b""
        assert command(folder) == expected
        after = (folder / "records.jsonl").read_bytes()
        assert after.startswith(kept[: kept.rfind(b"\n") + 1])
        assert after == (tmp_path / "whole" / "records.jsonl").read_bytes()
        assert read_run(folder).summary() == read_run(tmp_path / "whole").summary()
    assert full >= 6 * MORE


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that nobody may write to")
def test_a_folder_that_may_not_be_written_to_is_told():
    with pytest.raises(RunError, match=r"/proc/run cannot be written \(.*\); .*name another --out"):
        command(Path("/proc/run"))


def test_training_survives_a_power_cut_at_any_moment(tmp_path):
    """Of the many moments a few are tried, at random; `make fuzz` tries more."""
    from small_training import CONFIG as SMALL
    from small_training import rows, same, train, weights

    config = replace(SMALL, steps=3, save_every=1)
    with cutting(tmp_path / "run") as cuts:
        expected = weights(train(tmp_path / "run", config))
    dice = random.Random(4)
    for number, image in enumerate(dice.sample(cuts.images, min(len(cuts.images), 3 * MORE))):
        folder = restore(image, tmp_path / str(number))
        assert same(weights(train(folder, config)), expected)
        assert rows(folder) == rows(tmp_path / "run")
        assert not (folder / "checkpoint").exists()
