"""The only maker of percentages: records -> rates with intervals, paired differences, the entropy gap.

Pure (numpy and scipy), no files, no models. Fractions in, fractions out; the page turns them into percent.
What was not scored is counted beside the number, never inside it; what cannot be known is None.
"""

from sirl.metrics.agreement import agreement, fleiss_kappa, kappa
from sirl.metrics.breakdowns import budget_curve, dsr_by_budget, dsr_by_category, searching
from sirl.metrics.entropies import (
    Measured,
    compare_entropies,
    entropy_along,
    entropy_by_class,
    gap_groups,
    gap_table,
    group,
    group_entropies,
)
from sirl.metrics.estimates import (
    auroc,
    clustered_rate,
    cohens_d,
    holm,
    mann_whitney,
    rate,
    sign_flip_p,
    wilson,
)
from sirl.metrics.paired import diversity_difference, paired_by_attack, paired_difference, successes
from sirl.metrics.rates import (
    DIRECT,
    as_row,
    attacked,
    capability,
    diversity,
    dsr,
    dsr_table,
    mean_dsr,
    over_refusal,
    select,
    share,
    split_draws,
    truncated,
    union_rate,
    unscored,
    withstood,
)

__all__ = [
    "DIRECT",
    "Measured",
    "agreement",
    "as_row",
    "attacked",
    "auroc",
    "budget_curve",
    "capability",
    "clustered_rate",
    "cohens_d",
    "compare_entropies",
    "diversity",
    "diversity_difference",
    "dsr",
    "dsr_by_budget",
    "dsr_by_category",
    "dsr_table",
    "entropy_along",
    "entropy_by_class",
    "fleiss_kappa",
    "gap_groups",
    "gap_table",
    "group",
    "group_entropies",
    "holm",
    "kappa",
    "mann_whitney",
    "mean_dsr",
    "over_refusal",
    "paired_by_attack",
    "paired_difference",
    "rate",
    "searching",
    "select",
    "share",
    "sign_flip_p",
    "split_draws",
    "successes",
    "truncated",
    "union_rate",
    "unscored",
    "wilson",
    "withstood",
]
