"""The command line in this process: the same `main` as the console script, its words and its exit code."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from sirl.cli import main, progress

CONSOLE_SCRIPT = [sys.executable, "-m", "sirl"]


def sirl(*words: object) -> tuple[int, str, str]:
    """Run `sirl WORDS`; return exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    logger = logging.getLogger("sirl")
    level = logger.level  # a command sets it, and as another process than the first to errors alone
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["sirl", *map(str, words)])
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(progress, "EVERY", progress.EVERY)
        patch.setattr(progress, "LEVEL", logging.WARNING)  # a command's stderr is what it has to say at its end
        patch.setattr(sys, "excepthook", sys.excepthook)
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0), out.getvalue(), err.getvalue()
        finally:
            logger.setLevel(level)
    raise AssertionError("the command line did not exit")
