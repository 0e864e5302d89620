"""Judges by their names, models among them; and judging alone: labelled replies, and a run again.

refusal, harm, exact          the offline judges of `sirl.judges`
llm=MODEL, guard=MODEL        MODEL as `sirl evaluate` takes it, asked by our rubric, or a guard model
classifier=MODEL              a text classifier of transformers, a folder or a hub id
question=...                  any of these, or my_pkg.mine:judge, for one question
the same question again       the judges named for it vote
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import cast, get_args

from sirl.config import Changes, JudgeConfig, ModelConfig, load_recipe
from sirl.endpoint import require_one_host
from sirl.endpoint.bill import costs_of
from sirl.errors import JudgeError, RunError, suggest
from sirl.judges import Deferring, Panel, get_judge, get_judges, judge_name, judged, known_agreement
from sirl.judges.classifier import Classifier
from sirl.judges.guard import DECODING as GUARD_DECODING
from sirl.judges.guard import Guard
from sirl.judges.labels import Checked, Columns, check, read_labelled
from sirl.judges.llm import DECODING as LLM_DECODING
from sirl.judges.llm import LlmJudge
from sirl.organism import oracle
from sirl.phases import phase
from sirl.records import Judge, Question, Record
from sirl.rundir import RunDir, locked, open_run, read_run
from sirl.targets.classifier import load_classifier
from sirl.workflows.models import Model, for_another, open_target
from sirl.workflows.summaries import finish, numbers

MODEL_JUDGES = ("llm", "guard", "classifier")
_DEFAULT_QUESTIONS: Mapping[str, tuple[Question, ...]] = {
    "llm": ("harmful", "refused"),
    "guard": ("harmful",),
    "classifier": ("harmful",),
}
QUESTIONS: tuple[Question, ...] = get_args(Question)
MEASURED = ("gap", "evaluate")  # kinds of run that hold judged replies
CHUNK = 64  # replies judged between two writes


@dataclass(frozen=True, slots=True)
class JudgeLoader:
    """What opening a model that judges takes."""

    config: ModelConfig = field(default_factory=ModelConfig)
    seed: int = 0
    asking: JudgeConfig = field(default_factory=JudgeConfig)

    def judges(self, kind: str, model: str, questions: Sequence[Question]) -> dict[Question, Judge]:
        """Open one model, once, as a judge of each question. Raises JudgeError on one that it cannot answer."""
        if "correct" in questions:
            raise JudgeError("model judges do not answer 'correct'", "harmful or refused", "use exact for that")
        if kind == "classifier":
            c = load_classifier(model, for_another(self.config, model))
            own = (c.name, c.score, c.weights, c.special, c.exclusive)
            return {question: Classifier(question, *own) for question in questions}
        decoding = GUARD_DECODING if kind == "guard" else LLM_DECODING
        if self.asking.max_tokens:
            decoding = replace(decoding, max_new_tokens=self.asking.max_tokens)
        target, weights = open_target(model, self.config, decoding, self.asking.thinking)
        judge = Guard if kind == "guard" else LlmJudge
        return {question: judge(question, target, self.seed, decoding, weights) for question in questions}


def loader_with(changes: Changes, seed: int, names: Sequence[str]) -> JudgeLoader:
    """Return how judges are opened where nothing else is: by the sections [model] and [judge]."""
    settings = load_recipe(changes=changes)
    require_one_host(settings.model, names)
    return JudgeLoader(settings.model, seed, settings.judge)


def open_judges(
    model: Model, names: Sequence[str], own_prompts: bool, loader: JudgeLoader
) -> dict[Question, Judge]:
    """Return a judge for each question: the named, else the oracle on its own world, else the offline."""
    return named_judges(names, oracle.JUDGES if model.is_organism and own_prompts else None, loader)


def search_judge(judge: Judge, usual: Judge) -> Judge:
    """Return who tells attacks when they succeed: where another than the `usual` judge of harm was named, both.

    A search that stops at a success by the judge that also scores it finds that judge's mistakes. So the usual
    one is asked, and the run's only where that cannot decide. Where the run's is the usual one, no other is at
    hand.
    """
    return judge if judge_name(judge) == judge_name(usual) else Deferring("harmful", usual, judge)


def named_judges(
    names: Sequence[str], default: Mapping[Question, Judge] | None, loader: JudgeLoader
) -> dict[Question, Judge]:
    """Return one judge a question; judges named for the same question vote. Raises JudgeError."""
    chosen: dict[Question, list[Judge]] = {}
    for name in names:
        for question, judge in _open(name, loader).items():
            chosen.setdefault(question, []).append(judge)
    voting = {q: judges[0] if len(judges) == 1 else Panel(q, tuple(judges)) for q, judges in chosen.items()}
    return {**get_judges((), default), **voting}


def asked_question(name: str) -> Question:
    """Return the question of a check. Raises JudgeError on one that people's labels cannot answer."""
    if name not in ("refused", "harmful"):
        raise JudgeError(
            f"no judge answers {name!r}", "refused or harmful", suggest(name, ("refused", "harmful"))
        )
    return cast(Question, name)


