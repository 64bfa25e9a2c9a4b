"""Adjusted p-values of a family of tests: reject where the adjusted one is at most the level.

Bonferroni, Holm (1979) and Hommel (1988) control the chance of any false rejection, for decisions; Hommel rejects at
least as much as Holm but needs tests that are independent or positively dependent. Benjamini & Hochberg (1995) control
the share of false ones among rejections, for exploration. Functions take p-values (m,) and return adjusted ones in the
same order; NaN, a test that does not exist, stays NaN and does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from collectors.analytics.experiments.moments import Floats


def bonferroni(p: Floats) -> Floats:
    """Multiply by the number of tests."""
    return np.minimum(p * np.count_nonzero(~np.isnan(p)), 1.0)


def holm(p: Floats) -> Floats:
    """Step down from the smallest."""
    return _sorted(p, lambda q: np.maximum.accumulate(q * np.arange(len(q), 0, -1)))


def benjamini_hochberg(p: Floats) -> Floats:
    """Step up from the largest."""
    return _sorted(p, lambda q: np.minimum.accumulate((q * len(q) / np.arange(1, len(q) + 1))[::-1])[::-1])


def hommel(p: Floats) -> Floats:
    """Close Simes' test; by the algorithm of Wright (1992, Biometrics 48)."""
    return _sorted(p, _hommel)


CORRECTIONS: Mapping[str, Callable[[Floats], Floats]] = MappingProxyType(
    {"bonferroni": bonferroni, "holm": holm, "hommel": hommel, "benjamini_hochberg": benjamini_hochberg}
)
"""The corrections by name."""


def _hommel(q: Floats) -> Floats:
    m = len(q)
    adjusted = np.full(m, np.min(q * m / np.arange(1, m + 1), initial=1.0))
    for size in range(m - 1, 1, -1):
        head, tail = np.arange(m - size + 1), np.arange(m - size + 1, m)
        least = np.min(size * q[tail] / np.arange(2, size + 1))
        level = np.empty(m)
        level[head] = np.minimum(size * q[head], least)
        level[tail] = level[m - size]
        adjusted = np.maximum(adjusted, level)
    return np.maximum(adjusted, q)


def _sorted(p: Floats, adjust: Callable[[Floats], Floats]) -> Floats:
    """Apply ``adjust`` to the defined p-values in rising order."""
    adjusted = np.full(len(p), np.nan)
    defined = np.flatnonzero(~np.isnan(p))
    order = defined[np.argsort(p[defined], kind="stable")]
    if len(order):
        adjusted[order] = np.clip(adjust(p[order]), p[order], 1.0)
    return adjusted
