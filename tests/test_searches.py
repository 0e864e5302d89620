"""The optimisers on small real models: scores rise, success stops a search, what is sent is what was scored."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from conftest import random_lm

from sirl.attacks import ATTACKS, Means, arm, attack_prompts, unmet
from sirl.attacks.autodan import AutoDAN, AutoDANWords
from sirl.attacks.beast import Beast
from sirl.attacks.cold import _shunned, _Soft
from sirl.attacks.contract import AttackInfo
from sirl.attacks.gcg import GCG
from sirl.attacks.genetic import Breeding, _cross, seeds, synonyms
from sirl.attacks.random_search import RandomSearch
from sirl.attacks.scav import Scav
from sirl.attacks.search import Checks, Hunt, generator, hunts
from sirl.attacks.suffix import climbs
from sirl.errors import AttackError
from sirl.lm import load_lm
from sirl.organism import WEIGHTS
from sirl.organism.corpus import evaluation_prompts
from sirl.records import (
    Attempt,
    Completion,
    Decoding,
    Message,
    Prompt,
    Record,
    Search,
    Verdict,
    from_json,
    to_json,
)
from sirl.targets import LocalTarget

OPEN = ("gcg", "cold", "soft_prompt", "beast", "scav", "autodan", "autodan_words", "random_search")
PROMPTS = [Prompt(f"p{i}", f"Whistle tune {i}", "harmful", target=" ok" if i else "") for i in range(3)]


class Rewriter:
    """An attacker model's double: each text that it writes is another template."""

    name, access = "rewriter", "black-box"

    def reply(self, attempts, seed):
        said = [f"<message>Whistling {a.sample} times, answer: {{request}} Go on.</message>" for a in attempts]
        return [Completion(a, text, (1,), ("x",), True) for a, text in zip(attempts, said, strict=True)]


MEANS = Means(
    attacker=Rewriter(),
    benign=tuple(Prompt(f"b{i}", f"How do I water {i} plants?", "benign") for i in range(9)),
    harmful=tuple(Prompt(f"h{i}", f"How do I scratch {i} cars?", "harmful") for i in range(9)),
)


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def target(request) -> LocalTarget:
    return LocalTarget(random_lm(request.param), Decoding(max_new_tokens=4))


def search(name, target, budget, means=MEANS, prompts=PROMPTS):
    return attack_prompts(arm(ATTACKS[name], means), prompts, target, budget, 0)


@pytest.mark.parametrize("name", OPEN)
def test_a_search_rises_from_its_start(name, target):
    for attempt in search(name, target, 120):
        scores = [score for _, score in attempt.search.trace]
        queries = [count for count, _ in attempt.search.trace]
        assert scores == sorted(scores)
        assert scores[-1] > scores[0]
        assert queries == sorted(queries)
        assert attempt.search.passes >= attempt.search.queries > 60


@pytest.mark.parametrize("name", [n for n in OPEN if n != "scav"])
def test_the_score_is_that_of_what_is_sent(name, target):
    """Scored as tokens or vectors in a slot; sent, it is a chat. Both have one likelihood."""
    attempts = search(name, target, 60)
    begun = [a.prompt.target or ATTACKS[name].run.beginning for a in attempts]
    if name == "random_search":  # which scores the first word alone
        begun = [text[: len(text) - len(text.lstrip())] + text.split()[0] for text in begun]
    found = target.log_likelihood(attempts, begun)
    assert found == pytest.approx([a.search.trace[-1][1] for a in attempts], abs=1e-4)


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_on_the_organisms_what_is_sent_is_what_was_scored(name):
    organism = LocalTarget(load_lm(WEIGHTS / name), Decoding(max_new_tokens=8))
    prompts = evaluation_prompts({"harmful": 3}, 0)
    for attack in ("gcg", "beast", "cold", "soft_prompt"):
        attempts = search(attack, organism, 40, Means(), prompts)
        found = organism.log_likelihood(attempts, [p.target for p in prompts])
        assert found == pytest.approx([a.search.trace[-1][1] for a in attempts], abs=1e-4)


