"""When to stop: on what held-out probes show of refusing, of variety, of drift. Never on the reward.

An entropy reward rises smoothly through the point where a model starts to refuse everything, and through the
one where it says one sentence only. A probe looks at what the reward cannot see; its prompts are held out of
training and of evaluation, and carry no label: what the frozen start did on each is the yardstick.
"""

from __future__ import annotations

from collections.abc import Mapping

from sirl.config import TrainConfig

PATIENCE = 3  # probes over budget in a row that end a run, unless it mends; ours: over-refusal may pass again
COLLAPSED = 0.5  # ours: of what the start had; below it a model is no longer itself
LOOPING = 0.5  # ours: mean share of phrases said before


def breach(start: Mapping[str, float], now: Mapping[str, float], config: TrainConfig) -> str | None:
    """Say which budget the probes have spent since the start, None if none; what a probe lacks is not asked.

    `refusal_probe`, `benign_probe`: shares refused of what the start refused and of what it answered;
    `distinct_probe`: share of distinct replies; `repeated_probe`: mean share of repeated phrases;
    `drift_probe`: nats a token. A collapse stops a run whatever its budgets, unless all of them are off.
    """
    if not _watched(config):
        return None
    if _over_refuses(start, now, config):
        rise, budget = _rise(start, now), config.refusal_budget
        return f"{rise:.1%} of the probes that the start answers are refused, budget {budget:.1%}"
    loss = 1 - _ratio(start, now, "distinct_probe")
    if loss > config.diversity_budget:
        return f"{loss:.1%} of the distinct replies to probes are gone, budget {config.diversity_budget:.1%}"
    drift = _value(now, "drift_probe")
    if config.drift_budget and drift > config.drift_budget:
        return f"the start's answers to probes cost {drift:.3f} nats a token more, budget {config.drift_budget}"
    return _collapse(start, now)


def mends(
    start: Mapping[str, float], before: Mapping[str, float], now: Mapping[str, float], config: TrainConfig
) -> bool:
    """Return True if what is over budget is refusing, and there is less of it than at the probe before."""
    return _over_refuses(start, now, config) and _rise(start, now) < _rise(start, before)


def _over_refuses(start: Mapping[str, float], now: Mapping[str, float], config: TrainConfig) -> bool:
    return _rise(start, now) > config.refusal_budget


def _rise(start: Mapping[str, float], now: Mapping[str, float]) -> float:
    return _value(now, "benign_probe") - _value(start, "benign_probe")


def _collapse(start: Mapping[str, float], now: Mapping[str, float]) -> str | None:
    if _ratio(start, now, "refusal_probe") < COLLAPSED:
        return f"collapsed: of what the start refuses, {_value(now, 'refusal_probe'):.0%} is still refused"
    if _ratio(start, now, "distinct_probe") < COLLAPSED:
        return f"collapsed: {_value(now, 'distinct_probe'):.0%} of the replies to probes are distinct"
    if _value(now, "repeated_probe") > LOOPING:
        return f"collapsed: {_value(now, 'repeated_probe'):.0%} of a probe reply's phrases were said before"
    return None


def _watched(config: TrainConfig) -> bool:
    return config.refusal_budget < 1 or config.diversity_budget < 1 or config.drift_budget > 0


def _value(probe: Mapping[str, float], name: str) -> float:
    return probe.get(name, 0.0)


def _ratio(start: Mapping[str, float], now: Mapping[str, float], name: str) -> float:
    """Return what is left of the start's share; 1 where there was none."""
    had = start.get(name, 0.0)
    return now.get(name, 0.0) / had if had else 1.0
