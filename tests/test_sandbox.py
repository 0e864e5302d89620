"""A program that a model wrote can compute, and do nothing else."""

from __future__ import annotations

import socket

import pytest

from sirl import sandbox
from sirl.sandbox import jail

pytestmark = pytest.mark.skipif(bool(jail.supported()), reason=jail.supported() or "supported")


def test_a_program_computes_imports_and_prints():
    program = "import collections, math, random, re, typing\nprint('x' * 10**6)\nassert math.gcd(12, 18) == 6"
    assert sandbox.run(program) == "passed"


@pytest.mark.parametrize(
    ("program", "ended"),
    [
        ("assert 1 == 2", "failed: AssertionError"),
        ("raise SystemExit(0)", "failed: SystemExit"),  # an early end is no pass
        ("import os; os._exit(0)", "died"),
        ("import os; os.write(3, b'passed' * 100_000)", "died"),  # it can fill 64 KB and no more
        ("while True:\n try:\n  while True: pass\n except BaseException: pass", "timed out"),
        ("x = 'a' * (1 << 31)", "failed: MemoryError"),
        ("import os; os.fork()", "failed: PermissionError"),
        ("import subprocess, sys; subprocess.run([sys.executable])", "failed: PermissionError"),
        (
            "import ctypes; assert ctypes.CDLL(None).fork() > 0",
            "failed: AssertionError",
        ),  # past Python's own calls
        ("import os; os.kill(os.getppid(), 15)", "failed: PermissionError"),
        (
            "import resource as r; r.setrlimit(r.RLIMIT_CPU, (99, 99))",
            "failed: ValueError",
        ),  # as Python puts a refusal
    ],
)
def test_whatever_it_does_ends_it_alone(program, ended):
    assert sandbox.run(program, seconds=1 if ended == "timed out" else sandbox.SECONDS) == ended


def test_it_has_no_network_and_can_write_and_delete_nothing(tmp_path):
    kept, new = tmp_path / "kept.txt", tmp_path / "new.txt"
    kept.write_text("as it was")
    with socket.create_server(("127.0.0.1", 0)) as server:
        connects = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
        for program in (
            connects,
            f"open({str(new)!r}, 'w')",
            f"import os; os.open({str(new)!r}, os.O_RDONLY | os.O_CREAT)",
            f"open({str(kept)!r}, 'r+')",
            f"import os; os.remove({str(kept)!r})",
            f"import os; os.rename({str(kept)!r}, {str(new)!r})",
            f"import os; os.truncate({str(kept)!r}, 0)",
        ):
            assert sandbox.run(program) == "failed: PermissionError", program
    assert (kept.read_text(), new.exists()) == ("as it was", False)
