"""Winsorising: values beyond a quantile count as the quantile, so that a few units do not drown the rest.

The cap is taken over all variants of a group together; a cap of each variant's own would hide an effect in the tail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.analytics.experiments.moments import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Winsorised:
    """``values`` (r,) after capping, the ``caps`` (g,) and how many values of each group were capped (g,)."""

    values: Floats
    caps: Floats
    capped: Ints


def winsorise(groups: Ints, values: Floats, size: int, quantile: float) -> Winsorised:
    """Cap ``values`` at the upper ``quantile`` of their group, interpolated linearly as SQL engines do.

    ``groups`` numbers (experiment, metric), not the variant. A group without values has an infinite cap.
    """
    order = np.lexsort((values, groups))
    ordered = values[order]
    n = np.bincount(groups, minlength=size)
    first = np.cumsum(n) - n
    place = quantile * np.maximum(n - 1, 0)
    below = np.floor(place).astype(np.int64)
    caps = np.full(size, np.inf)
    some = n > 0
    low = ordered[(first + below)[some]]
    high = ordered[(first + np.minimum(below + 1, np.maximum(n - 1, 0)))[some]]
    caps[some] = low + (place - below)[some] * (high - low)
    limits = caps[groups]
    return Winsorised(
        np.minimum(values, limits), caps, np.bincount(groups[values > limits], minlength=size).astype(np.int64)
    )
