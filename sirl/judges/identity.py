"""A judge's name on a verdict: what it is called and the hash of all that decided: code, weights, rubric."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from sirl import reasoning
from sirl.records import Completion, Judge, Verdict

READING = tuple(sorted(Path(reasoning.__file__).parent.glob("*.py")))  # what tells an answer from a thought


@dataclass(frozen=True, slots=True)
class Signed:
    """A judge whose rules lie in more files than its own: `identity` is the name@hash of them all."""

    identity: str
    judge: Judge

    def __call__(self, completions: Sequence[Completion]) -> list[Verdict]:
        """Ask the judge."""
        return self.judge(completions)


def identify(name: str, *sources: str | Path, settings: str = "") -> str:
    """Return name@hash, where `sources` are the files that hold the judge's rules.

    `settings` are what else decides: what tells a model's weights from others, how it is asked.
    """
    content = b"".join(Path(source).read_bytes() for source in sources)
    return f"{name}@{sha256(content + settings.encode()).hexdigest()[:12]}"


def judge_name(judge: Judge) -> str:
    """Name any judge: as it says itself in `identity`, else by where it is defined and that file's hash.

    The hash is `unknown` when there is no source file.
    """
    said = getattr(judge, "identity", None)
    if isinstance(said, str):
        return said
    module = getattr(judge, "__module__", "") or "unknown"
    name = f"{module}:{getattr(judge, '__qualname__', type(judge).__qualname__)}"
    source = getattr(sys.modules.get(module), "__file__", None)
    return identify(name, source) if source else f"{name}@unknown"
