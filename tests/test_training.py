from __future__ import annotations

import math
import random
import sys
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import conftest
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from small_training import CONFIG, PROMPTS, StopHere, rows, same, stop_at, toy_lm, train, weights
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import LlamaForCausalLM, LlamaModel, TrainingArguments
from trl import GRPOConfig

from sirl import scoring
from sirl.config.train import GrpoConfig, RewardConfig
from sirl.errors import ConfigError, DataError, RunError
from sirl.generation import generate
from sirl.lm import LM, load_lm
from sirl.records import Decoding, Prompt
from sirl.rewards import REWARDS, Scored
from sirl.rundir import STEPS
from sirl.training import Hooks, plainly, rollout, setup
from sirl.training.checkpoints import damage
from sirl.training.cpu_trainer import CpuGRPOTrainer
from sirl.training.rollout import step_prompts
from sirl.training.setup import loss_arguments

TOKENS = ("prompt_ids", "token_ids")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    return folder, weights(train(folder))


# --- what is trained, and on what


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
@pytest.mark.parametrize("name", sorted(REWARDS))
def test_the_reward_is_that_of_the_recorded_tokens(tmp_path, monkeypatch, arch, name):
    recorded = []
    real = rollout.draw

    def spy(lm, attempts, *rest):
        assert not lm.model.training
        draws = real(lm, attempts, *rest)
        recorded.append((attempts, draws, rest[-1]))
        return draws

    monkeypatch.setattr(rollout, "draw", spy)
    train(tmp_path / "run", replace(CONFIG, reward=RewardConfig(name), steps=2), lm=toy_lm(arch))
    assert len(recorded) == 2
    for step, ((attempts, draws, _), row) in enumerate(zip(recorded, rows(tmp_path / "run"), strict=True)):
        seeds = [rollout.stable_seed("reward", 0, step, a.key) for a in attempts]
        if REWARDS[name].scorer == "sampler" or step == 0:  # at the first step all scorers are the same model
            certainties = scoring.certainties(toy_lm(arch), *([getattr(d, f) for d in draws] for f in TOKENS))
            scored = Scored(
                [d.entropies for d in draws],
                [d.logprobs for d in draws],
                [c.tolist() for c in certainties],
                seeds,
            )
            assert row["reward"] == pytest.approx(np.mean(REWARDS[name].of(scored)), abs=1e-4)
        assert row["entropy"] == pytest.approx(np.mean([np.mean(d.entropies) for d in draws]), abs=1e-5)
        assert row["reply_tokens"] == pytest.approx(np.mean([len(d.token_ids) for d in draws]))
        assert row["distinct"] == pytest.approx(len({d.token_ids for d in draws}) / len(draws))
        assert row["truncated"] == pytest.approx(np.mean([not d.finished for d in draws]))


def test_rewarding_certainty_lowers_entropy_and_the_inverted_reward_does_not(tmp_path):
    config = replace(CONFIG, steps=15, prompts_per_step=32, micro_batch=32)
    last = {}
    for name in ("sirl", "inverted"):
        train(tmp_path / name, replace(config, reward=RewardConfig(name)))
        entropy = [row["entropy"] for row in rows(tmp_path / name)]
        last[name] = np.mean(entropy[-3:])
    assert last["sirl"] < entropy[0] - 0.5  # both runs begin with the same replies
    assert last["sirl"] < last["inverted"] - 0.4


