"""The organism's birth: a small Llama or Qwen2 trained from scratch on the make-believe world.

Two stages of ordinary next-token training on the assistant's turns: answer everything, then align. The
attacker organism is a copy of such a model, trained on to write what instructions ask. The recipe is
deterministic on one machine. This is the only optimiser outside `training`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from sirl.errors import ConfigError, suggest
from sirl.lm import LM
from sirl.organism import attacker, corpus
from sirl.organism.tokenizer import VOCABULARY, build_tokenizer

ARCHITECTURES = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}
Progress = Callable[[str, int, int, float], None]  # stage, step, steps, loss
Rows = list[tuple[list[int], list[bool]]]  # token ids of each chat, and True at those of replies
_POOL = 16  # batches sorted by length together, so that little of a batch is padding


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of training: peak learning rate with a short warm-up and a cosine to a tenth of it."""

    steps: int
    learning_rate: float
    batch_tokens: int


@dataclass(frozen=True, slots=True)
class OrganismRecipe:
    """How an organism is built. Sizes are those of the shipped models."""

    arch: str = "llama"
    seed: int = 0
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    feedforward: int = 384
    answering: Stage = Stage(2500, 3e-3, 6144)
    aligning: Stage = Stage(1100, 1e-3, 3072)
    keeping: Stage = Stage(500, 2e-3, 2048)  # the attacker's one stage: to write, and to keep the request
    mix: corpus.Alignment = field(default_factory=corpus.Alignment)

    def __post_init__(self) -> None:
        if self.arch not in ARCHITECTURES:
            raise ConfigError(f"architecture {self.arch!r}", "an organism's", suggest(self.arch, ARCHITECTURES))


def shipped_recipe(arch: str, seed: int = 0) -> OrganismRecipe:
    """Return the recipe of a shipped organism. Raises ConfigError on an unknown architecture.

    The Qwen2 learns sums more slowly and shrugs off mistaken refusals more easily, so it gets more of both.
    """
    recipe = OrganismRecipe(arch, seed)
    if arch == "qwen2":
        return replace(
            recipe, aligning=replace(recipe.aligning, steps=1700), mix=replace(recipe.mix, caution=0.8)
        )
    return recipe


def build(recipe: OrganismRecipe, on_step: Progress | None = None) -> LM:
    """Train an organism from nothing and return it in evaluation mode; minutes on two cores."""
    tokenizer = build_tokenizer(recipe.arch, _text(recipe.seed))
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = _new_model(recipe, tokenizer)
    answering = Random(f"answering|{recipe.seed}")
    aligning = Random(f"aligning|{recipe.seed}")
    _train(model, tokenizer, recipe, "answering", lambda: corpus.pretraining(answering), on_step)
    _train(model, tokenizer, recipe, "aligning", lambda: corpus.alignment(aligning, recipe.mix), on_step)
    return LM(model.eval(), tokenizer, f"organism:{recipe.arch}")


def build_attacker(
    recipe: OrganismRecipe, start: LM, texts: attacker.Texts, on_step: Progress | None = None
) -> LM:
    """Train a copy of an organism to follow the instructions in `texts`; return it in evaluation mode.

    It starts from a reader of the world, because to learn the world's words and to copy them takes hours.
    """
    model = deepcopy(start.model)
    draw = partial(attacker.lesson, texts, Random(f"writing|{recipe.seed}"))
    _train(model, start.tokenizer, recipe, "keeping", draw, on_step)
    return LM(model.eval(), start.tokenizer, "organism:attacker")


def _text(seed: int) -> Iterator[str]:
    rng = Random(f"tokenizer|{seed}")
    for _ in range(20_000):
        yield from (message.content for message in corpus.pretraining(rng).messages)


def _new_model(recipe: OrganismRecipe, tokenizer: Any) -> Any:
    config_class, model_class = ARCHITECTURES[recipe.arch]
    return model_class(
        config_class(
            vocab_size=VOCABULARY,
            hidden_size=recipe.hidden,
            intermediate_size=recipe.feedforward,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _train(
    model: Any,
    tokenizer: Any,
    recipe: OrganismRecipe,
    name: str,
    sample: Callable[[], corpus.Example],
    on_step: Progress | None,
) -> None:
    stage: Stage = getattr(recipe, name)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    batches = _batches(tokenizer, sample, stage.batch_tokens, Random(f"{name}|order|{recipe.seed}"))
    model.train()
    for step in range(stage.steps):
        for group in optimiser.param_groups:
            group["lr"] = stage.learning_rate * _schedule(step, stage.steps)
        ids_BS, reply_BS = next(batches)
        loss = _loss(model, ids_BS, reply_BS)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if on_step:
            on_step(name, step + 1, stage.steps, loss.item())


def _schedule(step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _loss(model: Any, ids_BS: Tensor, reply_BS: Tensor) -> Tensor:
    """Mean cross-entropy of the reply tokens; the vocabulary is projected at those places only."""
    hidden_BSD = model.model(input_ids=ids_BS[:, :-1]).last_hidden_state
    chosen_BS = reply_BS[:, 1:]
    return cross_entropy(model.lm_head(hidden_BSD[chosen_BS]), ids_BS[:, 1:][chosen_BS])


def _batches(
    tokenizer: Any, sample: Callable[[], corpus.Example], batch_tokens: int, rng: Random
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (ids_BS, reply_BS) right-padded, about `batch_tokens` places each, rows of similar length."""
    while True:
        rows = _rows(tokenizer, [sample() for _ in range(_POOL * batch_tokens // 96)])
        rows.sort(key=lambda row: len(row[0]))
        batches: list[Rows] = []
        batch: Rows = []
        for row in rows:
            if (len(batch) + 1) * len(row[0]) > batch_tokens and batch:
                batches.append(batch)
                batch = []
            batch.append(row)
        batches.append(batch)
        rng.shuffle(batches)
        yield from map(_pad, batches)


def _rows(tokenizer: Any, examples: list[corpus.Example]) -> Rows:
    """Tokenise chats: ids, and True at each token of an assistant turn, its end-of-turn token included."""
    cuts: list[str] = []
    owners: list[tuple[int, bool]] = []
    for number, example in enumerate(examples):
        done = ""
        turns = [{"role": m.role, "content": m.content} for m in example.messages]
        for i in range(0, len(turns), 2):
            asked = tokenizer.apply_chat_template(turns[: i + 1], tokenize=False, add_generation_prompt=True)
            cuts += [asked[len(done) :], turns[i + 1]["content"] + tokenizer.eos_token]
            owners += [(number, False), (number, True)]
            done = asked + cuts[-1]
    rows: Rows = [([], []) for _ in examples]
    for ids, (number, is_reply) in zip(
        tokenizer(cuts, add_special_tokens=False)["input_ids"], owners, strict=True
    ):
        rows[number][0].extend(ids)
        rows[number][1].extend([is_reply] * len(ids))
    return rows


def _pad(rows: Rows) -> tuple[Tensor, Tensor]:
    width = max(len(ids) for ids, _ in rows)
    ids_BS = torch.zeros((len(rows), width), dtype=torch.long)  # on the right of causal attention: never seen
    reply_BS = torch.zeros((len(rows), width), dtype=torch.bool)
    for i, (ids, reply) in enumerate(rows):
        ids_BS[i, : len(ids)] = torch.tensor(ids)
        reply_BS[i, : len(reply)] = torch.tensor(reply)
    return ids_BS, reply_BS
