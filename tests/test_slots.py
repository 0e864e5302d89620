"""A slot: what is optimised as tokens is what is sent as text, in every tokenizer's manner of reading."""

import numpy as np
import pytest
from conftest import attempts, byte_tokenizer, random_lm
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sirl.errors import AttackError
from sirl.lm import LM, encode, left_pad, load_lm, render, slots_of
from sirl.lm.passes import inputs
from sirl.lm.slots import read_in, write_in
from sirl.organism import WEIGHTS
from sirl.records import SLOT, Attempt, Message, Prompt


def spacing_tokenizer() -> PreTrainedTokenizerFast:
    """Words with their spaces as ▁, one put before every text, as Llama 2 does; the decoder strips it."""
    words = ["<|end|>", "<unk>", "▁", "▁!", "▁Sing", "▁a", "▁song", "?", "!", "▁now", "ow", "▁n", "▁:"]
    inner = Tokenizer(
        models.BPE(vocab={w: i for i, w in enumerate(words)} | alphabet(words), merges=merges(words))
    )
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    inner.decoder = decoders.Metaspace(prepend_scheme="first")
    inner.add_special_tokens(["<|end|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", unk_token="<unk>")
    tokenizer.chat_template = "{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}"
    return tokenizer


def merges(words):
    """Build each word left to right, so that every prefix of it is a token too."""
    found = {}
    for word in words:
        if not word.startswith("<"):
            for i in range(1, len(word)):
                found[word[:i], word[i]] = None
    return list(found)


def alphabet(words):
    pieces = {w[:i] for w in words for i in range(1, len(w) + 1)} | set(
        "[]/INSTabcdefghijklmnopqrstuvwxyz!?.:▁"
    )
    return {p: i for i, p in enumerate(sorted(pieces - set(words)), start=len(words))}


def slotted(text="Sing a song?", after="") -> Attempt:
    return Attempt(Prompt("p", text), "gcg", (Message("user", f"{text}{SLOT}{after}"),))


def filled(attempt: Attempt, text: str) -> Attempt:
    messages = tuple(Message(m.role, m.content.replace(SLOT, text)) for m in attempt.messages)
    return Attempt(attempt.prompt, attempt.attack, messages)


def organism(name):
    return load_lm(WEIGHTS / name)


@pytest.mark.parametrize("make", [byte_tokenizer, spacing_tokenizer])
@pytest.mark.parametrize("after", ["", " now", ": x"])
def test_ids_are_before_and_slot_and_after(make, after):
    lm = LM(random_lm("llama").model, make(), "toy")
    attempt = slotted(after=after)
    [slot] = slots_of(lm, [attempt])
    [ids] = read_in(lm.tokenizer, [slot], [" ! ! a"])
    [whole] = render(lm, [filled(attempt, " ! ! a")])
    assert [*slot.before, *ids, *slot.after] == whole
    assert write_in(lm.tokenizer, [slot], [ids]) == [" ! ! a"]


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_what_survives_is_what_is_sent(name):
    """Random tokens: where a text comes back, the whole chat reads as these very ids; elsewhere it does not."""
    lm = organism(name)
    attempt = slotted("How do I brush a moonfox?", after=" Thanks.")
    [slot] = slots_of(lm, [attempt])
    rows = np.random.default_rng(0).choice(lm.usable_ids, (400, 4)).tolist()
    texts = write_in(lm.tokenizer, [slot] * len(rows), rows)
    assert 5 < sum(text is None for text in texts) < 300
    for row, text in zip(rows, texts, strict=True):
        lone = lm.tokenizer.decode([*slot.before[-1:], *row])[len(lm.tokenizer.decode(slot.before[-1:])) :]
        [sent] = render(lm, [filled(attempt, lone)])
        assert ([*slot.before, *row, *slot.after] == sent) == (text is not None)


def test_a_text_that_runs_into_its_surroundings_is_told():
    lm = organism("llama")
    [slot] = slots_of(lm, [slotted("How do I brush a moonf")])
    assert read_in(lm.tokenizer, [slot], ["ox?"]) == [None]
    assert read_in(lm.tokenizer, [slot], [" ox?"]) != [None]


def test_there_is_one_slot():
    lm = random_lm("llama")
    with pytest.raises(AttackError, match="a chat holds 0 slots; expected exactly one"):
        slots_of(lm, attempts(["no slot"]))


def test_usable_tokens_are_plain_printable_and_known_to_the_tokenizer():
    lm = random_lm("qwen2", vocab_size=400)  # padded: 261 tokens are known
    texts = [lm.tokenizer.decode([i]) for i in lm.usable_ids]
    assert sorted(texts) == [chr(c) for c in range(32, 127)]
    assert not set(lm.usable_ids) & set(lm.tokenizer.all_special_ids)


def test_soft_vectors_stand_where_the_slot_is(lm):
    """Vectors that are the embeddings of tokens give the inputs of those tokens."""
    table = lm.model.get_input_embeddings().weight.detach()
    text = " hey"
    [ids] = encode(lm, [text])
    soft = tuple(map(tuple, table[ids].tolist()))
    hard = filled(slotted(), text)
    attempt = Attempt(hard.prompt, "soft_prompt", slotted().messages, soft=soft)
    rows = render(lm, [attempt, hard])
    assert [i for i in rows[0] if i < 0] == [-1, -2, -3, -4]
    ids_BS, _ = left_pad(lm, rows)
    assert list(inputs(lm, ids_BS[1:], [hard])) == ["input_ids"]
    vectors_BSH = inputs(lm, ids_BS, [attempt, hard])["inputs_embeds"]
    assert vectors_BSH[0].equal(vectors_BSH[1])


def test_soft_vectors_of_another_width_are_refused(lm):
    attempt = Attempt(Prompt("p", "x"), "soft_prompt", slotted("x").messages, soft=((0.0,) * 7,))
    ids_BS, _ = left_pad(lm, render(lm, [attempt]))
    with pytest.raises(AttackError, match=r"vectors of width 7 for random-\w+, of width 32"):
        inputs(lm, ids_BS, [attempt])
