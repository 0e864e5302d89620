"""The names that settings of [train] had when it was one flat table: read in old runs, else refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sirl.config.sections import Keys, nested
from sirl.config.train import reads
from sirl.errors import ConfigError, RunError

MOVED: Mapping[str, Keys] = {
    "reward": ("reward", "kind"),
    **{name: ("reward", name) for name in ("anchors", "penalty", "bonus")},
    **{name: ("grpo", name) for name in ("scale_rewards", "kl", "clip")},
    "gate": ("gate", "kind"),
    "gate_samples": ("gate", "samples"),
    **{name: ("distill", name) for name in ("hold_weight", "boundary")},
    "search": ("search", "attacks"),
    "attacker": ("search", "attacker"),
    **{f"search_{name}": ("search", name) for name in ("every", "prompts", "budget")},
    **{name: ("stop", name) for name in ("refusal_budget", "diversity_budget", "allow_less_safe")},
}


def refuse_renamed(settings: Any) -> None:
    """Raise ConfigError if a table of [train] has a setting by the name that it had."""
    for name in _flat(settings) if isinstance(settings, Mapping) else ():
        now = ".".join(("train", *MOVED[name]))
        raise ConfigError(f"setting train.{name}", f"{now}, its name now", f"write {now}")


def now_named(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's config.json holds, settings of training by the names that they have now.

    What the method of an old run did not read is left out.
    """
    return {name: _now(value) if name.startswith("train") else value for name, value in config.items()}


def refuse_run_of_before(path: Path, config: Mapping[str, Any]) -> None:
    """Raise RunError if the settings of a run's config.json have the names of before: it is not continued."""
    if now_named(config) != config:
        raise RunError(
            f"{path} holds a run of an earlier version of sirl, whose settings of training had other names",
            "a run of this version to continue",
            "continue it with the version that began it, or name another --out",
        )


def _now(settings: Any) -> Any:
    if not isinstance(settings, Mapping) or not _flat(settings):
        return settings
    method = str(settings.get("method", "sirl"))
    moved = {MOVED.get(name, (name,)): value for name, value in settings.items()}
    return nested({keys: value for keys, value in moved.items() if reads(method, keys)})


def _flat(settings: Mapping[str, Any]) -> list[str]:
    return [name for name, value in settings.items() if name in MOVED and not isinstance(value, Mapping)]
