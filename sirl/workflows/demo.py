"""The whole story on one model: measure, harden, prove, show. What `make demo` runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import torch

from sirl.errors import ConfigError, DataError
from sirl.records import Transcripts
from sirl.reporting import load_runs, render, tell, verdict
from sirl.workflows import measure, training
from sirl.workflows.measure import GAP_SIZES, SIZES, Measurement
from sirl.workflows.models import ORGANISM
from sirl.workflows.request import Request
from sirl.workflows.sources import PromptSources

PARTS = ("gap", "train", "before", "after")
# Of an organism: one search of each sort beside the fixed ones: all take many minutes.
ATTACKS = ("static", "gcg", "pair")
HARMFUL = 50  # requests an attack: a search that fails spends its whole budget on each
OWN_RECIPE = "organism-demo"  # of an organism
RECIPE = "laptop"  # of any other model
QUICK_PROMPTS = 48  # of each set to train on, under --quick
PUBLIC = (
    "name published sets, as --prompts jailbreakbench --prompts jailbreakbench-benign --prompts xstest, "
    "or files of yours (--kind gives the kind of a file without a column kind)"
)


@dataclass(frozen=True, slots=True)
class Demo:
    """What each part of the story is asked for. Each writes into its own subfolder."""

    gap: Measurement
    train: Request
    evaluate: Measurement


def _embedded(asked: Measurement, train_prompts: tuple[str, ...]) -> Demo:
    """Return the story of an organism, on its own prompts. Raises ConfigError if others are named."""
    if asked.prompts.sources or train_prompts or asked.quick:
        found = f"--prompts, --train-prompts or --quick with {asked.model}"
        raise ConfigError(
            found, "these only with --model MODEL: the embedded model has its own prompts", "leave them out"
        )
    asked = replace(asked, recipe=asked.recipe or OWN_RECIPE)
    return Demo(
        replace(asked, sizes=GAP_SIZES, attacks=("static",)),
        asked,
        replace(asked, attacks=ATTACKS, sizes={**SIZES, "harmful": HARMFUL}),
    )


def _of_yours(asked: Measurement, train_prompts: tuple[str, ...]) -> Demo:
    """Return the story of any other model, on the prompts given; what these ask is not trained on.

    Without `train_prompts` the recipe names them. Raises ConfigError if no prompts are named, DataError if none
    of them is harmful: both before the model is opened.
    """
    if not asked.prompts.sources:
        found = f"no prompts for {asked.model}; the package contains no harmful ones"
        raise ConfigError(found, "harmful and safe requests to evaluate on", PUBLIC)
    asked = replace(asked, recipe=asked.recipe or RECIPE)
    asked.settle()  # a slip in the settings is told first
    kinds = {prompt.kind for one in asked.prompts.load(asked.seed, "harmful") for prompt in one.prompts}
    if "harmful" not in kinds:
        found = f"only {' and '.join(sorted(kinds))} requests in --prompts"
        raise DataError(found, "harmful ones too, for the attacks", PUBLIC)
    limit = min(asked.prompts.limit or QUICK_PROMPTS, QUICK_PROMPTS) if asked.quick else None
    trained = PromptSources(train_prompts, limit=limit, held_out=asked.prompts.sources)
    return Demo(asked, replace(asked, prompts=trained), asked)


def run(asked: Measurement, train_prompts: tuple[str, ...] = (), force: bool = False) -> dict[str, Any]:
    """Run the parts; write OUT/summary.json and OUT/report.html.

    Training is first: it refuses a model without a chat template, or without an instinct, before minutes are
    spent. A demo that was killed continues: what is finished is kept. Raises as the parts do, and as
    `_of_yours`.
    """
    embedded = str(asked.model).startswith(ORGANISM)
    demo = (_embedded if embedded else _of_yours)(asked, train_prompts)
    start, path = monotonic(), asked.out / "summary.json"
    spent = json.loads(path.read_text())["seconds"]["total"] if path.exists() else 0.0  # by earlier calls
    at = {part: asked.out / part for part in PARTS}
    done = {
        "train": training.train(replace(demo.train, out=at["train"]), force),
        "gap": measure.gap(replace(demo.gap, out=at["gap"])),
        "before": measure.evaluate(replace(demo.evaluate, out=at["before"], role="before")),
        "after": measure.evaluate(
            replace(demo.evaluate, out=at["after"], model=str(at["train"]), role="after")
        ),
    }
    runs = load_runs([at[part] for part in PARTS])
    judged = verdict(tell(runs))
    summary = {
        "verdict": judged.sentence if judged else "",
        **_summary({part: run.summary() for part, run in done.items()}),
    }
    summary["seconds"] |= {"total": round(spent + monotonic() - start, 1), "product": product_seconds()}
    _write(path, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    quoted: Transcripts = "all" if embedded else "redacted"  # its world is invented: nothing in it harms
    _write(asked.out / "report.html", render(runs, transcripts=quoted))
    return summary


def product_seconds() -> float:
    """Return how long a product of two 1,024 x 1,024 float32 matrices takes here, the least of 20.

    A time divided by it means something on another machine too.
    """
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)

    def once() -> float:
        start = perf_counter()
        torch.mm(left, right)
        return perf_counter() - start

    return min(once() for _ in range(20))


def _summary(done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    before, after = done["before"], done["after"]
    gap_fields = ("difference", "low", "high", "auroc", "n_mixed", "n_refused", "n_complied")
    return {
        "model": before["model"],
        "seed": before["seed"],
        "method": done["train"]["method"],
        "steps": done["train"]["steps"],
        "less_safe": done["train"]["less_safe"],
        "gap": {name: done["gap"]["gap"][name] for name in gap_fields},
        **{
            name: {"before": before[name], "after": after[name]}
            for name in ("dsr", "over_refusal", "capability", "diversity")
        },
        "seconds": {
            "gap": done["gap"]["seconds"]["gap"],
            "train": done["train"]["seconds"]["train"],
            "evaluate": round(before["seconds"]["evaluate"] + after["seconds"]["evaluate"], 1),
        },
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
