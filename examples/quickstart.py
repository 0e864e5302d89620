"""Measure, harden, prove and show the embedded model from Python: `python examples/quickstart.py`.

Takes minutes on two cores and needs no download. The page is runs/quickstart/report.html.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from sirl.attacks import get_attacks
from sirl.config import EvaluateConfig, Recipe, TrainConfig, load_recipe
from sirl.evaluation import evaluate, summarise
from sirl.evidence import Study, protocol_hashes
from sirl.gap import measure_gap, summarise_gap
from sirl.judges import get_judge
from sirl.lm import LM, fingerprint, load_lm
from sirl.organism import WEIGHTS, oracle
from sirl.organism.corpus import evaluation_prompts
from sirl.organism.stream import hardening_attempts
from sirl.records import Decoding
from sirl.report import load_runs, render
from sirl.rundir import RunDir, open_run
from sirl.targets import LocalTarget
from sirl.training import Watch, harden

SEED = 0
ASKED = {"harmful": 40, "benign": 40, "borderline": 40, "math": 40}  # prompts of each sort


def study(lm: LM, config: EvaluateConfig, asked: Mapping[str, int]) -> Study:
    """Say what is asked of a model, how it is attacked, who replies and who judges."""
    decoding = Decoding(config.temperature, max_new_tokens=config.max_reply_tokens)
    target = LocalTarget(lm, decoding, config.batch)
    prompts = tuple(evaluation_prompts(asked, SEED))
    return Study(prompts, get_attacks(config.attacks), target, oracle.JUDGES, config, SEED)


def start(folder: Path, lm: LM, config: EvaluateConfig | TrainConfig, hashes: Mapping[str, str]) -> RunDir:
    """Open the run folder of one part; the same call later continues it."""
    kind = {"before": "evaluate", "after": "evaluate"}.get(folder.name, folder.name)
    settings = {"model": lm.name, "seed": SEED, "train" if kind == "train" else "settings": asdict(config)}
    return open_run(folder, kind, settings, {**fingerprint(lm), **hashes})


def main(out: Path, recipe: Recipe, asked: Mapping[str, int]) -> None:
    """Run the four steps; a run that was stopped continues where it was."""
    lm = load_lm(WEIGHTS / "llama", name="organism:llama")

    trial = study(lm, recipe.gap, asked)  # measure
    records = measure_gap(trial, start(out / "gap", lm, recipe.gap, protocol_hashes(trial)))
    print(summarise_gap(records)["gap"]["verdict"])

    config = replace(recipe.train, search=())  # the recipe's search needs an attacker model: see docs/method.md
    attempts = hardening_attempts(config.steps * config.prompts_per_step, SEED)  # harden
    watch = Watch(refused=get_judge("refusal", "refused"))
    hardened = harden(lm, attempts, config, start(out / "train", lm, config, {}), SEED, watch)
    hardened = replace(hardened, name="organism:llama+distill")

    for part, model in (("before", lm), ("after", hardened)):  # prove
        trial = study(model, recipe.evaluate, asked)
        records = evaluate(trial, start(out / part, model, recipe.evaluate, protocol_hashes(trial)))
        print(part, "mean DSR", summarise(records)["dsr"]["mean"])

    (out / "report.html").write_text(render(load_runs([out])), encoding="utf-8")  # show


if __name__ == "__main__":
    main(Path("runs/quickstart"), load_recipe("organism"), ASKED)
