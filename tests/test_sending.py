"""What is sent is what was meant: templates that lose or change words, prompts that a model cannot read."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TEMPLATE, attempts, byte_tokenizer, random_lm
from small_training import CONFIG
from transformers import GPT2Config, GPT2LMHeadModel

from sirl.attacks.gcg import GCG
from sirl.errors import DataError, TemplateError
from sirl.generation import draw, generate
from sirl.gradients import slot_gradients, slot_substitutes, slot_vectors
from sirl.lm import LM, encode, load_lm, render, save_lm, templated
from sirl.lm.token_budget import TokenBudget
from sirl.records import SLOT, Attempt, Decoding, Message, Prompt
from sirl.scoring import hidden_states, log_likelihood, next_tokens, slot_likelihood, teacher_forced
from sirl.targets.local import LocalTarget
from sirl.training.rollout import admit

PARTS = TEMPLATE.replace(
    "{{ m['content'] }}",
    "{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}",
)
CHAT = (("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C"))
SHORT = Decoding(max_new_tokens=4)


def chat(*turns: tuple[str, str]) -> Attempt:
    return Attempt(Prompt("p", "?"), "x", tuple(Message(role, text) for role, text in turns))


def templated_by(template, *turns: tuple[str, str]) -> str:
    return templated(LM(None, byte_tokenizer(template), "m"), chat(*turns))


def test_a_template_of_parts_gets_parts():
    assert templated_by(PARTS, *CHAT) == templated_by(TEMPLATE, *CHAT)
    assert templated_by(PARTS, ("user", "A")) == "<|user|>A<|end|><|assistant|>"


@pytest.mark.parametrize("template", [TEMPLATE, PARTS])
def test_a_template_that_drops_the_system_turn_gets_it_in_the_users(template):
    drops = template.replace("<|{{ m", "{% if m['role'] != 'system' %}<|{{ m").replace(
        "<|end|>{% endfor %}{% if add", "<|end|>{% endif %}{% endfor %}{% if add"
    )
    assert templated_by(drops, ("system", "S"), ("user", "A")) == "<|user|>S\n\nA<|end|><|assistant|>"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{{ m['content'] }}", ""),
        ("{{ m['content'] }}", "{{ m['text'] }}"),
        ("for m in messages", "for m in messages[-1:]"),
        ("for m in messages", "for m in messages[::-1]"),
        ("for m in messages", "for m in messages if m['role'] != 'assistant'"),
    ],
)
def test_a_template_that_loses_or_reorders_turns_is_refused(old, new):
    with pytest.raises(TemplateError, match="leaves out a turn of"):
        templated_by(TEMPLATE.replace(old, new), *CHAT[1:])


def test_a_model_whose_template_says_nothing_is_not_loaded(tmp_path):
    lm = random_lm("llama")
    lm.tokenizer.chat_template = TEMPLATE.replace("{{ m['content'] }}", "")
    save_lm(lm, tmp_path)
    with pytest.raises(TemplateError, match="leaves out a turn of"):
        load_lm(tmp_path)


def test_of_named_templates_the_default_is_taken_and_must_be_there(tmp_path):
    lm = random_lm("llama")
    lm.tokenizer.chat_template = {"default": TEMPLATE, "rag": TEMPLATE + "rag"}
    save_lm(lm, tmp_path / "named")
    assert templated(load_lm(tmp_path / "named"), chat(("user", "A"))) == "<|user|>A<|end|><|assistant|>"
    lm.tokenizer.chat_template = {"chat": TEMPLATE, "rag": TEMPLATE + "rag"}
    save_lm(lm, tmp_path / "unnamed")
    with pytest.raises(TemplateError, match="templates named chat, rag and none named default"):
        load_lm(tmp_path / "unnamed")


@pytest.mark.parametrize("change", ["upper", "truncate(20, True, '')", "escape", "replace('e', '')"])
def test_a_prompt_whose_words_the_template_changes_is_a_failed_reply(change):
    lm = random_lm("llama")
    lm.tokenizer.chat_template = TEMPLATE.replace("m['content']", f"m['content'] | {change}")
    changed, kept = generate(lm, attempts(["<see how they brush moonfoxes>", "12"]), SHORT, seed=0)
    assert changed.error == "the chat template changes the words of the user's turn"
    assert not kept.error
    assert kept.token_ids


def test_white_space_at_the_edges_and_earlier_thoughts_are_the_templates_to_drop():
    lm = random_lm("llama")
    lm.tokenizer.chat_template = TEMPLATE.replace("m['content']", "m['content'].split('</think>')[-1] | trim")
    said = chat(("user", " A \n"), ("assistant", "<think>\nhm\n</think>\n\nB"), ("user", "C"))
    [reply] = generate(lm, [said], SHORT, seed=0)
    assert not reply.error


# --- prompts that a model cannot read


@pytest.fixture(scope="module")
def short_lm() -> LM:
    """A model of 64 absolute positions, with two tokens beyond its embedding, padding among them."""
    tokenizer = byte_tokenizer()
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.3}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=len(tokenizer), bos_token_id=None, eos_token_id=1, **sizes)
        )
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.add_tokens(["[NEW]"])
    return LM(model.eval(), tokenizer, "short")


def test_one_prompt_too_long_costs_no_other_its_reply(short_lm):
    texts = ["a", "x" * 80, "how are you?", "say [NEW]", "y" * 54]
    plan = Decoding(1.0, max_new_tokens=12)
    replies = generate(short_lm, attempts(texts), plan, seed=0)
    assert [bool(c.error) for c in replies] == [False, True, False, True, False]
    assert replies[1].error.startswith("the prompt has 83 tokens, the model 64 positions")
    assert "holds token 262 ('[NEW]') and the model has embeddings for 261" in replies[3].error
    assert short_lm.pad_id < short_lm.rows
    assert len(replies[4].token_ids) == 64 - 57
    assert not replies[4].finished
    for i in (0, 2, 4):
        [alone] = generate(short_lm, attempts(texts)[i : i + 1], plan, seed=0)
        assert alone.token_ids == replies[i].token_ids
        [[entropy_T, _]] = teacher_forced(short_lm, render(short_lm, [alone.attempt]), [alone.token_ids])
        assert alone.entropies == pytest.approx(entropy_T.tolist(), abs=1e-3)
    with pytest.raises(DataError, match="64 positions"):
        draw(short_lm, attempts(texts), plan, seed=0)
    with pytest.raises(DataError, match="64 positions"):
        list(teacher_forced(short_lm, render(short_lm, attempts(texts[:2])), [[7], [7]]))


def test_searches_pass_over_a_prompt_that_cannot_be_read(short_lm):
    fit, said = TokenBudget(4096), ["Sure", "Sure"]
    sent = [chat(("user", SLOT)), chat(("user", "x" * 80 + SLOT))]
    ids = encode(short_lm, ["ab", "ab"])
    assert np.isfinite(log_likelihood(short_lm, attempts(["a", "b"]), said)).all()
    for found in (
        log_likelihood(short_lm, attempts(["a", "x" * 80]), said),
        slot_likelihood(short_lm, sent, ids, said, fit),
        [value for value, _ in slot_gradients(short_lm, sent, slot_vectors(short_lm, ids), said, fit)],
        [float(logprobs_K.max()) for _, logprobs_K in next_tokens(short_lm, sent, ids, 5, fit)],
    ):
        assert np.isfinite(found[0])
        assert found[1] == -np.inf
    assert [top.shape for top in slot_substitutes(short_lm, sent, ids, said, 5, fit)] == [(2, 5)] * 2
    assert hidden_states(short_lm, attempts(["a", "x" * 80]), fit).shape == (2, 2, 32)
    target = LocalTarget(short_lm, SHORT)
    prompts = [Prompt("a", "ab", "harmful"), Prompt("b", "x" * 80, "harmful")]
    found = GCG(length=4, beginning="Yes")(prompts, target, 12, seed=0)
    assert [bool(c.error) for c in target.reply(found, seed=0)] == [False, True]


def test_training_leaves_out_what_leaves_no_room_for_a_reply(short_lm):
    config = replace(CONFIG, max_prompt_tokens=256, max_reply_tokens=40)
    kept = admit(short_lm, attempts(["a", "x" * 30, "say [NEW]", "b"]), config)
    assert [a.prompt.text for a in kept] == ["a", "b"]
    with pytest.raises(DataError, match="none of 1 prompts has at most 24 tokens"):
        admit(short_lm, attempts(["x" * 30]), config)
