"""A model folder and a prompt file of your own: `python examples/custom_model.py MODEL PROMPTS [OUT]`.

MODEL is a Hugging Face folder or hub id of a chat model; PROMPTS is a file with a column `prompt` or `text`,
and if you like `id`, `kind` (harmful where it is not stated), `category` and `answer`. Measures the
entropy gap and the defence against the static attacks. Run it again to continue after a stop.
"""

import sys
from dataclasses import asdict
from pathlib import Path

from sirl.attacks import get_attacks
from sirl.config import EvaluateConfig
from sirl.entropy_gap import measure_gap, summarise_gap
from sirl.evaluation import evaluate, summarise
from sirl.evidence import Evaluation, protocol_hashes
from sirl.judges import get_judges
from sirl.lm import fingerprint, load_lm
from sirl.prompts import load_prompts
from sirl.records import Decoding
from sirl.rundir import open_run
from sirl.targets import LocalTarget

SEED = 0
GAP = EvaluateConfig(attacks=("static",), temperature=1.0, samples=4, max_reply_tokens=256)
DEFENCE = EvaluateConfig(attacks=("static",), max_reply_tokens=256)


def main(
    model: str,
    file: str,
    out: str = "runs/custom",
    gap: EvaluateConfig = GAP,
    defence: EvaluateConfig = DEFENCE,
) -> None:
    """Measure, print the verdict on the gap and the defence success rate, and write both summaries."""
    lm = load_lm(model)
    loaded = load_prompts(file, unstated="harmful")
    for kind, config in (("gap", gap), ("evaluate", defence)):
        decoding = Decoding(config.temperature, max_new_tokens=config.max_reply_tokens)
        target = LocalTarget(lm, decoding, config.batch)
        attacks, sources = get_attacks(config.attacks), (loaded.provenance,)
        study = Evaluation(loaded.prompts, attacks, target, get_judges(), config, SEED, sources)
        settings = {"model": lm.name, "seed": SEED, "settings": asdict(config)}
        run = open_run(Path(out) / kind, kind, settings, {**fingerprint(lm), **protocol_hashes(study)})
        if kind == "gap":
            summary = summarise_gap(measure_gap(study, run))
            print(summary["gap"]["verdict"])
        else:
            summary = summarise(evaluate(study, run))
            print("mean DSR", summary["dsr"]["mean"], "unscored", summary["dsr"]["unscored"])
        run.write_summary({"model": lm.name, "seed": SEED, **summary})


if __name__ == "__main__":
    main(*sys.argv[1:4])
