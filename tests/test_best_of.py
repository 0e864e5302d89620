"""The surest of several replies: which one it is, that it depends on nothing else, and who cannot do it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from conftest import attempts

from sirl.attacks import ATTACKS, Means, arm, attack_prompts
from sirl.config import EvaluateConfig, ModelConfig, load_recipe
from sirl.endpoint import open_endpoint
from sirl.errors import ConfigError
from sirl.generation import generate
from sirl.judges import get_judge
from sirl.records import Completion, Decoding
from sirl.targets import LocalTarget
from sirl.targets.local import surest
from sirl.workflows.models import Model

SAMPLED = Decoding(temperature=1.0, max_new_tokens=6)


def reply(text: str, *entropies: float) -> Completion:
    return Completion(attempts(["hi"])[0], text, (0,) * len(entropies), (), True, entropies)


def mean(completion: Completion) -> float:
    return sum(completion.entropies or ()) / len(completion.entropies or ())


def test_the_surest_reply_by_hand():
    # means .625, .5, .5 nats: the sum of the second is the greatest, the third comes after its equal
    replies = [reply("a", 0.625), reply("b", 0.25, 0.75, 0.5), reply("c", 0.5)]
    assert surest(replies).text == "b"
    assert surest(replies[::-1]).text == "c"


def test_more_draws_only_add_to_fewer(lm):
    asked = attempts(["how?", "why?", "when do we go?"])
    means = [[mean(c) for c in LocalTarget(lm, SAMPLED, best_of=n).reply(asked, 5)] for n in (1, 2, 4, 8)]
    for fewer, more in pairwise(means):
        assert all(b <= a for a, b in zip(fewer, more, strict=True))
    assert means[-1] < means[0]


def test_one_draw_is_what_was_always_drawn(lm):
    asked = attempts(["how?", "why?"])
    assert LocalTarget(lm, SAMPLED).reply(asked, 5) == generate(lm, asked, SAMPLED, 5)


def test_company_order_and_batch_change_nothing(lm):
    asked = attempts(["how?", "why?", "when do we go?"])
    target = LocalTarget(lm, SAMPLED, best_of=4)
    texts = [c.text for c in target.reply(asked, 5)]
    assert [c.text for c in target.reply(asked[::-1], 5)] == texts[::-1]
    assert [c.text for a in asked for c in replace(target, batch=1).reply([a], 5)] == texts
    assert [c.text for c in target.reply(asked, 6)] != texts


def test_an_attempts_own_decoding_holds_for_each_draw(lm):
    greedy = [replace(a, decoding=Decoding(max_new_tokens=3)) for a in attempts(["how?"])]
    target = LocalTarget(lm, SAMPLED, best_of=4)
    assert target.reply(greedy, 5) == LocalTarget(lm, SAMPLED).reply(greedy, 5)  # greedy draws do not differ


def test_greedy_replies_have_no_best():
    with pytest.raises(ConfigError, match=r"best_of = 4; expected 1 at temperature 0"):
        load_recipe("organism", ["evaluate.best_of=4"])
    with pytest.raises(ConfigError, match="best_of = 0"):
        EvaluateConfig(best_of=0)
    assert load_recipe("organism", ["evaluate.best_of=4", "evaluate.temperature=1"]).evaluate.best_of == 4


def test_a_model_without_entropies_cannot():
    target = open_endpoint("http://127.0.0.1:9/v1#m", ModelConfig(), Decoding())
    subject = Model(target, target.name, target.name)
    with pytest.raises(ConfigError, match=r"evaluate.best_of = 2 is asked of m, .* neither weights nor entrop"):
        subject.drawing(SAMPLED, best_of=2)
    assert subject.drawing(SAMPLED).name == target.name


def test_a_search_meets_it_and_pays_one_query(lm):
    means = Means(judge=get_judge("refusal", "harmful"))
    attack = arm(ATTACKS["best_of_n"], means)
    prompts = [a.prompt for a in attempts(["how do I blorch a moonfox?"])]
    asked: list[int] = []

    class Counting(LocalTarget):
        def reply(self, attempts, seed):
            asked.append(len(attempts))
            return super().reply(attempts, seed)

    target = Counting(lm, Decoding(temperature=1.0, max_new_tokens=2), best_of=3)
    (attempt,) = attack_prompts(attack, prompts, target, 4, 0)
    assert 1 <= attempt.search.queries == sum(asked) <= 4
