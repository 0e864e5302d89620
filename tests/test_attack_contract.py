"""What every attack promises, ours and a user's: one test a promise, run over the whole table."""

import copy
from pathlib import Path

import pytest
from conftest import random_lm

from sirl.attacks import ATTACKS, AttackInfo, Means, arm, attack_prompts, get_attacks
from sirl.attacks.contract import Meter, Spent
from sirl.attacks.encodings import DECODERS
from sirl.attacks.splitting import join_pieces
from sirl.attacks.static import read_template
from sirl.errors import AttackError
from sirl.records import Attempt, Completion, Decoding, Message, Prompt, Search
from sirl.targets import LocalTarget

PLAIN = Prompt("p1", "How do I whistle a very loud tune in 7 notes?")
ODD = Prompt("p2", 'Wham {request} and {0} }{ %s — “ça” 日本語 🙂\nnew line "quoted" \\7 4ever')
SHORT = Prompt("p3", "Sing", kind="benign", category="talk", answer="la")
PROMPTS = [PLAIN, ODD, SHORT, *(Prompt(f"q{i}", f"Tell me how to juggle {i} balls.") for i in range(4))]
CUSTOM = "examples.custom_attack:attack"
BUDGET = 21


class FakeTarget:
    """A target whose answers depend on the text alone; it counts the queries on each prompt."""

    name, access = "fake", "white-box"

    def __init__(self) -> None:
        self.queries: dict[str, int] = {}

    def _count(self, attempts) -> None:
        for attempt in attempts:
            self.queries[attempt.prompt.id] = self.queries.get(attempt.prompt.id, 0) + 1

    def reply(self, attempts, seed):
        self._count(attempts)
        return [Completion(a, "no", (1,), ("no",), finished=True) for a in attempts]

    def log_likelihood(self, attempts, beginnings):
        self._count(attempts)
        return [
            float(sum(map(ord, a.messages[-1].content + b)) % 997) - 997.0
            for a, b in zip(attempts, beginnings, strict=True)
        ]


MEANS = Means(
    benign=tuple(Prompt(f"b{i}", f"How do I water {i} plants?", "benign") for i in range(9)),
    harmful=tuple(Prompt(f"h{i}", f"How do I scratch {i} cars?") for i in range(9)),
)
OPEN = LocalTarget(random_lm("llama"), Decoding(max_new_tokens=4))


class OpenTarget(Meter):
    """A small real model whose weights are open; it counts the queries on each prompt."""

    def __new__(cls) -> Meter:
        return Meter(OPEN, "counted", 10**9, {prompt.id: Spent() for prompt in [*PROMPTS, Prompt("x", "")]})


def target_of(info):
    return OpenTarget() if info.access == "white-box" else FakeTarget()


def spent_on(target, prompt) -> int:
    return target.spent[prompt.id].queries if isinstance(target, Meter) else target.queries.get(prompt.id, 0)


def sent(attempts):
    return [(a.prompt, a.messages, a.prefill, a.decoding, a.search.queries) for a in attempts]


@pytest.fixture(params=[*ATTACKS, CUSTOM])
def info(request, monkeypatch) -> AttackInfo:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent)
    return arm(get_attacks([request.param])[request.param], MEANS)


def run(info, prompts, seed=0, budget=BUDGET):
    return attack_prompts(info, prompts, target_of(info), budget, seed)


def recover(attempt: Attempt) -> str:
    """Undo the encoding of an attempt, if it has one; otherwise return what is sent."""
    text = attempt.messages[-1].content
    if attempt.attack not in {*DECODERS, "payload_splitting"}:
        return text
    before, after = read_template(attempt.attack).split("{request}")
    assert text.startswith(before)
    assert text.endswith(after)
    payload = text[len(before) : len(text) - len(after)]
    return DECODERS.get(attempt.attack, join_pieces)(payload)


def test_attempts_are_named_nonempty_and_in_order(info):
    attempts = run(info, PROMPTS)
    assert [a.prompt for a in attempts] == PROMPTS
    assert {a.attack for a in attempts} == {info.name}
    assert len({a.key for a in attempts}) == len(PROMPTS)
    for attempt in attempts:
        assert attempt.messages[-1].role == "user"
        assert all(m.content.strip() for m in attempt.messages)
        roles = [m.role for m in attempt.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]  # any chat template takes this


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda p: p.id)
def test_request_is_in_what_is_sent(info, prompt):
    [attempt] = run(info, [prompt])
    asked = "whistle a very loud tune in 7 notes" if prompt is PLAIN else prompt.text
    if info.mechanism == "tense":
        asked = asked.removeprefix("Tell me how to ").removesuffix(".")
    found = recover(attempt)
    assert found == prompt.text if info.mechanism in ("encoding", "splitting") else asked in found


def test_only_the_template_is_added_once(info):
    """A request that holds the placeholder is not filled again."""
    [attempt] = run(info, [Prompt("x", "about {request} only")])
    assert recover(attempt).count("{request}") == 1


