"""Run a program that a model wrote, in a process of its own that can compute and do nothing else.

`jail` is the inside. It cannot stop a reply that sets out to cheat the test that it is given: both run in one
process. The limits protect the machine, not the score.
"""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from sirl.errors import ConfigError
from sirl.sandbox import jail

SECONDS = 5  # of the processor
PATIENCE = 10  # times that many seconds of waiting: the machine may be busy
MEMORY = 1 << 30  # bytes of address space
_PACKAGES = sysconfig.get_paths()["purelib"]
_FEWER_THREADS = {"OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


def run(program: str, seconds: int = SECONDS, memory: int = MEMORY) -> str:
    """Return how a program ended: passed, failed: with the error's name, timed out, or died.

    Passed means that it came to its end. Raises ConfigError where no program can be locked in.
    """
    if why := jail.supported():
        raise ConfigError(why, "Linux on x86_64 or aarch64", "leave out --allow-code")
    token = secrets.token_hex(16)
    given = {"token": token, "program": program, "seconds": seconds, "memory": memory, "packages": _PACKAGES}
    words = [sys.executable, "-I", "-S", "-B", str(Path(jail.__file__))]
    with tempfile.TemporaryFile() as result:  # no pipe: a limit of the process bounds what is written to a file
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=result,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=_FEWER_THREADS,
            start_new_session=True,
        )
        try:
            process.communicate(json.dumps(given).encode(), timeout=seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            return "timed out"
        finally:
            process.kill()
            process.wait()
        result.seek(0)
        said = result.read(300).decode(errors="replace")
    if said.startswith(f"{token} "):
        return said.removeprefix(f"{token} ")
    return "timed out" if -process.returncode in (signal.SIGXCPU, signal.SIGKILL) else "died"
