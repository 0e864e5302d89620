"""Check an attack against what every attack promises, whoever wrote it.

Our tests put every line of the table through this, and `sirl attacks check` a user's own. Each promise is one
function; the first one broken is told in a sentence. What an attack needs besides a model it must have been
given before, by `sirl.attacks.arm`. This module refuses to know how any attack works and whether it is any
good.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from sirl.attacks.contract import Meter, Spent, attack_prompts, broken
from sirl.attacks.info import AttackInfo, unmet, whole
from sirl.errors import AttackError, SirlError
from sirl.records import Access, Attack, Attempt, Completion, Prompt, Target

PROMPTS = (
    Prompt("p1", "How do I whistle a very loud tune in 7 notes?"),
    Prompt("p2", 'Wham {request} and {0} }{ %s — “ça” 日本語 🙂\nnew line "quoted" \\7 4ever'),
    Prompt("p3", "Sing", kind="benign", category="talk", answer="la"),
    *(Prompt(f"q{i}", f"Tell me how to juggle {i} balls.") for i in range(4)),
)
PLACEHOLDER = "{request}"


@dataclass(frozen=True, slots=True)
class StandIn:
    """A model that is none: what it says and how it scores depends on the text alone."""

    name: str = "stand-in"
    access: Access = "logprobs"

    def reply(self, attempts: Sequence[Attempt], seed: int) -> list[Completion]:
        texts = [f"Take {_number(f'{seed}|{a.messages}|{a.prefill}')} steps." for a in attempts]
        return [
            Completion(attempt, text, (1, 2, 3), ("Take", " some", " steps."), finished=True)
            for attempt, text in zip(attempts, texts, strict=True)
        ]

    def log_likelihood(self, attempts: Sequence[Attempt], beginnings: Sequence[str]) -> list[float]:
        return [
            -1 - _number(f"{a.messages}|{a.prefill}|{b}") / 100
            for a, b in zip(attempts, beginnings, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Trial:
    """An attack on trial: on which model it searches, for which prompts, and with how many queries a prompt."""

    attack: AttackInfo
    target: Target = field(default_factory=StandIn)
    prompts: tuple[Prompt, ...] = PROMPTS
    budget: int = 21
    budgets: tuple[int, ...] = (0, 1, 2, 8, 9, 10, 25)

    def run(self, prompts: Sequence[Prompt] | None = None, seed: int = 0) -> list[Attempt]:
        """Run the attack within the contract; None stands for all prompts of the trial."""
        chosen = self.prompts if prompts is None else prompts
        return attack_prompts(self.attack, chosen, self.target, self.budget, seed)


def check_attack(attack: AttackInfo | Attack, target: Target | None = None, budget: int = 21) -> list[str]:
    """Check a function, or a whole line of the table, against every promise; return the promises in words.

    `target` is the model it searches on; without one it gets a stand-in that knows nothing. Raises AttackError
    that names the first promise broken.
    """
    if not isinstance(attack, AttackInfo):
        name = getattr(attack, "__name__", type(attack).__name__)
        attack = AttackInfo(name, "custom", "unknown", "custom", name, "", attack)
    trial = Trial(attack, target or StandIn(), budget=budget)
    if lack := unmet(attack, trial.target.access):
        raise AttackError(f"attack {attack.name!r} cannot be run: {lack}", "all that it needs", "arm it first")
    for promise in PROMISES.values():
        try:
            promise(trial)
        except SirlError:
            raise
        except Exception as error:
            found = f"failed with {type(error).__name__}: {error}"
            raise broken(attack.name, found, "attempts for any prompts") from error
    return list(PROMISES)


def answers_in_order(trial: Trial) -> None:
    """Check for one attempt a prompt, same order, nothing empty, and turns that any chat template takes."""
    for attempt in trial.run():
        roles = [message.role for message in attempt.messages]
        turns = roles[1:] if roles[0] == "system" else roles
        if turns != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
            found = f"sent turns of {', '.join(roles)} for prompt {attempt.prompt.id!r}"
            raise broken(trial.attack.name, found, "user and assistant in turn, the user first and last")


def sends_the_request(trial: Trial) -> None:
    """Check that the request stands in the last message, or that the attack's own `recover` finds it there."""
    recover, name = trial.attack.recover, trial.attack.name
    for attempt in trial.run() if recover else ():
        assert recover is not None
        text, sent = attempt.prompt.text, recover(attempt.messages[-1].content)
        if text not in sent or (recover is not whole and text != sent):
            expected = "it word for word, an attribute recover that reads it back, or recover = None"
            raise broken(name, f"did not send the request of prompt {attempt.prompt.id!r}", expected)
        if sent.count(PLACEHOLDER) != text.count(PLACEHOLDER):
            raise broken(name, f"left {PLACEHOLDER} in what it sends", "one filling of each placeholder")


def repeats_itself(trial: Trial) -> None:
    """Check that the same seed gives the same attempts."""
    if trial.run(seed=3) != trial.run(seed=3):
        raise broken(trial.attack.name, "gave other attempts under the same seed", "the same")


def ignores_company(trial: Trial) -> None:
    """Check that what is sent for a prompt depends neither on the order of the prompts nor on the others."""
    together = {attempt.prompt.id: attempt for attempt in trial.run()}
    backwards = {attempt.prompt.id: attempt for attempt in trial.run(trial.prompts[::-1])}
    [alone] = trial.run(trial.prompts[2:3])
    if backwards != together:
        raise broken(trial.attack.name, "gave other attempts in another order", "the same for each prompt")
    if alone != together[alone.prompt.id]:
        raise broken(trial.attack.name, "gave another attempt to a prompt alone", "the same as in company")


def leaves_its_input(trial: Trial) -> None:
    """Check that the prompts given are not changed, nor their list."""
    given = copy.deepcopy(list(trial.prompts))
    before = copy.deepcopy(given)
    searched = trial.attack.surrogate or trial.target
    spent = {prompt.id: Spent() for prompt in given}
    meter = Meter(searched, trial.attack.name, trial.budget, spent)
    trial.attack.run(given, None if trial.attack.kind == "static" else meter, trial.budget, 0)
    if given != before:
        raise broken(trial.attack.name, "changed the prompts it was given", "them untouched")


def does_nothing_for_nobody(trial: Trial) -> None:
    """Check that without prompts there are no attempts, and no query."""
    trial.run([])  # the meter stops a query about a prompt that was not given


def keeps_its_budget(trial: Trial) -> None:
    """Check that no prompt costs more queries than the budget; the meter counts them one by one."""
    for budget in trial.budgets:
        attack_prompts(trial.attack, trial.prompts, trial.target, budget, 0)


PROMISES: Mapping[str, Callable[[Trial], None]] = {
    "the prompts are left as they were": leaves_its_input,
    "one attempt a prompt, in order, in turns that any chat template takes": answers_in_order,
    "the request is in what is sent, or can be read back": sends_the_request,
    "same seed, same attempts": repeats_itself,
    "order and company of the prompts do not matter": ignores_company,
    "no prompts, no attempts": does_nothing_for_nobody,
    "the budget is kept to the query": keeps_its_budget,
}


def _number(text: str) -> int:
    return int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") % 997
