"""The work of `sirl train`: what is opened, what looks on, what the run folder says at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import sha256
from time import monotonic
from typing import Any

from sirl.cli.asked import measuring_prompts, training_attempts, training_settings
from sirl.cli.instinct import measure_instinct, require_instinct, tell_instinct
from sirl.cli.job import Job
from sirl.cli.judging import Opening, open_judges
from sirl.cli.progress import stepping
from sirl.cli.searching import Searcher, armed_search, count_findings
from sirl.cli.sources import Subject
from sirl.cli.summaries import finish
from sirl.config import TrainConfig
from sirl.evidence import attack_hashes
from sirl.generation import generate
from sirl.judges import get_judge
from sirl.lm import LM, fingerprint
from sirl.metrics import rate
from sirl.records import Attempt, Decoding, Message, Prompt
from sirl.rundir import locked, open_run
from sirl.training import Watch, check, harden

Probe = Callable[[LM], dict[str, float]]
PROBES = {"harmful": 32, "benign": 32, "borderline": 32}  # of the organism's world
PROBED = 32  # prompts of the user's own, asked as they are
PROBE_COLUMNS = {"harmful": "refusal_probe", "benign": "benign_probe", "borderline": "borderline_probe"}


def train(job: Job) -> dict[str, Any]:
    """Harden a model; return the summary. The model is in OUT/model.

    Raises ConfigError if the model's instinct is absent or inverted and the job does not force it.
    """
    purpose = "the training of"
    subject, recipe = job.open(purpose)
    config, lm = training_settings(subject, job.asked, recipe.train), subject.weights(purpose)
    stream = training_attempts(subject, job.asked, config, job.seed)
    attempts = stream.attempts
    prompts = [attempt.prompt for attempt in attempts]
    admitted = check(lm, attempts, config)  # before a folder is made that would stand for wrong settings
    refused = get_judge("refusal", "refused")
    attacks = armed_search(subject, Opening(recipe.model, job.seed), config, admitted)
    instinct = measure_instinct(lm, admitted, refused, recipe.gap, job.seed)
    forced = require_instinct(instinct, subject.name, job.force)
    settings = {
        "model": subject.name,
        "seed": job.seed,
        "train": asdict(config),
        "prompts": [asdict(source) for source in stream.sources],
        "held_out": [asdict(source) for source in stream.held_out],
        **({"forced": True} if forced else {}),
    }
    run = open_run(job.out, "train", settings, _hashes(lm, attempts) | attack_hashes(attacks))
    tell_instinct(instinct)
    start = monotonic()
    with locked(run), stepping(config.steps) as on_step:
        search = Searcher(attacks, config, run, job.seed)
        watch = Watch(_probe(job, subject, config, prompts), on_step, refused, search)
        harden(lm, attempts, config, run, job.seed, watch)
    steps = run.rows("steps.jsonl")
    summary = {
        "model": subject.name,
        "seed": job.seed,
        "reward": config.reward,
        "steps": len(steps),
        "first": steps[0],
        "last": steps[-1],
        "held_out": stream.removed,
        "instinct": instinct | {"forced": forced},
    }
    if attacks:
        summary["search"] = count_findings(run)
    return finish(run, summary, {"train": monotonic() - start})


def _probe(job: Job, subject: Subject, config: TrainConfig, prompts: Sequence[Prompt]) -> Probe:
    """Return a measure of refusal while training runs: greedy replies, judged. It steers nothing."""
    own = not config.prompts
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
