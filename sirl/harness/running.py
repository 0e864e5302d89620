"""The loop of a skills run: documents, replies, scores by the harness, refusals by our judge, lines on disk.

As in `sirl.evidence`, work is cut into chunks, a chunk is written when it is done, and a run that is continued
skips what it holds. Replies go to records.jsonl as any other run's; scores.jsonl has one line a document, with
every figure that the task computes of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from lm_eval.api.instance import Instance

from sirl.endpoint.bill import costs_of
from sirl.harness.loading import Ready
from sirl.harness.model import Said, SkillModel
from sirl.judges import judged
from sirl.metrics import Graded
from sirl.records import Judge, Question, Record, Target, Verdict
from sirl.rundir import RECORDS, SCORES, RunDir, locked

Progress = Callable[[int, int, str], None]  # documents done, documents in all, the task at work


@dataclass(frozen=True, slots=True)
class Skills:
    """What is measured: tasks, the model, who tells refusals. `longest` as of `SkillModel`."""

    tasks: tuple[Ready, ...]
    target: Target
    refused: Judge
    seed: int = 0
    batch: int = 32
    longest: int = 0


def measure(skills: Skills, run: RunDir, on_progress: Progress | None = None) -> list[dict[str, Any]]:
    """Return the run's scores, one row a document, doing only what the run does not hold yet.

    A reply that did not come is asked for again when the run is continued. Raises RunError if the run is busy.
    """
    model = SkillModel(skills.target, skills.seed, skills.longest)
    total, finished = sum(len(ready.requests) for ready in skills.tasks), 0
    with locked(run), costs_of(run) as write_costs:
        run.expect(SCORES, total)
        run.keep_rows(SCORES, lambda row: row["went"] != "no reply")
        done = {row["key"] for row in run.rows(SCORES)}
        run.keep_rows(RECORDS, lambda row: row["completion"]["attempt"]["prompt"]["id"] in done)
        for ready in skills.tasks:
            for chunk in _chunks(ready, skills.batch):
                if on_progress:
                    on_progress(finished, total, ready.name)
                missing = [number for number in chunk if f"{ready.name}/{number}" not in done]
                if missing:
                    records, rows = _work(skills, model, ready, missing)
                    run.append_records(records)
                    run.append(SCORES, rows)
                    write_costs()
                finished += len(chunk)
        if on_progress:
            on_progress(total, total, "")
    return run.rows(SCORES)


def graded(rows: Sequence[Mapping[str, Any]]) -> list[Graded]:
    """Return scores as `sirl.metrics` takes them, under the names that were asked for."""
    return [Graded(row["key"], row["asked"], row["score"], row["went"]) for row in rows]


def aggregates(ready: Ready, rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return every figure of one task, "metric,filter" -> what the harness makes of all documents."""
    mine = [row["figures"] for row in rows if row["task"] == ready.name and row["figures"]]
    added = ready.task.aggregation()
    found: dict[str, float | None] = {}
    for name in dict.fromkeys(name for figures in mine for name in figures):
        values = [figures[name] for figures in mine if figures.get(name) is not None]
        add = added.get(name.partition(",")[0], lambda some: sum(some) / len(some))
        found[name] = _number(add(values)) if values else None
    return found


def _chunks(ready: Ready, size: int) -> Iterator[list[int]]:
    numbers = list(ready.requests)
    return (numbers[i : i + size] for i in range(0, len(numbers), size))


def _work(
    skills: Skills, model: SkillModel, ready: Ready, numbers: Sequence[int]
) -> tuple[list[Record], list[dict[str, Any]]]:
    """Ask and score some documents of a task: the records of replies, and one row a document."""
    requests = [request for number in numbers for request in ready.requests[number]]
    asked: dict[Question, Judge] = {"refused": skills.refused}
    said = _answer(model, requests)
    records = judged([one.completion for one in said.values()], asked)
    verdicts = {place: record.answer("refused") for place, record in zip(said, records, strict=True)}
    figures = _figures(ready, numbers, requests)
    rows = []
    for number in numbers:
        replies = [(said[p], verdicts[p]) for p in said if p[0] == number]
        went = _went(replies) if ready.by == "generation" else _read(ready.requests[number])
        found = {} if went in ("no reply", "blocked") else figures[number]
        measure, score = next(((n, v) for n, v in _main(found) if v is not None), ("", None))
        row = {"key": f"{ready.name}/{number}", "task": ready.name, "asked": ready.asked, "by": ready.by}
        rows.append({**row, "measure": measure, "score": score, "went": went, "figures": found})
    scores = {row["key"]: row for row in rows}
    return [_with_score(record, scores[record.prompt.id]) for record in records], rows


