"""The commands' work: open what was named, call one room, write the summary."""

from __future__ import annotations

from dataclasses import asdict
from time import monotonic
from typing import Any

from sirl.cli.arms import uncovered
from sirl.cli.job import Job, held_out_attacks, make_study, seen_attacks
from sirl.cli.progress import phase
from sirl.cli.sources import Subject
from sirl.cli.summaries import finish, numbers
from sirl.defences import Behind
from sirl.errors import ConfigError
from sirl.evaluation import evaluate as evaluate_study
from sirl.evidence import Study, protocol_hashes
from sirl.gap import check as check_gap
from sirl.gap import measure_gap
from sirl.judges import judge_name, known_agreement
from sirl.propensity import keep_propensities
from sirl.rundir import RunDir, open_run
from sirl.shards import parse_shard


def gap(job: Job) -> dict[str, Any]:
    """Measure the entropy gap; return the summary."""
    subject, recipe = job.open("the entropy gap of")
    if recipe.gap.defence:
        found = f"gap.defence = {recipe.gap.defence!r}"
        raise ConfigError(found, "the model alone: its entropies are measured", "set evaluate.defence")
    study = make_study(job, subject, recipe, recipe.gap)
    check_gap(study)
    run = _open(job, subject, "gap", study)
    start = monotonic()
    with phase("entropy gap") as on_progress:
        records = measure_gap(study, run, on_progress, parse_shard(job.shard))
    if not job.shard:  # openers are found in all replies of a run
        with phase("refusal propensity") as advance:
            keep_propensities(subject.weights("the entropy gap of"), records, run, advance)
    return finish(run, numbers(run, records), {"gap": monotonic() - start})


def evaluate(job: Job, role: str = "") -> dict[str, Any]:
    """Measure defence, over-refusal and capability; return the summary."""
    subject, recipe = job.open()
    study = make_study(job, subject, recipe, recipe.evaluate)
    run = _open(job, subject, "evaluate", study, role)
    start = monotonic()
    with phase(f"evaluate {role}".strip()) as on_progress:
        records = evaluate_study(study, run, on_progress, parse_shard(job.shard))
    return finish(run, numbers(run, records), {"evaluate": monotonic() - start})


def _search_judge(study: Study) -> str:
    """Name who tells searches when they succeed, if not the run's own judge; empty: it does, or nobody."""
    own = judge_name(study.judges["harmful"])
    asked = {judge_name(j) for info in study.attacks.values() if (j := getattr(info.run, "judge", None))}
    return ", ".join(sorted(asked - {own}))


def _open(job: Job, subject: Subject, kind: str, study: Study, role: str = "") -> RunDir:
    config = {
        "model": subject.name,
        "seed": job.seed,
        "dtype": subject.dtype,
        "settings": asdict(study.config),
        "prompts": [asdict(source) for source in study.sources],
        "seen_in_training": seen_attacks(job, subject),
        "held_out_attacks": held_out_attacks(job, subject),
        "agreement": known_agreement(study.judges),
        **({"role": role} if role else {}),
        **({"search_judge": other} if (other := _search_judge(study)) else {}),
        **({"not_asked": left_out} if (left_out := uncovered(study.attacks, study.prompts)) else {}),
        **({"shard": str(parse_shard(job.shard))} if job.shard else {}),
    }
    defence = {"defence": study.target.info.identity} if isinstance(study.target, Behind) else {}
    hashes = {**subject.fingerprint(study.decoding), **protocol_hashes(study), **defence}
    return open_run(job.out, kind, config, hashes)
