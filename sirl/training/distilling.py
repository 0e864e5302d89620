"""Carry the base model's own refusals over to every disguise: context distillation, without label or judge.

The teacher is the base model, the student the policy; each next-token distribution of the student is pulled
to the teacher's along a reply of the base. What the teacher reads decides what is learnt:

carried   a request on the side refuse, in a disguise: the teacher reads the plain request and its refusal. If
          it does not always refuse, the beginning of the refusal is the target itself, and the teacher's
          distribution from there on
held      everything else: the teacher reads what the student reads, so the policy keeps the base's conduct
          under that very form. Compliance is never carried to a disguise that the base would refuse. At first
          there is nothing to hold it by, as policy and base are one: refusing spreads to what is near, and is
          taken back from there only later. `hold_weight` says how many times what is held counts
near      beside each row some plain requests near where the base begins to refuse (`boundary`): of these only
          the first token of the reply is held, which decides, so they cost little

Without a gate every plain reply is carried, whatever it is: plain consistency training. With `search`, off by
default, some requests of a step are sent as an attack has just found that the policy answers them.
Source: context distillation, arXiv 2112.00861 and 2209.15189; consistency training against jailbreaks, by the
likelihood of the reply alone, arXiv 2510.27062. Which requests are carried, and holding the rest, are ours.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import default_data_collator
from trl import SFTConfig, SFTTrainer

from sirl.config import TrainConfig
from sirl.entropy import divergence
from sirl.errors import DataError
from sirl.lm import LM, left_pad, render
from sirl.lm.decoder import places
from sirl.records import Prompt
from sirl.rewards import Side
from sirl.training.asking import ask_base
from sirl.training.boundary import Boundary
from sirl.training.copies import policy_of
from sirl.training.disguises import plainly
from sirl.training.distributed import whole
from sirl.training.isolation import eval_mode
from sirl.training.lessons import Lesson, Teaching, prepare
from sirl.training.progress import Stage
from sirl.training.rollout import search_step
from sirl.training.schedule import schedule, stable_seed
from sirl.training.setup import adapter, common_arguments
from sirl.training.training_run import TrainingRun, dealt, run_through

COLUMNS = {"divergence": "loss"}  # nats a token
_LOG = logging.getLogger("sirl")
IGNORED = -100  # the label of a token that no loss is taken on: transformers' own number
TOGETHER = 2**24  # logits whose divergence is taken at once; it holds about 8 float32 values for each

# Tokens: sent, taught, reply; opening: how many of the reply are the target itself; held: it is not carried.
Row = Mapping[str, Any]


class ConsistencyTrainer(SFTTrainer):  # type: ignore[misc]  # TRL is untyped here
    """SFTTrainer whose loss is the divergence from a teacher that reads other words before the same reply.

    A batch holds the numbers of its rows: what a row sends may be found only when its step begins.
    """

    def __init__(self, training: TrainingRun, rows: Sequence[Row], teaching: Teaching, **given: Any) -> None:
        super().__init__(**given)
        self.training, self.teacher, self.rows, self.teaching = training, training.lm, rows, teaching
        self.near = render(training.lm, [plainly(Prompt(text, text)) for text in teaching.boundary.texts])
        self.found: Mapping[int, Row] = {}
        self.begun = -1  # the step that `found` is of

    def training_step(self, *given: Any, **named: Any) -> Any:
        """Search before the first micro-batch of a step."""
        if self.begun != self.state.global_step:
            self.begun = self.state.global_step
            self.found = self._search(self.begun)
        return super().training_step(*given, **named)

    def _search(self, step: int) -> Mapping[int, Row]:
        if self.training.search is None:
            return {}
        lm = self.teacher
        with whole(self) as policy, eval_mode(policy), self.accelerator.autocast():
            found = search_step(LM(policy, lm.tokenizer, lm.name), self.training, step)
        return dict(zip(found, _rows(lm, [self.teaching.carry(a) for a in found.values()]), strict=True))

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002  # no labels in a batch: None
    ) -> Any:
        """Return the mean over the rows of what KL(teacher || student) is at a token of the reply, nats.

        Each reply counts alike, so that a refusal or a sum of few words weighs as much as an essay; one that
        is held counts `hold_weight` times. To that comes the mean over the requests near the boundary of what
        the divergence is at the first token of a reply. All micro-batches of a step are of one size; the
        gradients of processes are averaged.
        """
        near = [self.near[n] for n in inputs["near"].flatten().tolist()] if "near" in inputs else []
        rows = [self.found.get(n, self.rows[n]) for n in inputs["number"].tolist()]
        inputs = _together(self.teacher, rows)
        taught_BS = inputs["labels"] != IGNORED
        length = int(taught_BS.sum(-1).max())
        with torch.no_grad(), self.accelerator.autocast():  # as the student, whose pass is wrapped in it
            to_learn_BTV = _tail(
                self.teacher, self.teacher.model, inputs["taught_ids"], inputs["taught_mask"], length
            )
            to_learn_BTV = _settled(to_learn_BTV, inputs["labels"][:, -length:], inputs["openings"])
        given_BTV = _tail(self.teacher, model, inputs["input_ids"], inputs["attention_mask"], length)
        loss_BT = divergences(to_learn_BTV, given_BTV) * taught_BS[:, -length:]
        weight_B = torch.where(inputs["held"], self.training.config.distill.hold_weight, 1.0)
        loss = (weight_B * loss_BT.sum(-1) / taught_BS.sum(-1)).mean()
        if near:
            loss = loss + self._decisions(model, near)
        return (loss, None) if return_outputs else loss

    def _decisions(self, model: Any, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return the mean divergence at the first token of the reply to each row."""
        read = left_pad(self.teacher, rows)
        with torch.no_grad(), self.accelerator.autocast():
            to_learn_B1V = _last(self.teacher, self.teacher.model, *read, 1)
        return divergences(to_learn_B1V, _last(self.teacher, model, *read, 1)).mean()