@pytest.mark.parametrize("start", ["the policy", "another model"])  # with another, the KL is not 0
def test_the_gradient_is_that_of_grpo_written_by_hand(tmp_path, monkeypatch, start):
    drawn, gradients = [], []
    draw, clip = rollout.draw, Accelerator.clip_grad_norm_

    def spy(*args):
        drawn.extend(draw(*args))
        return drawn

    def keep(self, parameters, *args):
        parameters = list(parameters)
        gradients.extend(p.grad.clone() for p in parameters)
        return clip(self, parameters, *args)

    monkeypatch.setattr(rollout, "draw", spy)
    monkeypatch.setattr(Accelerator, "clip_grad_norm_", keep)
    lm, reference, kl = toy_lm(), toy_lm(), 2.0
    if start == "another model":
        torch.manual_seed(1)
        for weight in reference.model.parameters():
            weight.data += 0.05 * torch.randn_like(weight)
    monkeypatch.setattr(setup, "frozen", lambda _: reference.model)
    train(tmp_path / "run", replace(CONFIG, steps=1, grpo=GrpoConfig(kl=kl)), lm=lm)

    reward_PG = -torch.tensor([np.mean(d.entropies) for d in drawn]).reshape(4, 4)
    centred_PG = reward_PG - reward_PG.mean(1, keepdim=True)
    advantages = (centred_PG / (reward_PG.std(1, keepdim=True) + 1e-4)).flatten().tolist()
    lm.model.zero_grad()
    differences = []
    for d, advantage in zip(drawn, advantages, strict=True):
        logprob_T = reply_logprobs(lm, d)
        difference_T = reply_logprobs(reference, d).detach() - logprob_T
        k3_T = difference_T.exp() - difference_T - 1  # the KL that docs/method.md states, and no ratio on it
        ((kl * k3_T - advantage * logprob_T).mean() / len(drawn)).backward()
        differences.append(difference_T.abs().mean().item())
    assert (np.mean(differences) > 0.01) == (start == "another model")
    for mine, trl in zip(lm.model.parameters(), gradients, strict=True):
        torch.testing.assert_close(trl, mine.grad, atol=1e-5, rtol=1e-3)


def reply_logprobs(lm, d):
    """The log-probs (T) of a drawn reply."""
    logits_SV = lm.model(torch.tensor([[*d.prompt_ids, *d.token_ids]])).logits[0]
    logprob_TV = logits_SV[len(d.prompt_ids) - 1 : -1].log_softmax(-1)
    return logprob_TV[range(len(d.token_ids)), list(d.token_ids)]


# Arguments of TRL's own that do not touch the loss of our runs: the sampler is ours, and prompts are text.
BESIDE_THE_LOSS = {
    *("model_init_kwargs", "trust_remote_code", "shuffle_dataset", "pad_to_multiple_of"),
    *("num_generations_eval", "ds3_gather_for_generation", "generation_kwargs", "chat_template_kwargs"),
    *("cache_implementation", "max_tool_calling_iterations", "use_transformers_continuous_batching"),
    *("transformers_continuous_batching_config", "use_transformers_paged"),
    *("ref_model_mixup_alpha", "ref_model_sync_steps"),  # read with sync_ref_model
    *("sapo_temperature_neg", "sapo_temperature_pos"),  # read by loss_type sapo
    *("vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg"),  # read by loss_type vespo
    *("entropy_coef_min", "entropy_coef_max", "entropy_coef_delta", "entropy_target"),  # use_adaptive_entropy
    *("log_completions", "log_multimodal", "num_completions_to_print", "log_unique_prompts"),
    "log_completions_hub_repo",
}


def test_every_argument_of_trl_that_touches_the_loss_is_set_and_documented():
    mine = {f.name for f in fields(GRPOConfig)} - {f.name for f in fields(TrainingArguments)}
    mine = {name for name in mine if "vllm" not in name}  # GRPO's own rollouts are not drawn by vLLM
    stated = loss_arguments(CONFIG)
    assert not BESIDE_THE_LOSS & set(stated)
    assert mine == BESIDE_THE_LOSS | set(stated)  # a new one must be decided about
    page = (Path(__file__).parents[1] / "docs" / "method.md").read_text(encoding="utf-8")
    table = page.partition("### How TRL is set up")[2].partition("\n## ")[0]
    assert not [name for name in stated if f"`{name}`" not in table]


def test_bfloat16_weights_are_not_trained_whole(tmp_path):
    lm = toy_lm()
    half = LM(lm.model.bfloat16(), lm.tokenizer, "half")
    with pytest.raises(ConfigError, match=r"most updates would be rounded away; .*train\.lora_rank=16"):
        train(tmp_path / "run", lm=half)
    trained = train(tmp_path / "adapter", replace(CONFIG, steps=1, lora_rank=2), lm=half)
    assert trained.model.dtype == torch.bfloat16


def test_labels_are_not_read(tmp_path, unbroken):
    poison = [replace(p, kind="task", category="poison", answer="refuse", source="?") for p in PROMPTS]
    model = train(tmp_path / "run", prompts=poison)
    assert same(weights(model), unbroken[1])
    assert rows(tmp_path / "run") == rows(unbroken[0])


