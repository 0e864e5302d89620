"""Measure a model: the entropy gap, or defence, over-refusal and capability; and merge the shards of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from time import monotonic

from sirl.config import Changes, EvaluateConfig, Recipe, system_text
from sirl.defences import Behind, get_defence
from sirl.entropy_gap import check as check_gap
from sirl.entropy_gap import measure_gap
from sirl.errors import AttackError, ConfigError, RunError
from sirl.evaluation import evaluate as evaluate_all
from sirl.evidence import Evaluation, protocol_hashes
from sirl.judges import judge_name, known_agreement
from sirl.organism.families import HELD_OUT, SEEN
from sirl.phases import phase
from sirl.propensity import keep_propensities
from sirl.records import Decoding, Lean, Target
from sirl.rundir import COSTS, RECORDS, RunDir, locked, open_run
from sirl.shards import merged_lines, merged_versions, open_shards, parse_shard
from sirl.workflows.attack_tools import (
    AttackTools,
    armed,
    found_elsewhere,
    make_means,
    uncovered,
    with_attacker,
)
from sirl.workflows.defences import defended
from sirl.workflows.judges import JudgeLoader, open_judges, search_judge
from sirl.workflows.models import Model
from sirl.workflows.request import Request, names
from sirl.workflows.sources import Prompts, PromptSources, measuring_prompts
from sirl.workflows.summaries import finish, numbers

# How many of the organism's own prompts a measurement asks, by category or kind.
GAP_SIZES = {"harmful": 48, "benign": 48, "borderline": 48}
SIZES = {"harmful": 100, "benign": 200, "open": 24, "borderline": 200, "math": 200, "code": 200, "chat": 200}
AT_ONCE = 16  # records written at once where shards are merged
QUICK_LIMIT = 12  # prompts of each of the user's sources, or of each sort of the organism's own
QUICK_BUDGET = 24  # queries a prompt


@dataclass(frozen=True, slots=True)
class Measurement(Request):
    """A measurement as asked for. Empty `attacks` are the recipe's; `quick` is a look at all, on few prompts.

    The default attacker of an organism is the attacker organism; any other model has none. `sizes` are how many
    of the organism's own prompts are asked, `role` names the run on a page that compares two.
    """

    attacks: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    tools: AttackTools = field(default_factory=AttackTools)
    shard: str = ""
    quick: bool = False
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)
    role: str = ""

    def settle(self) -> Recipe:
        """Read the settings before anything is loaded. Raises ConfigError."""
        parse_shard(self.shard)
        tools = (self.tools.attacker, self.tools.surrogate, self.tools.scorer)
        recipe = self.read(*self.judges, *tools)
        for defence in filter(None, (recipe.evaluate.defence, recipe.gap.defence)):
            get_defence(defence)
        return recipe


def asked_for(
    model: Model | str,
    prompts: Prompts,
    out: str | Path,
    means: tuple[str | Sequence[str], str | Sequence[str], AttackTools | None],
    how: tuple[str, Changes, int],
    part: tuple[str, bool],
) -> Measurement:
    """Return a measurement of attacks, judges and tools; recipe, settings and seed; shard and quick."""
    attacks, judges, tools = means
    given = (names(attacks), names(judges), tools or AttackTools())
    return Measurement(model, Path(out), PromptSources.of(prompts), *how, *given, *part)


def gap(asked: Measurement) -> RunDir:
    """Measure the entropy gap; return the finished run."""
    recipe = asked.settle()
    model = asked.open(recipe, "the entropy gap of")
    if recipe.gap.defence:
        found = f"gap.defence = {recipe.gap.defence!r}"
        raise ConfigError(
            found,
            "the model without a defence, since its entropies are measured",
            "set evaluate.defence instead",
        )
    evaluation = make_evaluation(asked, model, recipe, recipe.gap)
    check_gap(evaluation)
    run = _open(asked, model, "gap", evaluation)
    start = monotonic()
    with phase("entropy gap") as on_progress:
        records = measure_gap(evaluation, run, on_progress, parse_shard(asked.shard), Lean())
    if not asked.shard:  # openers are found in all replies of a run
        with phase("refusal propensity") as advance:
            keep_propensities(model.weights("the entropy gap of"), run.each_record(), run, advance)
    finish(run, numbers(run, records), {"gap": monotonic() - start})
    return run


def evaluate(asked: Measurement) -> RunDir:
    """Measure defence, over-refusal and capability; return the finished run."""
    recipe = asked.settle()
    model = asked.open(recipe)
    evaluation = make_evaluation(asked, model, recipe, recipe.evaluate)
    run = _open(asked, model, "evaluate", evaluation)
    start = monotonic()
    with phase(f"evaluate {asked.role}".strip()) as on_progress:
        records = evaluate_all(evaluation, run, on_progress, parse_shard(asked.shard), Lean())
    finish(run, numbers(run, records), {"evaluate": monotonic() - start})
    return run


def merge(paths: Sequence[Path], out: Path) -> RunDir:
    """Write the shards of one run into one folder, as if one process had done it; return it.

    Its seconds are those of all shards together. Raises RunError if the shards are not of one run or do not
    hold the whole of it, or OUT is in use.
    """
    runs = open_shards(paths)
    lines = merged_lines(runs)
    first = runs[0]
    config = {name: value for name, value in first.config.items() if name not in ("kind", "shard")}
    run = open_run(out, first.kind, config, first.environment["hashes"], merged_versions(runs))
    with locked(run):
        if next(run.each_record(), None):
            raise RunError(f"{out} already has records", "a new folder", "name another --out")
        while some := list(islice(lines, AT_ONCE)):
            run.append_lines(RECORDS, some)
        for shard in runs:
            run.append(COSTS, shard.rows(COSTS))
    spent: Counter[str] = Counter()
    for shard in runs:
        spent.update(shard.summary().get("seconds", {}))
    finish(run, numbers(run, run.figures()), spent)
    return run


def make_evaluation(asked: Measurement, model: Model, recipe: Recipe, config: EvaluateConfig) -> Evaluation:
    """Bring together what one measurement needs. Raises AttackError, JudgeError, DataError, ConfigError."""
    prompts_of = asked.prompts
    if asked.quick:
        prompts_of = replace(prompts_of, limit=min(prompts_of.limit or QUICK_LIMIT, QUICK_LIMIT))
        config = replace(config, budget=min(config.budget or QUICK_BUDGET, QUICK_BUDGET))
    config = replace(config, attacks=asked.attacks or config.attacks, system=system_text(config.system))
    sets = measuring_prompts(model, prompts_of, asked.sizes, asked.seed)
    prompts = tuple(prompt for one in sets for prompt in one.prompts)
    loader = JudgeLoader(recipe.model, asked.seed, recipe.judge)
    own = not prompts_of.sources
    judges = open_judges(model, asked.judges, own, loader)
    decoding = Decoding(config.temperature, max_new_tokens=config.max_reply_tokens)
    target: Target = model.drawing(decoding, config.batch, config.best_of)
    if config.defence:
        target = defended(config.defence, target, loader, prompts)
    tools = with_attacker(asked.tools, model, config.attacks)
    searching = search_judge(judges["harmful"], open_judges(model, (), own, loader)["harmful"])
    means = replace(make_means(tools, loader, searching, prompts), context=model.context)
    attacks = armed(config.attacks, means, target.access)
    replayed = found_elsewhere(asked.tools, prompts)
    if clash := sorted(attacks.keys() & replayed.keys()):
        raise AttackError(f"two attacks are named {clash[0]!r}", "different names", "rename the column")
    attacks |= replayed
    config = replace(config, attacks=(*config.attacks, *replayed))
    sources = tuple(one.provenance for one in sets)
    return Evaluation(prompts, attacks, target, judges, config, asked.seed, sources)


def seen_attacks(asked: Measurement, model: Model) -> list[str] | None:
    """Return the attacks that training met, or their kind of context; None: the past is not known."""
    if _is_own(asked, model):
        return [*SEEN, *(name for name in model.met if name not in SEEN)]
    return list(model.met) or None


def held_out_attacks(asked: Measurement, model: Model) -> list[str]:
    """Return the attacks of whole families that nothing met; none where the past is not known in full."""
    return [name for name in HELD_OUT if name not in model.met] if _is_own(asked, model) else []


def _is_own(asked: Measurement, model: Model) -> bool:
    return model.is_organism and not asked.prompts.sources


def _search_judge(evaluation: Evaluation) -> str:
    """Name who tells searches when they succeed, if not the run's own judge; empty: it does, or nobody."""
    own = judge_name(evaluation.judges["harmful"])
    asked = {judge_name(j) for info in evaluation.attacks.values() if (j := getattr(info.run, "judge", None))}
    return ", ".join(sorted(asked - {own}))


def _open(asked: Measurement, model: Model, kind: str, evaluation: Evaluation) -> RunDir:
    config = {
        "model": model.name,
        "seed": asked.seed,
        "dtype": model.dtype,
        "settings": asdict(evaluation.config),
        "prompts": [asdict(source) for source in evaluation.sources],
        "seen_in_training": seen_attacks(asked, model),
        "held_out_attacks": held_out_attacks(asked, model),
        "agreement": known_agreement(evaluation.judges),
        **({"role": asked.role} if asked.role else {}),
        **({"search_judge": other} if (other := _search_judge(evaluation)) else {}),
        **({"not_asked": left_out} if (left_out := uncovered(evaluation.attacks, evaluation.prompts)) else {}),
        **({"shard": str(parse_shard(asked.shard))} if asked.shard else {}),
    }
    defence = {"defence": evaluation.target.info.identity} if isinstance(evaluation.target, Behind) else {}
    hashes = {**model.fingerprint(evaluation.decoding), **protocol_hashes(evaluation), **defence}
    return open_run(asked.out, kind, config, hashes)