def _settled(logits_BTV: Tensor, labels_BT: Tensor, openings_B: Tensor) -> Tensor:
    """Return the teacher's logits, put wholly on the reply's own tokens at the first `openings_B` of each."""
    if not openings_B.any():
        return logits_BTV
    place_BT = (labels_BT != IGNORED).cumsum(-1)  # from 1, at the tokens of the reply
    fixed_BT = (place_BT > 0) & (place_BT <= openings_B.unsqueeze(-1))
    said_N1 = labels_BT[fixed_BT].unsqueeze(-1)
    settled_BTV = logits_BTV.clone()
    settled_BTV[fixed_BT] = torch.full_like(logits_BTV[fixed_BT], -torch.inf).scatter(-1, said_N1, 0.0)
    return settled_BTV


def divergences(from_BTV: Tensor, to_BTV: Tensor) -> Tensor:
    """Return KL(p || q) at each token, (B, T), nats; of many tokens a stretch at a time.

    The backward pass works a stretch out again, so that never more than one holds its distributions in float32:
    whole rows of 128 thousand words are what else fills a GPU.
    """
    rows, tokens, words = from_BTV.shape
    size = max(1, TOGETHER // (rows * words))
    if tokens <= size:
        return divergence(from_BTV, to_BTV)
    parts = zip(torch.split(from_BTV, size, dim=1), torch.split(to_BTV, size, dim=1), strict=True)
    found = [checkpoint(divergence, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    return torch.cat(found, dim=1)


def _tail(lm: LM, model: Any, ids_BS: Tensor, mask_BS: Tensor, length: int) -> Tensor:
    """Return the logits by which `model`, of the kind of `lm`, foretells the last `length` tokens of rows."""
    return _last(lm, model, ids_BS, mask_BS, length + 1)[:, :-1]


def _last(lm: LM, model: Any, ids_BS: Tensor, mask_BS: Tensor, count: int) -> Tensor:
    """Return the logits of the last `count` places."""
    keep = {"logits_to_keep": count} if lm.keeps_last_logits else {}
    found = model(input_ids=ids_BS, **places(lm, mask_BS, ids_BS.shape[1]), use_cache=False, **keep)
    logits_BTV: Tensor = found.logits[:, -count:]
    return logits_BTV


def distill(training: TrainingRun) -> Any:
    """Train by context distillation; return the model. Raises DataError if the base has nothing to teach."""
    lm, config = training.lm, training.config
    training, teaching, counts = _prepared(training)
    rows = _rows(lm, teaching.lessons)
    trainer = ConsistencyTrainer(
        training=training,
        rows=rows,
        teaching=teaching,
        model=policy_of(lm, config),
        args=SFTConfig(
            **common_arguments(lm, config, training.run.checkpoint, training.seed),
            **dealt(config, replies=2),  # each row goes through teacher and student
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},  # the trainer holds the rows, as tokens
            remove_unused_columns=False,
        ),
        data_collator=default_data_collator,
        train_dataset=_numbers(rows, teaching.boundary, config, training.seed),
        processing_class=copy.deepcopy(lm.tokenizer),
        peft_config=adapter(config),
    )
    return run_through(trainer, training, Stage(COLUMNS, {"left_out": training.left_out, **counts}))


def _prepared(training: TrainingRun) -> tuple[TrainingRun, Teaching, dict[str, int]]:
    """Return what is sent, what is taught along it, and how many of the prompts are what.

    carried      a refusal, or without a gate whatever the base said
    held         the base's own conduct under what is sent
    no_teacher   nothing: no reply is sound, or a refusal that it was made to begin turned into something else
    Raises DataError if nothing is left.
    """
    base = ask_base(training)
    asked = [n for n, a in enumerate(training.attempts) if a.prompt.text in base.instincts]
    teaching = prepare(training, base, asked)
    lessons = teaching.lessons
    carried = sum(lesson.carried for lesson in lessons)
    counts = {"carried": carried, "held": len(lessons) - carried, "no_teacher": len(asked) - len(lessons)}
    cut_off = sum(not lesson.reply.finished for lesson in lessons)
    _LOG.info(
        "%d of %d prompts are taught: %d disguised ones to be refused, %d to be answered as by the base model; "
        "%d are left out for lack of a usable reply of the base model; %d of the replies taught were cut off "
        "at train.max_reply_tokens = %d; of %d requests close to what it refuses the decision is held",
        *(len(lessons), len(asked), *counts.values()),
        *(cut_off, training.config.max_reply_tokens, len(teaching.boundary.texts)),
    )
    if not lessons:
        raise DataError(
            f"the base model has no sound reply to any of {len(asked)} prompts: they are empty or loop",
            "a conduct to carry over or to hold",
            "see instincts.jsonl of the run, or give other prompts",
        )
    sent = tuple(lesson.sent for lesson in lessons)
    # A search goes for requests to refuse; of one without a refusal to carry, what it finds teaches nothing.
    carries: dict[str, Side] = {a.prompt.text: "split" for a in sent}
    for text, side in base.sides.items():
        if side != "refuse" or text in teaching.carried:
            carries[text] = side
    return replace(training, attempts=sent, base=replace(base, sides=carries)), teaching, counts


def _numbers(rows: Sequence[Row], boundary: Boundary, config: TrainConfig, seed: int) -> Dataset:
    """Return the numbers of the rows in the order of the steps, each with those of requests near the boundary.

    Those of a step stand by length: their order in it decides nothing, and rows of like length need little
    padding.
    """
    steps = schedule(len(rows), config, seed)
    order = [i for step in steps for i in sorted(step, key=lambda i: len(rows[i]["sent"]))]
    if not boundary.texts:
        return Dataset.from_list([{"number": i} for i in order])
    each = config.distill.boundary
    near = boundary.chosen(len(order) * each, stable_seed("near", seed)).reshape(-1, each).tolist()
    return Dataset.from_list([{"number": i, "near": own} for i, own in zip(order, near, strict=True)])


def _rows(lm: LM, lessons: Sequence[Lesson]) -> list[Row]:
    sent, read = render(lm, [x.sent for x in lessons]), render(lm, [x.read for x in lessons])
    return [
        {
            "sent": [*student, *lesson.reply.token_ids],
            "taught": [*teacher, *lesson.reply.token_ids],
            "reply": lesson.reply.token_ids,
            "opening": lesson.opening,
            "held": not lesson.carried,
        }
        for lesson, student, teacher in zip(lessons, sent, read, strict=True)
    ]


def _together(lm: LM, rows: Sequence[Row]) -> dict[str, Tensor]:
    """Return rows as one batch: padded on the left, so that the replies end together."""
    ids_BS, mask_BS = left_pad(lm, [row["sent"] for row in rows])
    taught_BS, taught_mask_BS = left_pad(lm, [row["taught"] for row in rows])
    lengths_B1 = torch.tensor([[len(row["reply"])] for row in rows], device=lm.device)
    from_end_S = torch.arange(ids_BS.shape[1], 0, -1, device=lm.device)
    return {
        "input_ids": ids_BS,
        "attention_mask": mask_BS,
        "labels": ids_BS.masked_fill(from_end_S > lengths_B1, IGNORED),
        "taught_ids": taught_BS,
        "taught_mask": taught_mask_BS,
        "openings": torch.tensor([row["opening"] for row in rows], device=lm.device),
        "held": torch.tensor([row["held"] for row in rows], device=lm.device),
    }
