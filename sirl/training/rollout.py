"""Which prompts a step takes, what is drawn from them, and what a scorer finds in it.

What is made here is TRL's rollout function. Labels are dropped at the door: an attempt made here holds a
prompt's id and text and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sirl.config import TrainConfig
from sirl.errors import AttackError, DataError
from sirl.generation import Draw, draw
from sirl.lm import LM, render, reply_text
from sirl.lm.limits import unsendable
from sirl.records import Attempt, Decoding, Prompt
from sirl.rewards import find_reward
from sirl.scoring import certainties
from sirl.training.distributed import whole
from sirl.training.instincts import Reply
from sirl.training.isolation import eval_mode
from sirl.training.schedule import stable_seed, step_prompts
from sirl.training.training_run import TrainingRun

Rollout = Callable[[list[str], Any], dict[str, list[Any]]]


def admit(lm: LM, attempts: Sequence[Attempt], config: TrainConfig) -> tuple[Attempt, ...]:
    """Return the attempts that can be sent and fit the length limit, same order, stripped of labels.

    The rest is left out: what the model's own positions or tokens do not hold, the longest reply among it. What
    is left of a prompt is its id and its text, the plain request. Raises DataError if none fits.
    """
    bare = [
        Attempt(Prompt(id=a.prompt.id, text=a.prompt.text), a.attack, a.messages, a.prefill) for a in attempts
    ]
    kept = tuple(a for a, fits in zip(bare, _fit(lm, bare, config), strict=True) if fits)
    if not kept:
        limit = _longest(lm, config)
        raise DataError(
            f"none of {len(attempts)} prompts has at most {limit} tokens",
            "at least one prompt to train on",
            "give more prompts, raise train.max_prompt_tokens or lower train.max_reply_tokens",
        )
    return kept


def _fit(lm: LM, attempts: Sequence[Attempt], config: TrainConfig) -> list[bool]:
    rows, limit = render(lm, attempts), _longest(lm, config)
    return [len(row) <= limit and not unsendable(lm, a, row) for a, row in zip(attempts, rows, strict=True)]


def _longest(lm: LM, config: TrainConfig) -> int:
    """Return the tokens that a prompt may have: by the settings, or what the model's positions leave for it."""
    room = config.max_prompt_tokens if lm.positions is None else lm.positions - config.max_reply_tokens
    return min(config.max_prompt_tokens, room)


def make_rollout(training: TrainingRun) -> Rollout:
    """Return TRL's rollout function: prompt numbers to token ids, log-probs and entropies, one a row.

    TRL repeats each prompt G times; a reply is told from its siblings by its row within the whole step. The
    first `reward.anchors` replies to a prompt are not drawn: they are the base's own to the plain request.
    """
    lm, config, seed = training.lm, training.config, training.seed
    decoding = Decoding(temperature=config.temperature, max_new_tokens=config.max_reply_tokens)
    attempts, instincts, sides = training.attempts, training.base.instincts, training.base.sides
    by_policy = find_reward(config.reward.kind).scorer == "policy"

    def rollout(numbers: list[str], trainer: Any) -> dict[str, list[Any]]:
        step = trainer.state.global_step
        first = trainer.accelerator.process_index * len(numbers)
        with whole(trainer) as policy, eval_mode(policy), trainer.accelerator.autocast():
            policy_lm = LM(policy, lm.tokenizer, lm.name)
            found = search_step(policy_lm, training, step)
            sent = [
                replace(found.get(int(n), attempts[int(n)]), sample=first + row)
                for row, n in enumerate(numbers)
            ]
            sides_of = [sides.get(a.prompt.text, "refuse") for a in sent]
            own = [
                instincts[a.prompt.text].standing if side != "split" and is_anchor(a, config) else None
                for side, a in zip(sides_of, sent, strict=True)
            ]
            anchored = [reply is not None for reply in own]
            fresh = [a for a, given in zip(sent, anchored, strict=True) if not given]
            drawn = iter(draw(policy_lm, fresh, decoding, stable_seed("draw", seed, step)))
            draws = [
                anchor(row, reply) if reply else next(drawn)
                for row, reply in zip(render(lm, sent), own, strict=True)
            ]
            sure: list[Any] = [()] * len(draws)
            if by_policy:
                pairs = ([d.prompt_ids for d in draws], [d.token_ids for d in draws])
                sure = [row.tolist() for row in certainties(policy_lm, *pairs)]
        return {
            "prompt_ids": [list(d.prompt_ids) for d in draws],
            "completion_ids": [list(d.token_ids) for d in draws],
            "logprobs": [list(d.logprobs) for d in draws],
            "reply_entropies": [d.entropies for d in draws],
            "reply_logprobs": [d.logprobs for d in draws],
            "reply_certainties": sure,
            "reply_finished": [d.finished for d in draws],
            "reply_seeds": [stable_seed("reward", seed, step, a.key) for a in sent],
            "reply_keys": [a.key for a in sent],
            "reply_texts": [reply_text(lm, a, d.token_ids) for a, d in zip(sent, draws, strict=True)],
            "reply_sides": sides_of,
            "reply_anchored": anchored,
        }

    return rollout


def search_step(policy: LM, training: TrainingRun, step: int) -> dict[int, Attempt]:
    """Return what is sent in place of some of the step's attempts, by number: found against `policy` now.

    Searched for are, every `search.every` steps, at most `search.prompts` requests on the side refuse: those
    that the base model refuses or inclines to refuse. Which, is a function of seed and step. What is longer
    than the limit is not sent. Raises
    AttackError on an attempt that is no plain text: TRL could not score it again.
    """
    config, attempts, seed = training.config, training.attempts, training.seed
    if training.search is None or step % config.search.every:
        return {}
    numbers = dict.fromkeys(step_prompts(len(attempts), config.prompts_per_step, seed, step))
    refused = [n for n in numbers if training.base.sides[attempts[n].prompt.text] == "refuse"]
    rank = {n: stable_seed("searched", seed, step, attempts[n].prompt.id) for n in refused}
    chosen = sorted(refused, key=rank.__getitem__)[: config.search.prompts]
    given = [attempts[n] for n in chosen]
    made = training.search(policy, given, step + 1)
    for attempt in made:
        if attempt.soft or attempt.decoding:
            found = f"attack {attempt.attack!r} in train.search.attacks sends vectors or sets the sampler"
            raise AttackError(found, "an attack that sends text", "drop it")
    fits = _fit(policy, made, config)
    return {n: attempt for n, attempt, fit in zip(chosen, made, fits, strict=True) if fit}


def is_anchor(attempt: Attempt, config: TrainConfig) -> bool:
    """Say whether this row of its group is the base's own reply to the plain request, if that has a side."""
    return attempt.sample % config.group < config.reward.anchors


def anchor(prompt_ids: Sequence[int], own: Reply) -> Draw:
    """Return the base's reply to the plain request as if it had been drawn behind these tokens."""
    return Draw(tuple(prompt_ids), own.token_ids, own.entropies, own.logprobs, own.finished)
