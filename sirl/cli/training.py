"""The work of `sirl train`: what is opened, what looks on, what the run folder says at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from time import monotonic
from typing import Any

from sirl.cli.asked import training_attempts, training_settings
from sirl.cli.base import Base
from sirl.cli.instinct import measure_instinct, require_instinct, tell_instinct, tell_propensity
from sirl.cli.job import Job
from sirl.cli.judging import Opening, open_judges
from sirl.cli.labelling import labeller
from sirl.cli.probing import hold_out, make_probe
from sirl.cli.progress import phase, stepping
from sirl.cli.searching import Searcher, armed_search, count_findings
from sirl.cli.sources import ORGANISM, Subject, resolve_model
from sirl.cli.summaries import finish
from sirl.config import ModelConfig, TrainConfig
from sirl.config.train import LABEL_FREE
from sirl.errors import ConfigError
from sirl.evidence import attack_hashes
from sirl.judges import get_judge
from sirl.lm import LM, fingerprint
from sirl.plugins import require_extra
from sirl.ranks import count, is_first
from sirl.records import Attempt
from sirl.rundir import STEPS, RunDir, begun_run, locked, open_run
from sirl.targets import Draw, Source, drawing_apart
from sirl.training import Watch, check, write_hardened
from sirl.training.precision import computing
from sirl.training.stopping import lost_refusals
from sirl.training.together import from_first, join

LOG = logging.getLogger("sirl")
NO_PROBES = "no probes are held out of fewer than 10 requests: nothing watches what training does to the model"


def train(job: Job) -> dict[str, Any]:
    """Harden a model; return the summary. The model is in OUT/model.

    Raises ConfigError if the model lacks what the method needs and the job does not force it.
    """
    _refuse_several(job)
    join()
    purpose = "the training of"
    subject, recipe = job.open(purpose, engine="transformers")
    config, lm = training_settings(subject, job.asked, recipe.train), subject.weights(purpose)
    apart = _drawing_apart(job, subject, recipe.model, config)
    with phase("read the prompts"):
        stream = training_attempts(subject, job.asked, config, job.seed)
    attempts, probes = hold_out(stream.attempts)
    with phase("try the model"):  # before a folder is made that would stand for wrong settings
        admitted = check(lm, attempts, config)
    refused = get_judge("refusal", "refused")
    attacks = armed_search(subject, Opening(recipe.model, job.seed, recipe.judge), config, admitted)
    with phase("hash the weights"):
        hashes = _hashes(lm, attempts) | attack_hashes(attacks)
    settings = {
        "model": subject.name,
        "seed": job.seed,
        "train": asdict(config),
        "prompts": [asdict(source) for source in stream.sources],
        "held_out": [asdict(source) for source in stream.held_out],
        "probes": len(probes.plain) + len(probes.disguised),
        **({"start_drawn_by": recipe.model.engine} if apart else {}),
    }
    base, begun = Base(lm), from_first(lambda: begun_run(job.out, "train", settings, hashes))
    if begun:
        base.recall(begun)
    instinct = None
    if config.method in LABEL_FREE:  # the others train on labels, not on what the start does by itself
        with computing(lm), phase("check the base model") as advance:
            instinct = measure_instinct(base, admitted, refused, recipe.gap, job.seed, advance)
        if is_first():
            tell_propensity(instinct)
        instinct |= {"forced": require_instinct(instinct, config.method, subject.name, job.force)}
        settings |= {"forced": True} if instinct["forced"] else {}
    run = from_first(lambda: open_run(job.out, "train", settings, hashes))
    if instinct and is_first():
        tell_instinct(instinct, config.method)
    start = monotonic()
    with ExitStack() as held, stepping(config.steps) as on_step:
        from_first(lambda: held.enter_context(locked(run)))
        base.keep(run)
        own = not config.prompts
        good = labeller(open_judges(subject, (), own, Opening()), subject.is_organism and own)
        if not probes.plain and is_first():
            LOG.warning("%s", NO_PROBES)
        probe = make_probe(base, probes, refused, config.max_reply_tokens, phase)
        search = Searcher(attacks, config, run, job.seed)
        watch = Watch(probe, on_step, refused, good, search, apart or base.drawing, phase)
        write_hardened(lm, attempts, config, run, job.seed, watch)
    known = {"held_out": stream.removed, "instinct": instinct}
    return from_first(lambda: finish(run, _told(run, config, known), {"train": monotonic() - start}))


def _guards(run: RunDir) -> dict[str, Any]:
    """Return what the last probe says of lost refusals, and what no probe could guard against."""
    probed = [row for row in run.rows(STEPS) if "over_budget" in row]
    if not probed:
        return {"less_safe": None, "unguarded": [NO_PROBES]}
    return {"less_safe": lost_refusals(probed[-1]), "unguarded": probed[-1].get("unguarded", [])}


def _told(run: RunDir, config: TrainConfig, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the summary tells: what is `known` beforehand and what the run's rows say."""
    steps = run.rows(STEPS)
    summary = {
        "model": run.config["model"],
        "seed": run.config["seed"],
        "method": config.method,
        "reward": config.reward if config.method == "sirl" else None,
        "steps": len(steps),
        "first": steps[0],
        "last": steps[-1],
        "stopped": steps[-1]["over_budget"] if "kept_step" in steps[-1] else None,
        "kept_step": steps[-1].get("kept_step", len(steps)),
        **_guards(run),
        **known,
    }
    if config.search:
        summary["search"] = count_findings(run)
    return summary


def _refuse_several(job: Job) -> None:
    """Raise ConfigError if vLLM is to draw for several processes; asked before they wait for each other."""
    engine = job.settings(job.model.startswith(ORGANISM)).model.engine
    if engine != "transformers" and count() > 1:
        found = f"model.engine = {engine!r} with {count()} processes"
        raise ConfigError(found, "one process", "leave model.engine alone")


def _drawing_apart(
    job: Job, subject: Subject, model: ModelConfig, config: TrainConfig
) -> Callable[[], AbstractContextManager[Draw]] | None:
    """Return what opens vLLM to draw the replies of the frozen start, None where transformers draws them.

    Raises ConfigError where vLLM has nothing to draw.
    """
    if model.engine == "transformers":
        return None
    found = f"model.engine = {model.engine!r} with"
    if config.method not in LABEL_FREE or (config.method == "sirl" and config.gate == "none"):
        raise ConfigError(
            f"{found} train.method = {config.method!r} and train.gate = {config.gate!r}",
            "a run that asks the frozen start, which is all that vLLM draws for training",
            "use train.method=distill or train.gate=start, or leave model.engine alone",
        )
    require_extra("vllm", "vllm")
    source, name, _, _ = resolve_model(job.model)
    return partial(drawing_apart, subject.weights("the training of"), Source(source, name, model))


def _hashes(lm: LM, attempts: Sequence[Attempt]) -> dict[str, str]:
    texts = "\0".join(text for a in attempts for text in (a.prompt.text, *(m.content for m in a.messages)))
    return {**fingerprint(lm), "prompts": sha256(texts.encode()).hexdigest()[:12]}
