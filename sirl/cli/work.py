"""The commands' work: open what was named, call one room, write the summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from time import monotonic
from typing import Any

from sirl.cli.job import Job, make_study, seen_attacks, uncovered
from sirl.cli.progress import counting, stepping
from sirl.cli.sources import Subject, measuring_prompts, open_judges, training_prompts
from sirl.config import TrainConfig
from sirl.evaluation import evaluate as evaluate_study
from sirl.evaluation import summarise
from sirl.evidence import Study, protocol_hashes
from sirl.gap import check as check_gap
from sirl.gap import measure_gap, summarise_gap
from sirl.generation import generate
from sirl.lm import LM, fingerprint
from sirl.metrics import rate
from sirl.records import Attempt, Decoding, Message, Prompt
from sirl.rundir import RunDir, locked, open_run
from sirl.training import Watch, check, harden

Probe = Callable[[LM], dict[str, float]]
PROBES = {"harmful": 32, "benign": 32, "borderline": 32}  # of the organism's world
PROBED = 32  # prompts of the user's own, asked as they are
PROBE_COLUMNS = {"harmful": "refusal_probe", "benign": "benign_probe", "borderline": "borderline_probe"}


def gap(job: Job) -> dict[str, Any]:
    """Measure the entropy gap; return the summary."""
    subject, recipe = job.open()
    study = make_study(job, subject, recipe, recipe.gap)
    check_gap(study)
    run = _open(job, subject, "gap", study)
    start = monotonic()
    with counting("entropy gap") as on_progress:
        records = measure_gap(study, run, on_progress)
    summary = {"model": subject.name, "seed": job.seed, **summarise_gap(records)}
    return _finish(run, summary, {"gap": monotonic() - start})


def evaluate(job: Job, role: str = "") -> dict[str, Any]:
    """Measure defence, over-refusal and capability; return the summary."""
    subject, recipe = job.open()
    study = make_study(job, subject, recipe, recipe.evaluate)
    run = _open(job, subject, "evaluate", study, role)
    start = monotonic()
    with counting(f"evaluate {role}".strip()) as on_progress:
        records = evaluate_study(study, run, on_progress)
    numbers = summarise(records, seen_attacks(job, subject), study.config.samples)
    summary = {"model": subject.name, "seed": job.seed, **numbers}
    return _finish(run, summary, {"evaluate": monotonic() - start})


def train(job: Job) -> dict[str, Any]:
    """Harden a model; return the summary. The model is in OUT/model."""
    subject, recipe = job.open()
    config = recipe.train
    prompts = training_prompts(subject, job.prompts, config.steps * config.prompts_per_step, job.seed)
    check(subject.lm, prompts, config)  # before a folder is made that would stand for wrong settings
    settings = {"model": subject.name, "seed": job.seed, "train": asdict(config)}
    run = open_run(job.out, "train", settings, _hashes(subject.lm, prompts))
    start = monotonic()
    with locked(run), stepping(config.steps) as on_step:
        watch = Watch(_probe(job, subject, config, prompts), on_step)
        harden(subject.lm, prompts, config, run, job.seed, watch)
    steps = run.rows("steps.jsonl")
    summary = {
        "model": subject.name,
        "seed": job.seed,
        "reward": config.reward,
        "steps": len(steps),
        "first": steps[0],
        "last": steps[-1],
    }
    return _finish(run, summary, {"train": monotonic() - start})


def _open(job: Job, subject: Subject, kind: str, study: Study, role: str = "") -> RunDir:
    config = {
        "model": subject.name,
        "seed": job.seed,
        "dtype": str(subject.lm.model.dtype).removeprefix("torch."),
        "settings": asdict(study.config),
        "seen_in_training": seen_attacks(job, subject),
        **({"role": role} if role else {}),
        **({"not_asked": left_out} if (left_out := uncovered(study.attacks, study.prompts)) else {}),
    }
    return open_run(job.out, kind, config, {**fingerprint(subject.lm), **protocol_hashes(study)})


def _probe(job: Job, subject: Subject, config: TrainConfig, prompts: Sequence[Prompt]) -> Probe:
    """Return a measure of refusal while training runs: greedy replies, judged. It steers nothing."""
    probes = list(prompts[:PROBED]) if job.prompts else measuring_prompts(subject, (), PROBES, job.seed + 1)
    judge = open_judges(subject, (), own_prompts=not job.prompts)["refused"]
    attempts = [Attempt(p, "direct", (Message("user", p.text),)) for p in probes]
    decoding = Decoding(max_new_tokens=config.max_reply_tokens)

    def measure(lm: LM) -> dict[str, float]:
        answers: dict[str, list[bool | None]] = {}
        replies = generate(lm, attempts, decoding, job.seed)
        for prompt, verdict in zip(probes, judge(replies), strict=True):
            answers.setdefault(PROBE_COLUMNS.get(prompt.kind, ""), []).append(verdict.answer)
        shares = {name: rate(given).value for name, given in answers.items() if name}
        return {name: value for name, value in shares.items() if value is not None}

    return measure


def _hashes(lm: LM, prompts: Sequence[Prompt]) -> dict[str, str]:
    texts = "\0".join(prompt.text for prompt in prompts)
    return {**fingerprint(lm), "prompts": sha256(texts.encode()).hexdigest()[:12]}


def _finish(run: RunDir, summary: dict[str, Any], seconds: Mapping[str, float]) -> dict[str, Any]:
    """Write and return the summary; its seconds add up over the calls that a run took."""
    spent = run.summary().get("seconds", {})
    summary["seconds"] = {name: round(spent.get(name, 0.0) + value, 1) for name, value in seconds.items()}
    run.write_summary(summary)
    return summary
