"""The suite of attacks: list it, check an attack, write what one sent for others to read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from sirl.attacks import ATTACKS, VARIANTS, check_attack, get_attacks
from sirl.attacks.exports import export_artefact, export_wide, single
from sirl.errors import RunError
from sirl.prompts import guarded
from sirl.records import Decoding, transcripts_of
from sirl.rundir import read_run

NARROW = 110  # columns of a terminal; in fewer, what an attack does is left out, so that each takes one line


def show() -> None:
    """List the attacks; kind, access and source always, the rest where the terminal is wide enough."""
    console = Console()
    wide = console.width >= NARROW
    table = Table("attack", "kind", "access", "source", *(["mechanism", "what it does"] if wide else []))
    table.columns[0].no_wrap = True
    for info in ATTACKS.values():
        rest = [info.mechanism, info.summary] if wide else []
        table.add_row(info.name, info.kind, info.access, info.source, *rest)
    console.print(table)
    for name, runs in VARIANTS.items():
        console.print(f"{name}/VARIANT, or {name}/* for each: {', '.join(runs)}", markup=False, highlight=False)


def check(names: Sequence[str]) -> None:
    """Check attacks and say what each of them keeps. Raises AttackError on the first promise broken."""
    for name, info in get_attacks(names).items():
        promises = check_attack(info)
        typer.echo(f"{name} keeps {len(promises)} promises: {'; '.join(promises)}")


def export(folder: Path, attack: str, out: Path, wide: bool, transcripts: str = "redacted") -> None:
    """Write the prompts that an attack sent in a run, with replies as `transcripts` says.

    Raises RunError, AttackError, ConfigError.
    """
    quoted = transcripts_of(transcripts)
    run = read_run(folder)
    settings = run.config.get("settings")
    if not settings:
        raise RunError(
            f"{folder} is a {run.kind} run", "one that attacked a model", "name a gap or evaluate run"
        )
    decoding = Decoding(settings["temperature"], max_new_tokens=settings["max_reply_tokens"])
    records = single(run.records(), attack, decoding)
    model = str(run.config["model"])
    if wide:
        text = _as_csv(export_wide(records, model))
    else:
        access = ATTACKS[attack].access if attack in ATTACKS else "unknown"
        text = json.dumps(export_artefact(records, model, access, quoted), indent=1, ensure_ascii=False) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8", newline="")
    kept = {"all": "", "none": "; replies are withheld"}.get(
        quoted, "; replies that are harmful or undecided are withheld: --transcripts all writes them"
    )
    typer.echo(f"wrote {len(records)} prompts to {out}{'' if wide else kept}")


def _as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    cells = ({k: guarded(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows)
    writer.writerows(cells)
    return text.getvalue()
