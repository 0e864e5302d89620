"""The only loop that turns attempts into records on disk: attack, reply, judge, append.

It stands between the rooms it calls (attacks, judges) and the rooms that ask for evidence (gap, evaluation),
which share it and so never import each other. The work is cut into items by the plan alone. An item is
attacked, answered, judged and appended with one write; a run continued after a kill skips whole items and
repeats a torn one from its start, so every reply is drawn in the same company as in an unbroken run and the
records are the same to the last bit.

This room knows neither what the records prove nor which model is under test: a `Target` replies.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

from sirl.attacks import AttackInfo, attack_prompts, template_hashes
from sirl.config import EvaluateConfig
from sirl.endpoint.bill import costs_of
from sirl.errors import DataError, RunError, StoppedError
from sirl.judges import judge_name, judged
from sirl.prompts import Provenance
from sirl.records import (
    KINDS,
    UNLABELLED,
    Around,
    Attempt,
    Completion,
    Decoding,
    Judge,
    Message,
    Prompt,
    Question,
    Record,
    Target,
    sent_through,
)
from sirl.rundir import RECORDS, RunDir, locked
from sirl.shards import Shard

Progress = Callable[[int, int, str], None]  # attempts done, attempts in all, the attack at work
Keep = Callable[[Record], Record]  # what of a record stays in memory


def whole(record: Record) -> Record:
    """Keep all of a record."""
    return record


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that a measurement needs: what is asked, how it is attacked, who replies and who judges.

    `sources` say where the prompts come from; empty when they were not loaded by `sirl.prompts`.
    """

    prompts: tuple[Prompt, ...]
    attacks: Mapping[str, AttackInfo]
    target: Target
    judges: Mapping[Question, Judge]
    config: EvaluateConfig
    seed: int
    sources: tuple[Provenance, ...] = ()

    def __post_init__(self) -> None:
        """Raise DataError if two prompts share an id, or nobody said what kind one is of."""
        shared = [name for name, times in Counter(p.id for p in self.prompts).items() if times > 1]
        if shared:
            raise DataError(f"two prompts have the id {shared[0]!r}", "one id a prompt", "number them anew")
        if unlabelled := sum(p.kind == UNLABELLED for p in self.prompts):
            found = f"{unlabelled} of {len(self.prompts)} prompts state no kind"
            raise DataError(
                found, f"one of {', '.join(KINDS)}", "say which; load_prompts takes kind for a file"
            )

    @property
    def decoding(self) -> Decoding:
        """How replies are drawn where the attack does not say otherwise."""
        return Decoding(self.config.temperature, max_new_tokens=self.config.max_reply_tokens)


