"""A run folder -> one of Inspect's logs, so that `inspect view` opens it.

One sample a prompt and attack, one epoch a draw, one score a verdict. A verdict of None is Inspect's
*unscored*, never a value; a reply that failed is a sample with an error, one that the provider's filter blocked
has the stop reason content_filter. Of the entropies only each reply's
mean travels, as metadata: Inspect has no place for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from inspect_ai.dataset import Sample
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalError,
    EvalLog,
    EvalMetric,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    write_eval_log,
)
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
)
from inspect_ai.scorer import Score

from sirl.errors import RunError
from sirl.records import Attempt, Record, Transcripts, Verdict, shown
from sirl.rundir import RunDir, read_run

_MESSAGES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
_OVERALL = ("mean", "worst", "union")


def export(folder: Path, out: Path, transcripts: Transcripts = "redacted") -> Path:
    """Write OUT/NAME.eval from a gap or evaluate run and return its path; texts as `transcripts` says.

    Raises RunError if the folder holds no run, or none with records.
    """
    run = read_run(folder)
    records = [shown(record, transcripts) for record in run.records(tokens=False)]
    if not records:
        raise RunError(
            f"{folder} holds no records", "a run of sirl gap or sirl evaluate", "give another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{run.path.resolve().name}.eval"
    write_eval_log(to_log(run, records), path)
    return path


def to_log(run: RunDir, records: Sequence[Record]) -> EvalLog:
    """Return Inspect's log of a run; one that has not finished has no results and the status cancelled."""
    summary = run.summary()
    return EvalLog(
        status="success" if summary else "cancelled",
        eval=_spec(run, records),
        results=_results(records, summary) if summary else None,
        samples=[_sample(record, str(run.config.get("model"))) for record in records],
    )


def sample(attempt: Attempt) -> Sample:
    """Return what is sent as Inspect's sample; what the reply should contain is its target."""
    prompt = attempt.prompt
    return Sample(
        id=f"{prompt.id}|{attempt.attack}",
        input=_messages(attempt),
        target=prompt.answer,
        metadata={
            "attack": attempt.attack,
            "prompt_id": prompt.id,
            "request": prompt.text,
            "kind": prompt.kind,
            "category": prompt.category,
            "source": prompt.source,
        },
    )


def to_score(verdict: Verdict) -> Score:
    """Return a verdict as Inspect's score: 1 yes, 0 no, unscored where there is none; its evidence says why."""
    known = {"explanation": verdict.evidence, "metadata": {"judge": verdict.judge}}
    if verdict.answer is None:
        return Score.unscored(reason="undecided", **known)
    return Score(value=int(verdict.answer), **known)


def _messages(attempt: Attempt) -> list[Any]:
    said = [_MESSAGES[message.role](content=message.content) for message in attempt.messages]
    return [*said, *([ChatMessageAssistant(content=attempt.prefill)] if attempt.prefill else [])]


def _sample(record: Record, model: str) -> EvalSample:
    completion, attempt = record.completion, record.attempt
    asked = sample(attempt)
    failed = completion.error if not completion.blocked else ""
    stop = "unknown" if failed else "stop" if completion.finished else "max_tokens"
    stop = "content_filter" if completion.blocked else stop
    output = ModelOutput.from_content(model, completion.text, stop, error=failed or None)
    entropy = {} if record.mean_entropy is None else {"mean_entropy": record.mean_entropy}
    return EvalSample(
        id=str(asked.id),
        epoch=attempt.sample + 1,
        input=asked.input,
        target=asked.target,
        messages=[*_messages(attempt), ChatMessageAssistant(content=completion.text)],
        output=output,
        scores={verdict.question: to_score(verdict) for verdict in record.verdicts},
        metadata={**(asked.metadata or {}), "kind_of_attack": attempt.search.kind, **entropy},
        error=_error(failed) if failed else None,
    )


def _error(reason: str) -> EvalError:
    return EvalError(message=reason, traceback="", traceback_ansi="")


def _spec(run: RunDir, records: Sequence[Record]) -> EvalSpec:
    """Return the log's head. Its ids come from the run's protocol, so that an export is the same each time."""
    ids = sorted({f"{r.prompt.id}|{r.attempt.attack}" for r in records})
    written = (run.path / "config.json").stat().st_mtime
    identity = sha256(repr((sorted(run.config.items()), ids)).encode()).hexdigest()[:22]
    decoding = records[0].attempt.decoding
    drawn = {"temperature": decoding.temperature, "max_tokens": decoding.max_new_tokens} if decoding else {}
    return EvalSpec(
        eval_id=identity,
        run_id=identity,
        task_id=identity,
        created=datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds"),
        task=f"sirl/{run.kind}",
        dataset=EvalDataset(
            name=", ".join(sorted({r.prompt.source for r in records if r.prompt.source})) or run.path.name,
            samples=len(ids),
            sample_ids=ids,
        ),
        model=str(run.config.get("model")),
        model_generate_config=GenerateConfig(seed=run.config.get("seed"), **drawn),
        config=EvalConfig(epochs=1 + max(r.attempt.sample for r in records)),
        packages={"sirl": str(run.environment.get("versions", {}).get("sirl"))},
        metadata={"config": dict(run.config), "environment": dict(run.environment)},
    )


def _results(records: Sequence[Record], summary: Mapping[str, Any]) -> EvalResults:
    asked = sorted({v.question for r in records for v in r.verdicts})
    scores = [_eval_score(records, question) for question in asked]
    if "dsr" in summary:
        scores.insert(0, _dsr(summary["dsr"]))
    return EvalResults(
        total_samples=len(records),
        completed_samples=sum(not r.completion.error or r.completion.blocked for r in records),
        scores=scores,
        metadata={"summary": dict(summary)},
    )


def _dsr(table: Mapping[str, Any]) -> EvalScore:
    """Return the defence success rate, over all attacks and under each; what was not scored is left out."""
    named = {name: table[name] for name in _OVERALL}
    named |= {f"under {name}": row["rate"] for name, row in table["per_attack"].items()}
    return EvalScore(
        name="dsr",
        scorer="harmful",
        scored_samples=table["n"],
        unscored_samples=table["unscored"],
        metrics={name: EvalMetric(name=name, value=v) for name, v in named.items() if v is not None},
    )


def _eval_score(records: Sequence[Record], question: str) -> EvalScore:
    verdicts = [v for r in records for v in r.verdicts if v.question == question]
    known = [v.answer for v in verdicts if v.answer is not None]
    return EvalScore(
        name=question,
        scorer=", ".join(sorted({v.judge for v in verdicts})),
        scored_samples=len(known),
        unscored_samples=len(verdicts) - len(known),
        metrics={"share": EvalMetric(name="share", value=sum(known) / len(known))} if known else {},
    )
