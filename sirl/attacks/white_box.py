"""The part of the table whose attacks look inside a model: at the likelihood of its replies, or at its weights.

Budgets are the published ones, of sequences put to the model for one request. This module only lists.
"""

from __future__ import annotations

from sirl.attacks.autodan import AutoDAN, AutoDANWords
from sirl.attacks.beast import Beast
from sirl.attacks.cold import Cold
from sirl.attacks.gcg import GCG
from sirl.attacks.info import AttackInfo
from sirl.attacks.random_search import RandomSearch
from sirl.attacks.scav import Scav
from sirl.attacks.soft_prompt import SoftPrompt

WHITE_BOX = (
    AttackInfo(
        "random_search",
        "suffix search",
        "logprobs",
        "adaptive",
        "arXiv 2404.02151",
        "Random search over a suffix that makes agreement likely.",
        RandomSearch(),
        budget=10 * 10_000,  # the paper's starts and iterations
    ),
    AttackInfo(
        "gcg",
        "suffix search",
        "white-box",
        "adaptive",
        "arXiv 2307.15043",
        "Swaps suffix tokens along the gradient of agreement.",
        GCG(),
        budget=500 * 513,  # the paper's steps, each of 512 candidates and a gradient
    ),
    AttackInfo(
        "autodan",
        "genetic search",
        "logprobs",
        "adaptive",
        "arXiv 2310.04451",
        "Genetic search, with an attacker model, for readable text around the request.",
        AutoDAN(),
        budget=100 * 256,  # the published generations and their size
    ),
    AttackInfo(
        "autodan_words",
        "genetic search",
        "logprobs",
        "adaptive",
        "arXiv 2310.04451",
        "Genetic search that only swaps words, without an attacker model.",
        AutoDANWords(),
        budget=100 * 256,
        stands_for="autodan",
    ),
    AttackInfo(
        "cold",
        "energy-based search",
        "white-box",
        "adaptive",
        "arXiv 2402.08679",
        "A fluent suffix found by Langevin dynamics on its logits.",
        Cold(),
        budget=2000 * 4,  # the paper's iterations, each with its share of what is drawn and scored in between
    ),
    AttackInfo(
        "scav",
        "probe evasion",
        "white-box",
        "adaptive",
        "arXiv 2404.12038",
        "Genetic search for readable text whose hidden states look harmless.",
        Scav(),
        budget=100 * 256,  # AutoDAN's, whose search it borrows
    ),
    AttackInfo(
        "soft_prompt",
        "embedding attack",
        "white-box",
        "adaptive",
        "arXiv 2402.09063",
        "Vectors after the request that correspond to no text.",
        SoftPrompt(),
        budget=100,  # the paper's iterations
    ),
    AttackInfo(
        "beast",
        "beam search",
        "white-box",
        "adaptive",
        "arXiv 2402.15570",
        "Beam search over suffixes of the model's own next tokens.",
        Beast(),
        budget=40 * 15 * 16,  # the paper's tokens, beams, and draws a beam with their source
    ),
)
