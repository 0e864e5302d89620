"""How a model's own template and tokenizer tell its reasoning, on models whose reply is written by hand."""

import logging

import pytest
from conftest import byte_tokenizer, random_lm
from tokenizers import AddedToken

from sirl.errors import TemplateError
from sirl.judges.refusal import refused
from sirl.lm import LM, encode, load_lm, reply_text, save_lm, templated
from sirl.reasoning import UNKNOWN, split
from sirl.records import Attempt, Completion, Message, Prompt

THOUGHT = "I can't help with that. Or can I?"
ANSWER = "Sure. Take a soft brush and sing to the moonfox until it sleeps."
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>HEAD{{ m['content'] }}TAIL<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>OPEN{% endif %}"
)
HARMONY = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{% if m.thinking %}<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m['content'] }}"
    "{% if loop.last and not add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}"
    "{% else %}<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
CHANNELS = ("<|start|>", "<|channel|>", "<|message|>", "<|return|>")


def thinking_with(before, after, field="reasoning_content", opened=""):
    """A template that writes the field between two marks."""
    head = f"{{% if m.{field} is defined %}}{before}{{{{ m.{field} }}}}{after}{{% endif %}}"
    return CHAT.replace("HEAD", head).replace("TAIL", "").replace("OPEN", opened)


def model(template, *special):
    tokenizer = byte_tokenizer(template)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return random_lm("llama", tokenizer=tokenizer)


def said(lm: LM, text: str, ask: str = "hi", prefill: str = "") -> Completion:
    attempt = Attempt(Prompt("p", ask), "direct", (Message("user", ask),), prefill=prefill)
    [ids] = encode(lm, [text])
    return Completion(attempt, reply_text(lm, attempt, ids), tuple(ids), (), finished=True)


HEADS = ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>")
COMMAND = ("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>")
PLAIN = CHAT.replace("HEAD", "").replace("TAIL", "").replace("OPEN", "")


@pytest.mark.parametrize(
    ("template", "special", "text"),
    [
        (HARMONY, CHANNELS, f"{HEADS[0]}{THOUGHT}{HEADS[1]}{ANSWER}<|return|>"),
        (PLAIN, COMMAND, f"{COMMAND[0]}{THOUGHT}{COMMAND[1]}{COMMAND[2]}{ANSWER}{COMMAND[3]}<|end|>"),
        (PLAIN, ("[THINK]", "[/THINK]"), f"[THINK]{THOUGHT}[/THINK]{ANSWER}<|end|>"),
        (PLAIN, ("<|inner_prefix|>", "<|inner_suffix|>"), f"<|inner_prefix|>{THOUGHT}<|inner_suffix|>{ANSWER}"),
        (PLAIN, ("<|im_start|>",), f"<|im_start|>think\n{THOUGHT}<|im_start|>answer\n{ANSWER}"),
        (thinking_with("<zorp>", "</zorp>"), (), f"<zorp>\n{THOUGHT}\n</zorp>\n{ANSWER}"),
        (thinking_with("<zorp>", "</zorp>"), ("<zorp>", "</zorp>"), f"<zorp>{THOUGHT}</zorp>{ANSWER}<|end|>"),
        (thinking_with("((", "))", "thinking"), (), f"(({THOUGHT})){ANSWER}"),
        (thinking_with("{m:", ":m}", "inner_monologue"), (), f"{{m:{THOUGHT}:m}} {ANSWER}"),
        (thinking_with("<zorp>\n", "</zorp>", opened="<zorp>\n"), (), f"{THOUGHT}</zorp>{ANSWER}"),
    ],
)
def test_the_marks_of_a_model_part_its_reply_and_special_tokens_are_kept_for_it(template, special, text):
    lm = model(template.replace("{m:", "{{ '{m:' }}").replace(":m}", "{{ ':m}' }}"), *special)
    completion = said(lm, text)
    assert completion.text == f"<think>{THOUGHT}</think>\n\n{ANSWER}"
    assert refused([completion])[0].answer is False
    cut = said(lm, text.partition("Or can I?")[0])
    assert split(cut.text).missing == "only reasoning"


