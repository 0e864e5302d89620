"""The sections [model], [gap], [evaluate] and [judge]: how a model is opened, measured and judged."""

from __future__ import annotations

from dataclasses import dataclass

from sirl.config.checks import require
from sirl.config.requests import NOTHING, JsonObject, fields_of, json_object, require_named_secrets

ENGINES = ("transformers", "vllm")
THINKING = ("template", "on", "off")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """How a model is opened: its weights loaded here by one of two engines, or a server asked for replies."""

    dtype: str = "float32"
    # Both run code that comes with a model: only for one that you trust.
    trust_remote_code: bool = False  # of the model under test
    trusted_code: tuple[str, ...] = ()  # of judges, attackers and surrogates, by their names
    engine: str = "transformers"  # what draws replies from weights here: transformers or vllm
    thinking: str = "template"  # whether it thinks before it replies: on, off, or as its chat template does
    memory: float = 0.9  # of vllm: the share of the device's memory that it may take
    # Of an endpoint, and ours: they decide how long a run takes, never what a reply says.
    concurrency: int = 8  # requests under way at once
    requests_per_minute: float = 0.0  # at most; 0: as many as the server takes
    timeout: float = 120.0  # seconds without a byte from the server before a request counts as failed
    retries: int = 5  # further tries of a request that failed, each after a longer wait
    prefill: bool = False  # the server continues a begun reply (continue_final_message), as vLLM's does
    # Of an endpoint, what is sent: docs/targets.md says what by default, and what to set for which server.
    token_limit: str = (
        "max_tokens"  # the body field that bounds a reply; the other usual name is tried by itself
    )
    extra_body: JsonObject = NOTHING  # fields added to every body, as {"reasoning_effort": "low"}
    omit_body: tuple[str, ...] = ()  # fields left out of every body, as temperature
    extra_headers: JsonObject = NOTHING  # as {"api-key": "$AZURE_OPENAI_API_KEY"}: secrets by their variable
    extra_query: JsonObject = NOTHING  # as {"api-version": "2024-10-21"}
    key_host: str = ""  # the host, or host:port, that SIRL_API_KEY and secrets of headers and query go to
    secrets_over_http: bool = False  # secrets may go over http to another machine

    def __post_init__(self) -> None:
        require(self.engine in ENGINES, "model.engine", self.engine, " or ".join(ENGINES))
        require(self.thinking in THINKING, "model.thinking", self.thinking, "template, on or off")
        require(0 < self.memory <= 1, "model.memory", self.memory, "a share above 0 and at most 1")
        require(self.concurrency >= 1, "model.concurrency", self.concurrency, "1 or more")
        require(self.retries >= 0, "model.retries", self.retries, "0 or more")
        require(0 < self.timeout < float("inf"), "model.timeout", self.timeout, "above 0, in seconds")
        require(
            0 <= self.requests_per_minute < float("inf"),
            "model.requests_per_minute",
            self.requests_per_minute,
            "0 (no limit) or more",
        )
        require(self.token_limit.isidentifier(), "model.token_limit", self.token_limit, "the name of a field")
        for name in ("extra_body", "extra_headers", "extra_query"):
            json_object(f"model.{name}", getattr(self, name))
        ours = sorted({"messages", "model"} & {*fields_of(self.extra_body), *self.omit_body})
        require(not ours, "model.extra_body or model.omit_body", ours, "fields beside messages and model")
        require_named_secrets("header", fields_of(self.extra_headers))
        require_named_secrets("query parameter", fields_of(self.extra_query))


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """Attacks x prompts x samples, greedy by default as the field's harnesses do."""

    attacks: tuple[str, ...] = ("static",)  # ours: searches cost hours on a real model, so they are asked for
    budget: int = 0  # queries an attack that searches may spend on one prompt; 0: each attack's own default
    temperature: float = 0.0
    max_reply_tokens: int = 512
    samples: int = 1
    best_of: int = 1  # replies drawn to each attempt, of which the surest is given: a defence without training
    defence: str = ""  # what stands around the model: NAME, NAME=MODEL or my_pkg.mine:defence; docs/defences.md
    system: str = ""  # system prompt of attempts that have none: text or a file; empty: the template's own
    batch: int = 64  # replies drawn at once; part of the protocol: it fixes what a resumed run recomputes
    max_unscored: float = 0.05  # ours: a larger share without a verdict makes a run incomplete, exit code 3

    def __post_init__(self) -> None:
        require(len(self.attacks) > 0, "attacks", self.attacks, "at least one attack")
        for name in ("max_reply_tokens", "samples", "best_of", "batch"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 <= self.max_unscored <= 1, "max_unscored", self.max_unscored, "a share from 0 to 1")
        require(self.budget >= 0, "budget", self.budget, "0 (each attack's own) or more")
        require(0 <= self.temperature <= 5, "temperature", self.temperature, "0 (greedy) to 5")
        require(
            self.samples == 1 or self.temperature > 0,
            "samples",
            self.samples,
            "1 at temperature 0: greedy replies do not differ",
        )
        require(
            self.best_of == 1 or self.temperature > 0,
            "best_of",
            self.best_of,
            "1 at temperature 0: greedy replies do not differ",
        )


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """How a model that judges is asked: llm=MODEL and guard=MODEL."""

    max_tokens: int = 0  # of its answer, reasoning included; 0: ours, 512 for llm and 128 for a guard
    thinking: str = "auto"  # auto: off where its chat template leaves the choice; else as model.thinking

    def __post_init__(self) -> None:
        require(self.max_tokens >= 0, "judge.max_tokens", self.max_tokens, "0 (each judge's own) or more")
        known = ("auto", *THINKING)
        require(self.thinking in known, "judge.thinking", self.thinking, " or ".join(known))
