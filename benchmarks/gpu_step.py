"""Time and weigh real training steps of a model of some shape, beside what `sirl plan` says of them.

    python benchmarks/gpu_step.py --model llama-3.1-8b

or qwen2.5-7b; --full trains every weight, --toy tries the script on a CPU. The model has that
architecture and random weights, its tokenizer is of bytes: nothing is downloaded. Some steps of `sirl` (4
replies a prompt) and of `distill` go through `sirl.training.harden`. A random model hardly ever ends a reply,
so replies are as long as they may be. Prints one Markdown table, and leaves nothing behind: what training
writes (the start, a checkpoint, the model: 32 GB at 8 x 10^9 parameters with LoRA in bfloat16, 160 GB with
--full) goes into a temporary folder, in TMPDIR if that is set.

    asking    clock around `read_instincts`: the start's replies to the plain requests, once, for distill only
    drawing   clock around `draw` inside a step
    training  `seconds` of steps.jsonl less drawing: scores by the reference or the teacher, loss, update

Seconds a step are the median of all steps but the first, which warms up. Memory is the most that was allocated
and reserved at any time of a phase; on a CPU the most that the process has held since it began.
"""

from __future__ import annotations

import argparse
import gc
import platform
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

from sirl.config import Recipe, load_recipe
from sirl.lm import DTYPES, LM, render
from sirl.planning import GIB, Assumed, Shape, find_device, make_plan
from sirl.records import Attempt, Message, Prompt
from sirl.rundir import STEPS, open_run
from sirl.training import Hooks, asking, harden, plainly, rollout
from sirl.workflows.shapes import shape_of

LLAMA = {"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8}
QWEN = {"num_hidden_layers": 28, "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4}
KINDS = {  # their config.json on the hub, as far as it says sizes
    "llama-3.1-8b": (LlamaConfig, {**LLAMA, "intermediate_size": 14336, "vocab_size": 128256}),
    "qwen2.5-7b": (Qwen2Config, {**QWEN, "intermediate_size": 18944, "vocab_size": 152064}),
}
SPECIAL = ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TOY = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 512,
}
COMMON = ("gate.kind=none", "save_every=1000", "max_prompt_tokens=128")


def main(words: Sequence[str] | None = None) -> None:
    """Run both methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="llama-3.1-8b", choices=KINDS)
    parser.add_argument("--full", action="store_true", help="train every weight, in float32")
    parser.add_argument("--toy", action="store_true", help="two narrow layers and short replies, for a CPU")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=16, help="prompts a step")
    parser.add_argument("--device", default="", help="of sirl plan; by default what the GPU is called")
    args = parser.parse_args(words)
    on_gpu = torch.cuda.is_available()
    if not on_gpu and not args.toy:
        sys.exit("error: PyTorch sees no CUDA GPU; expected one to measure; use --toy to try this on a CPU")
    recipes = {method: settings(method, args) for method in ("sirl", "distill")}
    config = config_of(args.model, args.toy)
    shape = shape_of(config, args.model)
    lm = LM(build(config, recipes["sirl"].model.dtype), byte_tokenizer(), args.model)
    card = args.device or named(torch.cuda.get_device_name() if on_gpu else "")
    print(f"{heading(args, lm)}\n\n| method | phase | what | measured | `sirl plan`, {card} | ratio |")
    print("|---|---|---|---:|---:|---:|")
    for method, recipe in recipes.items():
        for line in table(method, (recipe, shape), measure(lm, recipe), card):
            print(line, flush=True)


def settings(method: str, args: argparse.Namespace) -> Recipe:
    """Return the recipe with what is measured laid over it."""
    reply = 16 if args.toy else 256
    sizes = (f"steps={args.steps}", f"prompts_per_step={args.prompts}", f"max_reply_tokens={reply}")
    changes = [f"train.{change}" for change in (f"method={method}", *COMMON, *sizes)]
    changes += ["train.group=4", "train.grpo.kl=0.001"] if method == "sirl" else []
    if not args.full:
        changes += ["train.lora_rank=16", "model.dtype=bfloat16"]
    return load_recipe("default", changes)


def config_of(name: str, toy: bool = False) -> Any:
    """Return an architecture in the words of transformers; the tokenizer's ids are its own."""
    kind, sizes = KINDS[name]
    ids = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1}
    return kind(**(TOY if toy else sizes), tie_word_embeddings=False, **ids)


def build(config: Any, dtype: str) -> Any:
    """Return a random model where it will run."""
    with torch.random.fork_rng(), torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype]).eval()


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes with a chat template: any text can be written."""
    names = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(names)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(SPECIAL))
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", pad_token="<|pad|>")
    made.chat_template = TEMPLATE
    return made


def sent(count: int, disguised: bool) -> list[Attempt]:
    """Return requests of one length: 108 bytes plain, or the same behind 16 more."""
    prompts = [Prompt(f"p{i}", f"{i:06} " + "tell me of it " * 7 + "now") for i in range(count)]
    if not disguised:
        return [plainly(prompt) for prompt in prompts]
    return [Attempt(p, "play", (Message("user", f"please play: 1. {p.text}"),)) for p in prompts]


# --- clocks and scales


@dataclass
class Meter:
    """Seconds and peaks of the phases, as hooks around the real functions find them."""

    seconds: dict[str, list[float]] = field(default_factory=dict)  # of each call, or of each step
    peaks: dict[str, tuple[float, float]] = field(default_factory=dict)  # GiB: allocated, reserved
    drawn: float = 0.0  # seconds of drawing in this step

    def note(self, phase: str, seconds: float) -> None:
        """Close a stretch of a phase: keep its seconds and its peak, and start weighing anew."""
        self.seconds.setdefault(phase, []).append(seconds)
        self.weigh(phase)

    def weigh(self, phase: str) -> None:
        """Keep the highest peak since the last weighing."""
        now = resident() if not torch.cuda.is_available() else allocated()
        self.peaks[phase] = tuple(map(max, self.peaks.get(phase, now), now))

    def around(self, phase: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does what `real` does, on the clock."""

        def timed(*given: Any, **named: Any) -> Any:
            self.weigh(phase if phase == "asking" else "training")  # what came before is not this phase's
            begun = perf_counter()
            found = real(*given, **named)
            self.note(phase, perf_counter() - begun)
            self.drawn = self.seconds[phase][-1] if phase == "drawing" else 0.0
            return found

        return timed

    def on_step(self, row: dict[str, Any]) -> None:
        """Close a step: what was not drawing was training."""
        self.note("training", row["seconds"] - self.drawn)