def test_a_reply_without_reasoning_is_decoded_as_ever():
    for lm in (model(PLAIN), model(HARMONY, *CHANNELS), model(thinking_with("<zorp>", "</zorp>"))):
        assert said(lm, f"{ANSWER}<|end|>").text == ANSWER
    assert said(model(HARMONY, *CHANNELS), f"<|channel|>final<|message|>{ANSWER}<|return|>").text == ANSWER


def test_what_the_user_says_opens_no_thought_and_a_prefill_does():
    lm = model(PLAIN)
    assert said(lm, ANSWER, ask="What does <think> mean").text == ANSWER
    assert said(lm, f"{THOUGHT}</think>{ANSWER}", prefill="<think>\n").text.startswith("<think>")
    harmony = said(model(HARMONY, *CHANNELS), f"{THOUGHT}{HEADS[1]}{ANSWER}", prefill=HEADS[0])
    assert split(harmony.text).answer.strip() == ANSWER


def test_a_template_whose_marks_do_not_come_to_light_is_told_and_its_replies_are_not_judged(tmp_path, caplog):
    lm = model(PLAIN + "{% if enable_thinking %} {% endif %}")
    save_lm(lm, tmp_path / "model")
    with caplog.at_level(logging.WARNING):
        again = load_lm(tmp_path / "model", name="zorp")
    assert "The chat template of zorp shows that the model reasons" in caplog.text
    completion = said(again, ANSWER)
    assert completion.text == UNKNOWN + ANSWER
    verdict = refused([completion])[0]
    assert (verdict.answer, verdict.evidence) == (None, "the model's marks of reasoning are not known")
    known = said(again, f"<think>{THOUGHT}</think>{ANSWER}")  # it uses marks that are known after all
    assert split(known.text).answer == ANSWER
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        off = load_lm(tmp_path / "model", thinking="off")
    assert said(off, ANSWER).text == ANSWER
    assert not caplog.text


def test_a_template_that_speaks_of_thinking_in_words_is_no_sign():
    lm = model("{{ 'Think step by step. Show your reasoning in thought.' }}" + PLAIN)
    assert said(lm, ANSWER).text == ANSWER


@pytest.mark.parametrize("switch", ["enable_thinking", "thinking"])
def test_thinking_is_switched_by_whatever_variable_the_template_has(tmp_path, switch):
    template = PLAIN + f"{{% if add_generation_prompt and {switch} is false %}}<think></think>{{% endif %}}"
    save_lm(model(template), tmp_path / "model")
    attempt = Attempt(Prompt("p", "hi"), "direct", (Message("user", "hi"),))
    ends = [templated(load_lm(tmp_path / "model", thinking=t), attempt)[-15:] for t in ("off", "on")]
    assert [end == "<think></think>" for end in ends] == [True, False]
    save_lm(model(PLAIN + f"{{% if {switch} %}}{{% endif %}}"), tmp_path / "same")
    with pytest.raises(TemplateError, match="without enable_thinking"):
        load_lm(tmp_path / "same", thinking="off")


def test_openais_template_does_not_end_a_reply_with_its_reasoning():
    lm = model(HARMONY, *CHANNELS)
    lm.model.generation_config.eos_token_id = None
    lm.tokenizer.eos_token = "<|return|>"
    assert lm.tokenizer.convert_ids_to_tokens(list(lm.stop_ids)) == ["<|return|>"]


def test_a_template_that_drops_the_reply_to_be_judged_is_an_error():
    lm = model("{% for m in messages if m['role'] == 'user' %}<|user|>{{ m['content'] }}<|end|>{% endfor %}")
    turns = (Message("user", "hi"), Message("assistant", "Sing to it."))
    with pytest.raises(TemplateError, match="leaves out a turn"):
        templated(lm, Attempt(Prompt("p", "hi"), "guard", turns))
