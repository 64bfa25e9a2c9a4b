# requirements: gbstats==0.8.0 numpy<2 pandas<2 scipy pytest
"""Experiment kernels against gbstats, which needs NumPy 1: the kernels are imported from the sources, not installed."""

from __future__ import annotations

import numpy as np
import pytest
from gbstats.frequentist.tests import (
    FrequentistConfig,
    SequentialConfig,
    SequentialTwoSidedTTest,
    TwoSidedTTest,
)
from gbstats.models.statistics import RatioStatistic, RegressionAdjustedStatistic, SampleMeanStatistic

from collectors.analytics.experiments.always_valid import asymptotic
from collectors.analytics.experiments.comparisons import relative, welch
from collectors.analytics.experiments.estimates import cuped_mean, mean, ratio
from collectors.analytics.experiments.moments import Moments


def drawn(seed: int):
    rng = np.random.default_rng(seed)
    n = (800, 1100)
    over = [rng.poisson(rng.gamma(2.0, 3.0, m)).astype(float) for m in n]
    under = [1.0 + rng.poisson(2.0 + o / 4) for o in over]
    return over, under


def sample(x) -> SampleMeanStatistic:
    return SampleMeanStatistic(n=len(x), sum=x.sum(), sum_squares=(x * x).sum())


def moments(*columns) -> Moments:
    return Moments.of_rows(np.zeros(len(columns[0]), np.int64), np.stack(columns, axis=1), 1)


def check(found, expected) -> None:
    assert found.value[0] == pytest.approx(expected.expected, rel=1e-10)
    assert (found.low[0], found.high[0]) == pytest.approx(tuple(expected.ci), rel=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_means_and_ratios_agree_absolute_and_relative(seed: int) -> None:
    over, under = drawn(seed)
    ratios = [
        RatioStatistic(n=len(o), m_statistic=sample(o), d_statistic=sample(u), m_d_sum_of_products=(o * u).sum())
        for o, u in zip(over, under, strict=True)
    ]
    cases = [
        ([sample(o) for o in over], [mean(moments(o)) for o in over]),
        (ratios, [ratio(moments(o, u)) for o, u in zip(over, under, strict=True)]),
    ]
    for theirs, ours in cases:
        absolute = TwoSidedTTest(*theirs, FrequentistConfig(difference_type="absolute")).compute_result()
        check(welch(*ours), absolute)
        assert welch(*ours).p_value[0] == pytest.approx(absolute.p_value, rel=1e-7, abs=1e-14)
        lift = TwoSidedTTest(*theirs, FrequentistConfig(difference_type="relative")).compute_result()
        found = relative(*ours)
        assert found.value[0] == pytest.approx(lift.expected, rel=1e-10)
        assert (found.low[0], found.high[0]) == pytest.approx(tuple(lift.ci), abs=2e-5)  # other degrees of freedom


@pytest.mark.parametrize("seed", range(4))
def test_asymptotic_sequences_agree(seed: int) -> None:
    over, _under = drawn(seed)
    expected = SequentialTwoSidedTTest(
        *(sample(o) for o in over), SequentialConfig(difference_type="absolute")
    ).compute_result()
    fixed = welch(*(mean(moments(o)) for o in over))
    found = asymptotic(fixed.value, fixed.error, np.array([float(sum(len(o) for o in over))]))
    assert fixed.value[0] - found.half_width[0] == pytest.approx(expected.ci[0], rel=1e-9)
    assert found.p_value[0] == pytest.approx(expected.p_value, rel=1e-9)


def test_regression_adjustment_agrees_by_the_same_theta() -> None:
    over, under = drawn(9)
    adjusted = cuped_mean(*(moments(o, u) for o, u in zip(over, under, strict=True)))
    theirs = [
        RegressionAdjustedStatistic(
            n=len(o), post_statistic=sample(o), pre_statistic=sample(u), post_pre_sum_of_products=(o * u).sum(),
            theta=float(adjusted.theta[0]),
        )
        for o, u in zip(over, under, strict=True)
    ]  # fmt: skip
    expected = TwoSidedTTest(*theirs, FrequentistConfig(difference_type="absolute")).compute_result()
    check(welch(adjusted.control, adjusted.treatment), expected)


def test_its_p_values_are_zero_where_ours_are_small() -> None:
    one, other = [SampleMeanStatistic(n=40000, sum=s, sum_squares=s + 40000) for s in (40000.0, 44000.0)]
    assert TwoSidedTTest(one, other, FrequentistConfig()).compute_result().p_value == 0.0
    ours = [
        mean(Moments.of_sums(np.array([40000.0]), np.array([[s.sum]]), np.array([[[s.sum_squares]]])))
        for s in (one, other)
    ]
    assert 0.0 < welch(*ours).p_value[0] < 1e-20
