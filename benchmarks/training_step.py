"""Time and weigh a step of SIRL beside a GRPO step of TRL, on the same prompts with the same adapter.

    python benchmarks/training_step.py [--model FOLDER ...] [--full]

Each step draws 4 replies to each of 8 prompts and makes one update. TRL is asked twice: with a constant reward,
which costs nothing, and with a reward that makes a forward pass for the entropy, which is what one would write
with TRL alone. Every side runs in a process of its own, in turns; seconds a step are the median of a process
but its first step, memory the most that it held less what the loaded model took.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from pairing import Claim, claim, report

SIDES = ("sirl", "trl, constant reward", "trl, reward by a forward pass")
AIMS = {
    SIDES[1]: {"s a step": "at most .5", "GiB": "at most .5"},
    SIDES[2]: {"s a step": "at most .4", "GiB": "at most .5"},
}
GIB = 2**30


def main(words: Sequence[str] | None = None) -> None:
    """Measure each model and print the table; with --side measure one side and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", nargs="*", default=[], help="folders, beside the embedded models")
    parser.add_argument("--full", action="store_true", help="train every weight")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--side", default="", help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    if args.side:
        print(json.dumps(measure(args.side, args.model[0], args)))
        return
    from sirl.organism import WEIGHTS

    models = {f"organism:{arch}": str(WEIGHTS / arch) for arch in ("llama", "qwen2")}
    models |= {Path(folder).name: folder for folder in args.model}
    report("training_step", [one for name, at in models.items() for one in claims(name, at, args)], args.out)


def claims(name: str, folder: str, args: argparse.Namespace) -> list[Claim]:
    """Return the claims of one model, from processes that take turns."""
    rounds = [{side: _apart(side, folder, args) for side in SIDES} for _ in range(args.rounds)]
    trained = "every weight" if args.full else "LoRA 16"
    what = f"a step of SIRL, {trained}, {name}, 8 x 4 replies of {args.tokens} tokens"
    return [
        claim(what, side, [(one[SIDES[0]][key], one[side][key]) for one in rounds], aim, key)
        for side in SIDES[1:]
        for key, aim in AIMS[side].items()
    ]


def _apart(side: str, folder: str, args: argparse.Namespace) -> dict[str, float]:
    words = ["--side", side, "--model", folder, "--tokens", str(args.tokens), "--steps", str(args.steps)]
    full = ["--full"] if args.full else []
    done = subprocess.run(
        [sys.executable, __file__, *words, *full], check=True, capture_output=True, text=True, timeout=3600
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(side: str, folder: str, args: argparse.Namespace) -> dict[str, float]:
    """Train for some steps in this process; return seconds a step and GiB."""
    from sirl.lm import load_lm

    lm = load_lm(folder)
    before = _peak()
    with tempfile.TemporaryDirectory() as out:
        seconds = (_sirl if side == SIDES[0] else _trl)(lm, side, args, Path(out))
    return {"s a step": median(seconds[1:]), "GiB": _peak() - before}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / GIB


def _config(args: argparse.Namespace) -> Any:
    from sirl.config import TrainConfig

    return TrainConfig(
        steps=args.steps,
        group=4,
        prompts_per_step=8,
        max_prompt_tokens=256,
        max_reply_tokens=args.tokens,
        micro_batch=8,
        learning_rate=1e-4,
        lora_rank=0 if args.full else 16,
        save_every=1000,
    )


def _prompts(args: argparse.Namespace) -> list[Any]:
    from sirl.organism.corpus import evaluation_prompts

    found = evaluation_prompts({"harmful": 8 * args.steps}, 0)
    return [prompt for prompt in found if prompt.kind == "harmful"]


def _sirl(lm: Any, _: str, args: argparse.Namespace, out: Path) -> list[float]:
    from sirl.rundir import open_run
    from sirl.training import Hooks, harden, plainly

    seconds: list[float] = []
    config = _config(args)
    run = open_run(out / "run", "train", asdict(config), {})
    attempts = [plainly(prompt) for prompt in _prompts(args)]
    harden(lm, attempts, config, run, 0, Hooks(on_step=lambda row: seconds.append(row["seconds"])))
    return seconds


def _trl(lm: Any, side: str, args: argparse.Namespace, out: Path) -> list[float]:
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from sirl.training.setup import adapter, common_arguments, loss_arguments

    config = _config(args)
    marks: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            marks.append(perf_counter())

        def on_train_end(self, *_: Any, **__: Any) -> None:
            marks.append(perf_counter())

    def constant(completions: list[Any], **_: Any) -> list[float]:
        return [0.0] * len(completions)

    @torch.no_grad()
    def certainty(prompts: list[Any], completion_ids: list[list[int]], **_: Any) -> list[float]:
        texts = lm.tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False)
        found = []
        for text, reply in zip(texts, completion_ids, strict=True):
            ids = [*lm.tokenizer(text, add_special_tokens=False)["input_ids"], *reply]
            logits_TV = trainer.model(torch.tensor([ids])).logits[0, -len(reply) - 1 : -1].float()
            logprobs_TV = logits_TV.log_softmax(-1)
            found.append(float((logprobs_TV.exp() * logprobs_TV).sum(-1).mean()))
        return found

    ours = {"steps_per_generation", "generation_batch_size"}
    trainer = GRPOTrainer(
        model=lm.model,
        reward_funcs=constant if side == SIDES[1] else certainty,
        args=GRPOConfig(
            **common_arguments(lm, config, out / "trainer", 0),
            **{key: value for key, value in loss_arguments(config).items() if key not in ours},
            per_device_train_batch_size=config.micro_batch,
            gradient_accumulation_steps=4 * 8 // config.micro_batch,
            shuffle_dataset=False,
        ),
        train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": prompt.text}]} for prompt in _prompts(args)]
        ),
        processing_class=lm.tokenizer,
        peft_config=adapter(config),
        callbacks=[Clock()],
    )
    trainer.train()
    return [later - earlier for earlier, later in pairwise(marks)]


if __name__ == "__main__":
    main()
