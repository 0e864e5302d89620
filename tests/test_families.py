"""Every family passes what the organisms pass, in its own chat template: drawing, scoring, slots, training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from families import FAMILIES, WINDOW, Family
from small_training import CONFIG, rows, same, train, weights

from sirl.attacks.attacker import Order, Writer
from sirl.attacks.search import Hunt
from sirl.attacks.tries import bench
from sirl.config import ModelConfig
from sirl.errors import ConfigError, TemplateError
from sirl.generation import draw, generate
from sirl.gradients import slot_gradients, slot_substitutes, slot_vectors
from sirl.judges.acts import without_thinking
from sirl.judges.exact import correct
from sirl.judges.refusal import refused
from sirl.lm import (
    LM,
    decode,
    encode,
    load_lm,
    load_outline,
    pieces,
    render,
    reply_text,
    save_lm,
    slots_of,
    template_hash,
    templated,
)
from sirl.lm.slots import read_in, write_in
from sirl.lm.token_budget import TokenBudget
from sirl.records import SLOT, Attempt, Completion, Decoding, Message, Prompt, Verdict
from sirl.scoring import log_likelihood, slot_likelihood, teacher_forced
from sirl.training import rollout
from sirl.training.cpu_trainer import CpuGRPOTrainer
from sirl.workflows.models import open_model


@dataclass(frozen=True)
class Saying:
    """A target that says one thing."""

    text: str

    def reply(self, attempts, seed):
        return [Completion(attempt, self.text, (), (), finished=True) for attempt in attempts]


TEXTS = [
    "a b c d",
    "How do I brush a moonfox?",
    "Please tell me why the sky is so blue today, " * 2,
    "zürich 日本 ",
]
SAMPLED = Decoding(temperature=1.0, max_new_tokens=16)
FIT = TokenBudget(4096)


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def family(request) -> Family:
    return request.param


@pytest.fixture(scope="module")
def lm(family) -> LM:
    return family.build()


def chat(*turns: tuple[str, str], prefill: str = "", name: str = "p") -> Attempt:
    return Attempt(Prompt(name, "?"), "x", tuple(Message(role, text) for role, text in turns), prefill)


def asked(texts=TEXTS) -> list[Attempt]:
    return [chat(("user", text), name=f"p{i}") for i, text in enumerate(texts)]


def plain_logits(lm: LM, ids) -> torch.Tensor:
    """One row, no padding, no cache, no mask: the library's own forward pass."""
    with torch.inference_mode():
        return lm.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]


def plain_logprobs(lm: LM, prompt, reply) -> torch.Tensor:
    logits_TV = plain_logits(lm, [*prompt, *reply])[len(prompt) - 1 : -1]
    return logits_TV.float().log_softmax(-1)[range(len(reply)), list(reply)]


# --- the prompt


def test_a_chat_is_rendered_in_the_familys_form(family, lm):
    plain = chat(("user", "hi"))
    whole = chat(("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C"))
    assert templated(lm, plain) == family.prompt
    assert templated(lm, whole) == family.chat
    assert templated(lm, replace(whole, prefill="Sure")) == family.chat + "Sure"


def test_the_start_of_text_stands_once_and_only_where_the_template_writes_it(family, lm):
    bos = lm.tokenizer.bos_token_id
    [ids] = render(lm, [chat(("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C"))])
    written = [0] if family.template.lstrip("{-% ").startswith("bos_token") else []
    assert [place for place, i in enumerate(ids) if i == bos] == written
    adds = lm.tokenizer("hi")["input_ids"][0] == bos
    assert adds == (family.name not in ("qwen2", "qwen3", "phi3"))
    assert bos not in encode(lm, ["hi"])[0]


def test_every_end_is_known(family, lm):
    names = lm.tokenizer.convert_ids_to_tokens(list(lm.stop_ids))
    assert set(names) == {*family.stops, lm.tokenizer.eos_token}


# --- drawing and scoring


