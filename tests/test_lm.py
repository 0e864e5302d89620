from __future__ import annotations

from datetime import datetime

import pytest
import torch
from conftest import RAISES, TEMPLATE, attempts, byte_tokenizer, random_lm
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from sirl.errors import ConfigError, DataError, SirlError, TemplateError
from sirl.lm import LM, decode, encode, fingerprint, left_pad, load_lm, pieces, render, save_lm
from sirl.records import Attempt, Message, Prompt

IGNORES = TEMPLATE.replace("m['role'] == 'system' and no_system", "false").replace(
    "<|{{ m['role'] }}|>{{ m['content'] }}<|end|>",
    "{% if m['role'] != 'system' %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endif %}",
)


def chat(*turns: tuple[str, str], prefill: str = "") -> Attempt:
    return Attempt(Prompt("p", "?"), "x", tuple(Message(role, text) for role, text in turns), prefill)


def rendered(lm: LM, attempt: Attempt) -> str:
    return lm.tokenizer.decode(render(lm, [attempt])[0])


def with_template(template: str) -> LM:
    return LM(random_lm("llama").model, byte_tokenizer(template), "toy")


@pytest.fixture
def folder(tmp_path):
    save_lm(random_lm("llama"), tmp_path / "model")
    return tmp_path / "model"


# --- load and save


def test_a_saved_model_loads_as_it_was(lm, tmp_path):
    save_lm(lm, tmp_path / "model")
    again = load_lm(tmp_path / "model")
    before, after = lm.model.state_dict(), again.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert type(again.model) is type(lm.model)
    assert not again.model.training
    assert again.tokenizer.chat_template == lm.tokenizer.chat_template
    assert (again.stop_ids, again.pad_id) == (lm.stop_ids, lm.pad_id)
    assert render(again, attempts(["hi ü"])) == render(lm, attempts(["hi ü"]))
    assert fingerprint(again) == fingerprint(lm)
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_a_model_is_named_after_its_source_unless_named(folder):
    assert load_lm(folder).name == str(folder)
    assert load_lm(str(folder), name="mine").name == "mine"


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_weights_are_loaded_in_the_asked_precision(folder, name):
    assert load_lm(folder, dtype=name).model.dtype == getattr(torch, name)


def test_an_unknown_precision_is_refused(folder):
    with pytest.raises(
        ConfigError, match=r"dtype 'float8'; expected one of float32, bfloat16, float16; use --set"
    ):
        load_lm(folder, dtype="float8")


def damage_weights(folder):
    (folder / "model.safetensors").unlink()


def damage_pickle(folder):
    damage_weights(folder)
    torch.save(random_lm("llama").model.state_dict(), folder / "pytorch_model.bin")


def damage_half(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def damage_config(folder):
    (folder / "config.json").write_text('{"model_type": "no_such_architecture"}')


def damage_json(folder):
    (folder / "config.json").write_text("{")


def damage_tokenizer(folder):
    for path in folder.glob("token*"):
        path.unlink()


def damage_vocabulary(folder):
    (folder / "tokenizer.json").write_text('{"version": ')


def damage_everything(folder):
    for path in folder.iterdir():
        path.unlink()
    (folder / "notes.txt").write_text("not a model")


DAMAGES = [value for name, value in sorted(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_what_is_no_whole_model_is_told_in_one_sentence(folder, damage):
    damage(folder)
    with pytest.raises(DataError) as error:
        load_lm(folder)
    assert str(error.value).startswith(f"no model could be loaded from {folder} (")
    assert str(error.value).endswith("check the path or the id.")
    assert "\n" not in str(error.value)


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(DataError, match="no model could be loaded from"):
        load_lm(tmp_path / "absent")


def test_a_model_without_a_chat_template_is_no_chat_model(tmp_path):
    lm = random_lm("llama")
    lm.tokenizer.chat_template = None
    save_lm(lm, tmp_path)
    with pytest.raises(TemplateError, match="has no chat template; expected a chat model"):
        load_lm(tmp_path)


# --- render


def test_the_template_is_rendered_and_the_prefill_follows(lm):
    turns = [("system", "Be kind."), ("user", "hi"), ("assistant", "yes?"), ("user", "how?")]
    expected = (
        "<|system|>Be kind.<|end|><|user|>hi<|end|><|assistant|>yes?<|end|><|user|>how?<|end|><|assistant|>"
    )
    assert rendered(lm, chat(*turns)) == expected
    assert rendered(lm, chat(*turns, prefill="Sure,")) == f"{expected}Sure,"
    assert render(lm, []) == []


def test_attempts_render_alike_alone_and_together(lm):
    many = attempts(["a", "longer text", "ü"])
    assert render(lm, many) == [render(lm, [attempt])[0] for attempt in many]


@pytest.mark.parametrize("template", [RAISES, IGNORES], ids=["raises", "ignores"])
def test_system_text_heads_the_first_user_turn_where_there_is_no_system_role(template):
    lm = with_template(template)
    asked = chat(("system", "Be kind."), ("user", "hi"), ("assistant", "yes?"), ("user", "how?"))
    assert rendered(lm, asked) == (
        "<|user|>Be kind.\n\nhi<|end|><|assistant|>yes?<|end|><|user|>how?<|end|><|assistant|>"
    )
    assert rendered(lm, chat(("user", "hi"))) == "<|user|>hi<|end|><|assistant|>"


def test_a_system_text_that_the_user_also_says_is_not_taken_for_rendered():
    asked = chat(("system", "hi"), ("user", "hi there"))
    assert rendered(with_template(IGNORES), asked) == "<|user|>hi\n\nhi there<|end|><|assistant|>"


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('only on Sundays') }}",
        "{% if messages | length > 1 %}{{ raise_exception('only on Sundays') }}{% endif %}",
        "{{ messages[0].no.such }}",
        "{% for m in messages %}{{ m['role'] }}",  # not a template at all
        "{{ messages + 1 }}",
    ],
)
def test_a_template_that_cannot_render_is_told_in_one_sentence(template):
    with pytest.raises(TemplateError) as error:
        render(with_template(template), [chat(("user", "hi"), ("user", "again"))])
    assert "the chat template of toy cannot render roles ['user', 'user']" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_lone_system_turn_is_refused_where_there_is_no_system_role():
    with pytest.raises(SirlError, match="no system role"):
        render(with_template(RAISES), [chat(("system", "Be kind."))])


