"""Harden a model of your own on unlabelled prompts: `python examples/train_model.py MODEL PROMPTS OUT`.

MODEL is a Hugging Face folder or hub id of a chat model; PROMPTS is a file as in custom_model.py, of which the
text alone is read. The settings are those of the recipe `default`. The hardened model is in OUT/model. Run it
again to continue after a stop. `sirl train` does more: it measures the gap first, and holds out probes.
"""

import sys
from dataclasses import asdict
from pathlib import Path

from sirl.attacks import get_attacks
from sirl.config import TrainConfig, load_recipe
from sirl.judges import get_judge
from sirl.lm import fingerprint, load_lm
from sirl.prompts import load_prompts, shuffled_once
from sirl.rundir import open_run
from sirl.training import Hooks, disguise, harden

SEED = 0


def main(model: str, file: str, out: str, config: TrainConfig) -> None:
    """Train, printing a line a step, and say where the model is."""
    lm = load_lm(model)
    prompts = shuffled_once(load_prompts(file).prompts, SEED)
    attempts = disguise(prompts, get_attacks(config.disguises), config.disguised, SEED)
    settings = {"model": lm.name, "seed": SEED, "train": asdict(config)}
    run = open_run(Path(out), "train", settings, fingerprint(lm))
    hooks = Hooks(on_step=lambda row: print("step", row["step"]), refused=get_judge("refusal", "refused"))
    harden(lm, attempts, config, run, SEED, hooks)
    print("the model is in", run.path / "model")


if __name__ == "__main__":
    main(*sys.argv[1:4], load_recipe("default").train)