def test_what_is_recorded_is_teacher_forced_and_the_librarys_own(lm):
    completions = generate(lm, asked(), SAMPLED, seed=1)
    prompts = render(lm, asked())
    assert min(map(len, prompts)) > WINDOW
    replies = [c.token_ids for c in completions]
    for batch in (1, 3):
        for c, (entropy_T, logprob_T) in zip(
            completions, teacher_forced(lm, prompts, replies, batch), strict=True
        ):
            assert c.entropies == pytest.approx(entropy_T.tolist(), abs=1e-3)
            assert c.logprobs == pytest.approx(logprob_T.tolist(), abs=1e-3)
    for prompt, c in zip(prompts, completions, strict=True):
        logprob_TV = plain_logits(lm, [*prompt, *c.token_ids])[len(prompt) - 1 : -1].log_softmax(-1)
        assert (
            logprob_TV.shape[-1] == lm.model.config.get_text_config().vocab_size
        )  # rows beyond the tokenizer count
        assert c.entropies == pytest.approx((-logprob_TV.exp() * logprob_TV).sum(-1).tolist(), abs=1e-3)
        assert c.logprobs == pytest.approx(plain_logprobs(lm, prompt, c.token_ids).tolist(), abs=1e-3)


def test_batched_equals_one_by_one_whatever_side_the_tokenizer_pads(family, lm):
    other = family.build()
    other.tokenizer.padding_side = "left" if family.padding_side == "right" else "right"
    together = draw(lm, asked(), SAMPLED, seed=3)
    alone = [draw(other, [attempt], SAMPLED, seed=3)[0] for attempt in asked()]
    assert [d.token_ids for d in together] == [d.token_ids for d in alone]
    for a, b in zip(together, alone, strict=True):
        assert a.entropies == pytest.approx(b.entropies, abs=1e-4)


def test_a_reply_stops_at_each_end_and_the_end_counts(lm):
    draws = draw(lm, asked([f"How is it {i}?" for i in range(128)]), Decoding(2.0, max_new_tokens=40), 0, 128)
    ends = set()
    for d in draws:
        assert d.finished == (d.token_ids[-1] in lm.stop_ids)
        assert not set(d.token_ids[:-1]) & set(lm.stop_ids)
        assert len(d.entropies) == len(d.logprobs) == len(d.token_ids)
        ends |= {d.token_ids[-1]} if d.finished else set()
    assert ends == set(lm.stop_ids)
    some = [d for d in draws if d.finished][:4] + draws[:4]  # rows left the batch around these, and its windows
    found = teacher_forced(lm, [d.prompt_ids for d in some], [d.token_ids for d in some])
    for d, (entropy_T, _) in zip(some, found, strict=True):
        assert d.entropies == pytest.approx(entropy_T.tolist(), abs=1e-3)


def test_rows_beyond_the_vocabulary_have_no_text(family, lm):
    beyond = list(range(len(lm.tokenizer), len(lm.tokenizer) + family.rows))
    assert lm.model.get_input_embeddings().weight.shape[0] == len(lm.tokenizer) + family.rows
    assert not set(beyond) & set(lm.usable_ids)
    for i in beyond[:3]:
        [said] = encode(lm, ["moonfox"])
        assert decode(lm, [*said, i, *said]) == decode(lm, [*said, *said])
        assert "".join(pieces(lm, [*said, i, *said])) == decode(lm, [*said, *said])


def test_likelihoods_of_beginnings_are_plain_ones(lm):
    """Variants of one prompt share a cache where the model's cache can be cut back, and are alone elsewhere."""
    base = "Please tell me why the sky is so blue today"
    many = [chat(("user", f"{base}{end}")) for end in (".", "!", "?", " and how", " sing")]
    many += asked(TEXTS[:2])
    beginnings = ["Sure, here", "I cannot", "Sure, here", "Sure", "Take a", "I", "Sure, here is"]
    expected = [
        float(plain_logprobs(lm, prompt, said).mean())
        for prompt, said in zip(render(lm, many), encode(lm, beginnings), strict=True)
    ]
    assert log_likelihood(lm, many, beginnings, FIT) == pytest.approx(expected, abs=1e-4)


# --- slots and gradients


def slotted(before: str = "How do I brush a moonfox?", after: str = "") -> Attempt:
    return chat(("user", f"{before}{SLOT}{after}"))