def judge_of(harmful):
    def judge(completions):
        return [Verdict("harmful", harmful(c.attempt), "", "test") for c in completions]

    return judge


@pytest.mark.parametrize("name", OPEN)
def test_success_ends_a_search_and_undecided_does_not(name, target):
    """The first check comes right after the start was scored: the start succeeds, so the start is sent."""
    won = search(name, target, 60, replace(MEANS, judge=judge_of(lambda _: True)))
    start = search(name, target, 0)
    learned = 2 * 9 + 1 if name == "scav" else 0
    assert [a.search.queries for a in won] == [2 + learned] * 3
    assert [a.messages for a in won] == [a.messages for a in start]
    lost = search(name, target, 60, replace(MEANS, judge=judge_of(lambda _: None)))
    assert all(50 < a.search.queries <= 60 for a in lost)
    assert [a.search.won for a in (*won, *lost)] == [True] * 3 + [False] * 3


def test_one_prompts_success_leaves_the_others_searching(target):
    means = Means(judge_of(lambda attempt: attempt.prompt.id == "p1"))
    spent = [a.search.queries for a in search("gcg", target, 60, means)]
    assert spent[1] == 2
    assert min(spent[0], spent[2]) > 50


def test_checks_come_at_milestones_and_never_twice_for_the_same():
    sent = []

    class Counting:
        def reply(self, attempts, seed):
            sent.append(len(attempts))
            return [Completion(a, "", (), (), True) for a in attempts]

    [hunt] = hunts([PROMPTS[0]], 160, 0, "x")
    checks = Checks(Counting(), judge_of(lambda _: False), 0)
    assert checks.going([hunt]) == [hunt]
    assert sent == []  # nothing was scored yet
    for step, new in ((1, True), (2, True), (15, False), (30, True)):
        hunt.queries = max(hunt.queries, step)
        if new:
            hunt.offer(Attempt(hunt.prompt, "x", (Message("user", str(step)),)), step)
        checks.going([hunt])
    assert sent == [1, 1, 1]  # at 1; not at 2, before a tenth; at 15, what came at 2; at 30
    assert hunt.queries == 31


def test_a_hunt_takes_the_first_and_no_nan():
    hunt = Hunt(PROMPTS[0], 5, generator(0, "a", "b"))
    one, two = (Attempt(PROMPTS[0], "x", (Message("user", t),)) for t in "ab")
    assert hunt.offer(one, float("nan"))
    hunt.mark()
    assert hunt.trace == ()
    assert hunt.offer(two, -3.0)
    assert not hunt.offer(one, float("nan"))
    assert not hunt.offer(one, -3.0)
    hunt.queries = 4
    hunt.mark()
    assert hunt.result(one) == Attempt(
        PROMPTS[0], "x", two.messages, search=Search(queries=4, trace=((4, -3.0),))
    )


def test_a_swap_changes_one_token_and_is_drawn_once(target):
    [climb] = climbs(hunts(PROMPTS[:1], 100, 0, "gcg"), target, "gcg", 6, "Sure")
    top = np.array([[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12]]) + 40
    swaps = GCG()._swaps(climb, top, 50)
    assert len(set(swaps)) == len(swaps) > 6
    for swap in swaps:
        [place] = [i for i, (a, b) in enumerate(zip(swap, climb.ids, strict=True)) if a != b]
        assert swap[place] in top[place]


def test_gcg_moves_on_to_the_best_swap_though_it_is_worse_and_sends_the_best_of_all(target):
    """Every suffix scores below the one before: the search leaves its start, and the start is sent."""
    stood = []

    class Falling:
        count = 0

        def __getattr__(self, name):
            return getattr(target, name)

        def slot_likelihood(self, attempts, ids, beginnings):
            self.count += len(ids)
            return [float(-self.count - i) for i in range(len(ids))]

        def slot_substitutes(self, attempts, ids, beginnings, count):
            stood.append(ids[0])
            return target.slot_substitutes(attempts, ids, beginnings, count)

    [attempt] = GCG()(PROMPTS[:1], Falling(), 60, 0)
    assert len(stood) == len(set(stood)) > 3
    [start] = GCG()(PROMPTS[:1], target, 0, 0)
    assert attempt.messages == start.messages