@dataclass(frozen=True, slots=True)
class Instructed(Around):
    """A target under a system prompt: every attempt that has no system turn of its own gets this one.

    A search then meets the model as it is deployed. Whatever else the target offers takes attempts first.
    """

    target: Target
    system: str

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        return self.target.reply(self._sent(attempts), seed)

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        return self.target.log_likelihood(self._sent(attempts), beginnings)

    def __getattr__(self, name: str) -> Any:
        return sent_through(getattr(self.target, name), partial(instruct, system=self.system))

    def _sent(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        return [instruct(attempt, self.system) for attempt in attempts]


def instruct(attempt: Attempt, system: str) -> Attempt:
    """Put the system prompt before an attempt's messages, unless it is empty or they begin with one."""
    if not system or attempt.messages[0].role == "system":
        return attempt
    return replace(attempt, messages=(Message("system", system), *attempt.messages))


@dataclass(frozen=True, slots=True)
class WorkItem:
    """What is attacked, answered, judged and written together: some prompts, one attack, numbered draws."""

    attack: AttackInfo
    prompts: tuple[Prompt, ...]
    samples: range
    decoding: Decoding

    @property
    def keys(self) -> list[str]:
        """The keys of its attempts, prompt by prompt, as `Attempt.key` spells them."""
        return [key for prompt in self.prompts for key in self.keys_of(prompt)]

    def keys_of(self, prompt: Prompt) -> list[str]:
        """Return the keys of one prompt's attempts."""
        return [Attempt(prompt, self.attack.name, (), sample=n).key for n in self.samples]


def cut(evaluation: Evaluation, attack: AttackInfo, prompts: Sequence[Prompt]) -> list[WorkItem]:
    """Cut one attack on some prompts into items of about `config.batch` attempts, in the prompts' order."""
    return cut_draws(evaluation, attack, prompts, range(evaluation.config.samples), evaluation.decoding)


def cut_draws(
    evaluation: Evaluation, attack: AttackInfo, prompts: Sequence[Prompt], samples: range, decoding: Decoding
) -> list[WorkItem]:
    """Cut as `cut` does, with other draws than the evaluation's own."""
    size = max(1, evaluation.config.batch // len(samples))  # all draws of a prompt stay in one item
    asked = attack.concerned(prompts)
    parts = (tuple(asked[i : i + size]) for i in range(0, len(asked), size))
    return [WorkItem(attack, part, samples, decoding) for part in parts]


def gather(
    evaluation: Evaluation,
    items: Sequence[WorkItem],
    run: RunDir,
    on_progress: Progress | None = None,
    shard: Shard | None = None,
    keep: Keep = whole,
) -> list[Record]:
    """Do what is missing of `items`, append it to the run, and return all records in the plan's order.

    Of a shard these are its own part; the whole plan is written beside them. They are returned as `keep` leaves
    them (`records.Lean`: little of their memory); on disk they are whole. A judge that fails on a reply
    leaves a verdict of None with the error as its evidence, and so does a target that gave no reply. Where it
    failed, it is asked again when the run is continued, with the rest of the item unless its replies are
    independent; what the provider's filter blocked is final. Raises RunError if the run holds records of
    another plan or is busy, AttackError and JudgeError when an attack or a judge breaks its contract, and any
    other error of ours, as of a key that is refused: the replies that came before it are kept.
    """
    with locked(run), costs_of(run) as write_costs:
        run.keep_rows(RECORDS, _has_outcome)
        if shard:
            run.write_plan([item.keys for item in items])
            items = shard.take(items)
        total = sum(len(item.keys) for item in items)
        run.expect(RECORDS, total)
        done = {key: keep(record) for key, record in _already(run, items)}
        finished = 0
        for item in items:
            if on_progress:
                on_progress(finished, total, item.attack.name)
            missing = {key for key in item.keys if key not in done}
            if missing:
                found, stopped = _work(evaluation, item, missing)
                fresh = [record for record in found if record.attempt.key in missing]
                run.append_records(fresh)
                write_costs()
                if stopped:
                    raise stopped
                done |= {record.attempt.key: keep(record) for record in fresh}
            finished += len(item.keys)
        if on_progress:
            on_progress(finished, total, "")
    return [done[key] for item in items for key in item.keys]


def protocol_hashes(evaluation: Evaluation) -> dict[str, str]:
    """Return the hashes that a continued run must share: of prompts, system prompt, attacks and judges."""
    prompts = json.dumps([asdict(prompt) for prompt in evaluation.prompts])
    system = evaluation.config.system
    hashes = {
        "prompts": sha256(prompts.encode()).hexdigest()[:12],
        "system": sha256(system.encode()).hexdigest()[:12] if system else "the template's own",
    }
    return (
        hashes
        | attack_hashes(evaluation.attacks)
        | {f"judge {question}": judge_name(judge) for question, judge in evaluation.judges.items()}
    )


def attack_hashes(attacks: Mapping[str, AttackInfo]) -> dict[str, str]:
    """Return what a continued run must share of the attacks, armed as they are."""
    return {f"attack {name}": value for name, value in template_hashes(attacks).items()} if attacks else {}


def _work(
    evaluation: Evaluation, item: WorkItem, missing: Set[str]
) -> tuple[list[Record], StoppedError | None]:
    """Return the records of an item; of a target whose replies are independent only those that are missing.

    If its server stopped on the way, these are the records of the replies that came, and the error comes too.
    """
    alone = bool(getattr(evaluation.target, "independent", False))
    if alone:
        item = replace(item, prompts=tuple(p for p in item.prompts if not missing.isdisjoint(item.keys_of(p))))
    budget, seed = evaluation.config.budget or item.attack.budget, evaluation.seed
    system = evaluation.config.system
    target = Instructed(evaluation.target, system) if system else evaluation.target
    attacked = attack_prompts(item.attack, item.prompts, target, budget, seed)
    attempts = [_drawn(instruct(attempt, system), item, n) for attempt in attacked for n in item.samples]
    attempts = [attempt for attempt in attempts if attempt.key in missing] if alone else attempts
    sent = [attempt for attempt in attempts if not attempt.search.lost]
    try:
        completions = evaluation.target.reply(sent, seed)
    except StoppedError as stopped:
        return judged(stopped.replies, evaluation.judges), stopped
    if [c.attempt for c in completions] != sent:
        found = f"the target returned {len(completions)} replies that do not match the {len(sent)} attempts"
        raise RunError(found, "one reply an attempt, same order", "mend the target; see records.Target")
    replies = iter(completions)
    whole = [_lost(attempt) if attempt.search.lost else next(replies) for attempt in attempts]
    return judged(whole, evaluation.judges), None


def _lost(attempt: Attempt) -> Completion:
    """Return a failed reply to an attempt whose search asked in vain: it may be too weak."""
    error = f"{attempt.search.lost} requests of its search got no reply ({attempt.search.queries} queries)"
    return Completion(attempt, "", (), (), finished=False, error=error, passing=True)


def _drawn(attempt: Attempt, item: WorkItem, sample: int) -> Attempt:
    """Give a draw its number and settle its decoding: an attack chooses how tokens are drawn, not how many."""
    chosen = attempt.decoding or item.decoding
    decoding = replace(chosen, max_new_tokens=item.decoding.max_new_tokens)
    return replace(attempt, sample=sample, decoding=decoding)


def _has_outcome(row: Mapping[str, Any]) -> bool:
    """Say whether a row is final: a reply came, or the provider's filter blocked it."""
    completion = row.get("completion")
    return not isinstance(completion, Mapping) or not completion.get("error") or bool(completion.get("blocked"))


def _already(run: RunDir, items: Sequence[WorkItem]) -> Iterator[tuple[str, Record]]:
    """Yield the run's records with their keys, all of them of this plan and none twice."""
    planned = {key: prompt for item in items for key, prompt in _prompts_by_key(item).items()}
    done: set[str] = set()
    for record in run.each_record():
        key = record.attempt.key
        if planned.get(key) != record.prompt or key in done:
            why = "twice" if key in done else "that is not in this plan"
            raise RunError(
                f"{run.path} holds a record {why} ({key})",
                "records of the same prompts, attacks and samples",
                "repeat the old settings or name another --out",
            )
        done.add(key)
        yield key, record


def _prompts_by_key(item: WorkItem) -> dict[str, Prompt]:
    owners = (prompt for prompt in item.prompts for _ in item.samples)
    return dict(zip(item.keys, owners, strict=True))
