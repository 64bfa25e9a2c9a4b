"""Sample ratio mismatch: whether the variants have as many units as they were meant to get.

If not, the units of the variants are not comparable, and no effect may be read from the experiment. An alarm at
p < 0.001 is usual: Fabijan et al. (2019), Diagnosing Sample Ratio Mismatch in Online Controlled Experiments, KDD.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.analytics.experiments.moments import Bools, Floats, Ints
from collectors.analytics.experiments.tails import chi_square

ALARM = 0.001


@dataclass(frozen=True, slots=True, eq=False)
class SampleRatio:
    """Chi-square test of each experiment; NaN where it has no units or fewer than two variants with a weight."""

    statistic: Floats
    df: Floats
    p_value: Floats
    log_p: Floats

    @property
    def mismatch(self) -> Bools:
        """Where the alarm is raised."""
        return self.p_value < ALARM


def sample_ratio(experiments: Ints, units: Floats, weights: Floats, size: int) -> SampleRatio:
    """Test the ``units`` of variants against their intended ``weights``, which need not add up to one.

    ``experiments`` (v,) says to which of ``size`` experiments a variant belongs. A variant of weight zero must have
    no units: one that has is a mismatch beyond doubt.
    """
    total = np.bincount(experiments, units, size)
    weight = np.bincount(experiments, weights, size)
    meant = weights > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = total[experiments] * weights / weight[experiments]
        part = np.where(meant, (units - expected) ** 2 / expected, np.where(units > 0, np.inf, 0.0))
    df = np.bincount(experiments[meant], minlength=size).astype(np.float64) - 1.0
    testable = (total > 0) & (df > 0)
    statistic = np.full(size, np.nan)
    sums = np.bincount(experiments, np.where(testable[experiments], part, 0.0), size)
    statistic[testable] = sums[testable]
    p, log_p = np.full(size, np.nan), np.full(size, np.nan)
    finite = testable & np.isfinite(statistic)
    p[finite], log_p[finite] = chi_square(statistic[finite], df[finite])
    p[testable & ~finite], log_p[testable & ~finite] = 0.0, -np.inf
    return SampleRatio(statistic, df, p, log_p)
