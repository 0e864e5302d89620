"""Run nanoGCG as `gcg.py` asks: a JSON job on stdin, a JSON answer on the last line of stdout.

Runs in a venv of its own (nanoGCG pins an older transformers) and imports nothing of sirl.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

import nanogcg
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

job = json.load(sys.stdin)
torch.set_num_threads(job["threads"])
folder = Path(job["model"])
settings = json.loads((folder / "config.json").read_text())
settings["rope_theta"] = settings.get("rope_parameters", {}).get("rope_theta", 10000.0)  # the older spelling
model = LlamaForCausalLM.from_pretrained(
    folder, config=LlamaConfig(**settings), torch_dtype=torch.float32
).eval()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_file=str(folder / "tokenizer.json"),
    **{name: job["special"][name] for name in ("bos_token", "eos_token", "pad_token")},
)
tokenizer.chat_template = job["template"]
config = nanogcg.GCGConfig(
    num_steps=job["steps"],
    optim_str_init=job["start"],
    search_width=job["candidates"],
    topk=job["top"],
    seed=job["seed"],
    verbosity="ERROR",
)
begun = perf_counter()
result = nanogcg.run(model, tokenizer, job["request"] + "{optim_str}", job["target"], config)
seconds = perf_counter() - begun
print(json.dumps({"seconds": seconds, "loss": result.best_loss, "losses": result.losses}))
