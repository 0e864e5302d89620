"""SCAV: breed readable prompts that the model itself no longer takes for harmful.

A linear probe of the last layer learns to tell plain harmful requests from plain benign ones by the hidden
state before the reply. The search lowers the probability of *harmful* that it gives times the distance to the
state of the plain request, so that the message still means what was asked. It asks nothing of what the model
says. This module refuses to know tensors and how prompts are bred.

Defaults: the objective and the layer are from its code (prompt-level/prompt_demo.ipynb, read in
EEEEEKKO/SCAV), and so are the genetic search's settings, which are AutoDAN's; 32 requests of each kind are
ours.

Departures from the paper: only the prompt-level attack. The embedding-level one changes the hidden states of
every layer whose probe is right on 0.9 while the model replies; no message can do that, and every engine
here would need a hook in its forward pass. The score is the logarithm of the published product, which ranks
prompts alike. Probes are trained on requests of the set that is measured. The genetic search, its size and
its seeds are those of autodan, without an attacker model. No beginning of the reply is aimed for.

Source: arXiv 2404.12038; its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import minimize

from sirl.attacks.genetic import Breeding, evolve, start
from sirl.attacks.search import Checks, hunts, opened
from sirl.errors import AttackError
from sirl.records import Attempt, Judge, Message, Prompt, Target, WhiteBox

NAME = "scav"


@dataclass(frozen=True, slots=True)
class Scav:
    """Genetic search against a linear probe.

    It learns from at most `examples` requests of each sort, each of which costs every prompt a query, and never
    more than half its budget in all.
    """

    NEEDS = ("benign", "harmful")
    FEWEST = 8  # requests of each sort that a probe needs

    examples: int = 32
    breeding: Breeding = field(default_factory=Breeding)
    judge: Judge | None = field(default=None, repr=False)
    benign: tuple[Prompt, ...] = field(default=(), repr=False)
    harmful: tuple[Prompt, ...] = field(default=(), repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return each prompt in the surroundings that look least harmful; each hidden state is one query.

        A budget too small for a probe returns the start unscored. Raises AttackError where there are fewer than
        FEWEST requests of a sort.
        """
        model, searches = opened(target, NAME), hunts(prompts, budget, seed, NAME)
        for sort, given in (("benign", self.benign), ("harmful", self.harmful)):
            if len(given) < self.FEWEST:
                raise AttackError(
                    f"{NAME} was given {len(given)} {sort} requests",
                    f"at least {self.FEWEST} of each sort to learn its probe from",
                    "add prompts of that kind, or leave scav out",
                )
        count = min(self.examples, len(self.benign), len(self.harmful), budget // 4)
        if prompts and count >= self.FEWEST:
            disguise = self._disguise(model, count, prompts)
            for hunt in searches:
                hunt.queries += 2 * count + 1
            evolve(searches, NAME, disguise.scores, Checks(model, self.judge, seed), self.breeding)
        return [hunt.result(start(hunt.prompt, NAME)) for hunt in searches]

    def _disguise(self, model: WhiteBox, count: int, prompts: Sequence[Prompt]) -> _Disguise:
        """Fit the probe and look up the state of each plain request."""
        examples = [*_spread(self.harmful, count), *_spread(self.benign, count)]
        known = [replace(p, id=f"{NAME}/{p.id}") for p in examples]  # no attacked prompt's: all pay for each
        states_NH = model.hidden_states([_plain(prompt) for prompt in (*known, *prompts)])[:, -1]
        probe = _fit(states_NH[: len(known)], np.arange(len(known)) < count)
        ids = [prompt.id for prompt in prompts]
        return _Disguise(model, probe, dict(zip(ids, states_NH[len(known) :], strict=True)))


@dataclass(frozen=True, slots=True)
class _Probe:
    """A linear probe: positive means harmful."""

    centre: np.ndarray
    weight: np.ndarray
    bias: float

    def logit(self, states_NH: np.ndarray) -> np.ndarray:
        found: np.ndarray = (states_NH - self.centre) @ self.weight + self.bias
        return found


@dataclass(frozen=True, slots=True)
class _Disguise:
    """What an attempt's last hidden state should be: harmless by the probe, and near the plain request's."""

    model: WhiteBox
    probe: _Probe
    plain: dict[str, np.ndarray]

    def scores(self, attempts: Sequence[Attempt]) -> list[float]:
        """Return minus the logarithm of the probability of *harmful* times the distance; higher is better."""
        if not attempts:
            return []
        states_NH = self.model.hidden_states(attempts)[:, -1]
        away_NH = states_NH - np.stack([self.plain[attempt.prompt.id] for attempt in attempts])
        distance_N = np.maximum(np.linalg.norm(away_NH, axis=1), 1e-9)
        harmful_N = -np.logaddexp(0, -self.probe.logit(states_NH))
        return [float(x) for x in -(harmful_N + np.log(distance_N))]


def _fit(states_NH: np.ndarray, harmful_N: np.ndarray) -> _Probe:
    """Fit a logistic regression with an L2 penalty on centred states of unit mean spread."""
    centre_H = states_NH.mean(axis=0)
    scale = float(states_NH.std()) + 1e-9
    inputs_NH, sign_N = (states_NH - centre_H) / scale, np.where(harmful_N, 1.0, -1.0)

    def loss(at_H1: np.ndarray) -> tuple[float, np.ndarray]:
        margin_N = sign_N * (inputs_NH @ at_H1[:-1] + at_H1[-1])
        pull_N = -sign_N / (1 + np.exp(np.clip(margin_N, -500, 500))) / len(sign_N)
        slope_H1 = np.append(pull_N @ inputs_NH + 1e-2 * at_H1[:-1], pull_N.sum())
        return float(np.logaddexp(0, -margin_N).mean() + 5e-3 * at_H1[:-1] @ at_H1[:-1]), slope_H1

    at_H1 = minimize(loss, np.zeros(states_NH.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return _Probe(centre_H, at_H1[:-1] / scale, float(at_H1[-1]))


def _plain(prompt: Prompt) -> Attempt:
    return Attempt(prompt, NAME, (Message("user", prompt.text),))


def _spread(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """Return `count` prompts, the first by id: the same ones whatever the order they came in."""
    return sorted(prompts, key=lambda p: p.id)[:: max(1, len(prompts) // count)][:count]