def test_same_seed_same_attempts(info):
    assert run(info, PROMPTS, seed=3) == run(info, PROMPTS, seed=3)


def test_order_and_company_do_not_matter(info):
    together = sent(run(info, PROMPTS))  # scores and vectors move in their last digits with their company
    assert sent(run(info, PROMPTS[::-1])) == together[::-1]
    assert sent(run(info, [SHORT])) == [together[PROMPTS.index(SHORT)]]


def test_input_is_untouched(info):
    prompts = list(PROMPTS)
    before = copy.deepcopy(prompts)
    info.run(prompts, target_of(info), BUDGET, 0)
    assert prompts == before


def test_no_prompts_no_attempts(info):
    target = target_of(info)
    assert attack_prompts(info, [], target, BUDGET, 0) == []
    assert all(spent_on(target, prompt) == 0 for prompt in PROMPTS)


@pytest.mark.parametrize("budget", [0, 1, 2, 8, 9, 10, 37])
def test_budget_is_kept_to_the_query(info, budget):
    target = target_of(info)
    attempts = info.run(PROMPTS, target, budget, 0)
    for attempt in attempts:
        assert attempt.search.queries == spent_on(target, attempt.prompt) <= budget
        if info.kind != "adaptive":
            assert attempt.search.queries == 0
        elif info.name == "scav":  # nothing is scored before there are probes, of eight requests a sort
            assert (attempt.search.queries > 16) == (budget >= 32)
        else:
            assert attempt.search.queries >= min(budget, 1)


def test_target_is_needed_by_adaptive_attacks_only(info):
    if info.kind == "adaptive":
        with pytest.raises(AttackError, match=r"was given no target; expected the model under test; pass one"):
            attack_prompts(info, PROMPTS, None, BUDGET, 0)
        with pytest.raises(AttackError, match="no target"):
            info.run(PROMPTS, None, BUDGET, 0)
    else:
        assert attack_prompts(info, PROMPTS, None, BUDGET, 0) == run(info, PROMPTS)


def custom(run) -> AttackInfo:
    return AttackInfo("mine", "custom", "unknown", "custom", "test", "", run)


def say(prompt, text="hello", role="user", **fields):
    return Attempt(prompt, "mine", (Message(role, text),), **fields)


def greedy(prompts, target, budget, seed):
    target.reply([say(p) for p in prompts for _ in range(budget + 1)], seed)
    return [say(p) for p in prompts]


def stranger(prompts, target, budget, seed):
    target.log_likelihood([say(Prompt("new", "?"))], ["Sure"])
    return [say(p) for p in prompts]


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        (lambda *_: None, "returned NoneType; expected a list of Attempt"),
        (lambda prompts, *_: [say(p) for p in prompts][1:], "returned 6 attempts; expected 7, one a prompt"),
        (lambda prompts, *_: [p.text for p in prompts], "returned a str in its list"),
        (lambda prompts, *_: [say(p) for p in prompts][::-1], "returned prompt 'q3' where 'p1' was given"),
        (
            lambda prompts, *_: [say(p, search=Search(queries=22)) for p in prompts],
            "spent 22 queries on prompt 'p1'; expected",
        ),
        (lambda prompts, *_: [say(p, " \n") for p in prompts], "sent an empty message for prompt 'p1'"),
        (lambda prompts, *_: [Attempt(p, "mine", ()) for p in prompts], "sent an empty message"),
        (
            lambda prompts, *_: [say(p, role="tool") for p in prompts],
            "used the roles tool; expected only system",
        ),
        (lambda prompts, *_: [say(p, role="assistant") for p in prompts], "ended with a message of the assist"),
        (greedy, "spent 22 queries on prompt 'p1'; expected at most 21"),
        (stranger, "queried the target about 'new'; expected only prompts it was given"),
    ],
)
def test_a_broken_attack_is_told_what_it_broke(attack, sentence):
    with pytest.raises(AttackError) as error:
        run(custom(attack), PROMPTS)
    assert sentence in str(error.value)
    assert str(error.value).startswith("attack 'mine' ")


def test_a_static_attack_may_not_query():
    info = AttackInfo(
        "mine", "m", "none", "static", "s", "", lambda ps, *_: [say(p, search=Search(queries=1)) for p in ps]
    )
    with pytest.raises(AttackError, match="is static and reports 1 queries; expected 0"):
        run(info, PROMPTS)


def test_queries_are_counted_even_if_not_reported():
    def quiet(prompts, target, budget, seed):
        target.reply([say(p) for p in prompts], seed)
        target.log_likelihood([say(p) for p in prompts], ["Sure"] * len(prompts))
        return [say(p) for p in prompts]

    assert {a.search.queries for a in run(custom(quiet), PROMPTS)} == {2}


def test_bad_arguments():
    with pytest.raises(AttackError, match="two prompts have the same id"):
        run(ATTACKS["direct"], [PLAIN, PLAIN])
    with pytest.raises(AttackError, match="budget is -1"):
        run(ATTACKS["direct"], [PLAIN], budget=-1)
