"""One run as the command line asks for it, resolved: model, settings, prompts, attacks, judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sirl.cli.arms import Arms, armed, found_elsewhere, make_means, with_attacker
from sirl.cli.asked import Asked, measuring_prompts
from sirl.cli.defending import defended
from sirl.cli.judging import Opening, open_judges, search_judge
from sirl.cli.progress import phase
from sirl.cli.sources import HELD_OUT, ORGANISM, SEEN, Subject, holds_weights, no_weights, open_subject
from sirl.config import EvaluateConfig, Recipe, load_recipe, system_text
from sirl.config.requests import without_logins
from sirl.defences import get_defence
from sirl.endpoint import require_one_host
from sirl.errors import AttackError
from sirl.evidence import Study
from sirl.records import Decoding, Target
from sirl.shards import parse_shard

# How many of the organism's own prompts a measurement asks, by category or kind.
GAP_SIZES = {"harmful": 48, "benign": 48, "borderline": 48}
SIZES = {"harmful": 100, "benign": 200, "open": 24, "borderline": 200, "math": 200, "code": 200, "chat": 200}
QUICK_LIMIT = 12  # prompts of each of the user's sources, or of each sort of the organism's own
QUICK_BUDGET = 24  # queries a prompt


@dataclass(frozen=True, slots=True)
class Job:
    """The words of one command. An empty `recipe`, `attacks` or `attacker` means the default.

    The default attacker of an organism is the attacker organism; any other model has none.
    """

    model: str
    out: Path
    seed: int = 0
    recipe: str = ""
    changes: tuple[str, ...] = ()
    asked: Asked = field(default_factory=Asked)
    attacks: str = ""
    judges: tuple[str, ...] = ()
    arms: Arms = field(default_factory=Arms)
    shard: str = ""
    quick: bool = False
    force: bool = False
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)

    def settings(self, subject_is_organism: bool) -> Recipe:
        """Read the recipe with the changes asked for. Raises ConfigError, also where a key has two takers."""
        name = self.recipe or ("organism" if subject_is_organism else "default")
        recipe = load_recipe(name, self.changes)
        arms = (self.arms.attacker, self.arms.surrogate, self.arms.scorer, recipe.train.attacker)
        defences = (recipe.evaluate.defence, recipe.gap.defence)
        require_one_host(recipe.model, (self.model, *self.judges, *arms, *defences))
        for defence in filter(None, defences):
            get_defence(defence)  # a slip in its name costs no loading
        return recipe

    def open(self, purpose: str = "", engine: str = "") -> tuple[Subject, Recipe]:
        """Load the model and the settings; the settings first, so that a slip in them costs no loading.

        A `purpose` is one that needs weights; an `engine` opens the model whatever the settings say. Raises
        ConfigError if the model does not bring its weights.
        """
        parse_shard(self.shard)
        early = self.settings(self.model.startswith(ORGANISM))
        config = replace(early.model, engine=engine or early.model.engine)
        if purpose and not holds_weights(self.model, config):
            raise no_weights(self.model, purpose)
        with phase(f"load {without_logins(self.model)}"):
            subject = open_subject(self.model, config)
        return subject, self.settings(subject.is_organism)


def hastened(job: Job, config: EvaluateConfig) -> tuple[Job, EvaluateConfig]:
    """Return the job and settings of `--quick`: a look at everything, on few prompts and with small budgets."""
    if not job.quick:
        return job, config
    budget = min(config.budget or QUICK_BUDGET, QUICK_BUDGET)
    limit = min(job.asked.limit or QUICK_LIMIT, QUICK_LIMIT)
    hasty = replace(job, asked=replace(job.asked, limit=limit))
    return hasty, replace(config, budget=budget)


def make_study(job: Job, subject: Subject, recipe: Recipe, config: EvaluateConfig) -> Study:
    """Bring together what one measurement needs. Raises AttackError, JudgeError, DataError, ConfigError."""
    job, config = hastened(job, config)
    if job.attacks:
        config = replace(config, attacks=tuple(name.strip() for name in job.attacks.split(",")))
    config = replace(config, system=system_text(config.system))
    sets = measuring_prompts(subject, job.asked, job.sizes, job.seed)
    prompts = tuple(prompt for one in sets for prompt in one.prompts)
    opening = Opening(recipe.model, job.seed, recipe.judge)
    judges = open_judges(subject, job.judges, not job.asked.sources, opening)
    decoding = Decoding(config.temperature, max_new_tokens=config.max_reply_tokens)
    target: Target = subject.drawing(decoding, config.batch, config.best_of)
    if config.defence:
        target = defended(config.defence, target, opening, prompts)
    arms = with_attacker(job.arms, subject, config.attacks)
    usual = open_judges(subject, (), not job.asked.sources, opening)["harmful"]
    searching = search_judge(judges["harmful"], usual)
    means = replace(make_means(arms, opening, searching, prompts), context=subject.context)
    attacks = armed(config.attacks, means, target.access)
    replayed = found_elsewhere(job.arms, prompts)
    if clash := sorted(attacks.keys() & replayed.keys()):
        raise AttackError(f"two attacks are named {clash[0]!r}", "one name an attack", "rename the column")
    attacks |= replayed
    config = replace(config, attacks=(*config.attacks, *replayed))
    sources = tuple(one.provenance for one in sets)
    return Study(prompts, attacks, target, judges, config, job.seed, sources)


def seen_attacks(job: Job, subject: Subject) -> list[str] | None:
    """Return the attacks that training met, or their kind of context; None: the past is not known."""
    if _is_own(job, subject):
        return [*SEEN, *(name for name in subject.met if name not in SEEN)]
    return list(subject.met) or None


def held_out_attacks(job: Job, subject: Subject) -> list[str]:
    """Return the attacks of whole families that nothing met; none where the past is not known in full."""
    return [name for name in HELD_OUT if name not in subject.met] if _is_own(job, subject) else []


def _is_own(job: Job, subject: Subject) -> bool:
    return subject.is_organism and not job.asked.sources
