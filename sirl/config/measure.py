"""The sections [model], [gap], [evaluate] and [judge]: how a model is opened, measured and judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_args

from msgspec import Meta

from sirl.config.requests import NOTHING, JsonObject, fields_of, require_named_secrets
from sirl.config.sections import Amount, Count, Section, Share, require

Engine = Literal["transformers", "vllm"]
Thinking = Literal["template", "on", "off"]
AnyThinking = Literal["auto", Thinking]  # of a judge
THINKING: tuple[str, ...] = get_args(Thinking)
WholeNumber = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class ModelConfig(Section):
    """How a model is opened: its weights loaded here by one of two engines, or a server asked for replies.

    What decides how an endpoint is asked is ours; most of it decides how long a run takes, never what a reply
    says. docs/targets.md says what is sent by default, and what to set for which server.
    """

    NAME: ClassVar[str] = "model"

    dtype: Annotated[str, "Precision of the weights: float32 or bfloat16."] = "float32"
    trust_remote_code: Annotated[bool, "Run code that comes with the model: only of one that you trust."] = (
        False
    )
    trusted_code: Annotated[tuple[str, ...], "Judges, attackers and surrogates whose own code may run."] = ()
    engine: Annotated[Engine, "What draws replies from weights here."] = "transformers"
    thinking: Annotated[Thinking, "Whether it thinks before it replies; template: as its own has it."] = (
        "template"
    )
    memory: Annotated[float, Meta(gt=0, le=1), "Share of the device's memory that vLLM may take."] = 0.9
    concurrency: Annotated[Count, "Requests to an endpoint under way at once."] = 8
    requests_per_minute: Annotated[Amount, "To an endpoint, at most; 0: as many as it takes."] = 0.0
    timeout: Annotated[float, Meta(gt=0), "Seconds without a byte before a request counts as failed."] = 120.0
    retries: Annotated[WholeNumber, "Further tries of a failed request, each after a longer wait."] = 5
    prefill: Annotated[bool, "The server continues a begun reply (continue_final_message), as vLLM's."] = False
    token_limit: Annotated[str, "Field of the body that bounds a reply; the other usual one is tried."] = (
        "max_tokens"
    )
    extra_body: Annotated[JsonObject, 'Fields added to every body, as {"reasoning_effort": "low"}.'] = NOTHING
    omit_body: Annotated[tuple[str, ...], "Fields left out of every body, as temperature."] = ()
    extra_headers: Annotated[JsonObject, "Headers; secrets by their variable, as $AZURE_OPENAI_API_KEY."] = (
        NOTHING
    )
    extra_query: Annotated[JsonObject, 'Parameters of the address, as {"api-version": "2024-10-21"}.'] = NOTHING
    key_host: Annotated[str, "Host, or host:port, that SIRL_API_KEY and named secrets go to."] = ""
    secrets_over_http: Annotated[bool, "Secrets may go over http to another machine."] = False

    def __post_init__(self) -> None:
        """Check every value, and what an endpoint would be sent."""
        Section.__post_init__(self)
        require(self.token_limit.isidentifier(), "model.token_limit", self.token_limit, "the name of a field")
        ours = sorted({"messages", "model"} & {*fields_of(self.extra_body), *self.omit_body})
        require(not ours, "model.extra_body or model.omit_body", ours, "fields beside messages and model")
        require_named_secrets("header", fields_of(self.extra_headers))
        require_named_secrets("query parameter", fields_of(self.extra_query))


@dataclass(frozen=True, slots=True)
class EvaluateConfig(Section):
    """Attacks x prompts x samples, greedy by default as the field's harnesses do."""

    NAME: ClassVar[str] = "evaluate"

    attacks: Annotated[
        tuple[str, ...],
        "Names, groups or my_pkg.mine:attack. Searches cost hours on a real model: ask for them.",
    ] = ("static",)
    budget: Annotated[WholeNumber, "Queries of a search on one prompt; 0: each attack's own default."] = 0
    temperature: Annotated[float, Meta(ge=0, le=5), "At which replies are drawn; 0: greedily."] = 0.0
    max_reply_tokens: Annotated[Count, "At which a reply is cut off."] = 512
    samples: Annotated[Count, "Replies to each attempt."] = 1
    best_of: Annotated[Count, "Replies drawn of which the surest is given: a defence without training."] = 1
    defence: Annotated[str, "What stands around the model: NAME, NAME=MODEL or my_pkg.mine:defence."] = ""
    system: Annotated[
        str, "System prompt where an attempt has none: text or a file; empty: the template's."
    ] = ""
    batch: Annotated[
        Count, "Replies drawn at once; part of the protocol: it fixes what a resumed run repeats."
    ] = 64
    max_unscored: Annotated[Share, "A larger share without a verdict makes a run incomplete, exit code 3."] = (
        0.05
    )

    def __post_init__(self) -> None:
        """Check every value, and that draws can differ where there are several."""
        Section.__post_init__(self)
        require(len(self.attacks) > 0, "attacks", self.attacks, "at least one attack")
        for name in ("samples", "best_of"):
            several = getattr(self, name)
            differ = several == 1 or self.temperature > 0
            require(differ, name, several, "1 at temperature 0: greedy replies do not differ")


@dataclass(frozen=True, slots=True)
class JudgeConfig(Section):
    """How a model that judges is asked: llm=MODEL and guard=MODEL."""

    NAME: ClassVar[str] = "judge"

    max_tokens: Annotated[
        WholeNumber, "Of its answer, reasoning included; 0: 512 for llm, 128 for a guard."
    ] = 0
    thinking: Annotated[
        AnyThinking,
        "auto: off where its chat template leaves the choice; else as model.thinking.",
    ] = "auto"
