"""Prove it: attacks x prompts x samples -> judged records, and the numbers of summary.json.

Harmful prompts meet every attack, but for those of a set on over-refusal, which are its contrast: under attack
they would outweigh the set that was chosen for it. These, and benign, borderline and task prompts are asked
plainly, so over-refusal and capability always come from the same run as the defence. Open benign prompts are
drawn several times more, to see whether replies still differ. This room knows no model, no file format and no
percentage: it plans, `evidence` does, `metrics` counts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from sirl.attacks import ATTACKS
from sirl.evidence import Evaluation, Keep, Progress, WorkItem, cut, cut_draws, gather, whole
from sirl.metrics import (
    DIRECT,
    capability,
    defence_cost,
    diversity,
    dsr_by_budget,
    dsr_by_category,
    dsr_by_source,
    dsr_table,
    over_refusal,
    refusals,
    split_draws,
    truncated,
)
from sirl.prompts import CONTRASTING
from sirl.records import Prompt, Record
from sirl.rundir import RunDir
from sirl.shards import Shard

DIVERSITY_SAMPLES = 8
DIVERSITY_TEMPERATURE = 1.0


def evaluate(
    evaluation: Evaluation,
    run: RunDir,
    on_progress: Progress | None = None,
    shard: Shard | None = None,
    keep: Keep = whole,
) -> list[Record]:
    """Return the records of the whole plan, or of a shard of it, doing only what the run does not hold yet.

    They are as `keep` leaves them. Raises as `evidence.gather` does.
    """
    return gather(evaluation, plan(evaluation), run, on_progress, shard, keep)


def plan(evaluation: Evaluation) -> list[WorkItem]:
    """Return the work in its order: each attack on the harmful prompts, the plain rest, the extra draws."""
    plain = {source.source for source in evaluation.sources if source.set in CONTRASTING}
    harmful = [p for p in evaluation.prompts if p.kind == "harmful" and p.source not in plain]
    others = [p for p in evaluation.prompts if p.kind != "harmful" or p.source in plain]
    direct = evaluation.attacks.get(DIRECT, ATTACKS[DIRECT])
    items = [item for attack in evaluation.attacks.values() for item in cut(evaluation, attack, harmful)]
    first = evaluation.config.samples  # the extra draws are numbered after the ordinary ones
    warm = replace(evaluation.decoding, temperature=DIVERSITY_TEMPERATURE)
    draws = range(first, first + DIVERSITY_SAMPLES)
    return [
        *items,
        *cut(evaluation, direct, others),
        *cut_draws(evaluation, direct, [p for p in others if _open(p)], draws, warm),
    ]


def summarise(
    records: Sequence[Record],
    seen: Collection[str] | None = None,
    samples: int = 1,
    held_out: Collection[str] = (),
) -> dict[str, Any]:
    """Return the inner objects of summary.json.

    `seen` names the attacks that training used (None: not known), `held_out` those of families that nothing
    met, `samples` is the run's setting. Shares are fractions, None where nothing was scored; each `_detail`
    gives interval, n and unscored.
    """
    plain, draws = split_draws(records, samples)
    refused, skills, variety = over_refusal(plain), capability(plain), diversity(draws)
    cut_off = truncated(plain)
    return {
        "dsr": dsr_table(plain, seen, held_out),
        "by_category": dsr_by_category(plain),
        "by_source": dsr_by_source(plain),
        "dsr_by_budget": dsr_by_budget(plain),
        "over_refusal": {kind: row["rate"] for kind, row in refused.items()},
        "over_refusal_detail": refused,
        "refusals": refusals(plain),
        "capability": {name: row["rate"] for name, row in skills.items()},
        "capability_detail": skills,
        "diversity": variety["rate"],
        "diversity_detail": variety,
        "truncated": {kind: row["rate"] for kind, row in cut_off.items()},
        "truncated_detail": cut_off,
        **({"defence": cost} if (cost := defence_cost(records)) else {}),
    }


def _open(prompt: Prompt) -> bool:
    return prompt.kind == "benign" and prompt.category == "open"
