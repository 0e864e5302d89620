"""Measure, harden, prove and show the embedded model from Python: `python examples/quickstart.py`.

Takes minutes on two cores and needs no download. The page is runs/quickstart/report.html.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from sirl.attacks import get_attacks
from sirl.config import EvaluateConfig, TrainConfig, load_recipe
from sirl.evaluation import evaluate, summarise
from sirl.evidence import Study, protocol_hashes
from sirl.gap import measure_gap, summarise_gap
from sirl.judges import get_judge
from sirl.lm import LM, fingerprint, load_lm
from sirl.organism import WEIGHTS, corpus, oracle
from sirl.records import Decoding
from sirl.report import load_runs, render
from sirl.rundir import RunDir, open_run
from sirl.targets import LocalTarget
from sirl.training import Watch, harden

OUT, SEED = Path("runs/quickstart"), 0
RECIPE = load_recipe("organism")
ASKED = {"harmful": 40, "benign": 40, "borderline": 40, "math": 40}


def study(lm: LM, config: EvaluateConfig) -> Study:
    """Say what is asked of a model, how it is attacked, who replies and who judges."""
    decoding = Decoding(config.temperature, max_new_tokens=config.max_reply_tokens)
    target = LocalTarget(lm, decoding, config.batch)
    prompts = tuple(corpus.evaluation_prompts(ASKED, SEED))
    return Study(prompts, get_attacks(config.attacks), target, oracle.JUDGES, config, SEED)


def start(part: str, lm: LM, config: EvaluateConfig | TrainConfig, hashes: Mapping[str, str]) -> RunDir:
    """Open the run folder of one part; the same call later continues it."""
    kind = {"before": "evaluate", "after": "evaluate"}.get(part, part)
    settings = {"model": lm.name, "seed": SEED, "train" if kind == "train" else "settings": asdict(config)}
    return open_run(OUT / part, kind, settings, {**fingerprint(lm), **hashes})


def main() -> None:
    """Run the four steps; a run that was stopped continues where it was."""
    lm = load_lm(WEIGHTS / "llama", name="organism:llama")

    trial = study(lm, RECIPE.gap)  # measure
    records = measure_gap(trial, start("gap", lm, RECIPE.gap, protocol_hashes(trial)))
    print(summarise_gap(records)["gap"]["verdict"])

    attempts = corpus.hardening_attempts(RECIPE.train.steps * RECIPE.train.prompts_per_step, SEED)  # harden
    watch = Watch(refused=get_judge("refusal", "refused"))
    hardened = harden(lm, attempts, RECIPE.train, start("train", lm, RECIPE.train, {}), SEED, watch)
    hardened = replace(hardened, name="organism:llama+sirl")

    for part, model in (("before", lm), ("after", hardened)):  # prove
        trial = study(model, RECIPE.evaluate)
        records = evaluate(trial, start(part, model, RECIPE.evaluate, protocol_hashes(trial)))
        print(part, "mean DSR", summarise(records)["dsr"]["mean"])

    (OUT / "report.html").write_text(render(load_runs([OUT])), encoding="utf-8")  # show


if __name__ == "__main__":
    main()
