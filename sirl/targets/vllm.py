"""A model in this process's care whose replies vLLM draws: fast, with log-probs, without entropies or weights.

Prompts go in as the token ids that `sirl.lm` renders, so the chat template is applied once and by the same hand
as everywhere else, and a prefilled reply is one more run of tokens. vLLM gives log-probs of the tokens drawn or
scored. The entropy would need those of the whole vocabulary at each token, which it gives as Python objects
only, too slowly for a real vocabulary; so `entropies` is None here, and the gap takes transformers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sirl.config import ModelConfig
from sirl.errors import AttackError, ConfigError
from sirl.lm import LM, encode, load_outline, pieces, render, reply_text, template_hash
from sirl.plugins import load_extra
from sirl.records import Access, Attempt, Completion, Decoding, item_seed


@dataclass(frozen=True, slots=True)
class VLLMTarget:
    """A `vllm.LLM` and the outline of its model. `decoding` serves attempts that bring none of their own."""

    engine: Any
    lm: LM
    source: str
    decoding: Decoding

    @property
    def name(self) -> str:
        return self.lm.name

    @property
    def access(self) -> Access:
        return "logprobs"

    @property
    def _longest(self) -> int:
        """How many tokens can be read where one more is drawn."""
        return int(self.engine.model_config.max_model_len) - 1

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        """Return one completion an attempt, same order; too long a prompt has an `error` and no reply."""
        if any(attempt.soft for attempt in attempts):
            found = f"embeddings are sent to {self.name}"
            raise AttackError(found, "text", "use this attack with model.engine=transformers")
        rows = render(self.lm, attempts)
        fits = [i for i, row in enumerate(rows) if len(row) <= self._longest]
        plans = [self._plan(attempts[i], seed) for i in fits]
        drawn = dict(zip(fits, self._generate([rows[i] for i in fits], plans), strict=True))
        return [
            self._completion(attempt, drawn[i].outputs[0])
            if i in drawn
            else _too_long(attempt, len(rows[i]), self._longest)
            for i, attempt in enumerate(attempts)
        ]

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        """Return the mean log-prob (nats a token) of each beginning as the reply to its attempt, same order.

        -inf where both together are too long for the model.
        """
        said = self._said(attempts, beginnings)
        return [_mean([token.logprob for token in one]) if one else -math.inf for one in said]

    def continuations(self, attempts: Sequence[Attempt], texts: Sequence[str]) -> list[tuple[float, bool]]:
        """Return the summed log-prob (nats) of each text as the reply's next words, and if greedy says them.

        -inf, and no, where both together are too long for the model.
        """
        return [
            (sum(token.logprob for token in said), all(token.rank == 1 for token in said))
            if said
            else (-math.inf, False)
            for said in self._said(attempts, texts)
        ]

    def _said(self, attempts: Sequence[Attempt], texts: Sequence[str]) -> list[list[Any]]:
        """Return what the engine says of each token of each text as the reply: its log-prob and its rank.

        Nothing of a text that is too long together with its attempt. Raises ValueError on one without tokens.
        """
        said = encode(self.lm, texts)
        rows = [[*row, *ids] for row, ids in zip(render(self.lm, attempts), said, strict=True)]
        if not all(said):
            raise ValueError("a reply without tokens cannot be scored")
        plan = load_extra("vllm", "vllm").SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
        fits = [i for i, row in enumerate(rows) if len(row) <= self._longest]
        outputs = dict(zip(fits, self._generate([rows[i] for i in fits], [plan] * len(fits)), strict=True))
        return [
            [at[token] for at, token in zip(outputs[i].prompt_logprobs[-len(ids) :], ids, strict=True)]
            if i in outputs
            else []
            for i, ids in enumerate(said)
        ]

    def prompt_lengths(self, attempts: Sequence[Attempt]) -> list[int]:
        """Return how many tokens each attempt is to the model, prefill included."""
        return [len(row) for row in render(self.lm, attempts)]

    def fingerprint(self) -> dict[str, str]:
        """Return what tells this model and engine from others.

        Hashes of the weights' files and of the chat template, or the revision of a model of the hub.
        """
        version = load_extra("vllm", "vllm").__version__
        return {"engine": f"vllm {version}", **_weights(self), "chat_template": template_hash(self.lm)}

    def _plan(self, attempt: Attempt, seed: int) -> Any:
        plan = attempt.decoding or self.decoding
        return load_extra("vllm", "vllm").SamplingParams(
            temperature=plan.temperature,
            top_p=plan.top_p,
            top_k=plan.top_k,
            max_tokens=plan.max_new_tokens,
            seed=item_seed(seed, attempt),
            stop_token_ids=list(self.lm.stop_ids),
            logprobs=0,  # of the token drawn, no others
            detokenize=False,
        )

    def _generate(self, rows: Sequence[Sequence[int]], plans: Sequence[Any]) -> list[Any]:
        if not rows:
            return []
        prompts = [{"prompt_token_ids": list(row)} for row in rows]
        return list(self.engine.generate(prompts, list(plans), use_tqdm=False))

    def _completion(self, attempt: Attempt, drawn: Any) -> Completion:
        ids = tuple(drawn.token_ids)
        return Completion(
            attempt=attempt,
            text=reply_text(self.lm, attempt, ids),
            token_ids=ids,
            pieces=pieces(self.lm, ids),
            finished=drawn.finish_reason == "stop",
            logprobs=tuple(round(at[token].logprob, 6) for at, token in zip(drawn.logprobs, ids, strict=True)),
        )


def open_vllm(source: str | Path, name: str, config: ModelConfig, decoding: Decoding) -> VLLMTarget:
    """Start vLLM on a folder or a hub id. Raises ConfigError if it fails, else as `load_outline`."""
    vllm = load_extra("vllm", "vllm")
    lm = load_outline(source, name=name, trust_remote_code=config.trust_remote_code, thinking=config.thinking)
    on_gpu = torch.cuda.is_available()
    try:
        engine = vllm.LLM(
            model=str(source),
            dtype=config.dtype,
            trust_remote_code=config.trust_remote_code,
            gpu_memory_utilization=config.memory,
            disable_log_stats=True,
            enforce_eager=not on_gpu,  # on a CPU compiling takes minutes, never won back
            enable_chunked_prefill=on_gpu,  # a seeded draw after half a prompt fails on a CPU in vLLM 0.31
        )
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"vLLM does not start on {source} ({reason})",
            f"an architecture that it knows, and {config.memory:.0%} of the device's memory free",
            "read its own words above, and lower --set model.memory if memory is short",
        ) from error
    return VLLMTarget(engine, lm, str(source), decoding)


def _too_long(attempt: Attempt, length: int, longest: int) -> Completion:
    error = f"the prompt has {length} tokens and the engine takes {longest}"
    return Completion(attempt, "", (), (), finished=False, error=error)


def _weights(target: VLLMTarget) -> dict[str, str]:
    revision = getattr(target.lm.model.config, "_commit_hash", None)
    if revision:
        return {"revision": str(revision)}
    digest = hashlib.blake2b(digest_size=6)
    for file in sorted(Path(target.source).glob("*.safetensors")):
        with file.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return {"weight files": digest.hexdigest()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
