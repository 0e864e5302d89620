"""What a model brings for `generate` may contradict itself; it is trained, saved and loaded all the same."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from conftest import random_lm
from small_training import CONFIG, train, weights
from transformers import GenerationConfig

from sirl.lm import load_lm, save_lm
from sirl.lm.defaults import settled

SAMPLING = {
    "temperature": 0.9,
    "top_p": 0.6,
    "top_k": 20,
    "min_p": 0.1,
    "typical_p": 0.9,
    "epsilon_cutoff": 1e-3,
}
ODD = [
    {"do_sample": False, "temperature": 0.9, "top_p": 0.6},
    {"do_sample": False, **SAMPLING},
    {"temperature": 0.7},
    {"length_penalty": 2.0, "early_stopping": True},
    {"num_beams": 1, "length_penalty": 0.5},
    {"pad_token_id": -1},
    {"eos_token_id": [1, 2], "do_sample": False, "top_k": 5},
]


@pytest.mark.parametrize("brought", ODD, ids=lambda b: ",".join(b))
def test_a_model_with_odd_settings_is_trained_saved_and_loaded(tmp_path, brought):
    start = random_lm("llama")
    start.tokenizer.pad_token = None
    save_lm(start, tmp_path / "model")
    written = {"eos_token_id": 1, **brought}
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(written))
    lm = load_lm(tmp_path / "model")
    hardened = train(tmp_path / "run", replace(CONFIG, steps=2, snapshots=(1,)), lm=lm)
    again = load_lm(tmp_path / "run" / "model")
    assert all(torch.equal(weights(again)[n], w) for n, w in weights(hardened).items())
    again.model.generation_config.validate(strict=True)
    assert again.model.generation_config.eos_token_id == written["eos_token_id"]
    assert again.stop_ids == lm.stop_ids


def test_settings_that_hold_together_are_left_as_they_came():
    came = GenerationConfig(
        do_sample=True, eos_token_id=[1, 2], pad_token_id=0, repetition_penalty=1.1, **SAMPLING
    )
    assert settled(came) is came


def test_only_what_cannot_be_is_left_out():
    came = GenerationConfig(do_sample=False, temperature=0.9, repetition_penalty=1.1, eos_token_id=[1, 2])
    kept = settled(came)
    assert (kept.do_sample, kept.repetition_penalty, kept.eos_token_id) == (False, 1.1, [1, 2])
    assert kept.temperature == GenerationConfig().temperature
    assert came.temperature == 0.9
