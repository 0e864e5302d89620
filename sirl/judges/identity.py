"""A judge's name on a verdict: what it is called and the hash of the code that decided."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

from sirl.records import Judge


def identify(name: str, source: str | Path) -> str:
    """Return name@hash, where `source` is the file that holds the judge's rules."""
    return f"{name}@{sha256(Path(source).read_bytes()).hexdigest()[:12]}"


def judge_name(judge: Judge) -> str:
    """Name any judge by where it is defined; its hash is `unknown` when it has no source file."""
    module = getattr(judge, "__module__", "") or "unknown"
    name = f"{module}:{getattr(judge, '__qualname__', type(judge).__qualname__)}"
    source = getattr(sys.modules.get(module), "__file__", None)
    return identify(name, source) if source else f"{name}@unknown"
