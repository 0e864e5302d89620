"""The body of a request as one server takes it.

What is sent by itself is what decides the reply: messages, temperature, the length limit and a seed, top_p
where tokens are drawn by chance, and top_k where an attack asks for it. Servers differ, so the opening question
goes out in this form: a server that refuses a field by name is asked again without it, or with the limit under
its other name, if the replies can do without it. What came of that is the form of all requests that follow;
nothing changes once something may have been drawn, and `told` says it for the run's environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from sirl.config import ModelConfig
from sirl.config.requests import fields_of
from sirl.endpoint.faults import FaultError
from sirl.records import Decoding

LIMITS = ("max_tokens", "max_completion_tokens")
_HARMLESS = ("seed", "top_p")  # given up first where a refusal names several
_RANGED = (*LIMITS, "temperature")
_LOSS = {
    "seed": "a second run may draw other replies",
    "top_p": "",  # 1: nothing is cut off, unless the server has a default of its own
    "temperature": "REPLIES ARE DRAWN AT THE SERVER'S OWN TEMPERATURE, not greedily and not as attacks ask",
}


@dataclass(slots=True)
class Form:
    """Which fields a body has; shared by the threads of one endpoint, and fixed by its opening question."""

    limit: str = ""  # the name that the limit goes by; empty: as set
    left_out: dict[str, str] = field(default_factory=dict)  # field -> the server's words
    tried: set[str] = field(default_factory=set)  # names of the limit that were refused
    fixed: bool = False
    lock: Lock = field(default_factory=Lock)

    def body(self, config: ModelConfig, plan: Decoding, seed: int, more: Mapping[str, Any]) -> dict[str, Any]:
        """Return a body: `more` is what is said, to whom; `plan` how tokens are drawn."""
        chosen = {
            "temperature": plan.temperature,
            # At temperature 0 it changes nothing; above, a server's default is often not 1.
            **({"top_p": plan.top_p} if plan.temperature > 0 else {}),
            **({"top_k": plan.top_k} if plan.top_k else {}),  # no part of OpenAI's form, but of most servers'
            self.limit or config.token_limit: plan.max_new_tokens,
            "seed": seed,
        }
        drawn = {k: v for k, v in chosen.items() if k not in self.left_out and k not in config.omit_body}
        return {**more, **drawn, **fields_of(config.extra_body)}

    def adapt(self, fault: FaultError, sent: Mapping[str, Any], config: ModelConfig) -> bool:
        """Give up what the server refuses by name in a body that was sent; False if that cannot be done.

        A field that the settings give is never touched, nor one whose value alone is refused.
        """
        with self.lock:
            if self.fixed or fault.kind != "lasting":
                return False
            own = sent.keys() - fields_of(config.extra_body).keys()
            named = fault.named(own)
            limit = self.limit or config.token_limit
            if any(name in self.left_out or name in self.tried - {limit} for name in named):
                return True  # another thread has met the same refusal: ask again in the new form
            given_up = next((name for name in (*_HARMLESS, limit, "temperature") if name in named), "")
            if given_up in _RANGED and fault.of_a_range:
                return False  # the field is known, and its value is not ours to change
            if given_up == "top_p" and sent["top_p"] != 1:
                return False  # an attack chose it: without it another reply would be recorded as its own
            if given_up == limit:
                self.tried.add(limit)
                self.limit = next((name for name in LIMITS if name not in self.tried), limit)
                return self.limit != limit
            if given_up:
                self.left_out[given_up] = fault.words
            return bool(given_up)

    def told(self, config: ModelConfig) -> str:
        """Say what differs from the form described in docs/targets.md; empty if nothing does."""
        extra = [f"with {config.extra_body}"] if config.extra_body else []
        omitted = [f"without {name} (as set)" for name in config.omit_body]
        refused = [f"without {name} (the server refuses it)" for name in sorted(self.left_out)]
        limit = self.limit or config.token_limit
        named = [] if limit == LIMITS[0] or limit in config.omit_body else [f"{limit} for {LIMITS[0]}"]
        return ", ".join((*omitted, *refused, *named, *extra))

    def losses(self) -> list[str]:
        """Say what each field that was left out costs, for the user to read once."""
        return [f"without {name} {_LOSS[name]}" for name in sorted(self.left_out) if _LOSS[name]]