def check_judge(
    labels: Path, columns: Columns, names: Sequence[str], question: Question, loader: JudgeLoader
) -> Checked:
    """Put a labelled file to the judge of one question and count how far it agrees with people."""
    rows = read_labelled(labels, columns)
    judge = named_judges(names, None, loader)[question]
    with phase(f"judge {len(rows)} labelled replies"):
        return check(rows, judge, question)


def judge_run(folder: Path, names: Sequence[str], out: Path, loader: JudgeLoader) -> RunDir:
    """Judge the replies of a run again into the run folder `out`, new or to be continued, and return it.

    Nothing is generated. Questions that no name answers keep their old verdicts; the old run is not touched.
    Raises RunError if the folder holds no replies or `out` another protocol, JudgeError on an unknown judge.
    """
    old = read_run(folder)
    if old.kind not in MEASURED or not next(old.each_record(), None):
        raise RunError(f"{folder} has no replies to judge", "a run of gap or evaluate", "name another folder")
    if not names:
        raise RunError("no judge is named", "at least one --judge", "add --judge JUDGE")
    judges = named_judges(names, {}, loader)
    known = {**old.config.get("agreement", {}), **known_agreement(judges)}
    config = {**old.config, "agreement": known, "judged_again": {"run": folder.name, "judges": list(names)}}
    hashes = {**old.environment["hashes"], **{f"judge {q}": judge_name(j) for q, j in judges.items()}}
    run = open_run(out, old.kind, {k: v for k, v in config.items() if k != "kind"}, hashes)
    with locked(run), costs_of(run) as write_costs:
        done = {record.attempt.key for record in run.each_record()}
        total = sum(1 for record in old.each_record() if record.attempt.key not in done)
        missing = (record for record in old.each_record() if record.attempt.key not in done)
        judged_now = 0
        with phase("judge again") as advance:
            while some := list(islice(missing, CHUNK)):
                run.append_records(_again(some, judges))
                write_costs()
                judged_now += len(some)
                advance(judged_now, total, "replies")
    finish(run, numbers(run, run.figures()), {})
    return run


def _again(records: Sequence[Record], judges: Mapping[Question, Judge]) -> list[Record]:
    fresh = judged([record.completion for record in records], judges)
    return [
        replace(new, verdicts=(*new.verdicts, *(v for v in old.verdicts if v.question not in judges)))
        for old, new in zip(records, fresh, strict=True)
    ]


def _open(name: str, loader: JudgeLoader) -> dict[Question, Judge]:
    """Return what one --judge says: a judge for each question that it answers."""
    question, kind, model = _words(name)
    if kind:
        questions = (question,) if question else _DEFAULT_QUESTIONS[kind]
        return loader.judges(kind, model, questions)
    if question or ":" in name:
        asked = question or "harmful"
        return {asked: get_judge(name.partition("=")[2] if question else name, asked)}
    before = get_judges((), {})
    return get_judges([name], before)


def _words(name: str) -> tuple[Question | None, str, str]:
    """Part `[question=][kind=MODEL]` into question, kind and model; the kind is empty for any other judge."""
    question: Question | None = None
    before, equals, after = name.partition("=")
    if equals and before not in MODEL_JUDGES:
        if before not in QUESTIONS:
            known = (*QUESTIONS, *MODEL_JUDGES)
            raise JudgeError(
                f"no judge answers {before!r}", "a question that judges answer", suggest(before, known)
            )
        question, name = next(q for q in QUESTIONS if q == before), after
        before, equals, after = name.partition("=")
    if not equals:
        return question, "", ""
    if before not in MODEL_JUDGES or not after:
        raise JudgeError(
            f"judge {name!r} names no model",
            f"{' or '.join(f'{kind}=MODEL' for kind in MODEL_JUDGES)}",
            "name a model",
        )
    return question, before, after
