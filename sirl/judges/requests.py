"""Does a request look like those that the judge of harm was fitted to? Linear, on its hashed words.

The judge of harm knows harm by the subjects of its training sets. Of a request about something else its "not
harmful" means nothing, and this module says so. Only the words that name the subject count: how a request is
phrased ("tell me how to", "write a") is alike for every subject, so the words of phrasing are left out, and a
request of words that no set holds has a sum of zero.

The weights were fitted by `benchmarks/train_harm.py` to public sets of harmful and harmless requests. They hold
hashes, no words. This module knows text alone, no reply and no verdict.
"""

from __future__ import annotations

import json
from pathlib import Path

from sirl.judges.signs import hashed, tokens

WEIGHTS = Path(__file__).with_name("requests.json")
SUBJECTS = 65536  # buckets of the words of a request that name its subject
_PHRASING = """
    about above across advice after against all also am an and another answer any anyone are around article
    as ask asks at away be because been before being below best better between blog both brief but by can
    cannot certain common company compare compose could create day describe description design detailed
    details develop did different do does doing don't done down draft during each easily effective
    effectively either else email essay etc ever every everyone example examples explain explaining
    explanation few first for from generate get gets getting give given go goes going good group guide had
    has have having he hello help helps her here hi him his home how however i'd i'm i've idea ideas if in
    information instruct instruction instructions into is it it's its itself just know let let's letter like
    likely list long look lot made make makes making many may me message might more most much must my myself
    name need needs never new no nor not now of off often on once one ones only onto or other others our out
    outline over own paragraph people person plan please poem possible post problem process program properly
    provide question quickly real really recipe recommend same say script see sentence shall she short
    should show simple so some somebody someone something specific speech step steps still story strategy
    successful successfully such suggest summary take takes taking teach tell text than that the their them
    themselves then there these they thing things this those through time tips to too translate try tutorial
    two under until up upon us use used using very want wants was way ways we well were what what's when
    where which while who whom whose why will with within without word words work world would write writing
    written year yes yet you your yourself
"""
PHRASING = frozenset(_PHRASING.split())  # no subject: words of grammar, of asking, of forms of text


def subject(request: str) -> list[int]:
    """Return the buckets, each once and in order, of the words that name what a request is about."""
    words = {word for word in tokens(request) if len(word) > 1 and word not in PHRASING}
    return sorted({hashed(word) % SUBJECTS for word in words})


class RequestModel:
    """Weights of buckets, and the score from which on a request looks harmful."""

    def __init__(self, path: Path = WEIGHTS) -> None:
        """Read weights as `benchmarks/train_harm.py` writes them: whole numbers and their scale."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        scale = stored["scale"]
        self._threshold: float = stored["threshold"] / scale
        values = (value / scale for value in stored["weights"])
        self._weights: dict[int, float] = dict(zip(stored["buckets"], values, strict=True))

    def looks_harmful(self, request: str) -> bool:
        """Say whether the subject of a request is one that the fitted sets ask harm about."""
        return sum(self._weights.get(bucket, 0.0) for bucket in subject(request)) > self._threshold
