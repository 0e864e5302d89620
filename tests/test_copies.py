"""How many copies of the weights a training holds, and that the model it is given stays as it was."""

from __future__ import annotations

import gc
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from small_training import CONFIG, StopHere, same, toy_lm, train, weights
from transformers import GPT2Config, GPT2LMHeadModel

from sirl.lm import LM, load_lm, weights_hash
from sirl.training import Hooks
from sirl.training.weights import write_whole


def held(like: torch.Tensor) -> int:
    """Count the places in memory where a weight lies, as it is in the start or a few steps on."""
    found = [t for t in gc.get_objects() if type(t) in (torch.Tensor, torch.nn.Parameter)]
    alike = [t.detach() for t in found if t.shape == like.shape and t.dtype == like.dtype]
    near = {t.data_ptr() for t in alike if torch.cosine_similarity(t.flatten(), like.flatten(), dim=0) > 0.9}
    return len(near)


def state(lm: LM) -> dict[str, object]:
    """What training could leave behind in a model."""
    modules = {name: (type(m), m.training, sorted(vars(m))) for name, m in lm.model.named_modules()}
    trainable = {name: weight.requires_grad for name, weight in lm.model.named_parameters()}
    configs = (lm.model.config.to_json_string(), lm.model.generation_config.to_json_string())
    return {"modules": modules, "trainable": trainable, "configs": configs, "weights": weights_hash(lm.model)}


@pytest.mark.parametrize(
    ("method", "rank", "copies"),
    [("sirl", 2, 1), ("distill", 2, 1), ("sft", 2, 1), ("dpo", 2, 1), ("sirl", 0, 2), ("dpo", 0, 2)],
)
def test_weights_are_held_once_with_an_adapter_and_twice_without(tmp_path, method, rank, copies):
    lm = toy_lm()
    torch.nn.init.normal_(lm.model.lm_head.weight, std=0.02)  # unlike that of the models of other tests
    before, counted = state(lm), []

    def on_step(row):
        if row["step"] == 1:
            gc.collect()  # what earlier tests have left
            counted.append(held(lm.model.lm_head.weight))
        else:
            raise StopHere

    hooks = Hooks(on_step=on_step, good=lambda replies: [n % 2 == 0 for n, _ in enumerate(replies)])
    with pytest.raises(StopHere):
        train(tmp_path / "run", replace(CONFIG, method=method, lora_rank=rank), hooks=hooks, lm=lm)
    assert counted == [copies]
    assert state(lm) == before


def gpt2() -> LM:
    """A model whose layers keep their weights the other way round, and whose head is its embedding."""
    lm = toy_lm()
    config = GPT2Config(vocab_size=len(lm.tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=64)
    return LM(GPT2LMHeadModel(config).eval(), lm.tokenizer, "gpt2")


@pytest.mark.filterwarnings("ignore")  # PEFT's own
@pytest.mark.parametrize("make", [toy_lm, gpt2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_is_written_merged_and_leaves_its_base_alone(tmp_path, make, dtype):
    lm = make()
    lm.model.to(dtype)
    own = {name: weight.clone() for name, weight in weights(lm).items()}
    trained = get_peft_model(lm.model, LoraConfig(r=2, lora_alpha=4, target_modules="all-linear"))
    for name, weight in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    expected = deepcopy(trained).merge_and_unload().state_dict()
    write_whole(trained, make(), tmp_path / "model")
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
    written = weights(load_lm(tmp_path / "model", dtype=str(dtype).removeprefix("torch.")))
    assert same(written, expected)
    assert same(dict(trained.unload().state_dict()), own)
    assert not same(written, own)
