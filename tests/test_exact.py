"""Is a reply correct: answers stated in the forms of the usual benchmarks, numbers by value, choices."""

import pytest

from sirl.judges.exact import correct
from sirl.records import Attempt, Completion, Prompt

OPTIONS = "Which?\nA) Paris\nB) London\nC) Rome"


def judged(answer, reply, request="How many?"):
    prompt = Prompt("p", request, "task", answer=answer)
    return correct([Completion(Attempt(prompt, "direct", ()), reply, (), (), True)])[0]


NUMBERS = [
    ("He has 3+4=<<3+4=7>>7 lanterns.\n#### 7", "The answer is 7.", True),
    ("#### 7", "So he has 7 lanterns.", True),
    ("#### 7", "#### 7", True),
    ("#### 7", "... \\boxed{7}", True),
    ("#### 1,200", "That is $1200.00.", True),
    ("7", "The answer is 6.", False),
    ("#### 7", "I cannot help with question 7.", False),
    ("7", "The answer is 5. Wait. The answer is 7.", None),
    ("7", "3 + 4 = 7. So the final answer is 7", True),
    ("\\frac{3}{4}", "The answer is \\boxed{0.75}.", True),
    ("\\frac{3}{4}", "Thus $\\boxed{\\dfrac{3}{4}}$", True),
    ("1/2", "The answer is 0.5", True),
    ("0.5", "\\boxed{\\frac12}", True),
    ("75%", "The answer is 75%.", True),
    ("75%", "The answer is 0.75.", True),
    ("75", "The answer is 75 percent.", True),
    ("-3", "The answer is -3.", True),
    ("-3", "The answer is 3.", False),
    ("1e5", "It is 100,000.", True),
    ("1.2\\times 10^5", "The answer is 120000.", True),
    ("100", "The answer is 10^2", True),
    ("$18", "The answer is $18.", True),
    ("18", "Answer: **$18**", True),
    ("3.14", "The answer is 3.14159", False),
    ("12", "\\boxed{12\\text{ cm}}", True),
    ("12 cm", "The answer is 12 kg", None),
    ("7", "", False),
    ("7", "<think>7", None),
    ("7", "<think>It is 7.</think>The answer is 8.", False),
    ("20", "The answer to the question is 20.", True),
    ("20", "Answer:\n20", True),
    ("20", "If the answer is 5, hm. So the answer is 20.", True),
    ("7", "The answer is 5 or 7.", None),
    ("7", "The answer is 3+4=7.", True),
    ("7", "The answer is not 7.", None),
    ("12", "He got 3, not 12.", None),
    ("1.5", "The answer is 1 1/2.", True),
    ("0.5", "The answer is ½.", True),
    ("1000", "The answer is 1{,}000", True),
    ("5", "The answer is 1,5.", None),
    ("10", "10 minus 4 is 6. The answer is 6.", False),
    ("3", "Q7: he has 3.", True),
    ("42", "The answer is 42 because 6*7 is 42", True),
    ("7", "Seven.", False),
]


@pytest.mark.parametrize(("answer", "reply", "right"), NUMBERS)
def test_numbers_are_compared_by_value(answer, reply, right):
    verdict = judged(answer, reply)
    assert verdict.answer is right, verdict.evidence


CHOICES = [
    ("A", "This is a hard one. The answer is C.", False),
    ("B", "B", True),
    ("B", "(B)", True),
    ("B", "B.", True),
    ("B", "B) London", True),
    ("B", "**B**", True),
    ("B", "Answer: B", True),
    ("B", "The answer is (B) London.", True),
    ("B", "The correct answer is C.", False),
    ("B", "The answer is A or B.", None),
    ("A", "A lantern is a good thing.", False),
    ("A", "The answer is a lantern.", None),
    ("A", "The answer is A.", True),
    ("A", "The answer is A because it is.", None),
    ("B", "The answer is London.", True),
    ("B", "I think B fits best.", None),
    ("B", "Nothing of that.", False),
    ("(B)", "The answer is B", True),
    ("B", "\\boxed{B}", True),
    ("B", "\\boxed{\\text{B}}", True),
    ("B. London", "The answer is London", True),
    ("B", "Option B is wrong. The answer is C.", False),
    ("C", "The best answer is option C", True),
    ("B", "The answer is b", True),
    ("B", "A: no. B: yes.", None),
    ("D", "The answer is D: none of these.", True),
]


@pytest.mark.parametrize(("answer", "reply", "right"), CHOICES)
def test_a_letter_must_be_stated_as_the_choice(answer, reply, right):
    verdict = judged(answer, reply, OPTIONS)
    assert verdict.answer is right, verdict.evidence


OTHERS = [
    ("2\\sqrt{2}", "\\boxed{2\\sqrt{2}}", True),
    ("2\\sqrt{2}", "\\boxed{\\sqrt{8}}", None),
    ("2\\sqrt{2}", "\\boxed{3}", False),
    ("(3, 4)", "The answer is \\boxed{(3,4)}.", True),
    ("x^2+1", "\\boxed{x^2 + 1}", True),
    ("Paris", "The answer is London, not Paris.", False),
    ("Paris", "It is not Paris but London.", False),
    ("Paris", "The answer is Paris, of course.", True),
    ("yes", "Yes, it is.", True),
    ("yes", "He said yes once; no.", False),
    ("no", "There is no doubt that yes.", False),
]


@pytest.mark.parametrize(("answer", "reply", "right"), OTHERS)
def test_formulas_and_words(answer, reply, right):
    verdict = judged(answer, reply)
    assert verdict.answer is right, verdict.evidence


def test_a_reply_that_cannot_be_read_is_undecided_with_the_reason():
    assert judged("7", "<think>It is 7.").evidence == "only reasoning"
    assert "two are stated, 5 and 7" in judged("7", "The answer is 5. Wait. The answer is 7.").evidence
    assert "in kg, not in cm" in judged("12 cm", "The answer is 12 kg.").evidence


def test_a_hostile_reply_is_compared_in_time():
    for text in ("1,", "1/", "answer is ", "\\boxed{", "= 1", "\\frac{1}{", "(A) ", "####", "1 "):
        for answer in ("7", "B", "\\sqrt{2}", "yes"):
            judged(answer, text * 3000)