def allocated() -> tuple[float, float]:
    """Return the peaks of this GPU since the last call, GiB: allocated, reserved."""
    torch.cuda.synchronize()
    peaks = torch.cuda.max_memory_allocated() / GIB, torch.cuda.max_memory_reserved() / GIB
    torch.cuda.reset_peak_memory_stats()
    return peaks


def resident() -> tuple[float, float]:
    """Return the most memory that this process has held, GiB, twice."""
    unit = 1 if sys.platform == "darwin" else 1024
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
    return held, held


@contextmanager
def hooked(meter: Meter) -> Iterator[None]:
    """Put clocks around what asks and what draws, for as long as this lasts."""
    real = asking.read_instincts, rollout.draw
    asking.read_instincts, rollout.draw = meter.around("asking", real[0]), meter.around("drawing", real[1])
    try:
        yield
    finally:
        asking.read_instincts, rollout.draw = real


@dataclass
class Measured:
    """What one method cost, and the tokens that it was about."""

    meter: Meter
    prompt_tokens: int  # of one prompt
    reply_tokens: float  # of one reply, in the mean


def measure(lm: LM, recipe: Recipe) -> Measured:
    """Train and throw the model away."""
    config, meter = recipe.train, Meter()
    attempts = sent(config.prompts_per_step * config.steps, disguised=config.method == "distill")
    lengths = [len(ids) for ids in render(lm, attempts)]
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        allocated()
    with tempfile.TemporaryDirectory(prefix="gpu-step-") as folder, hooked(meter):
        run = open_run(Path(folder) / "run", "train", asdict(config), {})
        harden(lm, attempts, config, run, seed=0, hooks=Hooks(on_step=meter.on_step))
        replies = [row["reply_tokens"] for row in run.rows(STEPS) if "reply_tokens" in row]
        drawn = [reply for row in run.rows("instincts.jsonl") for reply in row["replies"]]
        replies = replies or [len(reply["token_ids"]) for reply in drawn]
    gc.collect()
    return Measured(meter, max(lengths), sum(replies) / len(replies))


# --- the table


def heading(args: argparse.Namespace, lm: LM) -> str:
    """Say what ran where, with which versions, and when."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "CPU"
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "trl", "peft")
    )
    how = "every weight" if args.full else "LoRA of rank 16"
    dtype, toy = (
        str(lm.model.dtype).removeprefix("torch."),
        " (toy: the ratios mean nothing)" if args.toy else "",
    )
    return (
        f"{args.model}{toy}, random weights, {lm.model.num_parameters():,} parameters in {dtype}, {how}; "
        f"{args.steps} steps of {args.prompts} prompts; "
        f"{device}; {versions}; {datetime.now(UTC):%Y-%m-%d}"
    )


def named(card: str) -> str:
    """Return the name that `sirl plan` has for a GPU; h100 where it knows none."""
    return next((name for name in ("a100", "h200", "h100") if name in card.lower()), "h100")


def table(method: str, work: tuple[Recipe, Shape], found: Measured, card: str) -> list[str]:
    """Return the lines of one method: seconds, tokens a second and peaks, each beside its estimate."""
    assumed = Assumed(find_device(card), 1, found.prompt_tokens, round(found.reply_tokens))
    recipe, meter, lines = work[0], found.meter, []
    plan = make_plan(*work, assumed)
    drawing = sum(phase.seconds for phase in plan.phases if phase.what.startswith("draw"))
    training = sum(phase.seconds for phase in plan.phases if not phase.once) - drawing
    once = sum(phase.seconds for phase in plan.phases if phase.once)
    replies = plan.replies * found.reply_tokens
    asked = len(sent(recipe.train.prompts_per_step * recipe.train.steps, False)) * recipe.train.gate.samples
    kinds = {
        "asking": (once, asked * found.reply_tokens, "reply tokens/s"),
        "drawing": (drawing, replies, "reply tokens/s"),
        "training": (training, plan.replies * (found.prompt_tokens + found.reply_tokens), "tokens/s"),
    }
    for phase, (estimate, tokens, unit) in kinds.items():
        if phase not in meter.seconds:
            continue
        seconds = sum(meter.seconds[phase]) if phase == "asking" else median(meter.seconds[phase][1:] or [0.0])
        what = "s, once" if phase == "asking" else "s a step"
        lines += [
            line(method, phase, what, seconds, estimate),
            line(method, phase, unit, tokens / seconds, tokens / estimate),
            line(method, phase, "GiB at most, allocated", meter.peaks[phase][0], plan.peak(phase)[0] / GIB),
            line(method, phase, "GiB at most, reserved", meter.peaks[phase][1], plan.peak(phase)[0] / GIB),
        ]
    return lines


def line(method: str, phase: str, what: str, measured: float, estimate: float) -> str:
    """Return one line of the table."""
    return f"| {method} | {phase} | {what} | {measured:.3g} | {estimate:.3g} | {measured / estimate:.2f} |"


if __name__ == "__main__":
    main()
