"""Compare our GCG with nanoGCG: same model, request, target, start, candidates a step, and steps.

    python benchmarks/gcg.py --peer /path/to/venv        (makes the venv, with pip, if it is not there)

nanoGCG runs in its own venv, as a subprocess that loads its own copy of the weights; loading is not timed. The
two take turns, seed by seed, so that a busy machine slows both. Both draw the same number of swaps a step and
drop those that do not survive as text; ours also drops repeats. Loss is the best mean cross-entropy of the
target found (nats a token). Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sirl.attacks.gcg import GCG
from sirl.attacks.suffix import plain_starts, slotted
from sirl.lm import LM, load_lm
from sirl.organism import WEIGHTS
from sirl.organism.corpus import evaluation_prompts
from sirl.records import Decoding, Prompt
from sirl.targets import LocalTarget

PEER = Path(__file__).with_name("nanogcg_peer.py")
PINS = ("nanogcg==0.3.0", f"torch=={torch.__version__.partition('+')[0]}")


def main() -> None:
    """Run both on each model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", type=Path, default=Path(tempfile.gettempdir()) / "nanogcg-venv")
    parser.add_argument("--models", nargs="+", default=["organism", "wide"], choices=["organism", "wide"])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--candidates", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not (args.peer / "bin" / "python").exists():
        venv.create(args.peer, with_pip=True)
        subprocess.run([args.peer / "bin" / "pip", "install", *PINS], check=True)
    print(f"{args.steps} steps of {args.candidates} candidates, {args.seeds} seeds, {args.threads} thread(s)\n")
    print("| model | s a step, ours | s a step, nanoGCG | ratio | loss, ours | loss, nanoGCG |")
    print("|---|---|---|---|---|---|")
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            print(row(name, open_model(name, Path(folder)), Path(folder), args), flush=True)


def open_model(name: str, folder: Path) -> LM:
    """Save and return the organism, or a random Llama of its tokenizer that is four times as wide."""
    lm = load_lm(WEIGHTS / "llama")
    if name == "wide":
        sizes = {
            "hidden_size": 512,
            "intermediate_size": 1536,
            "num_hidden_layers": 8,
            "num_attention_heads": 8,
        }
        changes = {**sizes, "num_key_value_heads": 8, "head_dim": 64, "initializer_range": 0.05}
        torch.manual_seed(0)
        config = LlamaConfig.from_dict({**lm.model.config.to_dict(), **changes})
        lm = replace(lm, model=LlamaForCausalLM(config).eval(), name="wide")
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return lm


def row(name: str, lm: LM, folder: Path, args: argparse.Namespace) -> str:
    """Let the two take turns over the seeds; return the table's line: median times, losses."""
    [prompt] = evaluation_prompts({"harmful": 1}, 0)
    pairs = [
        (ours(lm, prompt, seed, args), theirs(lm, folder, prompt, seed, args)) for seed in range(args.seeds)
    ]
    own, peer = (median(pair[side][0] for pair in pairs) / args.steps for side in (0, 1))
    loss, peer_loss = (losses([pair[side][1] for pair in pairs]) for side in (0, 1))
    return f"| {name} | {own:.3f} | {peer:.3f} | {own / peer:.2f} | {loss} | {peer_loss} |"


def losses(values: list[float]) -> str:
    """Write the mean and each seed's loss."""
    return f"{sum(values) / len(values):.3f} ({', '.join(f'{x:.2f}' for x in values)})"


def ours(lm: LM, prompt: Prompt, seed: int, args: argparse.Namespace) -> tuple[float, float]:
    """Return seconds and the best loss of our search."""
    attack = GCG(candidates=args.candidates, steps=args.steps)
    target = LocalTarget(lm, Decoding())
    budget = (args.steps + 1) * (args.candidates + 1) + args.candidates**2  # never what ends the search
    begun = perf_counter()
    [attempt] = attack([prompt], target, budget, seed)
    return perf_counter() - begun, -attempt.search.trace[-1][1]


def theirs(lm: LM, folder: Path, prompt: Prompt, seed: int, args: argparse.Namespace) -> tuple[float, float]:
    """Return seconds and the best loss of nanoGCG's."""
    [(_, start)] = plain_starts(LocalTarget(lm, Decoding()), [slotted(prompt, "gcg")], GCG().length)
    special = {name: getattr(lm.tokenizer, name) for name in ("bos_token", "eos_token", "pad_token")}
    settings = {name: getattr(args, name) for name in ("steps", "candidates", "threads")}
    chat = {"template": lm.tokenizer.chat_template, "request": prompt.text, "target": prompt.target}
    job = {"model": str(folder), "special": special, "start": start, "top": GCG().top, "seed": seed}
    command = [args.peer / "bin" / "python", str(PEER)]
    done = subprocess.run(
        command, input=json.dumps({**job, **chat, **settings}), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["seconds"], answer["loss"]


if __name__ == "__main__":
    main()
