"""The section [train]: how a model is hardened."""

from __future__ import annotations

from dataclasses import dataclass

from sirl.config.checks import require
from sirl.errors import ConfigError

GATES = ("none", "start", "propensity", "certainty")
SCALES = ("group", "batch", "side", "none")
SCHEDULES = ("constant", "cosine")
TRACKERS = ("tensorboard", "wandb", "trackio")
RECOMPUTE_ABOVE = 1_000_000_000  # parameters; from here activations, not arithmetic, are what is scarce
_COUNTS = (
    *("steps", "prompts_per_step", "max_prompt_tokens", "max_reply_tokens", "micro_batch", "gate_samples"),
    *("save_every", "limit", "search_every", "search_prompts", "search_budget"),
)
_OF_REWARD = ("reward", "anchors", "penalty", "bonus")
_OF_GATE = ("gate", "search")
_OF_GRPO = ("scale_rewards", "kl", "clip")
_OF_DISTILL = ("hold_weight", "boundary")
LABEL_FREE = ("sirl", "distill")  # the other methods are baselines, which read labels
UNREAD = {  # method: the settings that it does not read
    "sirl": _OF_DISTILL,
    "distill": ("group", *_OF_REWARD, *_OF_GRPO),
    "sft": (*_OF_GATE, *_OF_REWARD, *_OF_GRPO, *_OF_DISTILL),
    "dpo": (*_OF_GATE, *_OF_REWARD, *_OF_GRPO, *_OF_DISTILL),
    "reward_model": (*_OF_GATE, *_OF_REWARD, *_OF_DISTILL),
}


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """SIRL on GRPO. One step draws `group` replies to each of `prompts_per_step` prompts."""

    method: str = "sirl"  # ours: distill; or a baseline that reads labels: sft, dpo, reward_model
    reward: str = "sirl"
    scale_rewards: str = (
        "group"  # what divides an advantage: the std of its group, the batch, its side, or none
    )
    steps: int = 30
    group: int = 4
    prompts_per_step: int = 512  # the paper's batch: 15,000 prompts in batches of 512 are its 30 steps
    temperature: float = 1.0
    max_prompt_tokens: int = 1024
    max_reply_tokens: int = 3072
    learning_rate: float = 1e-6
    schedule: str = "constant"  # of the rate over the steps: constant, or cosine, which falls to 0
    kl: float = 0.001
    clip: float = 0.2
    micro_batch: int = 8  # replies a backward pass; ours: memory only, the result does not depend on it
    lora_rank: int = 0  # 0 trains every weight, as the paper does
    save_every: int = 10  # ours: steps between checkpoints, and between probes
    trackers: tuple[str, ...] = ()  # ours: who else is told each step's numbers: tensorboard, wandb, trackio
    snapshots: tuple[int, ...] = ()  # ours: steps at which the model is also kept as it is then
    gate: str = "none"  # ours: what decides which prompts are for refusing; the paper has none
    gate_samples: int = 4  # replies of the base model to each plain request, by which the gate decides
    anchors: int = 0  # replies of a group that are the base model's own to the plain request
    penalty: float = 0.5  # nats: what a refusal loses where the base model answers
    bonus: float = 0.0  # nats: what an anchor, the base's own answer, gains there
    hold_weight: float = 4.0  # ours: what distill holds counts so many times what it carries to disguises
    boundary: float = 0.2  # ours: share of distill's rows that are requests it is undecided on; gate propensity
    disguises: tuple[str, ...] = ()  # ours: static attacks that part of the prompts come under
    disguised: float = (
        0.5  # share of the prompts that do; of an organism's own its world says, unless this is 0
    )
    prompts: tuple[str, ...] = ("pku-saferlhf",)  # published sets or files; an organism has its own
    limit: int = 15_000  # prompts of each of them
    held_out: tuple[str, ...] = ()  # ours: sets or files to evaluate on; what they ask is not trained on
    search: tuple[str, ...] = ()  # ours: attacks that search against the moving model; needs gate = start
    attacker: str = ""  # the model that writes for attacks that need one; an organism has its own
    search_every: int = 5  # steps between searches, the first step's included
    search_prompts: int = 8  # requests of a step that are searched for
    search_budget: int = 16  # queries that a search may spend on one request
    refusal_budget: float = 1.0  # ours: stop when the refused share of answered probes rose by more; 1 never
    diversity_budget: float = 1.0  # ours: stop when the distinct share of probe replies fell by more of itself
    allow_less_safe: bool = False  # ours: go on where probes that the base refuses are refused no more

    def __post_init__(self) -> None:
        require(self.method in UNREAD, "train.method", self.method, " or ".join(UNREAD))
        for name in _COUNTS:
            require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "1 or more")
        require(all(s >= 1 for s in self.snapshots), "train.snapshots", self.snapshots, "steps from 1")
        known = all(tracker in TRACKERS for tracker in self.trackers)
        require(known, "train.trackers", self.trackers, f"some of {', '.join(TRACKERS)}")
        require(self.group >= 2, "train.group", self.group, "2 or more: a reward is relative to its group")
        require(0 < self.temperature <= 5, "train.temperature", self.temperature, "above 0 and at most 5")
        require(0 < self.learning_rate < 1, "train.learning_rate", self.learning_rate, "between 0 and 1")
        require(self.schedule in SCHEDULES, "train.schedule", self.schedule, " or ".join(SCHEDULES))
        require(0 <= self.kl < float("inf"), "train.kl", self.kl, "0 or more, and finite")
        require(self.scale_rewards in SCALES, "train.scale_rewards", self.scale_rewards, " or ".join(SCALES))
        require(0 < self.clip < 1, "train.clip", self.clip, "between 0 and 1")
        require(self.gate in GATES, "train.gate", self.gate, " or ".join(GATES))
        require(
            0 <= self.anchors < self.group, "train.anchors", self.anchors, "0 or more, fewer than train.group"
        )
        require(
            self.gate != "none" or not self.anchors or "anchors" in UNREAD[self.method],
            "train.anchors",
            self.anchors,
            "0 unless train.gate says whose",
        )
        require(
            self.gate in ("start", "propensity") or not self.search,
            "train.search",
            self.search,
            "() unless train.gate is start or propensity",
        )
        require(
            bool(self.search) or not self.attacker,
            "train.attacker",
            self.attacker,
            "empty without train.search",
        )
        require(0 <= self.boundary < 1, "train.boundary", self.boundary, "a share from 0 to below 1")
        require(0 <= self.disguised <= 1, "train.disguised", self.disguised, "a share from 0 to 1")
        require(0 <= self.penalty < float("inf"), "train.penalty", self.penalty, "0 or more, and finite")
        for name in ("bonus", "hold_weight"):
            value = getattr(self, name)
            require(0 <= value < float("inf"), f"train.{name}", value, "0 or more, and finite")
        for name in ("refusal_budget", "diversity_budget"):
            require(0 <= getattr(self, name) <= 1, f"train.{name}", getattr(self, name), "a share from 0 to 1")
        require(self.lora_rank >= 0, "train.lora_rank", self.lora_rank, "0 (full) or a positive rank")
        rows = self.group * self.prompts_per_step
        require(
            "group" in UNREAD[self.method] or rows % self.micro_batch == 0,
            "train.micro_batch",
            self.micro_batch,
            f"a divisor of group x prompts_per_step = {rows}",
        )


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
