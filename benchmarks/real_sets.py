r"""Part published prompt sets into what the studies on real weights train on and what they measure on.

    python benchmarks/real_sets.py --advbench ADVBENCH.csv --harmful JBB_HARMFUL.csv --contrast JBB_BENIGN.csv \
        --xstest XSTEST.csv --plain INSTRUCTIONS.json [--taught MODEL/taught.txt] --out real

Writes OUT/train.csv (AdvBench and plain instructions) and what is measured on: harmful.csv, contrast.csv and
xstest.csv (safe requests that look alarming) and plain.csv. No training prompt asks what an evaluation prompt
asks, nor what `benchmarks/align_llama.py` taught the aligned Llama. The column kind of train.csv is for the
baselines that read labels; the methods without labels do not see it.

Prints counts and no prompt. Keep OUT out of version control.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from sirl.prompts import PromptSet, load_prompts, sample, without_held_out

MEASURED = {"harmful": 25, "contrast": 30, "xstest": 80, "plain": 80}
TRAINED = {"advbench": 112, "plain": 58}


def write(path: Path, sets: Sequence[PromptSet]) -> None:
    """Write prompts with their kinds."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("prompt", "kind"))
        rows.writerows((prompt.text, prompt.kind) for one in sets for prompt in one.prompts)
    kinds = Counter(prompt.kind for one in sets for prompt in one.prompts)
    print(f"{path}: {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}")


def untaught(one: PromptSet, taught: set[str]) -> PromptSet:
    """Leave out the prompts whose hashes the aligned model was taught."""
    kept = [prompt for prompt in one.prompts if sha256(prompt.text.encode()).hexdigest() not in taught]
    return replace(one, prompts=tuple(kept))


def main() -> None:
    """Part and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("advbench", "harmful", "contrast", "xstest", "plain"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--taught", type=Path, help="hashes of the prompts that align_llama.py taught")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    taught = set(args.taught.read_text(encoding="utf-8").split()) if args.taught else set()
    args.out.mkdir(parents=True, exist_ok=True)

    kinds = {"harmful": "harmful", "contrast": "borderline", "xstest": None, "plain": "benign"}
    measured = {}
    for name, kind in kinds.items():
        one = untaught(load_prompts(getattr(args, name), kind=kind), taught)
        if name == "xstest":  # its unsafe half is a contrast
            one = replace(one, prompts=tuple(p for p in one.prompts if p.kind == "borderline"))
        measured[name] = sample(one, MEASURED[name], args.seed)
        write(args.out / f"{name}.csv", [measured[name]])

    wanted = [
        untaught(load_prompts(args.advbench, kind="harmful"), taught),
        untaught(load_prompts(args.plain, kind="benign"), taught),
    ]
    left = without_held_out(wanted, list(measured.values()))
    train = [sample(one, size, args.seed) for one, size in zip(left, TRAINED.values(), strict=True)]
    write(args.out / "train.csv", train)


if __name__ == "__main__":
    main()
