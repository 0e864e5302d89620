"""What the settings of a run are made of, where pages and tables read them: a folder may be a stranger's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sirl.errors import RunError
from sirl.records.typed import require_typed

_TEXTS = list[str] | None
_CONFIG: Mapping[str, Any] = {
    **{"kind": str, "model": str, "seed": int, "dtype": str, "role": str, "shard": str, "search_judge": str},
    **{"settings": dict[str, Any], "train": dict[str, Any], "judged_again": dict[str, Any]},
    **{"prompts": list[dict[str, Any]] | None, "held_out": list[dict[str, Any]] | None},
    **{"seen_in_training": _TEXTS, "held_out_attacks": list[str], "not_asked": dict[str, Any]},
    "agreement": dict[str, dict[str, list[dict[str, Any]]]],
}
_CELL: Mapping[str, Any] = {"kind": str, "prompts": list[str], "judges": list[str]}  # of a study: names alone
_SETTINGS: Mapping[str, Any] = {
    **dict.fromkeys(("samples", "batch", "budget", "max_reply_tokens", "best_of", "longest"), int),
    **{"temperature": float, "max_unscored": float, "attacks": _TEXTS, "defence": str, "system": str},
}
_SET: Mapping[str, Any] = {  # of prompts
    **dict.fromkeys(("source", "set", "sha256", "encoding", "column"), str),
    **{"revision": str | None, "rows": int, "kept": int, "notes": list[str]},
    **dict.fromkeys(("kinds", "dropped", "assumed"), dict[str, int]),
}
_AGREEMENT: Mapping[str, Any] = {
    **dict.fromkeys(("kappa", "low", "high"), float | None),
    **{"n": int, "set": str, "seen": bool},
}
_ENVIRONMENT: Mapping[str, Any] = {"hashes": dict[str, str], "versions": dict[str, str]}


def require_shape(path: Path, config: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
    """Raise RunError if a setting or a hash of a run is not of the type that sirl writes."""
    file, is_cell = "config.json", config.get("kind") == "study"
    try:
        require_typed(config, _CELL if is_cell else _CONFIG, "")
        require_typed(config.get("settings", {}), _SETTINGS, "settings.")
        for row in () if is_cell else (*(config.get("prompts") or ()), *(config.get("held_out") or ())):
            require_typed(row, _SET, "prompts.")
        for known in config.get("agreement", {}).values():
            for row in (one for rows in known.values() for one in rows):
                require_typed(row, _AGREEMENT, "agreement.")
        file = "environment.json"
        require_typed(environment, _ENVIRONMENT, "")
    except TypeError as error:
        expected = "settings as this version of sirl writes them"
        raise RunError(
            f"{path / file} holds {error}", expected, "use the version that wrote the run"
        ) from error
