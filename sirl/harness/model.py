"""A target of ours as a model of lm-evaluation-harness: it replies by our sampler and scores by our scorer.

The harness hands a chat on as text. Here that text is the chat's messages as JSON, so that `sirl.lm` applies
the template and a begun reply is a prefill, as everywhere else. Where a reply shows reasoning, its answer alone
goes to the harness. Stop words of a task cut the reply afterwards; of a greedy one that is as stopping there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api import model as harness
from lm_eval.api.instance import Instance

from sirl.errors import ConfigError
from sirl.reasoning import without_thinking
from sirl.records import Attempt, Completion, Decoding, Message, Prompt, Target

USUAL_TOKENS = 256  # of a reply where a task names no length: as the harness's own models
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
Continuations = Callable[[Sequence[Attempt], Sequence[str]], list[tuple[float, bool]]]


@dataclass(frozen=True, slots=True)
class Said:
    """A reply as it came, and the part of it that the task reads; `ended`: it was not cut off."""

    completion: Completion
    text: str
    ended: bool


class SkillModel(harness.LM):
    """Any `records.Target`; a choice among answers needs one with `continuations`: weights here, or vLLM.

    `longest` bounds the tokens of a reply; 0: each task's own bound.
    """

    def __init__(self, target: Target, seed: int = 0, longest: int = 0) -> None:
        super().__init__()
        self.target, self.seed, self.longest = target, seed, longest

    @property
    def tokenizer_name(self) -> str:
        return self.target.name

    def apply_chat_template(
        self,
        chat_history: list[dict[str, str]],
        add_generation_prompt: bool = True,  # noqa: ARG002
    ) -> str:
        """Return the messages as JSON; a last turn of the assistant is the beginning of the reply."""
        return json.dumps(chat_history, ensure_ascii=False)

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Return what each reply says up to the first stop word; "" where none came."""
        return [said.text for said in self.say(requests)]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Return the summed log-prob of each continuation (nats), and whether greedy would say it.

        Raises ConfigError if the target does not score.
        """
        score = scorer(self.target)
        if score is None:
            raise ConfigError(
                f"{self.target.name} gives no log-probs of a text", "weights, or vLLM", "leave the task out"
            )
        return score([attempt_of(r) for r in requests], [str(r.args[1]) for r in requests])

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:  # noqa: ARG002
        """Raise ConfigError: a chat has no text without a request."""
        raise ConfigError("perplexity of a text", "tasks that ask something", "leave the task out")

    def say(self, requests: Sequence[Instance], sample: int = 0) -> list[Said]:
        """Return the reply to each request, same order; `sample` numbers draws of the same requests."""
        attempts = [attempt_of(r, sample, self._decoding(r.args[1])) for r in requests]
        replies = self.target.reply(attempts, self.seed)
        return [_said(reply, _stops(r.args[1])) for reply, r in zip(replies, requests, strict=True)]

    def _decoding(self, settings: dict[str, Any]) -> Decoding:
        asked = next((int(settings[name]) for name in _LENGTHS if settings.get(name)), USUAL_TOKENS)
        length = min(asked, self.longest) if self.longest else asked
        if not settings.get("do_sample", float(settings.get("temperature") or 0) > 0):
            return Decoding(0.0, max_new_tokens=length)
        return Decoding(
            float(settings.get("temperature", 1.0)),
            float(settings.get("top_p") or 1.0),
            int(settings.get("top_k") or 0),
            max_new_tokens=length,
        )


def scorer(target: Target) -> Continuations | None:
    """Return what scores continuations; None if the target cannot."""
    found: Continuations | None = getattr(target, "continuations", None)
    return found


def attempt_of(request: Instance, sample: int = 0, decoding: Decoding | None = None) -> Attempt:
    """Return what is sent for a request: its chat, and the beginning of the reply if the task writes one."""
    turns = json.loads(request.args[0])
    prefill = str(turns.pop()["content"]) if turns[-1]["role"] == "assistant" else ""
    messages = tuple(Message(str(t["role"]), str(t["content"])) for t in turns)
    name = str(request.task_name)
    prompt = Prompt(f"{name}/{request.doc_id}", messages[-1].content, "task", "lm-evaluation-harness", name)
    return Attempt(prompt, "direct", messages, prefill, decoding, sample)


def _stops(settings: dict[str, Any]) -> list[str]:
    until = settings.get("until") or []
    return [word for word in ([until] if isinstance(until, str) else until) if word]


def _said(completion: Completion, stops: Sequence[str]) -> Said:
    text = without_thinking(completion.text)
    places = [place for word in stops if (place := text.find(word)) >= 0]
    return Said(completion, text[: min(places)] if places else text, completion.finished or bool(places))
