"""The precision of training: the start is asked and taught from as the policy is trained."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import wraps

import pytest
import torch
from small_training import CONFIG, PROMPTS, changed, refuses, rows, same, toy_lm, weights
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaForCausalLM

from sirl.entropy import divergence
from sirl.generation import draw
from sirl.lm import LM
from sirl.lm.abilities import abilities
from sirl.records import Attempt, Decoding, Message
from sirl.rundir import open_run
from sirl.training import Hooks, distilling, harden, precision, setup
from sirl.training.distilling import divergences

ATTEMPTS = [Attempt(p, "play", (Message("user", f"play a part: {p.text}"),)) for p in PROMPTS]


def train(folder, hooks=None, lm=None, **changes):
    config = changed(CONFIG, **{"steps": 2, "save_every": 5, **changes})
    run = open_run(folder, "train", asdict(config), {})
    return harden(lm or toy_lm(), ATTEMPTS, config, run, 0, hooks)


@pytest.fixture
def passes(monkeypatch):
    """Mix as on a GPU, on this CPU; say of each pass of a model whether it ran in bfloat16."""
    abilities(toy_lm())  # how the model can be called is tried once, outside of training
    for module in (setup, precision):
        monkeypatch.setattr(module, "mixes", lambda lm: lm.model.dtype == torch.float32)
    seen, real = [], LlamaForCausalLM.forward

    @wraps(real)  # its arguments are looked at
    def spy(self, *args, **named):
        seen.append(torch.is_autocast_enabled("cpu"))
        return real(self, *args, **named)

    monkeypatch.setattr(LlamaForCausalLM, "forward", spy)
    return seen


@pytest.mark.parametrize("method", ["distill", "sirl"])
@pytest.mark.parametrize("rank", [0, 4])
def test_every_pass_of_training_is_mixed(tmp_path, passes, method, rank):
    changes = {"gate": {"kind": "start"}, "reward": {"anchors": 1}} if method == "sirl" else {}

    def probe(lm):
        lm.model(torch.tensor([[1, 2, 3]]))
        return {"seen": 1.0}

    taught = train(
        tmp_path / "run", Hooks(probe=probe, refused=refuses), method=method, lora_rank=rank, **changes
    )
    assert len(passes) >= 12
    assert all(passes)
    assert {t.dtype for t in weights(taught).values()} == {torch.float32}
    assert not same(weights(taught), weights(toy_lm()))


def test_what_comes_plain_teaches_nothing_in_bfloat16_either(tmp_path, passes):
    plain = [Attempt(p, "direct", (Message("user", p.text),)) for p in PROMPTS]
    config = replace(CONFIG, method="distill", steps=1)
    harden(toy_lm(), plain, config, open_run(tmp_path / "run", "train", asdict(config), {}), 0)
    assert rows(tmp_path / "run")[0]["divergence"] == pytest.approx(
        0, abs=1e-6
    )  # teacher and student round alike


def test_bfloat16_weights_and_cpus_are_not_mixed():
    lm = toy_lm()
    assert not precision.mixes(lm)
    assert not precision.mixes(LM(lm.model.bfloat16(), lm.tokenizer, "half"))


class Casts(TorchDispatchMode):
    """Count how often a matrix of the size of a weight is cast to bfloat16."""

    def __init__(self, size):
        super().__init__()
        self.size, self.count = size, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("dtype") == torch.bfloat16:
            self.count += args[0].numel() == self.size
        return func(*args, **kwargs)


def test_a_batch_of_replies_casts_the_weights_once():
    """Autocast keeps cast weights where gradients are merely off; in inference mode it would keep none."""
    lm = toy_lm()
    head = lm.model.get_output_embeddings()  # computed in float32, so never cast
    layers = [m for m in lm.model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    linear = [m.weight.numel() for m in layers]
    with torch.autocast("cpu", torch.bfloat16), Casts(max(linear)) as told:
        draw(lm, ATTEMPTS[:1], Decoding(1.0, max_new_tokens=6), 0)
    assert told.count == linear.count(max(linear))


# --- the memory of whole rows


def test_many_tokens_are_taken_a_stretch_at_a_time_with_the_same_result(monkeypatch):
    given = [torch.randn(2, 7, 11, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    expected_to, to = (given[1].clone().requires_grad_() for _ in range(2))
    expected_BT = divergence(given[0], expected_to)
    expected_BT.sum().backward()
    held: list[int] = []
    monkeypatch.setattr(distilling, "TOGETHER", 2 * 11 * 3)  # 3 tokens of both rows: 3 + 3 + 1
    monkeypatch.setattr(distilling, "divergence", lambda p, q: held.append(p.shape[1]) or divergence(p, q))
    found_BT = divergences(given[0], to)
    found_BT.sum().backward()
    assert torch.equal(found_BT, expected_BT)
    assert torch.equal(to.grad, expected_to.grad)
    assert held[:3] == [3, 3, 1]
    assert sorted(held[3:]) == [1, 3, 3]  # again, in the backward pass


def test_stretches_change_no_run(tmp_path, monkeypatch):
    whole = weights(train(tmp_path / "whole", method="distill"))
    monkeypatch.setattr(distilling, "TOGETHER", 1)
    assert same(weights(train(tmp_path / "parts", method="distill")), whole)
