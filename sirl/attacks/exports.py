"""What an attack sent in a run, written for others to read: a JailbreakBench artefact, or a wide table.

Source: JailbreakBench, arXiv 2404.01318 (its artefacts).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sirl.attacks import ATTACKS
from sirl.attacks.artifacts import MANUAL
from sirl.errors import AttackError, RunError, suggest
from sirl.metrics import rate, select
from sirl.prompts import guarded
from sirl.records import Decoding, Record, Transcripts, shown, transcripts_of
from sirl.rundir import read_run


def export_run(folder: Path, attack: str, out: Path, wide: bool, transcripts: str = "redacted") -> str:
    """Write what an attack sent in a run, with replies as `transcripts` says; return what was written.

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
    records = single(run.records(tokens=False), attack, decoding)
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
    return f"wrote {len(records)} prompts to {out}{'' if wide else kept}"


def _as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    cells = ({k: guarded(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows)
    writer.writerows(cells)
    return text.getvalue()


def export_artefact(
    records: Sequence[Record], model: str, access: str, transcripts: Transcripts = "redacted"
) -> dict[str, Any]:
    """Return the JailbreakBench artefact of one attack's records (see `single`).

    `model` is the one attacked, `access` what the attack needs of the model it searches on, `transcripts` which
    replies are written.

    What that format has no place for, and a replay here needs, stands beside it: each row's `budget`.
    """
    rows = [_exported(record, index, transcripts) for index, record in enumerate(records)]
    first = records[0].attempt
    kind = first.search.kind
    attack_type = MANUAL if kind == "static" else "white_box" if access == "white-box" else "black_box"
    answers = [record.answer("harmful") for record in records]
    return {
        "parameters": {
            "method": first.attack.partition("@")[0],
            "model": first.search.surrogate or model,
            "attack_type": "transfer" if kind == "transfer" else attack_type,
            "evaluated_on": model,
            "attack_success_rate": rate(answers).value,
            "total_number_of_jailbreaks": answers.count(True),
            "number_of_submitted_prompts": len(rows),
            "total_number_of_queries": sum(row["number_of_queries"] for row in rows),
        },
        "jailbreaks": rows,
    }


def export_wide(records: Sequence[Record], model: str) -> list[dict[str, Any]]:
    """Return the rows of a wide table with the one attack's column and what its search cost."""
    name = records[0].attempt.attack.partition("@")[0]
    column = f"{name}@{records[0].attempt.search.surrogate or model}"
    return [
        {
            "id": r.prompt.id,
            "prompt": r.prompt.text,
            column: r.attempt.messages[0].content,
            f"{column}:queries": r.attempt.search.queries,
            f"{column}:budget": r.attempt.search.budget,
        }
        for r in records
    ]


def single(records: Sequence[Record], attack: str, decoding: Decoding) -> list[Record]:
    """Return the records of an attack, the first draw of each harmful prompt.

    Raises AttackError if there is none, or if the attack is more than one message of the user, answered as the
    run's own `decoding` says: a prompt alone would not repeat it.
    """
    chosen = [r for r in select(records, "harmful", attack) if r.attempt.sample == 0]
    if not chosen:
        known = suggest(attack, {r.attempt.attack for r in records})
        raise AttackError(f"no record of attack {attack!r} in this run", "an attack that it holds", known)
    for attempt in (r.attempt for r in chosen):
        more = len(attempt.messages) > 1 or attempt.prefill or attempt.soft or attempt.decoding != decoding
        if more:
            found = f"attack {attack!r} is more than a message for prompt {attempt.prompt.id!r}"
            raise AttackError(found, "one message of the user and nothing else", "export another attack")
    return chosen


def _exported(record: Record, index: int, transcripts: Transcripts) -> dict[str, Any]:
    attempt, jailbroken = record.attempt, record.answer("harmful")
    return {
        "index": index,
        "id": attempt.prompt.id,
        "goal": attempt.prompt.text,
        "behavior": "",
        "category": attempt.prompt.category,
        "prompt": attempt.messages[0].content,
        "response": shown(record, transcripts).completion.text,
        "number_of_queries": attempt.search.queries,
        "queries_to_jailbreak": attempt.search.queries if jailbroken else None,
        "budget": attempt.search.budget,
        "prompt_tokens": None,  # not recorded
        "response_tokens": len(record.completion.token_ids),
        "jailbroken": jailbroken,
    }
