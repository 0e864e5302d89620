"""Measure, harden and evaluate the embedded model, without a download: `python examples/quickstart.py`."""

from typing import Any

import sirl


def main(out: str = "runs/quickstart", limit: int = 40, settings: Any = ()) -> Any:
    """Write report.html; called again after a stop, it continues where it was."""
    model = sirl.load("organism:llama")  # yours: sirl.load("Qwen/Qwen2.5-3B-Instruct", dtype="bfloat16")
    prompts = sirl.PromptSources(limit=limit)  # the model's own; yours: sirl.load_prompts("mine.csv")
    gap = sirl.gap(model, prompts, attacks="static", out=f"{out}/gap", settings=settings)
    trained = sirl.train(model, out=f"{out}/train", settings=settings)
    before = sirl.evaluate(model, prompts, out=f"{out}/before", settings=settings)
    after = sirl.evaluate(trained.model, prompts, out=f"{out}/after", settings=settings)
    print(gap, trained, before, after, sep="\n")
    print(sirl.report(gap, trained, before, after, out=f"{out}/report.html"))
    return after.records().to_pandas()  # one row a reply and verdict


if __name__ == "__main__":
    main()
