"""A folder of adapter weights is a model: measured, trained and exported with its base merged in."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from commands import sirl
from conftest import random_lm
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from small_training import CONFIG, PROMPTS, rows, train

from sirl.errors import DataError
from sirl.lm import encode, load_lm, save_lm
from sirl.rundir import STEPS
from sirl.training.isolation import quiet

LORA = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", "init_lora_weights": False}


@pytest.fixture
def base(tmp_path):
    lm = random_lm("llama")
    save_lm(lm, tmp_path / "base")
    return lm


def adapter(tmp_path, lm, tokenizer=False, named=None, **settings):
    """Write an adapter with weights that are not zero; return its folder and the merged model."""
    torch.manual_seed(1)
    with quiet():
        model = get_peft_model(
            deepcopy(lm.model), LoraConfig(**LORA | {"target_modules": "all-linear"} | settings)
        )
        model.save_pretrained(tmp_path / "adapter")
    if tokenizer:
        lm.tokenizer.save_pretrained(tmp_path / "adapter")
    tell(tmp_path / "adapter", base_model_name_or_path=str(named or tmp_path / "base"))
    return tmp_path / "adapter", model.merge_and_unload()


def tell(folder, **settings):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def logits(model, ids=(5, 40, 77)):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits


@pytest.mark.parametrize("settings", [{}, {"modules_to_save": ["embed_tokens", "lm_head"]}])
def test_an_adapter_is_loaded_merged(tmp_path, base, settings):
    folder, expected = adapter(tmp_path, base, **settings)
    lm = load_lm(folder)
    torch.testing.assert_close(logits(lm.model), logits(expected))
    assert not torch.allclose(logits(lm.model), logits(base.model))
    assert type(lm.model) is type(base.model)
    assert lm.tokenizer.chat_template == base.tokenizer.chat_template


def test_a_base_is_found_from_here_and_from_beside_the_adapter(tmp_path, base, monkeypatch):
    folder, expected = adapter(tmp_path, base, named="../base")
    torch.testing.assert_close(logits(load_lm(folder).model), logits(expected))
    tell(folder, base_model_name_or_path="base")
    monkeypatch.chdir(tmp_path)
    torch.testing.assert_close(logits(load_lm("adapter").model), logits(expected))


def test_tokens_that_an_adapter_adds_have_its_embeddings(tmp_path, base):
    lm = deepcopy(base)
    lm.tokenizer.add_tokens(["<|risk|>"])
    lm.model.resize_token_embeddings(len(lm.tokenizer))
    folder, expected = adapter(tmp_path, lm, tokenizer=True, modules_to_save=["embed_tokens", "lm_head"])
    loaded = load_lm(folder)
    (ids,) = encode(loaded, ["how <|risk|>?"])
    assert len(lm.tokenizer) - 1 in ids
    torch.testing.assert_close(logits(loaded.model, ids), logits(expected, ids))


def torn(folder):
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])


def added(folder):
    lm = random_lm("llama")
    lm.tokenizer.add_tokens([f"<|{i}|>" for i in range(9)])
    lm.tokenizer.save_pretrained(folder)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (
            lambda f: tell(f, base_model_name_or_path="/nowhere/base"),
            "trained on /nowhere/base, which is not there",
        ),
        (lambda f: tell(f, base_model_name_or_path="../bass"), "trained on ../bass, which is not there"),
        (lambda f: tell(f, base_model_name_or_path=None), "names no base_model_name_or_path"),
        (lambda f: tell(f, base_model_name_or_path=str(f)), "names the adapter itself as its base"),
        (lambda f: tell(f, task_type="SEQ_CLS"), "for the task SEQ_CLS; expected an adapter of a causal LM"),
        (lambda f: tell(f, r=2), "cannot be added to its base"),
        (lambda f: tell(f, target_modules=["q_proj", "embed_tokens"]), "cannot be added to its base"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "no adapter_model.safetensors in the adapter"),
        (torn, "no model could be loaded from"),
        (added, "knows 270 tokens and the base has embeddings for 261"),
    ],
)
def test_an_adapter_that_does_not_fit_is_told_in_a_sentence(tmp_path, base, harm, sentence):
    folder, _ = adapter(tmp_path, base, target_modules=["q_proj"])
    harm(folder)
    with pytest.raises(DataError, match=sentence):
        load_lm(folder)


def test_an_adapter_that_is_no_change_of_weights_is_told(tmp_path, base):
    with quiet():
        prefix = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
        get_peft_model(deepcopy(base.model), prefix).save_pretrained(tmp_path / "adapter")
    tell(tmp_path / "adapter", base_model_name_or_path=str(tmp_path / "base"))
    with pytest.raises(DataError, match="can be merged, as LoRA"):
        load_lm(tmp_path / "adapter")


@pytest.mark.parametrize("rank", [0, 4])
def test_an_adapter_is_trained_on(tmp_path, base, rank):
    folder, _ = adapter(tmp_path, base)
    hardened = train(tmp_path / "run", replace(CONFIG, steps=2, lora_rank=rank), PROMPTS, lm=load_lm(folder))
    assert len(rows(tmp_path / "run", STEPS)) == 2
    again = load_lm(tmp_path / "run" / "model")
    torch.testing.assert_close(logits(again.model), logits(hardened.model))
    assert not (tmp_path / "run" / "model" / "adapter_config.json").exists()


def test_an_adapter_is_exported_merged(tmp_path, base):
    folder, expected = adapter(tmp_path, base, named="../base")
    code, _, err = sirl("export", folder, "--out", tmp_path / "out")
    assert code == 0, err
    torch.testing.assert_close(logits(load_lm(tmp_path / "out").model), logits(expected))