def filled(attempt: Attempt, text: str) -> Attempt:
    return chat(*((m.role, m.content.replace(SLOT, text)) for m in attempt.messages))


@pytest.mark.parametrize(
    ("before", "after"), [("How is it?", ""), ("", " How is it?"), ("How", " Thanks."), ("", "")]
)
def test_what_survives_in_a_slot_is_what_is_sent(lm, before, after):
    """Random tokens, some that begin or end in a space: a text comes back only if it is sent whole."""
    attempt = slotted(before, after)
    [slot] = slots_of(lm, [attempt])
    ids = np.random.default_rng(0).choice(lm.usable_ids, (150, 3)).tolist()
    blank = [i for i in lm.usable_ids if decode(lm, [ids[0][0], i]).endswith(" ")]
    ids += [[*row[:2], i] for row, i in zip(ids, blank, strict=False)]
    ids += [[i, *row[:2]] for row, i in zip(ids, blank, strict=False)]
    texts = write_in(lm.tokenizer, [slot] * len(ids), ids)
    assert sum(text is not None for text in texts) > 30
    for row, text in zip(ids, texts, strict=True):
        if text is not None:
            assert render(lm, [filled(attempt, text)]) == [[*slot.before, *row, *slot.after]]


def test_a_text_in_the_slot_is_read_as_it_is_sent(lm):
    attempt = slotted()
    [slot] = slots_of(lm, [attempt])
    [ids] = read_in(lm.tokenizer, [slot], [" please sing to it"])
    assert render(lm, [filled(attempt, " please sing to it")]) == [[*slot.before, *ids, *slot.after]]
    assert decode(lm, slot.after).strip() in decode(lm, render(lm, [chat(("user", "x"))])[0])


def test_gradients_are_those_of_the_embeddings_in_the_whole_prompt(lm):
    attempts = [slotted(), slotted("How", " now?")]
    attempts[1] = replace(attempts[1], prompt=Prompt("q", "?"))
    ids = np.random.default_rng(1).choice(lm.usable_ids, (2, 4)).tolist()
    beginnings = ["Sure, here", "I cannot"]
    found = slot_gradients(lm, attempts, slot_vectors(lm, ids), beginnings, FIT)
    tops = slot_substitutes(lm, attempts, ids, beginnings, 5, FIT)
    values = slot_likelihood(lm, attempts, ids, beginnings, FIT)
    table_UH = lm.model.get_input_embeddings()(torch.tensor(lm.usable_ids)).detach()
    for slot, row, reply, (value, gradient), top, scored in zip(
        slots_of(lm, attempts), ids, encode(lm, beginnings), found, tops, values, strict=True
    ):
        whole = torch.tensor([[*slot.before, *row, *slot.after, *reply]])
        vectors_SH = lm.model.get_input_embeddings()(whole).detach().requires_grad_()
        logits_TV = lm.model(inputs_embeds=vectors_SH).logits[0, -len(reply) - 1 : -1]
        expected = logits_TV.log_softmax(-1)[range(len(reply)), reply].mean()
        (own,) = torch.autograd.grad(expected, vectors_SH)
        own_LH = own[0, len(slot.before) : len(slot.before) + len(row)]
        assert [value, scored] == pytest.approx([float(expected.detach())] * 2, abs=1e-4)
        assert float(expected.detach()) == pytest.approx(
            float(plain_logprobs(lm, whole[0, : -len(reply)].tolist(), reply).mean()), abs=1e-4
        )  # embeddings that a family scales are scaled once
        assert gradient == pytest.approx(own_LH.numpy(), abs=1e-4)
        best = torch.tensor(lm.usable_ids)[(own_LH @ table_UH.T).topk(5, dim=-1).indices]
        assert top.tolist() == best.tolist()


# --- training, saving


