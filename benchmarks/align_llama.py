"""Give a real Llama that refuses nothing an instinct: a short fine-tune on refusals, so that it can be studied.

    python benchmarks/align_llama.py MODEL --harmful ADVBENCH.csv --plain INSTRUCTIONS.json --out FOLDER

MODEL is SmolLM2-135M-Instruct, a Llama with real pre-training, small enough for two cores, which refuses
about 2 % of plain harmful requests. This makes a model that refuses them, as alignment does: refusals in many
wordings of ours to some harmful requests, and its own answers to plain instructions. No disguise is shown to
it, so what it does under a disguise is what it carries over by itself. These labels are used for this birth
alone; hardening reads none. Train and evaluate on other prompts than those in FOLDER/taught.txt (hashes).

Reads harmful requests and prints none of them. About 10 minutes on two idle cores; docs/log.md has the result.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from sirl.generation import generate
from sirl.lm import LM, encode, load_lm, render, save_lm
from sirl.prompts import load_prompts
from sirl.records import Attempt, Decoding, Message, Prompt

OPENINGS = (
    "I can't help with that.",
    "I'm sorry, but I can't assist with this request.",
    "I won't help with that.",
    "Sorry, that is something I can't do.",
    "I'm not able to help with this.",
    "No, I can't provide that.",
    "I have to decline this request.",
    "That's not something I'm willing to help with.",
)
REASONS = (
    "It could seriously hurt people.",
    "What you describe is against the law and could harm others.",
    "It would put someone's safety at risk.",
    "Doing this would cause real harm.",
    "I don't give instructions for things that injure people or break the law.",
    "",
)
OFFERS = (
    "If you are dealing with a difficult situation, I'm happy to talk about safe ways to handle it.",
    "If there is a legitimate question behind this, tell me more and I'll try to help with it.",
    "I can help you with something safe instead.",
    "Is there something else I can help you with?",
    "",
)


def refusal(random: Random) -> str:
    """Return a refusal in one of 240 wordings."""
    return " ".join(part for part in map(random.choice, (OPENINGS, REASONS, OFFERS)) if part)


def ask(prompt: Prompt) -> Attempt:
    """Return the plain request."""
    return Attempt(prompt, "direct", (Message("user", prompt.text),))


def lessons(
    lm: LM, harmful: Sequence[Prompt], plain: Sequence[Prompt], length: int, seed: int
) -> list[tuple[Attempt, list[int]]]:
    """Return what is taught: each prompt with the tokens of its reply, in random order."""
    random = Random(seed)
    end = [lm.tokenizer.eos_token_id]
    refused = [(ask(p), [*encode(lm, [refusal(random)])[0], *end]) for p in harmful]
    replies = generate(lm, [ask(p) for p in plain], Decoding(0.7, max_new_tokens=length), seed)
    answered = [(reply.attempt, list(reply.token_ids)) for reply in replies]
    both = refused + answered
    random.shuffle(both)
    return both


def align(lm: LM, taught: Sequence[tuple[Attempt, list[int]]], args: argparse.Namespace) -> LM:
    """Fine-tune every weight on the replies; return the model."""
    prompts = render(lm, [attempt for attempt, _ in taught])
    rows = [
        {"input_ids": prompt + reply, "labels": [-100] * len(prompt) + reply}
        for prompt, (_, reply) in zip(prompts, taught, strict=True)
    ]
    trainer = SFTTrainer(
        model=lm.model,
        args=SFTConfig(
            output_dir=str(args.out / "trainer"),
            seed=args.seed,
            num_train_epochs=args.epochs,
            per_device_train_batch_size=8,
            learning_rate=args.rate,
            lr_scheduler_type="cosine",
            warmup_steps=10,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=lm.device.type == "cpu",
            save_strategy="no",
            logging_steps=20,
            report_to="none",
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},  # the rows are tokens already
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=lm.tokenizer,
    )
    trainer.train()
    return replace(lm, model=trainer.model.eval())


def main() -> None:
    """Align and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--harmful", required=True, help="a file of harmful requests")
    parser.add_argument("--plain", required=True, help="a file of plain instructions")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--refusals", type=int, default=200, help="harmful requests that are taught")
    parser.add_argument("--answers", type=int, default=400, help="plain instructions that are taught")
    parser.add_argument("--reply-tokens", type=int, default=48, help="at most, of an answer")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    lm = load_lm(args.model)
    harmful = load_prompts(args.harmful, kind="harmful", limit=args.refusals, seed=args.seed).prompts
    plain = load_prompts(args.plain, kind="benign", limit=args.answers, seed=args.seed).prompts
    taught = lessons(lm, harmful, plain, args.reply_tokens, args.seed)
    print(f"teaching {len(harmful)} refusals and {len(plain)} answers", flush=True)
    save_lm(align(lm, taught, args), args.out)
    hashes = sorted(sha256(attempt.prompt.text.encode()).hexdigest() for attempt, _ in taught)
    (args.out / "taught.txt").write_text("\n".join(hashes) + "\n", encoding="utf-8")
    print(f"aligned model in {args.out}")


if __name__ == "__main__":
    main()
