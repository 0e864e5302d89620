"""`sirl plan`: sums done by hand, the shapes of real architectures, and what cannot be planned."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import sirl
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)
from trl.kernels import chunked_logprob

from sirl.config import ModelConfig, Recipe, TrainConfig, load_recipe
from sirl.config.train import DistillConfig, GateConfig, GrpoConfig
from sirl.errors import ConfigError, DataError
from sirl.generation import draw
from sirl.lm import load_lm
from sirl.organism import WEIGHTS
from sirl.planning import ALWAYS, GIB, Assumed, Device, Shape, adapter_parameters, find_device, make_plan
from sirl.planning.memory import DRAWN, TILE, TOGETHER
from sirl.training import distilling
from sirl.training.isolation import quiet
from sirl.workflows.shapes import read_shape, shape_of

SHAPE = Shape(
    parameters=2_000_000_000,
    layers=10,
    hidden=100,
    heads=5,
    kv_heads=2,
    head_dim=20,
    intermediate=300,
    vocabulary=1000,
)
TRAIN = TrainConfig(
    steps=3, group=4, prompts_per_step=8, max_prompt_tokens=100, max_reply_tokens=300, micro_batch=2, limit=20
)
TOY = Recipe(model=ModelConfig(), train=TRAIN)
CARD = Device("card", memory=100.0, tflops=2.0, bandwidth=10.0)  # times 0.5: 1e12, 5e9
ASSUMED = Assumed(CARD, gpus=2, utilisation=0.5, streaming=0.5)
G = 1e9


def plan_of(recipe, assumed, shape=SHAPE):
    return make_plan(recipe, shape, assumed)


def held(plan, sharded=False):
    """Return the bytes of each line, of one name added up."""
    lines: dict[tuple[str, tuple[str, ...]], float] = {}
    for line in plan.lines:
        lines[line.what, line.when] = line.sharded if sharded else line.whole
    several = ("keys and values", "weights, cast")
    return {f"{what} {when[0]}" if what in several else what: n for (what, when), n in lines.items()}


# --- by hand


def test_full_training_in_float32_keeps_two_copies_and_an_optimiser():
    found = held(plan_of(TOY, ASSUMED))
    assert found["the base, frozen"] == found["the policy"] == 8 * G
    assert found["the reference of the KL"] == 0  # the base's own weights
    assert found["AdamW's two moments"] == 16 * G
    assert found["gradients"] == 8 * G
    assert found["weights, cast drawing"] == found["weights, cast training"] == 4 * G  # to bfloat16
    # 2 rows x 400 tokens; the stream is float32: 800 x 10 layers x 100 x 4 B
    assert found["inputs of the layers"] == 3_200_000
    # a token: 8 x 100 + 2 x (5 + 2) x 20 + 4 x 300 = 2,280 values of 2 B
    assert found["one layer, recomputed"] == 800 * 2280 * 2
    assert found["a tile of the head's logits"] == 4096 * 1000 * 4
    # 16 replies a GPU x 400 tokens x 2 x 10 layers x 2 x 20 x 2 B
    assert found["keys and values drawing"] == 16 * 400 * 800 * 2
    assert "keys and values asking" not in found  # no gate: the base is not asked


def test_sharding_divides_all_but_the_start_and_gathers_the_policy_to_draw():
    found = held(plan_of(TOY, ASSUMED), sharded=True)
    assert found["the base, frozen"] == 8 * G
    assert (
        found["the policy"] == found["the policy's other shards"] == found["the reference of the KL"] == 4 * G
    )
    assert found["AdamW's two moments"] == 8 * G
    assert found["gradients"] == 4 * G
    assert found["inputs of the layers"] == 3_200_000


def test_the_peaks_add_up_what_is_there_at_the_time():
    plan = plan_of(TOY, ASSUMED)
    activations = 3_200_000 + 800 * 2280 * 2 + 4096 * 1000 * 4
    drawn = 16 * 400 * 800 * 2 + 3 * 16 * 1000 * 4
    assert plan.peak("training") == (44 * G + activations, 28 * G + activations)  # shards are cast by layers
    assert plan.peak("drawing") == (36 * G + drawn, 32 * G + drawn)
    assert plan.peak("asking") == (8 * G, 8 * G)
    assert plan.limit == 0.9 * 100 * GIB
    assert plan.fits == (True, True)
    assert (plan.replies, plan.tokens) == (32, 32 * 400)


@pytest.mark.parametrize(
    ("memory", "fits"), [(55.0, (True, True)), (40.0, (False, True)), (20.0, (False, False))]
)
def test_it_fits_if_every_peak_is_below_the_limit(memory, fits):
    assert plan_of(TOY, replace(ASSUMED, device=replace(CARD, memory=memory))).fits == fits


def test_lora_in_bfloat16_keeps_one_copy_and_a_small_optimiser():
    recipe = replace(TOY, model=ModelConfig(dtype="bfloat16"), train=replace(TRAIN, lora_rank=3))
    found = held(plan_of(recipe, ASSUMED))
    # a layer: queries 100 + 100, keys and values 2 x (100 + 40), output 100 + 100, three of 100 + 300
    weights = 3 * 10 * (200 + 280 + 200 + 1200)
    assert adapter_parameters(SHAPE, 3) == weights
    assert (found["the base, frozen"], found["the policy"]) == (4 * G, 0)
    assert not any(what.startswith("weights, cast") for what in found)
    assert "the reference of the KL" not in found  # the adapter is switched off instead
    assert found["LoRA of rank 3"] == found["gradients"] == 4 * weights
    assert found["AdamW's two moments"] == 8 * weights
    assert found["inputs of the layers"] == 1_600_000


def test_without_a_kl_there_is_no_reference():
    plan = plan_of(replace(TOY, train=replace(TRAIN, grpo=GrpoConfig(kl=0.0))), ASSUMED)
    assert "the reference of the KL" not in held(plan)
    assert [phase.what for phase in plan.phases] == ["draw the replies", "train on them"]


def test_a_small_model_keeps_its_activations():
    plan = plan_of(TOY, ASSUMED, replace(SHAPE, parameters=1000))
    assert held(plan)["inside the layers"] == 800 * 10 * 2280 * 2
    assert plan.phases[-1].seconds == pytest.approx(6 * 1000 * 16 * 400 / 1e12)  # nothing is recomputed


def test_the_time_of_each_phase():
    drawing, scoring, training = plan_of(TOY, ASSUMED).phases
    # prompts: 4e9 FLOP a token x 16 x 100; a token of 16 replies: 64e9 FLOP in .064 s, or 4e9 B and
    # 16 x (100 + 150) tokens x 1,600 B = 6.4e6 B of cache in .80128 s: reading counts
    assert drawing.seconds == pytest.approx(4e9 * 1600 / 1e12 + 300 * 4.0064e9 / 5e9)
    assert scoring.seconds == pytest.approx(4e9 * 6400 / 1e12)
    assert training.seconds == pytest.approx(8 * 2e9 * 6400 / 1e12)
    adapted = plan_of(replace(TOY, train=replace(TRAIN, lora_rank=3)), ASSUMED)
    assert adapted.phases[-1].seconds == pytest.approx(6 * 2e9 * 6400 / 1e12)
    # frozen float32 weights are read, written in bfloat16 and read again for every token: 8 B each
    assert adapted.phases[0].seconds == pytest.approx(4e9 * 1600 / 1e12 + 300 * 16.0064e9 / 5e9)


def test_distilling_asks_first_and_draws_no_more():
    plan = plan_of(replace(TOY, train=replace(TRAIN, method="distill", micro_batch=5)), ASSUMED)
    found = held(plan)
    assert "the reference of the KL" not in found
    assert "the policy's other shards" not in held(plan, sharded=True)
    # a GPU has 4 rows a step, and 5 // 2 = 2 of them go through teacher and student together
    assert found["inputs of the layers"] == 2 * 400 * 10 * 100 * 4
    # the teacher's in bfloat16, three times the student's in float32; all of them are one stretch
    assert found["logits of the replies, twice"] == 2 * 300 * 1000 * (2 + 3 * 4 + 8 * 4)
    wide = plan_of(
        replace(TOY, train=replace(TRAIN, method="distill")), ASSUMED, replace(SHAPE, vocabulary=10**6)
    )
    assert held(wide)["logits of the replies, twice"] == 300 * 10**6 * 14 + 2**24 * 32
    assert found["weights, cast training"] == held(plan, sharded=True)["weights, cast training"] == 4 * G
    assert "weights, cast drawing" not in found
    reading, training, asking = plan.phases
    assert (reading.once, training.once, asking.once) == (False, False, True)
    assert reading.seconds == pytest.approx(4e9 * 4 * 400 / 1e12)
    assert training.seconds == pytest.approx(8 * 2e9 * 4 * 400 / 1e12)


def test_requests_close_to_refusals_are_read_beside_each_row():
    gate = GateConfig(kind="propensity")
    train = replace(TRAIN, method="distill", micro_batch=5, gate=gate, distill=DistillConfig(boundary=3))
    plan = plan_of(replace(TOY, train=train), ASSUMED)
    assert held(plan)["inputs of the layers"] == 2 * (400 + 3 * 100) * 10 * 100 * 4
    assert plan.phases[0].seconds == pytest.approx(4e9 * 4 * (400 + 3 * 100) / 1e12)
    assert (plan.replies, plan.times) == (8, ("asking", "training"))
    with pytest.raises(ConfigError, match="'sft'; expected sirl or distill"):
        plan_of(replace(TOY, train=replace(TRAIN, method="sft")), ASSUMED)


def test_the_start_is_asked_once():
    gated = replace(TOY, train=replace(TRAIN, gate=GateConfig("start", 4)))
    alone = replace(ASSUMED, gpus=1, prompt_tokens=10, reply_tokens=20)
    plan = plan_of(gated, alone)
    asking = plan.phases[-1]
    assert asking.once
    # 20 requests, the limit, x 4 = 80 replies in 2 batches of 64 at most; 64 x 4e9 FLOP at 1e12 take .256 s,
    # 4e9 B and 64 x 20 tokens x 1,600 B at 5e9 take .8 s
    assert asking.seconds == pytest.approx(4e9 * 800 / 1e12 + 2 * 20 * (4e9 + 64 * 20 * 1600) / 5e9)
    assert held(plan)["weights, cast asking"] == 4 * G
    assert held(plan)["keys and values asking"] == 64 * 400 * 800 * 2  # memory is at the limits all the same
    assert plan.tokens == 32 * 30
    slow = replace(ASSUMED, gpus=1, device=replace(CARD, tflops=0.2))
    assert plan_of(gated, slow).phases[-1].seconds == pytest.approx(
        4e9 * 8000 / 1e11 + 2 * 300 * 64 * 4e9 / 1e11
    )  # computing counts
    shared = plan_of(gated, replace(alone, gpus=2)).phases[-1]
    batch = 4e9 + 40 * 20 * 1600  # 10 of the requests, 40 replies in one batch
    assert shared.seconds == pytest.approx(4e9 * 400 / 1e12 + 20 * batch / 5e9)


# --- what it rests on


# The sizes in config.json of each model on the hub, and the parameters of its weights there: layers, hidden,
# heads, heads of keys, width inside, vocabulary, whether the head is tied.
MODELS = {
    "llama-3.1-8b": (LlamaConfig, (32, 4096, 32, 8, 14336, 128256, False), {}, 8_030_261_248),
    "llama-3.3-70b": (LlamaConfig, (80, 8192, 64, 8, 28672, 128256, False), {}, 70_553_706_496),
    "llama-2-7b-chat": (LlamaConfig, (32, 4096, 32, 32, 11008, 32000, False), {}, 6_738_415_616),
    "qwen2.5-3b": (Qwen2Config, (36, 2048, 16, 2, 11008, 151936, True), {}, 3_085_938_688),
    "qwen2.5-7b": (Qwen2Config, (28, 3584, 28, 4, 18944, 152064, False), {}, 7_615_616_512),
    "qwen3-8b": (Qwen3Config, (36, 4096, 32, 8, 12288, 151936, False), {"head_dim": 128}, 8_190_735_360),
    "gemma-2-9b": (Gemma2Config, (42, 3584, 16, 8, 14336, 256000, True), {"head_dim": 256}, 9_241_705_984),
    "mistral-7b": (MistralConfig, (32, 4096, 32, 8, 14336, 32768, False), {}, 7_248_023_552),
    "phi-4": (Phi3Config, (40, 5120, 40, 10, 17920, 100352, False), {}, 14_659_507_200),
}
WORDS = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads")
WORDS += ("intermediate_size", "vocab_size", "tie_word_embeddings")


def config_of(name):
    kind, sizes, more, _ = MODELS[name]
    return kind(**dict(zip(WORDS, sizes, strict=True)), **more, pad_token_id=0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The config.json of each model, in a folder of its name."""
    folder = tmp_path_factory.mktemp("models")
    for name in MODELS:
        config_of(name).save_pretrained(folder / name)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_the_shape_of_a_model_is_read_from_its_config(files, name):
    shape = read_shape(str(files / name / "config.json"))
    layers, hidden, heads, kv_heads, intermediate, vocabulary, _ = MODELS[name][1]
    head_dim = MODELS[name][2].get("head_dim", hidden // heads)
    sizes = (layers, hidden, heads, kv_heads, head_dim, intermediate, vocabulary)
    assert shape == Shape(MODELS[name][3], *sizes)
    assert read_shape(str(files / name)) == shape


def test_the_shape_of_an_organism_is_that_of_its_weights():
    assert read_shape("organism:llama").parameters == load_lm(WEIGHTS / "llama").model.num_parameters()


def test_what_has_no_shape_is_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    sentence = r"the config.json of meta-llama/Llama-3.1-8B-Instruct cannot be read \(.*\); expected a folder"
    sentence += (
        r" of weights, a config.json, or a hub id that can be fetched; save config.json from the model's"
    )
    with pytest.raises(DataError, match=sentence):
        read_shape("meta-llama/Llama-3.1-8B-Instruct")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        read_shape(str(tmp_path / "config.json"))
    MixtralConfig().save_pretrained(tmp_path / "experts")
    with pytest.raises(ConfigError, match=r"experts is a mixture of experts; expected a dense decoder"):
        read_shape(str(tmp_path / "experts"))
    BloomConfig().save_pretrained(tmp_path / "bloom")
    with pytest.raises(ConfigError, match=r"bloom without intermediate_size; expected a dense decoder"):
        read_shape(str(tmp_path / "bloom"))


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen2.5-3b", "gemma-2-9b"])
def test_the_adapters_parameters_are_pefts(name):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(name))
    with quiet():
        adapted = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert adapted.get_nb_trainable_parameters()[0] == adapter_parameters(shape_of(config_of(name), name), 16)