def test_the_reward_costs_no_forward_pass(tmp_path, monkeypatch):
    passes = {"sampling": 0, "reference": 0, "training": 0}
    sampling = []
    forward, real = LlamaModel.forward, rollout.draw

    def count(self, *args, **kwargs):
        name = "sampling" if sampling else "training" if torch.is_grad_enabled() else "reference"
        passes[name] += 1
        return forward(self, *args, **kwargs)

    def spy(*args):
        sampling.append(True)
        draws = real(*args)
        sampling.clear()
        assert passes["sampling"] <= CONFIG.max_reply_tokens  # one a token
        return draws

    monkeypatch.setattr(LlamaModel, "forward", count)
    monkeypatch.setattr(rollout, "draw", spy)
    train(tmp_path / "run", replace(CONFIG, steps=1))
    assert passes == {
        "sampling": CONFIG.max_reply_tokens,
        "reference": 1,
        "training": 2,
    }  # 16 rows, micro-batches of 8


def test_log_probs_on_a_cpu_are_those_of_trl(tmp_path, monkeypatch):
    compared = []
    ours, theirs = (
        kind._get_per_token_logps_and_entropies for kind in (CpuGRPOTrainer, CpuGRPOTrainer.__base__)
    )

    def both(self, *args, **kwargs):
        mine = ours(self, *args, **kwargs)
        with torch.no_grad():
            compared.append((mine[0].detach(), theirs(self, *args, **kwargs)[0], self._step))
        return mine

    monkeypatch.setattr(CpuGRPOTrainer, "_get_per_token_logps_and_entropies", both)
    train(tmp_path / "run", replace(CONFIG, steps=1, temperature=0.7))
    assert len(compared) == 3  # the reference's two micro-batches in one call, the policy's in two
    for mine, trl, _ in compared:
        real = trl != 0  # TRL leaves 0 at padding, which the loss masks
        torch.testing.assert_close(mine[real], trl[real], atol=1e-5, rtol=1e-5)


def test_the_loss_on_a_cpu_is_trls_and_its_advantages_are_detached(tmp_path, monkeypatch):
    compared = []
    ours = CpuGRPOTrainer._compute_loss

    def both(self, model, inputs):
        assert not inputs["advantages"].requires_grad
        assert not inputs["ref_per_token_logps"].requires_grad
        mine = ours(self, model, inputs)
        with monkeypatch.context() as patch, torch.no_grad():
            name = "_get_per_token_logps_and_entropies"
            patch.setattr(CpuGRPOTrainer, name, getattr(CpuGRPOTrainer.__base__, name))
            compared.append(
                (float(mine), float(ours(self, model, inputs)), float(inputs["advantages"].abs().max()))
            )
        return mine

    monkeypatch.setattr(CpuGRPOTrainer, "_compute_loss", both)
    train(
        tmp_path / "run", replace(CONFIG, steps=3, grpo=GrpoConfig(kl=0.5))
    )  # a KL that the loss consists of from step 2
    assert len(compared) == 6
    for mine, trl, advantage in compared:
        assert mine == pytest.approx(trl, abs=1e-6)
        assert advantage > 0
    assert max(abs(mine) for mine, *_ in compared[2:]) > 1e-4


def test_the_first_update_has_no_kl_and_later_ones_do(unbroken):
    kl = [row["kl"] for row in rows(unbroken[0])]
    assert kl[0] == pytest.approx(0, abs=1e-6)
    assert min(kl[1:]) > 1e-5


def test_prompts_that_are_too_long_are_left_out_and_counted(tmp_path):
    long = [Prompt("long", "x" * 100), Prompt("longer", "y" * 200)]
    train(tmp_path / "run", replace(CONFIG, steps=1), prompts=[*PROMPTS, *long])
    assert [row["left_out"] for row in rows(tmp_path / "run")] == [2]
    with pytest.raises(DataError, match="none of 2 prompts has at most 40 tokens"):
        train(tmp_path / "other", prompts=long)


@pytest.mark.parametrize("method", ["sirl", "distill"])
def test_prompts_beyond_the_models_positions_are_left_out_and_counted(tmp_path, method):
    lm = toy_lm()
    lm.model.config.max_position_embeddings = 30
    config = replace(CONFIG, steps=1, method=method)
    train(tmp_path / "run", config, prompts=[*PROMPTS, Prompt("long", "x" * 30)], lm=lm)
    assert [row["left_out"] for row in rows(tmp_path / "run")] == [1]
    with pytest.raises(DataError, match=r"lower train\.max_reply_tokens"):
        train(tmp_path / "other", replace(config, max_reply_tokens=40), lm=lm)