def test_a_template_that_writes_the_start_of_text_is_not_doubled():
    tokenizer = byte_tokenizer("{{ bos_token }}" + TEMPLATE)
    tokenizer.bos_token = "<|pad|>"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|pad|> $A", special_tokens=[("<|pad|>", tokenizer.bos_token_id)]
    )
    assert tokenizer("hi")["input_ids"][0] == tokenizer.bos_token_id  # it would add its own
    lm = LM(random_lm("llama").model, tokenizer, "toy")
    (ids,) = render(lm, [chat(("user", "hi"), prefill="Sure")])
    assert [place for place, i in enumerate(ids) if i == tokenizer.bos_token_id] == [0]
    assert tokenizer.bos_token_id not in encode(lm, ["hi"])[0]


def test_what_is_sent_does_not_depend_on_the_day():
    """As Llama 3.2's template does: it tells today's date unless it is given one."""
    lm = with_template("{{ date_string if date_string is defined else strftime_now('%d %b %Y') }}" + TEMPLATE)
    assert datetime.now().strftime("%d %b %Y") not in rendered(lm, chat(("user", "hi")))


# --- token ids


@pytest.mark.parametrize(
    ("declared", "expected"),
    [(1, (1,)), ([1], (1,)), ([4, 2], (1, 2, 4)), (7, (1, 7)), (None, (1,)), ([0], (0, 1))],
)
def test_replies_end_at_every_declared_token(declared, expected):
    lm = random_lm("llama")
    assert lm.tokenizer.eos_token_id == 1
    lm.model.generation_config.eos_token_id = declared
    assert lm.stop_ids == expected


def test_without_a_padding_token_a_stop_token_pads():
    lm = random_lm("llama")
    lm.tokenizer.pad_token = None
    assert lm.pad_id == lm.stop_ids[0] == 1


@given(st.text(st.characters(min_codepoint=9, max_codepoint=126), max_size=40))
@settings(max_examples=60, deadline=None)
def test_pieces_join_to_the_text(text):
    lm = LM(None, byte_tokenizer(), "toy")
    (ids,) = encode(lm, [text])
    assert "".join(pieces(lm, ids)) == text
    assert len(pieces(lm, ids)) == len(ids)
    assert decode(lm, ids) == text


def test_pieces_keep_the_spaces_that_a_decoder_strips():
    """Llama 2's kind of tokenizer: the space belongs to the word and is dropped at the start of a text."""
    words = ["<unk>", "▁how", "▁are", "▁you", "?"]
    inner = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    lm = LM(None, PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<unk>"), "toy")
    assert pieces(lm, [1, 2, 3, 4]) == ("how", " are", " you", "?")
    assert pieces(lm, []) == ()


def test_pieces_show_the_special_tokens_that_the_text_leaves_out(lm):
    (ids,) = encode(lm, ["ok<|end|>"])
    assert pieces(lm, ids) == ("o", "k", "<|end|>")
    assert decode(lm, ids) == "ok"


def test_rows_are_padded_on_the_left(lm):
    ids_BS, mask_BS = left_pad(lm, [[7, 8, 9], [5], [6, 6]])
    pad = lm.pad_id
    assert ids_BS.tolist() == [[7, 8, 9], [pad, pad, 5], [pad, 6, 6]]
    assert mask_BS.tolist() == [[True, True, True], [False, False, True], [False, True, True]]
    assert (ids_BS.dtype, mask_BS.dtype, ids_BS.device) == (torch.long, torch.bool, lm.device)


# --- what a run remembers of a model


def test_a_fingerprint_moves_with_the_weights_and_with_the_template():
    lm = random_lm("llama")
    before = fingerprint(lm)
    assert fingerprint(random_lm("llama")) == before
    assert fingerprint(random_lm("llama", seed=1))["weights"] != before["weights"]
    with torch.no_grad():
        lm.model.lm_head.weight[3, 3] += 1e-3
    changed = fingerprint(lm)
    assert changed["weights"] != before["weights"]
    assert changed["chat_template"] == before["chat_template"]
    other = fingerprint(LM(lm.model, byte_tokenizer(RAISES), "toy"))
    assert other["weights"] == changed["weights"]
    assert other["chat_template"] != before["chat_template"]


def test_both_architectures_can_keep_the_last_logits_only(lm):
    assert lm.keeps_last_logits
