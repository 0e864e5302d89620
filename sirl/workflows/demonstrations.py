"""Demonstrations for in-context attacks, written by a model into a file for `--demonstrations`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from sirl.attacks import WRITING
from sirl.attacks.demonstrating import fresh, write_demonstrations
from sirl.attacks.demonstrations import Pair
from sirl.config import Changes, load_recipe
from sirl.errors import AttackError
from sirl.phases import phase
from sirl.workflows.models import open_target
from sirl.workflows.sources import PromptSources

LOG = logging.getLogger("sirl")
CHUNK = 32  # demonstrations between two writes


def write(spec: str, asked: PromptSources, out: Path, count: int, seed: int, changes: Changes) -> None:
    """Append the demonstrations that the file lacks, one a line: number, prompt, answer (empty: unusable).

    A file that was begun is continued, whatever became of the process. Raises AttackError where there is no
    harmful prompt to begin from, the file is of another kind, or none of it is usable.
    """
    prompts = [p for one in asked.load(seed, "harmful") for p in one.prompts if p.kind == "harmful"]
    if not prompts:
        raise AttackError(
            "no harmful prompts", "requests of the kind to demonstrate", "name some with --prompts"
        )
    known = _read(out)
    with phase("write demonstrations") as advance:
        missing = range(len(known), count)
        model = open_target(spec, load_recipe(changes=changes).model, WRITING)[0] if missing else None
        for start in missing[::CHUNK]:
            assert model is not None
            numbers = range(start, min(start + CHUNK, count))
            found = fresh(write_demonstrations(model, prompts, numbers, seed), [p for p in known if p])
            _append(out, numbers, found)
            known += found
            advance(len(known), count, spec)
    usable = sum(pair is not None for pair in known)
    if not usable:
        raise AttackError(
            f"{spec} wrote nothing usable", "requests and answers between tags", "use another model"
        )
    LOG.warning("%s holds %d demonstrations; %d were unusable", out, usable, len(known) - usable)


def _read(path: Path) -> list[Pair | None]:
    """Return what a file holds so far; a line that was torn is written anew."""
    rows = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    whole = [row for row in rows if row.endswith("\n")]
    try:
        found = [json.loads(row) for row in whole]
        pairs = [(r["prompt"], r["answer"]) if r["answer"] else None for r in found]
    except (ValueError, KeyError, TypeError) as cause:
        expected = "a new file, or one that this command began"
        raise AttackError(f"{path} is not a file of demonstrations", expected, "name another --out") from cause
    if len(whole) < len(rows):
        path.write_text("".join(whole), encoding="utf-8")
    return pairs


def _append(path: Path, numbers: Sequence[int], found: Sequence[Pair | None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for number, pair in zip(numbers, found, strict=True):
            asked, answer = pair or ("", "")
            file.write(
                json.dumps({"number": number, "prompt": asked, "answer": answer}, ensure_ascii=False) + "\n"
            )
