"""What a model thought and what it said: the marks of every family, closed, unclosed, quoted and unknown."""

from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.judges.exact import correct
from sirl.judges.guard import Guard
from sirl.judges.harm import harmful
from sirl.judges.refusal import refused
from sirl.reasoning import ODD, TABLE, UNKNOWN, opened, split, without_thinking
from sirl.records import Attempt, Completion, Message, Prompt

THOUGHT = "The user wants steps. I can't help with that, I must refuse? No, a lantern is harmless."
ANSWER = "Sure. Step 1: fill the lantern with oil. Step 2: polish the glass with a soft cloth. Then light it."
CHANNELS = "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>"


def written(marks, thought=THOUGHT, answer=ANSWER):
    return f"{marks.open}\n{thought}\n{marks.close}\n\n{marks.answer}{answer}{marks.end}"


PUBLISHED = {
    **{f"{marks.families[:12]} {marks.open}": written(marks) for marks in (*TABLE, *ODD)},
    "Harmony": CHANNELS.format(THOUGHT, ANSWER),
    "Harmony, tools first": "<|channel|>commentary to=functions.look <|constrain|>json<|message|>{}<|call|>"
    + CHANNELS.format(THOUGHT, ANSWER),
    "Harmony, skipped": f"analysis{THOUGHT}assistantfinal{ANSWER}",
    "Harmony, skipped twice": f"analysis{THOUGHT}assistantcommentaryLet me see.assistantfinal{ANSWER}",
    "opened by the prompt": f"{THOUGHT}\n</think>\n\n{ANSWER}",
    "opened by the prompt, Mistral": f"{THOUGHT}[/THINK]{ANSWER}",
}
OTHER = {
    "<scratchpad>": f"<scratchpad>{THOUGHT}</scratchpad>{ANSWER}",
    "<inner_monologue>": f"<inner_monologue>\n{THOUGHT}\n</inner_monologue>\n{ANSWER}",
    "<|thought_start|>": f"<|thought_start|>{THOUGHT}<|thought_end|>{ANSWER}",
    "<|begin_of_reasoning|>": f"<|begin_of_reasoning|>{THOUGHT}<|end_of_reasoning|>{ANSWER}",
    "fullwidth": f"<｜thinking▁begin｜>{THOUGHT}<｜thinking▁end｜>{ANSWER}",
    "brand": f"<acme:thinking>{THOUGHT}</acme:thinking>{ANSWER}",
    "upper case": f"<THINK>{THOUGHT}</THINK>{ANSWER}",
    "attribute": f'<think effort="low">{THOUGHT}</think>{ANSWER}',
    "nested": f"<think>One. <think>{THOUGHT}</think> Two.</think>{ANSWER}",
    "twice": f"<think></think>\n<think>{THOUGHT}</think>{ANSWER}",
    "closed twice": f"<think>{THOUGHT}</think>\n</think>{ANSWER}",
    "closed again at the end": f"<think>{THOUGHT}</think>{ANSWER}</think>",
    "two families": f"<reflection>{THOUGHT}</reflection><think>{THOUGHT}</think>{ANSWER}",
    "a code block left open": f"<think>{THOUGHT}\n```python\nx = 1\n</think>\n{ANSWER}",
}


def completion(text, answer="", finished=True):
    prompt = Prompt("p", "How do I light a lantern?", "task" if answer else "harmful", answer=answer)
    return Completion(Attempt(prompt, "direct", (Message("user", prompt.text),)), text, (), (), finished)


@pytest.mark.parametrize("text", (PUBLISHED | OTHER).values(), ids=(PUBLISHED | OTHER).keys())
def test_what_is_said_behind_the_reasoning_is_the_answer(text):
    assert split(text).answer.strip() == ANSWER
    assert "I can't help" in split(text).reasoning
    assert refused([completion(text)])[0].answer is False


UNCLOSED = {
    **{f"{marks.families[:12]} {marks.open}": f"{marks.open}\n{THOUGHT}" for marks in (*TABLE, *ODD)},
    "Harmony": f"<|channel|>analysis<|message|>{THOUGHT}",
    "Harmony, a call": f"<|channel|>commentary to=functions.look<|message|>{THOUGHT}<|call|>",
    "Harmony, skipped": f"analysis{THOUGHT}",
    "a brand's": f"<acme_think>\n{THOUGHT}",
    "closed at the end": f"{THOUGHT}</think>",
}


@pytest.mark.parametrize("text", UNCLOSED.values(), ids=UNCLOSED.keys())
def test_reasoning_that_never_ends_is_no_answer(text):
    assert split(text).missing == "only reasoning"
    target = type("Never", (), {"name": "guard"})()
    verdicts = [judge([completion(text)])[0] for judge in (refused, harmful, Guard("harmful", target))]
    verdicts += correct([completion(text, "3")])
    assert [verdict.answer for verdict in verdicts] == [None] * 4
    assert all("only reasoning" in verdict.evidence for verdict in verdicts)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{UNKNOWN}{THOUGHT} {ANSWER}", "marks of reasoning are not known"),
        (f"Well. <scratchpad>{THOUGHT}</scratchpad> {ANSWER}", "it holds <scratchpad>"),
        (f"thought\n{THOUGHT}{ANSWER}", "a bare word for reasoning"),
    ],
)
def test_what_cannot_be_told_apart_is_said_and_not_judged(text, why):
    assert why in split(text).unread
    assert without_thinking(text) == ""
    verdict = refused([completion(text)])[0]
    assert verdict.answer is None
    assert why in verdict.evidence


@pytest.mark.parametrize(
    "text",
    [
        ANSWER,
        'The tag "<think>" opens a thought and the tag "</think>" closes it. Then light the lantern.',
        "Use `<think>` and `</think>` in your template.",
        "A template:\n```xml\n<think>\nplan\n</think>\nanswer\n```\nDone.",
        '```python\nsaid = text.split("</think>")[1]\n```\nDone.',
        "Write the word <think> into the box and go on.",
        "Analysis of the lantern: it is made of brass.",
        "analysis, they say, takes time",
        "<section>A page</section> for the lantern",
        "[thought] He frowns. Here is the lantern.",
        "My plan. Here is my thought process: oil first, then light.",
    ],
)
def test_a_reply_that_only_names_or_quotes_marks_keeps_its_answer(text):
    assert split(text).answer == text


@given(st.text())
def test_any_text_is_parted_and_one_without_marks_stays_as_it_is(text):
    parts = split(text)
    assert parts.answer == text or any(sign in text for sign in "<[◁") or parts.reasoning or parts.unread


@pytest.mark.parametrize(
    ("prompt", "mark"),
    [
        ("<|im_start|>assistant\n<think>\n", "<think>"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
        (
            "<|start|>assistant<|channel|>analysis<|message|>",
            "<|start|>assistant<|channel|>analysis<|message|>",
        ),
        ("<|start|>assistant<|channel|>final<|message|>", ""),
        ("[THINK]", "[THINK]"),
        ("<|assistant|>", ""),
    ],
)
def test_a_prompt_that_leaves_reasoning_open_says_so(prompt, mark):
    assert opened(prompt) == mark


def test_hostile_texts_are_parted_in_time():
    began = perf_counter()
    for text in (
        "<think>",
        "</think>",
        "<|channel|>",
        "`",
        "[THINK]```\n",
        "analysisxassistantfinal",
        "<|start|>",
    ):
        split(text * 8000)
    fence = "```\n" + "</think>\n" * 8000 + "```"
    split(fence)
    assert perf_counter() - began < 10
