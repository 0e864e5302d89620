"""Time our sampler, which records entropy, beside transformers' `generate`, which does not.

    python benchmarks/sampling.py [--model FOLDER ...]

Two workloads of 32 rows: 8 prompts with 4 draws each, as a training step samples, and 32 requests under one
attack, as an evaluation sends. Both sides draw as many tokens a row at temperature 1, none ends early; both
read the same left-padded prompts. The ratio is of times: below 1 ours is faster.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pairing import Claim, report, timed

from sirl.attacks import get_attacks
from sirl.generation import draw
from sirl.lm import LM, left_pad, load_lm, render
from sirl.organism import WEIGHTS
from sirl.organism.corpus import evaluation_prompts
from sirl.records import Attempt, Decoding
from sirl.training import disguise, plainly

AIM = "at most .5"


def workloads(seed: int = 0) -> dict[str, list[Attempt]]:
    """Return the attempts of each workload; the requests are of the make-believe world."""
    prompts = [p for p in evaluation_prompts({"harmful": 32}, seed) if p.kind == "harmful"]
    group = [replace(plainly(prompt), sample=n) for prompt in prompts[:8] for n in range(4)]
    attacked = disguise(prompts, get_attacks(("refusal_suppression",)), 1.0, seed)
    return {"8 prompts x 4 draws": group, "32 requests under one attack": attacked}


def claims(lm: LM, name: str, length: int, rounds: int) -> list[Claim]:
    """Return a claim a workload."""
    endless = replace(lm)
    vars(endless).update(pad_id=lm.pad_id, stop_ids=())  # in the place of what it would work out
    found = []
    for what, attempts in workloads().items():
        ids_BS, mask_BS = left_pad(lm, render(lm, attempts))
        found.append(
            timed(
                f"sampling, {name}, {what}, {length} tokens each",
                "transformers generate",
                lambda attempts=attempts: draw(endless, attempts, Decoding(1.0, max_new_tokens=length), 0, 32),
                lambda ids=ids_BS, mask=mask_BS: lm.model.generate(
                    input_ids=ids,
                    attention_mask=mask.long(),
                    do_sample=True,
                    temperature=1.0,
                    top_k=0,
                    top_p=1.0,
                    min_new_tokens=length,
                    max_new_tokens=length,
                    pad_token_id=lm.pad_id,
                ),
                rounds,
                AIM,
            )
        )
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Time each model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", nargs="*", default=[], help="folders, beside the embedded models")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args(words)
    if args.threads:
        torch.set_num_threads(args.threads)
    models = {f"organism:{arch}": WEIGHTS / arch for arch in ("llama", "qwen2")}
    models |= {Path(folder).name: Path(folder) for folder in args.model}
    found = []
    for name, folder in models.items():
        found += claims(load_lm(folder), name, args.tokens, args.rounds)
    report("sampling", found, args.out)


if __name__ == "__main__":
    main()