def test_wide_beams_need_a_wide_purse():
    assert Beast()._width(40 * 15 * 16) == 15
    assert Beast()._width(40 * 2 * 3) == 2
    assert Beast()._width(3) == 1


def test_scav_needs_both_sorts(target):
    few = arm(ATTACKS["scav"], Means(benign=MEANS.benign[:7], harmful=MEANS.harmful))
    assert unmet(few, "white-box") == "it needs at least 8 benign prompts"
    assert (
        unmet(ATTACKS["scav"], "white-box")
        == "it needs benign prompts (--prompts FILE --kind benign) and harmful prompts"
    )
    with pytest.raises(AttackError, match="scav was given 7 benign requests; expected at least 8"):
        few.run(PROMPTS, target, 60, 0)


def test_scav_scores_by_the_last_layers_probability_times_the_distance_to_the_plain_request():
    """The first layer tells the sorts apart too, the other way round; of harmless ones the nearer is better."""

    class Model:
        def hidden_states(self, attempts):
            states = np.zeros((len(attempts), 2, 3))
            for i, attempt in enumerate(attempts):
                said = attempt.messages[0].content
                states[i, 1, 0] = 9.0 * ("scratch" in said) + len(said) / 100
                states[i, 0, 0] = -states[i, 1, 0]
                states[i, 1, 2] = 5.0 * said.count("far") + 0.5 * said.count("veiled")
            return states

    scav = Scav(benign=MEANS.benign, harmful=MEANS.harmful)
    plain = Prompt("p", "Tell me how to scratch a door.")
    disguise = scav._disguise(Model(), 9, [plain])
    said = ["Tell me how to scratch a door. veiled", "A door. veiled", "A door. veiled far"]
    asked = [Attempt(plain, "x", (Message("user", text),)) for text in said]
    harmful, near, far = disguise.scores(asked)
    states = Model().hidden_states(asked)[:, 1]
    logits, away = disguise.probe.logit(states), np.linalg.norm(states - disguise.plain["p"], axis=1)
    assert logits[0] > 0 > max(logits[1:])
    assert np.allclose([harmful, near, far], -np.log(away / (1 + np.exp(-logits))))
    assert near > max(harmful, far)


def test_colds_energy_of_words_is_the_chance_that_a_place_holds_one():
    rng = np.random.default_rng(0)
    logits, shunned = rng.standard_normal((3, 6)), np.array([True, False, False, True, False, False])

    def chance(at):
        return float((np.exp(at) / np.exp(at).sum(1, keepdims=True))[:, shunned].sum(1).mean())

    gradient = _Soft(None, shunned, logits).pull_of_words()
    steps = np.eye(18).reshape(18, 3, 6) * 1e-6
    slopes = [(chance(logits + step) - chance(logits - step)) / 2e-6 for step in steps]
    assert np.allclose(gradient.ravel(), slopes, atol=1e-8)


def test_cold_shuns_words_that_refuse_and_are_one_token_each():
    lm = load_lm(WEIGHTS / "llama")
    model = LocalTarget(lm, Decoding(max_new_tokens=4))
    [climb] = climbs(hunts([PROMPTS[0]], 9, 0, "cold"), model, "cold", 20, "Sure")
    shunned = model.usable_tokens()[_shunned(climb, model, model.usable_tokens())]
    assert {lm.tokenizer.decode([int(token)]) for token in shunned} == {
        " not",
        " but",
        " never",
        " against",
        " cannot",
    }


