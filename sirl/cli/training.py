"""The work of `sirl train`: what is opened, what looks on, what the run folder says at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from time import monotonic
from typing import Any

from sirl.cli.asked import training_attempts
from sirl.cli.job import Job
from sirl.cli.judging import Opening, open_judges
from sirl.cli.labelling import labeller
from sirl.cli.probing import hold_out, make_probe
from sirl.cli.progress import stepping
from sirl.cli.summaries import finish
from sirl.judges import get_judge
from sirl.lm import LM, fingerprint
from sirl.records import Attempt
from sirl.rundir import locked, open_run
from sirl.training import Watch, check, harden


def train(job: Job) -> dict[str, Any]:
    """Harden a model; return the summary. The model is in OUT/model."""
    purpose = "the training of"
    subject, recipe = job.open(purpose)
    config, lm = recipe.train, subject.weights(purpose)
    stream, sources = training_attempts(subject, job.asked, config, job.seed)
    attempts, probes = hold_out(stream)
    check(lm, attempts, config)  # before a folder is made that would stand for wrong settings
    settings = {
        "model": subject.name,
        "seed": job.seed,
        "train": asdict(config),
        "prompts": [asdict(source) for source in sources],
        "probes": len(probes),
    }
    run = open_run(job.out, "train", settings, _hashes(lm, attempts))
    start = monotonic()
    with locked(run), stepping(config.steps) as on_step:
        own = not job.asked.sources
        good = labeller(open_judges(subject, (), own, Opening()), subject.is_organism and own)
        refused = get_judge("refusal", "refused")
        watch = Watch(make_probe(lm, probes, refused, config.max_reply_tokens), on_step, refused, good)
        harden(lm, attempts, config, run, job.seed, watch)
    steps = run.rows("steps.jsonl")
    summary = {
        "model": subject.name,
        "seed": job.seed,
        "method": config.method,
        "reward": config.reward if config.method == "sirl" else None,
        "steps": len(steps),
        "first": steps[0],
        "last": steps[-1],
        "stopped": steps[-1].get("stopped"),
        "kept_step": steps[-1].get("kept_step", len(steps)),
    }
    return finish(run, summary, {"train": monotonic() - start})


def _hashes(lm: LM, attempts: Sequence[Attempt]) -> dict[str, str]:
    texts = "\0".join(text for a in attempts for text in (a.prompt.text, *(m.content for m in a.messages)))
    return {**fingerprint(lm), "prompts": sha256(texts.encode()).hexdigest()[:12]}