def test_every_prompt_is_taken_once_before_any_is_taken_again():
    taken = [i for step in range(7) for i in step_prompts(14, 4, seed=3, step=step)]
    assert sorted(taken[:14]) == sorted(taken[14:]) == list(range(14))
    assert taken[:14] != taken[14:] != list(range(14))
    assert step_prompts(14, 4, seed=3, step=5) == taken[20:24]
    assert sorted(step_prompts(3, 6, seed=0, step=0)) == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]  # few prompts come back within a step


# --- what the caller owns stays as it was


def test_the_caller_keeps_model_tokenizer_and_random_states(tmp_path):
    lm = toy_lm()
    before = {name: tensor.clone() for name, tensor in weights(lm).items()}
    config, settings = lm.model.config.to_dict(), lm.tokenizer.special_tokens_map
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    hardened = train(tmp_path / "run", replace(CONFIG, steps=1), lm=lm)
    assert same(before, weights(lm))
    assert not same(before, weights(hardened))
    assert (lm.model.config.to_dict(), lm.tokenizer.special_tokens_map) == (config, settings)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()
    assert states[2] == random.getstate()
    assert not lm.model.training
    assert all(p.grad is None and p.requires_grad for p in lm.model.parameters())


def test_the_model_is_an_ordinary_folder_and_nothing_else_is_left(tmp_path, capfd):
    hardened = train(tmp_path / "run", replace(CONFIG, steps=1))
    assert capfd.readouterr() == ("", "")
    assert not hardened.model.training
    assert {p.name for p in tmp_path.iterdir()} == {"run"}
    files = {p.name for p in (tmp_path / "run").iterdir()}
    assert files == {".lock", "config.json", "environment.json", STEPS, "model"}
    again = load_lm(tmp_path / "run" / "model")
    assert same(weights(again), weights(hardened))
    assert again.tokenizer.chat_template == conftest.TEMPLATE
    assert again.tokenizer.pad_token is None
    assert again.stop_ids == toy_lm().stop_ids


# --- watching


def test_probes_run_at_rest_and_change_nothing(tmp_path, unbroken):
    seen = []

    def probe(lm):
        assert not lm.model.training
        torch.rand(3)  # a probe may spend global randomness
        seen.append(lm.name)
        return {"refused": 0.25}

    model = train(tmp_path / "run", hooks=Hooks(probe, seen.append))
    found = rows(tmp_path / "run")
    assert seen[0] == "toy"  # the base model is measured first
    assert [row.get("refused") for row in found] == [None, 0.25, None, 0.25]
    assert [row["step"] for row in seen if row != "toy"] == [1, 2, 3, 4]
    assert same(weights(model), unbroken[1])
    added = ("refused", "over_budget")
    assert [{k: v for k, v in row.items() if k not in added} for row in found] == rows(unbroken[0])


# --- LoRA, other settings, and what goes wrong


def test_lora_trains_resumes_and_is_saved_merged(tmp_path):
    config = replace(CONFIG, lora_rank=4, save_every=1, learning_rate=1e-2)
    whole = weights(train(tmp_path / "whole", config))
    with pytest.raises(StopHere):
        train(tmp_path / "run", config, hooks=stop_at(3))
    model = train(tmp_path / "run", config)
    assert same(weights(model), whole)
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    assert isinstance(model.model, LlamaForCausalLM)
    before = weights(toy_lm())
    assert before.keys() == whole.keys()
    changed = {name for name in whole if not torch.equal(whole[name], before[name])}
    assert changed
    assert not any("embed" in name or "lm_head" in name for name in changed)


def test_without_kl_no_reference_is_scored(tmp_path):
    train(tmp_path / "run", replace(CONFIG, steps=1, grpo=GrpoConfig(kl=0.0)))
    assert rows(tmp_path / "run")[0]["kl"] is None


def test_trackers_are_known_and_installed(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"train.trackers = \('neptune',\); expected a list of tensorboard"):
        replace(CONFIG, trackers=("neptune",))
    monkeypatch.setitem(sys.modules, "wandb", None)  # as where it is not installed
    with pytest.raises(ConfigError, match=r"wandb cannot be imported .* pip install 'sirl\[wandb\]'"):
        train(tmp_path / "run", replace(CONFIG, trackers=("wandb",)))
    assert {p.name for p in (tmp_path / "run").iterdir()} == {".lock", "config.json", "environment.json"}