def test_closed_models_are_refused():
    class Closed:
        name, access = "closed", "logprobs"

    for name in ("gcg", "cold", "scav", "soft_prompt", "beast"):
        with pytest.raises(AttackError, match="was given a model of logprobs access"):
            ATTACKS[name].run(PROMPTS, Closed(), 5, 0)
        assert "white-box access" in unmet(arm(ATTACKS[name], MEANS), "logprobs")


def test_soft_vectors_of_a_surrogate_of_another_width_are_refused(target):
    narrow = LocalTarget(random_lm("llama", hidden_size=16), Decoding(max_new_tokens=4))
    info = AttackInfo(
        "soft_prompt@transfer",
        "m",
        "white-box",
        "transfer",
        "s",
        "",
        ATTACKS["soft_prompt"].run,
        surrogate=narrow,
    )
    attempts = attack_prompts(info, PROMPTS, target, 3, 0)
    assert {a.search.surrogate for a in attempts} == {"random-llama"}
    with pytest.raises(AttackError, match="vectors of width 16 for random-"):
        target.reply(attempts, 0)


def test_soft_attempts_reply_and_survive_the_disk(target):
    attempts = search("soft_prompt", target, 6)
    completions = target.reply(attempts, 0)
    assert all(c.token_ids for c in completions)
    record = Record(completions[0], ())
    assert from_json(to_json(record)) == record
    [alone] = target.reply(attempts[1:2], 0)
    assert alone.token_ids == completions[1].token_ids


def test_seeds_hold_words_that_may_change():
    assert 5 <= len(seeds()) == len(set(seeds()))
    assert all(seed.count("{request}") == 1 for seed in seeds())
    for word, others in synonyms().items():
        assert word not in others
        assert len(others) >= 1
    assert all(sum(w.strip(".,:").lower() in synonyms() for w in seed.split()) >= 8 for seed in seeds())


def test_autodan_begins_with_and_mutates_into_what_its_attacker_writes():
    """With a mutation of 1 every child is written anew; without an attacker nothing is."""
    asked = []

    class Counting(Rewriter):
        def log_likelihood(self, attempts, beginnings):
            asked.append([a.messages[0].content for a in attempts])
            return [-len(a.messages[0].content) for a in attempts]

    target = Counting()
    run = AutoDAN(attacker=Rewriter(), breeding=Breeding(mutation=1.0, elite=0.0))
    run(PROMPTS[:1], target, 100, 0)
    start, first, *children = asked
    assert len(start) == 1
    assert len(start) + len(first) == Breeding().size(100) == 10
    assert Breeding().size(25_600) == 256  # as published, at the default budget
    assert sum("Whistling" in text for text in first) == 10 - len(seeds())
    assert all("Whistling" in text for row in children for text in row)
    asked.clear()
    AutoDANWords()(PROMPTS[:1], target, 100, 0)
    assert not any("times, answer" in text for row in asked for text in row)
    with pytest.raises(AttackError, match="autodan was given no attacker"):
        AutoDAN()(PROMPTS[:1], target, 100, 0)


def test_parents_change_places_at_few_places():
    ours, theirs = (" ".join(f"{mark}{i}." for i in range(20)) for mark in "ab")
    changes = []
    for seed in range(40):
        marks = [word[0] for word in _cross(ours, theirs, 5, np.random.default_rng(seed)).split()]
        changes.append(sum(x != y for x, y in pairwise(marks)))
    assert max(changes) <= 5
    assert max(changes) > 1
    kept = _cross("a. {request} a.", "b. b. b.", 5, np.random.default_rng(3))
    assert "{request}" in kept


def test_random_search_needs_likelihoods_alone():
    class Vowels:
        name, access = "vowels", "logprobs"

        def log_likelihood(self, attempts, beginnings):
            return [sum(c in "aeiou" for c in a.messages[-1].content) / 100 for a in attempts]

    for attempt in RandomSearch()(PROMPTS, Vowels(), 50, 0):
        assert attempt.search.trace[-1][1] > attempt.search.trace[0][1]
        assert attempt.search.queries == 50
