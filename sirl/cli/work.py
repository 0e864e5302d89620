"""The commands' work: open what was named, call one room, write the summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import sha256
from time import monotonic
from typing import Any

from sirl.cli.arms import uncovered
from sirl.cli.asked import measuring_prompts, training_attempts
from sirl.cli.job import Job, make_study, seen_attacks
from sirl.cli.judging import Opening, open_judges
from sirl.cli.progress import counting, stepping
from sirl.cli.sources import Subject
from sirl.cli.summaries import finish, numbers
from sirl.config import TrainConfig
from sirl.evaluation import evaluate as evaluate_study
from sirl.evidence import Study, protocol_hashes
from sirl.gap import check as check_gap
from sirl.gap import measure_gap
from sirl.generation import generate
from sirl.judges import get_judge, known_agreement
from sirl.lm import LM, fingerprint
from sirl.metrics import rate
from sirl.records import Attempt, Decoding, Message, Prompt
from sirl.rundir import RunDir, locked, open_run
from sirl.shards import parse_shard
from sirl.training import Watch, check, harden

Probe = Callable[[LM], dict[str, float]]
PROBES = {"harmful": 32, "benign": 32, "borderline": 32}  # of the organism's world
PROBED = 32  # prompts of the user's own, asked as they are
PROBE_COLUMNS = {"harmful": "refusal_probe", "benign": "benign_probe", "borderline": "borderline_probe"}


def gap(job: Job) -> dict[str, Any]:
    """Measure the entropy gap; return the summary."""
    subject, recipe = job.open("the entropy gap of")
    study = make_study(job, subject, recipe, recipe.gap)
    check_gap(study)
    run = _open(job, subject, "gap", study)
    start = monotonic()
    with counting("entropy gap") as on_progress:
        records = measure_gap(study, run, on_progress, parse_shard(job.shard))
    return finish(run, numbers(run, records), {"gap": monotonic() - start})


def evaluate(job: Job, role: str = "") -> dict[str, Any]:
    """Measure defence, over-refusal and capability; return the summary."""
    subject, recipe = job.open()
    study = make_study(job, subject, recipe, recipe.evaluate)
    run = _open(job, subject, "evaluate", study, role)
    start = monotonic()
    with counting(f"evaluate {role}".strip()) as on_progress:
        records = evaluate_study(study, run, on_progress, parse_shard(job.shard))
    return finish(run, numbers(run, records), {"evaluate": monotonic() - start})


def train(job: Job) -> dict[str, Any]:
    """Harden a model; return the summary. The model is in OUT/model."""
    purpose = "the training of"
    subject, recipe = job.open(purpose)
    config, lm = recipe.train, subject.weights(purpose)
    attempts, sources = training_attempts(subject, job.asked, config, job.seed)
    prompts = [attempt.prompt for attempt in attempts]
    check(lm, attempts, config)  # before a folder is made that would stand for wrong settings
    settings = {
        "model": subject.name,
        "seed": job.seed,
        "train": asdict(config),
        "prompts": [asdict(source) for source in sources],
    }
    run = open_run(job.out, "train", settings, _hashes(lm, attempts))
    start = monotonic()
    with locked(run), stepping(config.steps) as on_step:
        watch = Watch(_probe(job, subject, config, prompts), on_step, get_judge("refusal", "refused"))
        harden(lm, attempts, config, run, job.seed, watch)
    steps = run.rows("steps.jsonl")
    summary = {
        "model": subject.name,
        "seed": job.seed,
        "reward": config.reward,
        "steps": len(steps),
        "first": steps[0],
        "last": steps[-1],
    }
    return finish(run, summary, {"train": monotonic() - start})


def _open(job: Job, subject: Subject, kind: str, study: Study, role: str = "") -> RunDir:
    config = {
        "model": subject.name,
        "seed": job.seed,
        "dtype": subject.dtype,
        "settings": asdict(study.config),
        "prompts": [asdict(source) for source in study.sources],
        "seen_in_training": seen_attacks(job, subject),
        "agreement": known_agreement(study.judges),
        **({"role": role} if role else {}),
        **({"not_asked": left_out} if (left_out := uncovered(study.attacks, study.prompts)) else {}),
        **({"shard": str(parse_shard(job.shard))} if job.shard else {}),
    }
    return open_run(job.out, kind, config, {**subject.fingerprint(), **protocol_hashes(study)})


def _probe(job: Job, subject: Subject, config: TrainConfig, prompts: Sequence[Prompt]) -> Probe:
    """Return a measure of refusal while training runs: greedy replies, judged. It steers nothing."""
    own = not job.asked.sources
    probes = list(prompts[:PROBED])
    if own:
        (world,) = measuring_prompts(subject, job.asked, PROBES, job.seed + 1)
        probes = list(world.prompts)
    judge = open_judges(subject, (), own, Opening())["refused"]
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


def _hashes(lm: LM, attempts: Sequence[Attempt]) -> dict[str, str]:
    texts = "\0".join(text for a in attempts for text in (a.prompt.text, *(m.content for m in a.messages)))
    return {**fingerprint(lm), "prompts": sha256(texts.encode()).hexdigest()[:12]}