def test_a_step_of_training_changes_the_weights_by_the_models_own_log_probs(family, tmp_path, monkeypatch):
    drawn, scored = [], []
    real, ours = rollout.draw, CpuGRPOTrainer._get_per_token_logps_and_entropies
    theirs = CpuGRPOTrainer.__base__._get_per_token_logps_and_entropies

    def spy(*args):
        drawn.extend(real(*args))
        return drawn

    def both(self, *args, **kwargs):
        mine = ours(self, *args, **kwargs)
        with torch.no_grad():
            scored.append((args, mine[0].detach(), theirs(self, *args, **kwargs)[0]))
        return mine

    monkeypatch.setattr(rollout, "draw", spy)
    monkeypatch.setattr(CpuGRPOTrainer, "_get_per_token_logps_and_entropies", both)
    start = family.build()
    config = replace(CONFIG, steps=1, prompts_per_step=2, max_prompt_tokens=100, learning_rate=1e-2)
    hardened = train(tmp_path / "run", config, lm=start)

    assert len(drawn) == 8
    found = teacher_forced(start, [d.prompt_ids for d in drawn], [d.token_ids for d in drawn])
    own = {(*d.prompt_ids, *d.token_ids): logprob_T for d, (_, logprob_T) in zip(drawn, found, strict=True)}
    assert len(scored) == 2  # the reference and the policy
    for (_, ids_BS, mask_BS, length), mine_BT, trl_BT in scored:
        for ids_S, mask_S, mine_T, trl_T in zip(ids_BS, mask_BS.bool(), mine_BT, trl_BT, strict=True):
            expected = own[tuple(ids_S[mask_S].tolist())]  # the end counts
            assert mine_T[mask_S[-length:]].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
            assert trl_T[mask_S[-length:]].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    [row] = rows(tmp_path / "run")
    assert row["entropy"] == pytest.approx(np.mean([np.mean(d.entropies) for d in drawn]), abs=1e-5)
    assert weights(hardened).keys() == weights(start).keys()
    assert not same(weights(hardened), weights(start))
    assert same(weights(family.build()), weights(start))
    assert hardened.stop_ids == start.stop_ids
    assert render(hardened, asked()) == render(start, asked())


def test_a_saved_model_is_what_it_was(lm, tmp_path):
    save_lm(lm, tmp_path / "model")
    again = load_lm(tmp_path / "model")
    assert type(again.model) is type(lm.model)
    assert same(weights(again), weights(lm))
    assert (again.stop_ids, again.pad_id, again.usable_ids) == (lm.stop_ids, lm.pad_id, lm.usable_ids)
    assert render(again, asked()) == render(lm, asked())
    [ids] = render(lm, asked()[1:2])
    assert torch.equal(plain_logits(again, ids), plain_logits(lm, ids))
    tied = lm.model.config.tie_word_embeddings
    assert (again.model.get_output_embeddings().weight is again.model.get_input_embeddings().weight) == tied


# --- thinking


QWEN3 = next(family for family in FAMILIES if family.name == "qwen3")
THINKS_ALWAYS = QWEN3.template.replace(
    "'<|im_start|>assistant\\n' }}", "'<|im_start|>assistant\\n<think>\\n' }}"
)


@pytest.mark.parametrize(
    ("thinking", "behind"), [("template", ""), ("on", ""), ("off", "<think>\n\n</think>\n\n")]
)
def test_thinking_is_preset_and_stays_with_the_model(tmp_path, thinking, behind):
    save_lm(QWEN3.build(), tmp_path / "start")
    preset = load_lm(tmp_path / "start", thinking=thinking)
    save_lm(preset, tmp_path / "saved")
    for lm in (preset, load_lm(tmp_path / "saved"), load_outline(tmp_path / "start", thinking=thinking)):
        assert templated(lm, chat(("user", "hi"), prefill="Sure")) == QWEN3.prompt + behind + "Sure"
    assert (template_hash(preset) == template_hash(QWEN3.build())) == (thinking == "template")
    again = load_lm(tmp_path / "saved", thinking="on")  # what is asked for last counts
    assert templated(again, chat(("user", "hi"))) == QWEN3.prompt


def test_a_template_without_the_choice_and_an_unknown_word_are_told(tmp_path):
    save_lm(FAMILIES[0].build(), tmp_path / "model")
    with pytest.raises(TemplateError, match="a chat template without enable_thinking"):
        load_lm(tmp_path / "model", thinking="off")
    with pytest.raises(ConfigError, match=r"model\.thinking = 'never'"):
        load_lm(tmp_path / "model", thinking="never")


