"""Which of the processes of a launch this one is, as the launcher says in the environment.

The first process writes and speaks; the others wait and read. How they meet is the room training's matter.
"""

from __future__ import annotations

from os import environ

from sirl.errors import ConfigError


def count() -> int:
    """Return how many processes were launched together, over all machines; 1 without a launcher."""
    return int(environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return int(environ.get("RANK", "0"))


def is_first() -> bool:
    """Say whether this is the process that writes and speaks."""
    return rank() == 0


def sharded() -> bool:
    """Say whether the weights in training are to be spread over the processes, by FSDP or DeepSpeed."""
    return count() > 1 and (_asked("ACCELERATE_USE_FSDP") or _asked("ACCELERATE_USE_DEEPSPEED"))


def refuse_shards(what: str) -> None:
    """Raise ConfigError if weights are sharded, which `what` cannot do with."""
    if sharded():
        raise ConfigError(f"{what} with sharded weights", "whole copies (DDP)", "launch without FSDP or ZeRO")


def check_launch() -> None:
    """Raise ConfigError if FSDP was asked for in a form that we cannot train in."""
    if not _asked("ACCELERATE_USE_FSDP"):
        return
    version, form = environ.get("FSDP_VERSION", "1"), environ.get("FSDP_STATE_DICT_TYPE", "")
    if version != "2":
        raise ConfigError(f"fsdp_version = {version}", "2", "launch with --fsdp_version 2")
    if form not in ("FULL_STATE_DICT", "0"):
        raise ConfigError(
            f"fsdp_state_dict_type = {form or 'unset'}",
            "FULL_STATE_DICT: a checkpoint is an ordinary model folder",
            "launch with --fsdp_state_dict_type FULL_STATE_DICT",
        )


def _asked(name: str) -> bool:
    return environ.get(name, "").lower() in ("true", "1")
