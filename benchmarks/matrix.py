"""Time the matrix of static attacks x prompts beside a loop that asks transformers' `generate` one by one.

    python benchmarks/matrix.py [--model FOLDER ...] [--prompts 8]

Both send the same rendered prompts and draw as many greedy tokens a row, none ends early. Also how the time
grows with prompts, reply length and rows, which should be in proportion: the ratio of doubling each.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import torch
from pairing import Claim, report, timed

from sirl.attacks import get_attacks
from sirl.generation import draw
from sirl.lm import LM, load_lm, render
from sirl.organism import WEIGHTS
from sirl.organism.corpus import evaluation_prompts
from sirl.records import Attempt, Decoding
from sirl.training import disguise

NEEDING = ("ica", "many_shot", "cipher", "self_cipher", "low_resource")  # demonstrations or a phrase book


def matrix(count: int) -> list[Attempt]:
    """Return the attempts of every static attack that needs nothing, on requests of the make-believe world."""
    prompts = [p for p in evaluation_prompts({"harmful": count}, 0) if p.kind == "harmful"]
    attacks = {name: one for name, one in get_attacks(("static",)).items() if name not in NEEDING}
    return [attempt for name, one in attacks.items() for attempt in disguise(prompts, {name: one}, 1.0, 0)]


def claims(lm: LM, name: str, args: argparse.Namespace) -> list[Claim]:
    """Return the claim against the loop, and those of growth."""
    endless = replace(lm)
    vars(endless).update(pad_id=lm.pad_id, stop_ids=())  # in the place of what it would work out

    def ours(attempts: Sequence[Attempt], length: int) -> None:
        for _, one in groupby(attempts, lambda attempt: attempt.attack):  # as an evaluation sends them
            draw(endless, list(one), Decoding(0.0, max_new_tokens=length), 0)

    def loop(attempts: Sequence[Attempt], length: int) -> None:
        for row in render(lm, attempts):
            ids = torch.tensor([row])
            lm.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=length,
                max_new_tokens=length,
                pad_token_id=lm.pad_id,
            )

    some, more = matrix(args.prompts), matrix(2 * args.prompts)
    what = f"{name}, {len(some)} attempts of static attacks, {args.tokens} tokens each"
    return [
        timed(
            f"matrix, {what}",
            "a loop over generate",
            lambda: ours(some, args.tokens),
            lambda: loop(some, args.tokens),
            args.rounds,
            "at most .33",
        ),
        timed(
            f"twice the prompts, {what}",
            "once",
            lambda: ours(more, args.tokens),
            lambda: ours(some, args.tokens),
            args.rounds,
            "at most 2.2",
        ),
        timed(
            f"twice the tokens, {what}",
            "once",
            lambda: ours(some, 2 * args.tokens),
            lambda: ours(some, args.tokens),
            args.rounds,
            "at most 2.2",
        ),
    ]


def main(words: Sequence[str] | None = None) -> None:
    """Time each model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", nargs="*", default=[], help="folders, beside the embedded models")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    args = parser.parse_args(words)
    models = {f"organism:{arch}": WEIGHTS / arch for arch in ("llama", "qwen2")}
    models |= {Path(folder).name: Path(folder) for folder in args.model}
    found = [one for name, folder in models.items() for one in claims(load_lm(folder), name, args)]
    report("matrix", found, args.out)


if __name__ == "__main__":
    main()
