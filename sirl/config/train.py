"""The section [train]: how a model is hardened. A table in it belongs to the methods that read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args

from msgspec import Meta

from sirl.config.sections import Amount, Count, Keys, Section, Share, kinds_of, note, require, unusual
from sirl.errors import ConfigError

Method = Literal["sirl", "distill", "sft", "dpo", "reward_model"]
Schedule = Literal["constant", "cosine"]
METHODS: tuple[str, ...] = get_args(Method)
LABEL_FREE = ("sirl", "distill")  # the other methods are baselines, which read labels
RECOMPUTE_ABOVE = 1_000_000_000  # parameters; from here activations, not arithmetic, are what is scarce
Names = tuple[str, ...]


class ReadBy(tuple[str, ...]):
    """Beside a setting of [train] itself: the methods that read it, where not all do."""


@dataclass(frozen=True, slots=True)
class RewardConfig(Section):
    """What a reply is rewarded for."""

    NAME: ClassVar[str] = "train.reward"
    READ_BY: ClassVar[Names] = ("sirl",)

    kind: Annotated[str, "The reward: sirl, or one of its controls (docs/method.md)."] = "sirl"
    anchors: Annotated[
        int,
        Meta(ge=0),
        "Replies of a group that are the base model's own to the plain request.",
    ] = 0
    penalty: Annotated[Amount, "Nats that a refusal loses where the base model answers."] = 0.5
    bonus: Annotated[Amount, "Nats that an anchor, the base model's own answer, gains there."] = 0.0


@dataclass(frozen=True, slots=True)
class GrpoConfig(Section):
    """The loss of GRPO."""

    NAME: ClassVar[str] = "train.grpo"
    READ_BY: ClassVar[Names] = ("sirl", "reward_model")

    scale_rewards: Annotated[
        Literal["group", "batch", "side", "none"],
        "What divides an advantage: the deviation of its group, the batch, its side, or none.",
    ] = "group"
    kl: Annotated[Amount, "Weight of the KL to the base model; 0 loads no reference."] = 0.001
    clip: Annotated[float, Meta(gt=0, lt=1), "How far the ratio of probabilities may leave 1."] = 0.2


@dataclass(frozen=True, slots=True)
class GateConfig(Section):
    """What decides which prompts are for refusing; the paper has no gate."""

    NAME: ClassVar[str] = "train.gate"
    READ_BY: ClassVar[Names] = LABEL_FREE

    kind: Annotated[
        Literal["none", "start", "propensity"],
        "By what: the replies that the base model gives, or how likely it is to refuse.",
    ] = "none"
    samples: Annotated[
        Count,
        "Replies of the base model to a plain request: the gate decides by them, a baseline takes a good one.",
        ReadBy(METHODS),
    ] = 4


@dataclass(frozen=True, slots=True)
class DistillConfig(Section):
    """How what is carried over and what is held are weighed."""

    NAME: ClassVar[str] = "train.distill"
    READ_BY: ClassVar[Names] = ("distill",)

    hold_weight: Annotated[
        Amount, "How many times as much what is held counts as what is carried to disguises."
    ] = 1.0
    boundary: Annotated[
        int,
        Meta(ge=0),
        "Requests close to what the base model refuses, beside each prompt of a step: its decision is held; "
        "with gate.kind = propensity.",
    ] = 2


@dataclass(frozen=True, slots=True)
class SearchConfig(Section):
    """Attacks that search against the moving model, to train on what they find."""

    NAME: ClassVar[str] = "train.search"
    READ_BY: ClassVar[Names] = LABEL_FREE

    attacks: Annotated[Names, "The attacks; they need the gate start or propensity. None: no search."] = ()
    attacker: Annotated[str, "The model that writes for attacks that need one; an organism has its own."] = ""
    every: Annotated[Count, "Steps between searches, the first step's included."] = 5
    prompts: Annotated[Count, "Requests of a step that are searched for."] = 8
    budget: Annotated[Count, "Queries that a search may spend on one request."] = 16


@dataclass(frozen=True, slots=True)
class StopConfig(Section):
    """When the stop rule ends training, by probes that are held out of it; ours."""

    NAME: ClassVar[str] = "train.stop"
    READ_BY: ClassVar[Names] = METHODS

    refusal_budget: Annotated[
        Share, "By how much the refused share of answered probes may rise; 1: never stop for it."
    ] = 1.0
    diversity_budget: Annotated[
        Share, "The share of distinct probe replies that may be lost; 1: never stop for it."
    ] = 1.0
    allow_less_safe: Annotated[bool, "Go on where probes that the base model refuses are refused no more."] = (
        False
    )


@dataclass(frozen=True, slots=True)
class TrainConfig(Section):
    """How a model is hardened: what every method reads, and a table for what only some read."""

    NAME: ClassVar[str] = "train"

    method: Annotated[
        Method, "sirl; ours: distill; or a baseline that reads labels: sft, dpo, reward_model."
    ] = "sirl"
    steps: Annotated[Count, "Updates of the weights."] = 30
    group: Annotated[
        int,
        Meta(ge=2),
        "Replies drawn to each prompt of a step; a reward is relative to its group.",
        ReadBy(tuple(method for method in METHODS if method != "distill")),
    ] = 4
    prompts_per_step: Annotated[
        Count, "Prompts of a step; the paper's 15,000 in batches of 512 are its 30 steps."
    ] = 512
    temperature: Annotated[float, Meta(gt=0, le=5), "At which replies are drawn."] = 1.0
    max_prompt_tokens: Annotated[Count, "Longer prompts are left out."] = 1024
    max_reply_tokens: Annotated[Count, "At which a reply is cut off."] = 3072
    learning_rate: Annotated[float, Meta(gt=0, lt=1), "Of AdamW."] = 1e-6
    schedule: Annotated[Schedule, "Of the rate over the steps; cosine falls to 0."] = "constant"
    micro_batch: Annotated[
        Count, "Replies of a backward pass: memory only, the result does not depend on it."
    ] = 8
    lora_rank: Annotated[int, Meta(ge=0), "Rank of the adapter; 0 trains every weight, as the paper does."] = 0
    save_every: Annotated[Count, "Steps between checkpoints, and between probes."] = 10
    trackers: Annotated[
        tuple[Literal["tensorboard", "wandb", "trackio"], ...],
        "Who else is told each step's numbers: tensorboard, wandb, trackio.",
    ] = ()
    snapshots: Annotated[tuple[Count, ...], "Steps at which the model is also kept as it is then."] = ()
    disguises: Annotated[Names, "Static attacks that part of the prompts come under."] = ()
    disguised: Annotated[
        Share, "Share of the prompts that do; of an organism's own its world says, unless 0."
    ] = 0.5
    prompts: Annotated[Names, "Published sets or files to train on; an organism has its own."] = (
        "pku-saferlhf",
    )
    limit: Annotated[Count, "Prompts of each of them."] = 15_000
    held_out: Annotated[Names, "Sets or files to evaluate on; what they ask is not trained on."] = ()
    reward: RewardConfig = field(default_factory=RewardConfig)
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    stop: StopConfig = field(default_factory=StopConfig)

    def __post_init__(self) -> None:
        """Check every value, and what must hold of several together."""
        Section.__post_init__(self)
        for keys, value in unusual(self):
            refuse_unread(self.method, keys, value)
        anchors, search, gate = self.reward.anchors, self.search, self.gate.kind
        require(anchors < self.group, "train.reward.anchors", anchors, "0 or more, fewer than train.group")
        require(
            gate != "none" or not anchors,
            "train.reward.anchors",
            anchors,
            "0 unless train.gate.kind says whose",
        )
        needed = gate in ("start", "propensity") or not search.attacks
        unless = "() unless train.gate.kind is start or propensity"
        require(needed, "train.search.attacks", search.attacks, unless)
        alone = bool(search.attacks) or not search.attacker
        require(alone, "train.search.attacker", search.attacker, "empty without train.search.attacks")
        rows = self.group * self.prompts_per_step
        require(
            not reads(self.method, ("group",)) or rows % self.micro_batch == 0,
            "train.micro_batch",
            self.micro_batch,
            f"a divisor of group x prompts_per_step = {rows}",
        )


def readers(keys: Keys) -> Names:
    """Return the methods that read a setting of [train]; all of them if it is not known."""
    kind: Any = TrainConfig
    told = METHODS
    for key in keys:
        kind = kinds_of(kind).get(key) if is_dataclass(kind) else None
        told = getattr(kind, "READ_BY", None) or note(kind, ReadBy) or told
    return told


def reads(method: str, keys: Keys) -> bool:
    """Say whether a method reads a setting of [train]."""
    return method in readers(keys)


def refuse_unread(method: str, keys: Keys, value: Any) -> None:
    """Raise ConfigError if a method does not read a setting of [train]."""
    name = ".".join(("train", *keys))
    if not reads(method, keys):
        raise ConfigError(
            f"{name} = {value!r} with train.method = {method!r}",
            f"a setting that {method} reads",
            f"leave it out: {name} is read by {' and '.join(readers(keys))}",
        )


def reward_of(settings: Mapping[str, Any]) -> str:
    """Return the reward that settings of [train] name, as a run's config.json has them."""
    return str(settings.get("reward", {}).get("kind", RewardConfig().kind))


def attacks_met(settings: Mapping[str, Any]) -> Names:
    """Return the attacks that training by settings of [train] meets."""
    return (*settings.get("disguises", ()), *settings.get("search", {}).get("attacks", ()))


def require_trainable(dtype: str, config: TrainConfig) -> None:
    """Raise ConfigError if weights in bfloat16 would all be trained.

    Neighbouring bfloat16 numbers are 0.4 to 0.8 % apart: an update of 1e-6 rounds away for almost every weight.
    """
    if dtype == "bfloat16" and not config.lora_rank:
        raise ConfigError(
            "weights in bfloat16 that are all trained: most updates would be rounded away",
            "float32 weights, with which a GPU still computes in bfloat16, or an adapter",
            "use --set model.dtype=float32 or --set train.lora_rank=16",
        )
