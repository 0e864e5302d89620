"""Harden a model: what is opened, what looks on, what the run folder says at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from time import monotonic
from typing import Any

from sirl.attacks import AttackInfo
from sirl.config import ModelConfig, Recipe, TrainConfig
from sirl.config.train import LABEL_FREE
from sirl.errors import ConfigError, DataError
from sirl.evidence import attack_hashes
from sirl.judges import get_judge
from sirl.lm import LM, fingerprint
from sirl.organism.corpus import world_prompt
from sirl.phases import phase
from sirl.plugins import require_extra
from sirl.ranks import count
from sirl.records import Attempt, Decoding
from sirl.rundir import STEPS, RunDir, begun_run, locked, open_run
from sirl.targets import Draw, Source, drawing_apart
from sirl.training import Hooks, check, write_hardened
from sirl.training.base import Base
from sirl.training.distributed import from_first, join
from sirl.training.labelling import labeller
from sirl.training.precheck import measure_instinct, require_instinct, tell_instinct, tell_propensity
from sirl.training.precision import computing
from sirl.training.probes import hold_out, make_probe
from sirl.training.progress import stepping
from sirl.training.search import Searcher, count_findings, served
from sirl.training.stopping import lost_refusals
from sirl.workflows.attack_tools import AttackTools, armed, make_means, with_attacker
from sirl.workflows.judges import JudgeLoader, open_judges
from sirl.workflows.models import Model, resolve_model
from sirl.workflows.request import Request
from sirl.workflows.sources import training_attempts, training_settings
from sirl.workflows.summaries import finish

LOG = logging.getLogger("sirl")
NO_PROBES = "no probes are held out of fewer than 10 requests: nothing watches what training does to the model"


def train(asked: Request, force: bool = False) -> RunDir:
    """Harden a model; return the finished run. The model is in OUT/model.

    Raises ConfigError if the model lacks what the method needs and it is not forced.
    """
    recipe = asked.read()
    _refuse_several(recipe)
    join()
    purpose = "the training of"
    model = asked.open(recipe, purpose, engine="transformers")
    config, lm = training_settings(model, asked.prompts, recipe.train), model.weights(purpose)
    apart = _drawing_apart(asked, lm, recipe.model, config)
    with phase("read the prompts"):
        stream = training_attempts(model, asked.prompts, config, asked.seed)
    attempts, probes = hold_out(stream.attempts)
    with phase("check the settings"):  # before a folder is made that would stand for wrong settings
        admitted = check(lm, attempts, config)
    refused = get_judge("refusal", "refused")
    attacks = armed_search(model, JudgeLoader(recipe.model, asked.seed, recipe.judge), config, admitted)
    with phase("hash the weights"):
        hashes = _hashes(lm, attempts) | attack_hashes(attacks)
    settings = {
        "model": model.name,
        "seed": asked.seed,
        "train": asdict(config),
        "prompts": [asdict(source) for source in stream.sources],
        "held_out": [asdict(source) for source in stream.held_out],
        "probes": len(probes.plain) + len(probes.disguised),
        **({"start_drawn_by": recipe.model.engine} if apart else {}),
    }
    base, begun = Base(lm), from_first(lambda: begun_run(asked.out, "train", settings, hashes))
    if begun:
        base.recall(begun)
    instinct = None
    if config.method in LABEL_FREE:  # the others train on labels, not on what the base does by itself
        with computing(lm):
            instinct = measure_instinct(base, admitted, refused, recipe.gap, asked.seed)
        tell_propensity(instinct)
        instinct |= {"forced": require_instinct(instinct, config.method, model.name, force)}
        settings |= {"forced": True} if instinct["forced"] else {}
    run = from_first(lambda: open_run(asked.out, "train", settings, hashes))
    if instinct:
        tell_instinct(instinct, config.method)
    if not probes.plain:
        LOG.warning("%s", NO_PROBES)
    start = monotonic()
    with ExitStack() as held, stepping(config.steps) as on_step:
        from_first(lambda: held.enter_context(locked(run)))
        base.keep(run)
        own = not config.prompts
        judges = open_judges(model, (), own, JudgeLoader())
        hooks = Hooks(
            make_probe(base, probes, refused, config.max_reply_tokens),
            on_step,
            refused,
            labeller(judges, world_prompt if model.is_organism and own else None),
            Searcher(attacks, config, run, asked.seed),
            apart or base.drawing,
        )
        write_hardened(lm, attempts, config, run, asked.seed, hooks)
    known = {"held_out": stream.removed, "instinct": instinct}
    from_first(lambda: finish(run, _told(run, config, known), {"train": monotonic() - start}))
    return run


def armed_search(
    model: Model, loader: JudgeLoader, config: TrainConfig, attempts: Sequence[Attempt]
) -> dict[str, AttackInfo]:
    """Return the attacks of `train.search.attacks` with what they need; empty if none is named.

    Raises AttackError if one cannot be run, DataError if two prompts share an id, by which searches go.
    """
    if not config.search.attacks:
        return {}
    if len({attempt.prompt.id for attempt in attempts}) < len(attempts):
        raise DataError(
            "two prompts have the same id", "an id of its own for each prompt, to search", "renumber them"
        )
    tools = with_attacker(AttackTools(config.search.attacker), model, config.search.attacks)
    means = make_means(tools, loader, served, ())
    return armed(config.search.attacks, means, model.drawing(Decoding()).access)


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
        "reward": config.reward.kind if config.method == "sirl" else None,
        "steps": len(steps),
        "first": steps[0],
        "last": steps[-1],
        "stopped": steps[-1]["over_budget"] if "kept_step" in steps[-1] else None,
        "kept_step": steps[-1].get("kept_step", len(steps)),
        **_guards(run),
        **known,
    }
    if config.search.attacks:
        summary["search"] = count_findings(run)
    return summary


def _refuse_several(recipe: Recipe) -> None:
    """Raise ConfigError if vLLM is to draw for several processes; asked before they wait for each other."""
    engine = recipe.model.engine
    if engine != "transformers" and count() > 1:
        found = f"model.engine = {engine!r} with {count()} processes"
        raise ConfigError(found, "one process", "leave model.engine alone")


def _drawing_apart(
    asked: Request, lm: LM, model: ModelConfig, config: TrainConfig
) -> Callable[[], AbstractContextManager[Draw]] | None:
    """Return what opens vLLM to draw the replies of the base model, None where transformers draws them.

    Raises ConfigError where vLLM has nothing to draw.
    """
    if model.engine == "transformers":
        return None
    found = f"model.engine = {model.engine!r} with"
    if config.method not in LABEL_FREE or (config.method == "sirl" and config.gate.kind == "none"):
        raise ConfigError(
            f"{found} train.method = {config.method!r} and train.gate.kind = {config.gate.kind!r}",
            "a run that asks the base model: vLLM draws nothing else for training",
            "use train.method=distill or train.gate.kind=start, or leave model.engine alone",
        )
    require_extra("vllm", "vllm")
    source, name, _, _ = resolve_model(str(asked.model))
    return partial(drawing_apart, lm, Source(source, name, model))


def _hashes(lm: LM, attempts: Sequence[Attempt]) -> dict[str, str]:
    texts = "\0".join(text for a in attempts for text in (a.prompt.text, *(m.content for m in a.messages)))
    return {**fingerprint(lm), "prompts": sha256(texts.encode()).hexdigest()[:12]}
