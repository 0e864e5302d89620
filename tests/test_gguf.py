"""A GGUF file is a model: its own tokens, its own template, trained and saved as any other."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from commands import sirl
from conftest import SPECIAL, TEMPLATE, random_lm
from gguf_files import write_gguf
from peft import LoraConfig, get_peft_model
from small_training import CONFIG, train
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sirl.errors import ConfigError, DataError, TemplateError
from sirl.lm import encode, load_lm, load_outline, save_lm, weights_hash
from sirl.lm.gguf import gguf_file, read_stated
from sirl.lm.gguf_tokens import PROBES, RULES, Vocabulary, build_tokenizer, check_ids, reference
from sirl.training.isolation import quiet

TEXTS = [*PROBES, "<|user|>1 2  34\n\n<|end|><|assistant|>", "naïve 東京 12345"]


def bpe_tokenizer(digits: bool = True) -> PreTrainedTokenizerFast:
    """Return a trained tokenizer that merges; SmolLM's splitting, or GPT-2's, which keeps numbers whole."""
    inner = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), level]) if digits else level
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, initial_alphabet=level.alphabet(), show_progress=False
    )
    inner.train_from_iterator([*PROBES * 3, "12345 12345 1234567890  2024"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", pad_token="<|pad|>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture(scope="module")
def lm():
    return random_lm("llama", tokenizer=bpe_tokenizer())


@pytest.fixture(scope="module")
def file(lm, tmp_path_factory):
    return write_gguf(lm, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def loaded(file):
    return load_lm(file)


def logits(lm):
    with torch.no_grad():
        return lm.model(torch.tensor([encode(lm, TEXTS)[0]])).logits


def test_tokens_template_and_logits_are_those_of_the_model_it_was_made_from(lm, file, loaded, tmp_path):
    assert encode(loaded, TEXTS) == encode(lm, TEXTS)
    assert loaded.tokenizer.chat_template == TEMPLATE
    assert (loaded.stop_ids, loaded.pad_id) == (lm.stop_ids, lm.pad_id)
    torch.testing.assert_close(logits(loaded), logits(lm))
    assert (
        weights_hash(loaded.model)
        == weights_hash(load_lm(file).model)
        != weights_hash(random_lm("llama", 1).model)
    )
    qwen = random_lm("qwen2", tokenizer=bpe_tokenizer(digits=False))
    other = load_lm(write_gguf(qwen, tmp_path / "qwen.gguf", "gpt-2", torch.bfloat16), dtype="bfloat16")
    assert encode(other, TEXTS) == encode(qwen, TEXTS) != encode(lm, TEXTS)
    torch.testing.assert_close(
        other.model.get_input_embeddings().weight, qwen.model.get_input_embeddings().weight.bfloat16()
    )


def test_a_folder_around_the_file_is_not_read(lm, file, tmp_path):
    other = random_lm("qwen2")
    save_lm(other, tmp_path)
    copy = tmp_path / "tiny.gguf"
    copy.write_bytes(file.read_bytes())
    assert load_lm(copy).model.config.model_type == "llama"


@pytest.mark.slow
def test_it_is_trained_saved_exported_and_an_adapter_finds_it_again(file, loaded, tmp_path):
    config = replace(CONFIG, steps=1, save_every=1, lora_rank=2)
    hardened = train(tmp_path / "run", config, lm=load_lm(file))
    save_lm(hardened, tmp_path / "kept")
    again = load_lm(tmp_path / "kept")
    assert encode(again, TEXTS) == encode(loaded, TEXTS)
    assert weights_hash(again.model) == weights_hash(hardened.model)
    with quiet():
        lora = LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False)
        wrapped = get_peft_model(load_lm(file).model, lora)
        wrapped.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
        merged = wrapped.merge_and_unload()
    told = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == str(file)
    found = load_lm(tmp_path / "adapter")
    torch.testing.assert_close(logits(found), logits(found.__class__(merged, loaded.tokenizer, "")))
    code, _, err = sirl("export", tmp_path / "adapter", "--out", tmp_path / "out")
    assert code == 0, err
    assert weights_hash(load_lm(tmp_path / "out").model) == weights_hash(found.model)


@pytest.mark.parametrize(("pre", "says"), [("smellm", "text, 'smellm'"), (None, "names no rule")])
def test_a_rule_that_is_not_known_is_told(lm, tmp_path, pre, says, caplog):
    load_lm(write_gguf(lm, tmp_path / "x.gguf", pre))
    assert says in caplog.text


def vocabulary(file, **changes):
    told = read_stated(file).vocabulary
    return Vocabulary("x.gguf", {**told.fields, **changes})


def test_a_plain_reading_agrees_with_the_library_for_every_rule(file):
    for name in {rule: name for name, rule in RULES.items()}.values():
        own = vocabulary(file, pre=name)
        assert encode_with(build_tokenizer(own, None, None)) == [reference(own, text) for text in TEXTS], name
    split = {name: reference(vocabulary(file, pre=name), "12345  6") for name in ("smollm", "gpt-2")}
    assert split["smollm"] != split["gpt-2"]


def encode_with(tokenizer):
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]


def test_ids_that_are_not_the_files_are_refused(file):
    with pytest.raises(DataError, match="token ids of the text '1234567890"):
        check_ids(vocabulary(file), bpe_tokenizer(digits=False))
    told = json.loads(bpe_tokenizer().backend_tokenizer.to_str()) | {"added_tokens": []}
    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(told)))
    with pytest.raises(DataError, match=r"special token '<\|pad\|>'"):
        check_ids(vocabulary(file), plain)


def test_special_tokens_beyond_the_byte_alphabet_stay_whole(file):
    fields = vocabulary(file).fields
    tokens = ["<｜User｜>" if token == "<|user|>" else token for token in fields["tokens"]]
    tokenizer = build_tokenizer(vocabulary(file, tokens=tokens), None, None)
    assert tokenizer("a<｜User｜>1", add_special_tokens=False)["input_ids"][1] == tokens.index("<｜User｜>")


@pytest.mark.parametrize("spaced", [True, False])
def test_a_vocabulary_of_scores_has_a_space_before_the_text_only_if_the_file_says_so(
    lm, tmp_path, spaced, caplog
):
    def scored(writer):
        writer.kv_data[0].pop("tokenizer.ggml.merges")
        tokens = [
            "<unk>",
            *SPECIAL,
            *(f"<0x{i:02X}>" for i in range(256)),
            *"▁abtwo1234",
            "tw",
            "two",
            "▁two",
            "▁▁",
            "12",
        ]
        tokens += [f"<unused{i}>" for i in range(420 - len(tokens))]
        for key, value in {
            "model": "llama",
            "tokens": tokens,
            "scores": [-float(i) for i in range(420)],
            "token_type": [3 if t in SPECIAL else 6 if t.startswith("<0x") else 1 for t in tokens],
            "add_space_prefix": spaced,
        }.items():
            writer.kv_data[0].pop(f"tokenizer.ggml.{key}", None)
            write = {str: writer.add_string, bool: writer.add_bool, list: writer.add_array}[type(value)]
            write(f"tokenizer.ggml.{key}", value)

    tokenizer = load_lm(write_gguf(lm, tmp_path / "x.gguf", extra=scored)).tokenizer
    texts = tokenizer.convert_ids_to_tokens(tokenizer("two  12", add_special_tokens=False)["input_ids"])
    assert texts == [*(["▁two"] if spaced else ["two"]), "▁▁", "12"]
    assert tokenizer.decode(tokenizer("two  12\n", add_special_tokens=False)["input_ids"]) == "two  12\n"
    assert "token ids" not in caplog.text


def test_what_the_reader_leaves_out_is_put_in_or_told(lm, tmp_path, caplog):
    factors = torch.tensor([1.0, 1.0, 1.0, 8.0])  # of Llama 3.1 at rotary embeddings of 8
    load_lm(
        write_gguf(
            lm, tmp_path / "a.gguf", extra=lambda w: w.add_tensor("rope_freqs.weight", (factors * 3).numpy())
        )
    )
    assert "rope_freqs.weight" in caplog.text
    caplog.clear()
    load_lm(write_gguf(lm, tmp_path / "b.gguf", extra=lambda w: w.add_logit_scale(0.25)))
    assert "logit_scale = 0.25" in caplog.text
    caplog.clear()

    def yarn(writer):
        writer.add_string("llama.rope.scaling.type", "yarn")
        writer.add_float32("llama.rope.scaling.factor", 4.0)
        writer.add_uint32("llama.rope.scaling.original_context_length", 1024)

    rope = load_lm(write_gguf(lm, tmp_path / "c.gguf", extra=yarn)).model.config.rope_parameters
    assert (rope["rope_type"], rope["factor"], rope["original_max_position_embeddings"]) == ("yarn", 4.0, 1024)
    assert not caplog.text


def test_llama_3s_stretch_is_found_again(tmp_path, caplog):
    lm = random_lm("llama", tokenizer=bpe_tokenizer(), hidden_size=64)
    rope = lm.model.config.rope_parameters | {"rope_theta": 500000.0}
    given = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    lm.model.config.rope_parameters = {**rope, **given, "original_max_position_embeddings": 8192}
    stretched = type(lm.model)(lm.model.config).eval()
    stretched.load_state_dict(lm.model.state_dict())
    own = type(lm)(stretched, lm.tokenizer, "")
    plain = 500000.0 ** -(torch.arange(8) / 8)
    factors = (plain / stretched.model.rotary_emb.inv_freq).numpy()
    path = write_gguf(own, tmp_path / "x.gguf", extra=lambda w: w.add_tensor("rope_freqs.weight", factors))
    torch.testing.assert_close(logits(load_lm(path)), logits(own))
    assert not caplog.text


def test_what_is_no_model_is_told(lm, file, tmp_path, monkeypatch):
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(file.read_bytes()[:-5000])
    (tmp_path / "none.gguf").write_bytes(b"GGUF")
    part = write_gguf(lm, tmp_path / "part.gguf", extra=lambda w: w.add_uint16("split.count", 2))
    bare = write_gguf(lm, tmp_path / "bare.gguf", template=False)
    for path, kind, says in (
        (torn, DataError, "cannot be read as GGUF"),
        (tmp_path / "none.gguf", DataError, "cannot be read as GGUF"),
        (part, DataError, "one of 2 parts"),
        (tmp_path / "absent.gguf", DataError, "there is no file"),
        (bare, TemplateError, "has no chat template"),
    ):
        with pytest.raises(kind, match=says):
            load_lm(path)
    with pytest.raises(ConfigError, match=r"leave model\.engine"):
        load_outline(file)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ConfigError, match=r"pip install 'sirl\[gguf\]'"):
        load_lm(file)


def test_a_file_of_the_hub_is_fetched_by_its_own_name(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "sirl.lm.gguf.hf_hub_download", lambda *names: asked.append(names) or str(tmp_path / "x")
    )
    gguf_file("owner/name/sub/x.gguf")
    assert asked == [("owner/name", "sub/x.gguf")]
