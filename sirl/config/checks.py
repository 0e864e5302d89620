"""What every section of a recipe says when a value is out of range."""

from __future__ import annotations

from sirl.errors import ConfigError


def require(holds: bool, name: str, value: object, expected: str) -> None:
    """Raise ConfigError if a setting is not what it must be."""
    if not holds:
        raise ConfigError(f"{name} = {value!r}", expected, f"change {name} in the recipe or with --set")