def test_the_batches_and_tiles_are_those_of_the_code():
    assert inspect.signature(draw).parameters["batch"].default == DRAWN
    assert TILE[0] == chunked_logprob.TOKEN_CHUNK_SIZE
    assert distilling.TOGETHER == TOGETHER


# --- the command, and what cannot be planned


def test_the_command_shows_every_formula_and_whether_it_fits(files):
    llama = files / "llama-3.1-8b"
    code, out, err = sirl("plan", llama, "--gpus", "8")
    assert (code, err) == (0, "")
    assert f"{llama} by the recipe default: 8,030,261,248 parameters in float32, on 8 x H100" in out
    assert re.search(r"the policy +29\.9 +3\.7  drawing, training +8\.03e9 x 4 B", out)
    assert "Whole copies (DDP): does not fit." in out
    assert "128 prompts x 1 = 128 replies, 16 a GPU" in out
    assert "nothing here was measured" in out
    small = ("--set", "train.lora_rank=16", "--set", "model.dtype=bfloat16")
    assert "Whole copies (DDP): fits." in sirl("plan", llama, *small)[1]
    assert "Whole copies (DDP): does not fit." in sirl("plan", llama, *small, "--memory", "30")[1]
    assert (
        "70,553,706,496 parameters in bfloat16"
        in sirl("plan", files / "llama-3.3-70b" / "config.json", "--recipe", "llama-3.3-70b")[1]
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--gpus", "3"), "3 GPUs; expected a number that divides prompts_per_step = 128"),
        (("--device", "h10"), "device 'h10'; expected a known GPU; did you mean h100"),
        (("--set", "model.dtype=float16"), "model.dtype = 'float16'; expected float32 or bfloat16"),
        (("--recipe", "llama-3.1-8b"), "recipe 'llama-3.1-8b'; expected a shipped recipe"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_a_sentence(files, words, sentence):
    code, out, err = sirl("plan", files / "llama-3.1-8b", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}")


def test_a_device_is_known_by_name():
    with pytest.raises(ConfigError):
        find_device("tpu")
    assert find_device("a100", 40.0).memory == 40.0


# --- the page


def test_the_page_has_the_figures_of_the_plan():
    page = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
    h100, llama = find_device("h100"), shape_of(config_of("llama-3.1-8b"), "llama")
    full = make_plan(load_recipe("default"), llama, Assumed(h100, gpus=8))
    assert f"needs {max(full.peak(when)[0] for when in ALWAYS) / GIB:.1f} GiB a GPU" in page
    changes = ["train.lora_rank=16", "model.dtype=bfloat16"]
    lora = make_plan(load_recipe("default", changes), llama, Assumed(h100))
    assert f"in bfloat16 needs {max(lora.peak(when)[0] for when in ALWAYS) / GIB:.1f} GiB" in page
    assert lora.fits[0]
    large = shape_of(config_of("llama-3.3-70b"), "llama")
    start = make_plan(load_recipe("llama-3.3-70b"), large, Assumed(h100)).lines[0]
    assert f"the base is {start.whole / GIB:.0f} GiB in bfloat16" in page
