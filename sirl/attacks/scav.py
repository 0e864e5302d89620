"""SCAV: breed readable prompts that the model itself no longer takes for harmful.

A linear probe a layer learns to tell plain harmful requests from plain benign ones by the hidden state
before the reply; the search lowers the probability of *harmful* that the reliable probes give. It asks
nothing of what the model says. This module refuses to know tensors and how prompts are bred.

Defaults: the genetic search's are AutoDAN's; 32 requests of each sort and probes right on .9 are ours.

Departures from the paper: the prompt-level attack only; embeddings are never changed. The score is the mean
probe logit over all reliable layers, where the published attack weighs the last layer's probability by a
distance. Probes learn from requests of the set that is measured on. The genetic search and its seeds are
AutoDAN's. The best so far is really sent and judged at sixteen milestones of the budget, and a prompt whose
attack has succeeded stops there; the hoped-for beginning is the data set's own where it gives one.

Source: arXiv 2404.12038.
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
    """Genetic search against linear probes.

    Probes learn from at most `examples` requests of each sort, each of which costs every prompt a query, and
    never more than half its budget in all. Layers whose probe is right on at least
    `reliable` of the requests it did not see are used; if there are none, the best.
    """

    NEEDS = ("benign", "harmful")
    FEWEST = 8  # requests of each sort that a probe needs

    examples: int = 32
    reliable: float = 0.9
    breeding: Breeding = field(default_factory=Breeding)
    judge: Judge | None = field(default=None, repr=False)
    benign: tuple[Prompt, ...] = field(default=(), repr=False)
    harmful: tuple[Prompt, ...] = field(default=(), repr=False)

    def __call__(
        self, prompts: Sequence[Prompt], target: Target | None, budget: int, seed: int
    ) -> list[Attempt]:
        """Return each prompt in the surroundings that look least harmful; each hidden state is one query.

        A budget too small for probes returns the start unscored. Raises AttackError where there are fewer than
        FEWEST requests of a sort.
        """
        model, searches = opened(target, NAME), hunts(prompts, budget, seed, NAME)
        for sort, given in (("benign", self.benign), ("harmful", self.harmful)):
            if len(given) < self.FEWEST:
                raise AttackError(
                    f"{NAME} was given {len(given)} {sort} requests",
                    f"at least {self.FEWEST} of each sort to learn its probes from",
                    "add prompts of that kind, or leave scav out",
                )
        count = min(self.examples, len(self.benign), len(self.harmful), budget // 4)
        if prompts and count >= self.FEWEST:
            probes = self._probes(model, count)
            for hunt in searches:
                hunt.queries += 2 * count
            evolve(
                searches,
                NAME,
                lambda a: probes.harmless(model, a),
                Checks(model, self.judge, seed),
                self.breeding,
            )
        return [hunt.result(start(hunt.prompt, NAME)) for hunt in searches]

    def _probes(self, model: WhiteBox, count: int) -> _Probes:
        """Fit a probe a layer on every other request and keep those that are right on the rest."""
        plain = [*_spread(self.harmful, count), *_spread(self.benign, count)]
        states_NLH = model.hidden_states([_plain(prompt) for prompt in plain])
        harmful_N = np.arange(2 * count) < count
        learn_N = np.arange(2 * count) % 2 == 0
        layers = [_fit(states_NLH[learn_N, i], harmful_N[learn_N]) for i in range(states_NLH.shape[1])]
        right = [
            float(np.mean((layer.logit(states_NLH[~learn_N, i]) > 0) == harmful_N[~learn_N]))
            for i, layer in enumerate(layers)
        ]
        chosen = [i for i, share in enumerate(right) if share >= min(self.reliable, max(right))]
        return _Probes({i: layers[i] for i in chosen})


@dataclass(frozen=True, slots=True)
class _Probe:
    """A linear probe of one layer: positive means harmful."""

    centre: np.ndarray
    weight: np.ndarray
    bias: float

    def logit(self, states_NH: np.ndarray) -> np.ndarray:
        found: np.ndarray = (states_NH - self.centre) @ self.weight + self.bias
        return found


@dataclass(frozen=True, slots=True)
class _Probes:
    """The probes of the layers that can be relied on, by layer."""

    layers: dict[int, _Probe]

    def harmless(self, model: WhiteBox, attempts: Sequence[Attempt]) -> list[float]:
        """Return minus the mean logit of *harmful* over the layers: higher looks more harmless."""
        states_NLH = model.hidden_states(attempts) if attempts else np.zeros((0, 1, 1))
        values = [-probe.logit(states_NLH[:, i]) for i, probe in self.layers.items()] if attempts else []
        return [float(x) for x in np.mean(values, axis=0)] if attempts else []


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
    """Ask an example as it is, under an id that is no attacked prompt's."""
    return Attempt(replace(prompt, id=f"{NAME}/{prompt.id}"), NAME, (Message("user", prompt.text),))


def _spread(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """Return `count` prompts, the first by id: the same ones whatever the order they came in."""
    return sorted(prompts, key=lambda p: p.id)[:: max(1, len(prompts) // count)][:count]