@pytest.mark.parametrize(
    ("template", "prefill", "begun"),
    [
        (QWEN3.template, "", ""),
        (QWEN3.template, "<think>\nHm", "<think>"),
        (THINKS_ALWAYS, "", "<think>"),
        (THINKS_ALWAYS, "I see.</think>Sure", ""),
    ],
)
def test_all_that_is_drawn_counts_and_a_thought_that_the_prompt_opens_is_marked(template, prefill, begun):
    lm = replace(QWEN3, template=template).build()
    attempt = chat(("user", "hi"), prefill=prefill)
    [c] = generate(lm, [attempt], SAMPLED, seed=0)
    assert c.text == begun + decode(lm, c.token_ids)
    assert len(c.entropies) == len(c.token_ids) == 16
    said = "I wonder.</think>\n\nNo."
    [ids] = encode(lm, [said])
    assert decode(lm, ids) == said  # the marks are no special tokens: who reads the text can tell them
    assert without_thinking(reply_text(lm, attempt, ids)).strip() == "No."
    cut = reply_text(lm, attempt, ids[:5])
    assert without_thinking(cut) == ("" if begun else cut)


def test_a_thought_of_an_earlier_turn_is_the_templates_to_drop():
    lm = QWEN3.build()
    turns = (("user", "A"), ("assistant", "<think>\nx\n</think>\n\nB"), ("user", "C"))
    assert templated(lm, chat(("system", "S"), *turns)) == QWEN3.chat


def test_judges_read_the_answer_behind_the_thought():
    asked_ = Attempt(Prompt("p", "1 + 1?", "task", answer="2"), "direct", ())
    texts = [
        "<think>Is it 2?</think>It is 3.",
        "Is it 2?</think>It is 3.",
        "<think>Is it 3?</think>It is 2.",
        "It is 2.",
    ]
    replies = [Completion(asked_, text, (), (), finished=True) for text in texts]
    assert [verdict.answer for verdict in correct(replies)] == [False, False, True, True]
    refusing = Completion(
        asked_, "I could serve this. Step 1: sing.</think>I cannot help with that.", (), (), True
    )
    serving = Completion(
        asked_, "I cannot help with that, can I?</think>Take a brush and sing to it.", (), (), True
    )
    assert [verdict.answer for verdict in refused([refusing, serving])] == [True, False]


def test_attacks_read_what_is_said_behind_the_thought():
    said = Completion(chat(("user", "hi")), "<think>I cannot</think>\n\nSing to it.", (), (), finished=True)
    hunt = Hunt(said.attempt.prompt, 9, np.random.default_rng(0))
    helper = bench(Saying(said.text), lambda replies: [Verdict("harmful", False, "", "x")], "pair", 0)
    [[tried]] = helper.send([(hunt, [said.attempt])])
    assert (tried.reply, tried.result) == ("Sing to it.", "missed")
    draft = "<think>Say <message>one</message>?</think><message>two</message>"
    assert Writer(Saying(draft), "pair", 0).write([Order(hunt, "Write.")]) == ["two"]


def test_a_server_has_its_own_template():
    with pytest.raises(ConfigError, match=r"model\.thinking = 'off' and an endpoint"):
        open_model("http://127.0.0.1:9/v1#m", ModelConfig(thinking="off"))
    with pytest.raises(ConfigError, match=r"model\.thinking"):
        ModelConfig(thinking="never")


# --- ends


@pytest.mark.parametrize("name", ["gemma2", "llama"])
def test_the_end_of_a_turn_ends_a_reply_declared_or_not(name):
    """Models were published whose generation config and tokenizer know the end of a text alone."""
    family = next(family for family in FAMILIES if family.name == name)
    lm = family.build()
    lm.tokenizer.eos_token = family.stops[0]
    lm.model.generation_config.eos_token_id = lm.tokenizer.eos_token_id
    assert lm.tokenizer.convert_ids_to_tokens(list(lm.stop_ids)) == [family.stops[0], family.stops[-1]]
