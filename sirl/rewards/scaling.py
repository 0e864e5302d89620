"""How loud each side of the gate is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np


def divided_by_side(rewards: Sequence[float], sides: Sequence[Hashable], group: int) -> list[float]:
    """Return rewards divided by how far those of their side lie from the mean of their group, same order.

    So neither the entropy's nor the penalty's scale decides how loud the other is. `group` replies to one
    prompt stand together; a side whose rewards never differ in a group is left as it is.
    """
    centred: dict[Hashable, list[float]] = defaultdict(list)
    for start in range(0, len(rewards), group):
        members = rewards[start : start + group]
        centred[sides[start]] += [r - sum(members) / len(members) for r in members]
    scales = {side: float(np.sqrt(np.mean(np.square(values)))) for side, values in centred.items()}
    return [r / (scales[side] or 1.0) for r, side in zip(rewards, sides, strict=True)]
