"""Every setting, with its default and where that comes from.

Settings are frozen dataclasses read from a recipe (TOML) and changed with `--set section.key=value`.
An unknown key or a value out of range fails; nothing is silently ignored. Defaults are the paper's
(arXiv 2510.01088, the settings table of its appendix) unless the comment says otherwise.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from sirl.errors import ConfigError, suggest

GATES = ("none", "start")
RECIPES = Path(__file__).parent / "recipes"
ENGINES = ("transformers", "vllm")


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{name} = {value!r}", expected, f"change {name} in the recipe or with --set")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """How a model is opened: its weights loaded here by one of two engines, or a server asked for replies."""

    dtype: str = "float32"
    trust_remote_code: bool = False  # runs code that comes with the model: only for a model you trust
    engine: str = "transformers"  # what draws replies from weights here: transformers or vllm
    memory: float = 0.9  # of vllm: the share of the device's memory that it may take
    # Of an endpoint, and ours: they decide how long a run takes, never what a reply says.
    concurrency: int = 8  # requests under way at once
    requests_per_minute: float = 0.0  # at most; 0: as many as the server takes
    timeout: float = 120.0  # seconds without a byte from the server before a request counts as failed
    retries: int = 5  # further tries of a request that failed, each after a longer wait
    prefill: bool = False  # the server continues a begun reply (continue_final_message), as vLLM's does

    def __post_init__(self) -> None:
        _require(self.engine in ENGINES, "model.engine", self.engine, " or ".join(ENGINES))
        _require(0 < self.memory <= 1, "model.memory", self.memory, "a share above 0 and at most 1")
        _require(self.concurrency >= 1, "model.concurrency", self.concurrency, "1 or more")
        _require(self.retries >= 0, "model.retries", self.retries, "0 or more")
        _require(0 < self.timeout < float("inf"), "model.timeout", self.timeout, "above 0, in seconds")
        _require(
            0 <= self.requests_per_minute < float("inf"),
            "model.requests_per_minute",
            self.requests_per_minute,
            "0 (no limit) or more",
        )


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """SIRL on GRPO. One step draws `group` replies to each of `prompts_per_step` prompts."""

    reward: str = "sirl"
    scale_rewards: str = "group"  # what an advantage is divided by: the std of its group, of the batch, or none
    steps: int = 30
    group: int = 4
    prompts_per_step: int = 128  # 512 replies a step, the paper's batch
    temperature: float = 1.0
    max_prompt_tokens: int = 1024
    max_reply_tokens: int = 3072
    learning_rate: float = 1e-6
    kl: float = 0.001
    clip: float = 0.2
    micro_batch: int = 8  # replies a backward pass; ours: memory only, the result does not depend on it
    lora_rank: int = 0  # 0 trains every weight, as the paper does
    probe_every: int = 10  # ours: steps between probes of refusal
    save_every: int = 10  # ours: steps between checkpoints
    gate: str = "none"  # ours: what decides which reward a prompt gets; none (the paper) or start
    gate_samples: int = 4  # replies of the frozen start to each plain request, by which the gate decides
    anchors: int = 0  # replies of a group that are the frozen start's own to the plain request
    penalty: float = 0.5  # nats: what a refusal loses where the frozen start answers
    disguises: tuple[str, ...] = ()  # ours: static attacks that part of the prompts come under
    disguised: float = 0.5  # share of the prompts that do

    def __post_init__(self) -> None:
        for name in ("steps", "prompts_per_step", "max_prompt_tokens", "max_reply_tokens", "micro_batch"):
            _require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "1 or more")
        for name in ("probe_every", "save_every"):
            _require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "1 or more")
        _require(self.group >= 2, "train.group", self.group, "2 or more: a reward is relative to its group")
        _require(0 < self.temperature <= 5, "train.temperature", self.temperature, "above 0 and at most 5")
        _require(0 < self.learning_rate < 1, "train.learning_rate", self.learning_rate, "between 0 and 1")
        _require(0 <= self.kl < float("inf"), "train.kl", self.kl, "0 or more, and finite")
        scales = ("group", "batch", "none")
        _require(self.scale_rewards in scales, "train.scale_rewards", self.scale_rewards, " or ".join(scales))
        _require(0 < self.clip < 1, "train.clip", self.clip, "between 0 and 1")
        _require(self.gate in GATES, "train.gate", self.gate, " or ".join(GATES))
        _require(self.gate_samples >= 1, "train.gate_samples", self.gate_samples, "1 or more")
        _require(
            0 <= self.anchors < self.group, "train.anchors", self.anchors, "0 or more, fewer than train.group"
        )
        _require(
            self.gate != "none" or not self.anchors,
            "train.anchors",
            self.anchors,
            "0 unless train.gate = start",
        )
        _require(0 <= self.disguised <= 1, "train.disguised", self.disguised, "a share from 0 to 1")
        _require(0 <= self.penalty < float("inf"), "train.penalty", self.penalty, "0 or more, and finite")
        _require(self.lora_rank >= 0, "train.lora_rank", self.lora_rank, "0 (full) or a positive rank")
        rows = self.group * self.prompts_per_step
        _require(
            rows % self.micro_batch == 0,
            "train.micro_batch",
            self.micro_batch,
            f"a divisor of group x prompts_per_step = {rows}",
        )


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """Attacks x prompts x samples, greedy by default as the field's harnesses do."""

    attacks: tuple[str, ...] = ("static",)  # ours: searches cost hours on a real model, so they are asked for
    budget: int = 0  # queries an attack that searches may spend on one prompt; 0: each attack's own default
    temperature: float = 0.0
    max_reply_tokens: int = 512
    samples: int = 1
    system: str = ""  # system prompt of attempts that have none: text or a file; empty: the template's own
    batch: int = 64  # replies drawn at once; part of the protocol: it fixes what a resumed run recomputes
    max_unscored: float = 0.05  # ours: a larger share without a verdict makes a run incomplete, exit code 3

    def __post_init__(self) -> None:
        _require(len(self.attacks) > 0, "attacks", self.attacks, "at least one attack")
        for name in ("max_reply_tokens", "samples", "batch"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _require(0 <= self.max_unscored <= 1, "max_unscored", self.max_unscored, "a share from 0 to 1")
        _require(self.budget >= 0, "budget", self.budget, "0 (each attack's own) or more")
        _require(0 <= self.temperature <= 5, "temperature", self.temperature, "0 (greedy) to 5")
        _require(
            self.samples == 1 or self.temperature > 0,
            "samples",
            self.samples,
            "1 at temperature 0: greedy replies do not differ",
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """One published setting: how to measure the gap, train, and evaluate one kind of model."""

    model: ModelConfig = field(default_factory=ModelConfig)
    gap: EvaluateConfig = field(default_factory=lambda: EvaluateConfig(temperature=1.0))
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


def system_text(value: str) -> str:
    """Return a system prompt: the text of a file if `value` names one, else `value` itself.

    Raises ConfigError if a file is named that cannot be read.
    """
    named = len(value) < 256 and "\n" not in value and Path(value).suffix in (".txt", ".md")
    if not named:
        return value.strip()
    try:
        return Path(value).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"system = {value!r} cannot be read ({error})", "a text file", "check it") from error


def load_recipe(name: str = "default", changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe by shipped name or by path, then apply `section.key=value` changes.

    Raises ConfigError on an unknown recipe, section or key, on a value of the wrong type or out of range.
    """
    tables: dict[str, dict[str, Any]] = {}
    for section, table in _read(name).items():
        if not isinstance(table, dict):
            raise ConfigError(
                f"{section} outside a section in {name}",
                "settings in [model], [gap], [train] or [evaluate]",
                "move it into its section",
            )
        tables[section] = dict(table)
    for change in changes:
        section, key, value = _split_change(change)
        tables.setdefault(section, {})[key] = value
    recipe = Recipe()
    for section, table in tables.items():
        if section not in {f.name for f in fields(Recipe)}:
            known = suggest(section, (f.name for f in fields(Recipe)))
            raise ConfigError(f"section {section!r}", "a section of a recipe", known)
        recipe = replace(recipe, **{section: _apply(getattr(recipe, section), section, table)})
    return recipe


def _read(name: str) -> Mapping[str, Any]:
    shipped = RECIPES / f"{name}.toml"
    path = shipped if shipped.is_file() else Path(name)
    if not path.is_file():
        known = suggest(name, (p.stem for p in RECIPES.glob("*.toml")))
        raise ConfigError(f"recipe {name!r}", "a shipped recipe or a TOML file", known)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML ({error})", "a TOML file", "mend that line") from error


def _split_change(change: str) -> tuple[str, str, Any]:
    name, equals, text = change.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and section and key):
        raise ConfigError(f"--set {change!r}", "section.key=value", "for example --set train.steps=60")
    try:
        return section, key, tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return section, key, text.strip()  # a bare word is text


def _apply(config: Any, section: str, table: Mapping[str, Any]) -> Any:
    types = get_type_hints(type(config))
    changes: dict[str, Any] = {}
    for key, value in table.items():
        if key not in types:
            raise ConfigError(f"setting {section}.{key}", "a known setting", suggest(key, types))
        changes[key] = _convert(f"{section}.{key}", types[key], value)
    return replace(config, **changes)


def _convert(name: str, kind: Any, value: Any) -> Any:
    if kind == tuple[str, ...]:
        names = value.split(",") if isinstance(value, str) else value
        if isinstance(names, list) and all(isinstance(n, str) for n in names):
            return tuple(n.strip() for n in names)
        raise ConfigError(f"{name} = {value!r}", "a value of type list of text", "change it")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{name} = {value!r}", f"a value of type {kind.__name__}", "change it")
    return value