def _answer(model: SkillModel, requests: Sequence[Instance]) -> dict[tuple[int, int, int], Said]:
    """Give each request its answers; return the replies by document, request and draw."""
    said: dict[tuple[int, int, int], Said] = {}
    for request in requests:
        request.resps = []
    generated = [request for request in requests if request.request_type == "generate_until"]
    for draw in range(max((request.repeats or 1 for request in generated), default=0)):
        some = [request for request in generated if draw < (request.repeats or 1)]
        for request, one in zip(some, model.say(some, draw), strict=True):
            request.resps.append(one.text)
            said[int(request.doc_id or 0), request.idx, draw] = one
    scored = [request for request in requests if request.request_type != "generate_until"]
    for request, value in zip(scored, model.loglikelihood(scored) if scored else [], strict=True):
        request.resps = [value] * (request.repeats or 1)
    return said


def _figures(ready: Ready, numbers: Sequence[int], requests: list[Instance]) -> dict[int, dict[str, Any]]:
    """Return what the task computes of each document: "metric,filter" -> figure."""
    task = ready.task
    for request in requests:
        request.filtered_resps = {}
    task._instances = requests  # what the harness's filters work on: a chunk in the place of all
    task.apply_filters()
    found: dict[int, dict[str, Any]] = {number: {} for number in numbers}
    for number in numbers:
        mine = sorted(ready.requests[number], key=lambda request: request.idx)
        for name in mine[0].filtered_resps:
            values = task.process_results(mine[0].doc, [request.filtered_resps[name] for request in mine])
            found[number] |= {f"{metric},{name}": _plain(value) for metric, value in values.items()}
    return found


def _main(figures: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """Yield the figures that are numbers, the main one first: of the first metric, by its most lenient filter.

    A chat is to be judged by its answer, not by its form. The harness names its filters strict-match and
    flexible-extract, in either order; of others the last is the most lenient.
    """
    first = next(iter(figures), "").partition(",")[0]
    mine = [name for name in figures if name.partition(",")[0] == first]
    mine.sort(key=lambda name: name.endswith(",strict-match"), reverse=True)
    for name in (*reversed(mine), *(n for n in figures if n not in mine)):
        value = figures[name]
        if value is None or isinstance(value, Real):
            yield name, _number(value)


def _went(replies: Sequence[tuple[Said, bool | None]]) -> str:
    """Say how the replies to a document went; of several the one that went worst."""
    if any(one.completion.error for one, _ in replies):
        return "blocked" if any(one.completion.blocked for one, _ in replies) else "no reply"
    if any(refused for _, refused in replies):
        return "refused"
    return "answered" if all(one.ended for one, _ in replies) else "cut off"


def _read(requests: Sequence[Instance]) -> str:
    """Say whether the model could read every answer that it was to compare."""
    values = [value[0] for request in requests for value in request.resps]
    return "by likelihood" if all(map(math.isfinite, values)) else "no reply"


def _with_score(record: Record, row: Mapping[str, Any]) -> Record:
    """Let a reply carry its score as a verdict on *correct?*, where the score is yes or no."""
    score = row["score"]
    answer = bool(score) if score in (0, 1) else None
    verdict = Verdict("correct", answer, f"{row['measure']} = {score}", "lm-evaluation-harness")
    return replace(record, verdicts=(*record.verdicts, verdict))


def _plain(value: Any) -> Any:
    """Return a figure as JSON takes it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):  # numpy's
        return _plain(value.tolist())
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None