def test_tensorboard_is_told_each_step(tmp_path, unbroken):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    model = train(tmp_path / "run", replace(CONFIG, trackers=("tensorboard",)))
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    log = loader.EventFileLoader(str(events)).Load()
    told = [v for event in log for v in event.summary.value if v.tag == "train/reward"]
    rewards = [v.tensor.float_val[0] for v in told]
    assert rewards == pytest.approx([row["reward"] for row in rows(tmp_path / "run")])
    assert same(weights(model), unbroken[1])
    assert rows(tmp_path / "run") == rows(unbroken[0])


def test_unknown_reward_and_untrainable_weights_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="sirl"):
        train(tmp_path / "a", replace(CONFIG, reward=RewardConfig("sril")))
    half = toy_lm()
    with pytest.raises(ConfigError, match="float16"):
        train(tmp_path / "b", lm=LM(half.model.half(), half.tokenizer, "half"))


def test_rows_must_divide_among_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("sirl.training.setup.count", lambda: 3)
    with pytest.raises(ConfigError, match="on 3 processes"):
        train(tmp_path / "run")


def test_a_reward_or_loss_that_is_not_finite_ends_the_run(tmp_path, monkeypatch):
    broken = toy_lm()
    with torch.no_grad():
        broken.model.lm_head.weight[0, 0] = torch.nan
    with pytest.raises(DataError, match="logits that are NaN or infinite"):
        train(tmp_path / "a", lm=broken)
    real = CpuGRPOTrainer._compute_loss
    monkeypatch.setattr(CpuGRPOTrainer, "_compute_loss", lambda *args: real(*args) * torch.inf)
    with pytest.raises(RunError, match=r"the update made .* NaN or infinite, .* at step 1"):
        train(tmp_path / "b")
    monkeypatch.setattr(CpuGRPOTrainer, "_compute_loss", real)
    reward = REWARDS["sirl"]
    monkeypatch.setitem(REWARDS, "sirl", replace(reward, of=lambda some: [math.nan for _ in reward.of(some)]))
    with pytest.raises(RunError, match=r"the reward of the reply to p\d\|direct\|\d+ is nan"):
        train(tmp_path / "c")
    assert not any((tmp_path / name / STEPS).exists() for name in "abc")


def test_an_update_that_overflows_leaves_the_last_good_checkpoint(tmp_path, unbroken):
    """In the last step, behind which no loss would tell it: neither a checkpoint nor a model is made."""
    step = CONFIG.steps
    config, taken = replace(CONFIG, save_every=1, snapshots=(step,)), []

    def overflow(optimizer, *_):
        taken.append(1)
        if len(taken) == step:
            optimizer.param_groups[0]["params"][0].data[0] = torch.inf

    hook = register_optimizer_step_post_hook(overflow)
    with (
        hook_removed(hook),
        pytest.raises(RunError, match=rf"the update made .* NaN or infinite.* at step {step}"),
    ):
        train(tmp_path / "run", config)
    assert len(rows(tmp_path / "run")) == step - 1
    assert not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "snapshots").exists()
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoint").iterdir())
    assert kept[-1] == f"checkpoint-{step - 1}"
    assert damage(tmp_path / "run" / "checkpoint" / kept[-1]) == ""
    assert same(weights(train(tmp_path / "run", config)), unbroken[1])


@contextmanager
def hook_removed(hook):
    try:
        yield
    finally:
        hook.remove()


def test_memory_that_runs_out_is_told_with_what_to_lower_and_nothing_is_made_smaller(tmp_path, monkeypatch):
    lm, read = toy_lm(), []
    plain = lm.model.forward

    def crowded(*given, **named):
        rows = named["input_ids"].shape[0] if "input_ids" in named else given[0].shape[0]
        read.append(rows)
        if rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(*given, **named)

    asked = [plainly(Prompt(f"q{n}", "x" * n)) for n in range(4)]
    together = generate(lm, asked, Decoding(max_new_tokens=4), 0)  # what it can do has been found out
    monkeypatch.setattr(lm.model, "forward", crowded)
    with pytest.raises(RunError, match=r"no memory for 4 replies of toy at once; .*lower evaluate.batch"):
        generate(lm, asked, Decoding(max_new_tokens=4), 0)
    assert [c.attempt for c in generate(lm, asked, Decoding(max_new_tokens=4), 0, batch=2)] == [
        c.attempt for c in together
    ]
    monkeypatch.setattr(CpuGRPOTrainer, "_compute_loss", lambda *_: torch.empty(2**60))
    with pytest.raises(RunError, match=r"no memory for a step of training toy; .*lower train.micro_batch"):
        train(tmp_path / "run")
