"""Files in the current folder are data: none is imported unless the user names a module of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOSTILE = ("jinja2", "datasets", "torch", "typer", "numpy", "rich", "markupsafe", "json", "transformers")
MINE = """
from sirl.records import Verdict

def judge(completions):
    return [Verdict("refused", True, "", "mine") for _ in completions]
"""
LABELS = "reply,label\nno,yes\nwell,no\n"
CHECK = (
    *(
        "judge",
        "check",
        "labels.csv",
        "--out",
        "checked",
        "--response-column",
        "reply",
        "--label-column",
        "label",
    ),
    *("--positive", "yes", "--question", "refused", "--judge", "refused=my_pkg.mine:judge"),
)


@pytest.fixture
def folder(tmp_path):
    """A folder in which every file of a library's name leaves a trace when it is run."""
    for name in HOSTILE:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')\n")
    (tmp_path / "my_pkg").mkdir()
    (tmp_path / "my_pkg" / "mine.py").write_text(MINE)
    (tmp_path / "labels.csv").write_text(LABELS)
    return tmp_path


def run(folder: Path, how: str, *words: str) -> subprocess.CompletedProcess[str]:
    script = shutil.which("sirl", path=str(Path(sys.executable).parent))
    command = [sys.executable, "-m", "sirl"] if how == "module" else [sys.executable, script]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("how", ["module", "script"])
def test_no_file_of_the_current_folder_stands_in_for_a_library(folder, how):
    if how == "script":  # python -m sirl would run this one by Python's own rule, before a line of ours
        (folder / "sirl.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write('sirl ')\n")
    done = run(folder, how, "report", ".")
    assert done.returncode == 2
    assert done.stderr.startswith("error: "), done.stderr
    done = run(folder, how, "attacks")  # this one imports what it can
    assert (done.returncode, done.stderr) == (0, "")
    assert not (folder / "ran").exists(), (folder / "ran").read_text()


@pytest.mark.parametrize("how", ["module", "script"])
def test_a_judge_of_the_users_own_is_found_behind_everything_installed(folder, how):
    done = run(folder, how, *CHECK)
    assert done.returncode == 0, done.stderr
    assert '"mine"' in done.stdout
    assert not (folder / "ran").exists(), (folder / "ran").read_text()
