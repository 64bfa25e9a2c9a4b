"""Tests and intervals against published numbers, small data, and what other packages get wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from experiment_reference import (
    BIG,
    ORDERS,
    ORDERS_BEFORE,
    REVENUE,
    REVENUE_BEFORE,
    SESSIONS,
    SESSIONS_BEFORE,
    USERS,
    column,
    of_sums,
)
from scipy import stats

from collectors.analytics.experiments.comparisons import Undefined, proportions, relative, welch, z_test
from collectors.analytics.experiments.estimates import Estimate, cuped_mean, cuped_ratio, mean, proportion, ratio
from collectors.analytics.experiments.moments import Moments
from collectors.analytics.experiments.tails import chi_square, normal_two_sided, student_two_sided

NAN = math.nan


def estimate(*numbers: float) -> Estimate:
    data = np.array(numbers, dtype=np.float64)
    return mean(Moments.of_rows(np.zeros(len(data), np.int64), data, 1))


def test_welch_gives_the_numbers_of_gbstats_and_spotify_confidence() -> None:
    found = welch(*BIG)
    assert found.value[0] == pytest.approx(0.0980264706, abs=5e-11)
    assert found.value[0] / found.error[0] == pytest.approx(3.1486734646, abs=5e-11)
    assert found.df[0] == pytest.approx(40349.9496, abs=5e-5)
    assert found.p_value[0] == pytest.approx(0.00164132863, abs=5e-12)
    assert (found.low[0], found.high[0]) == pytest.approx((0.0370058162, 0.1590471250), abs=5e-11)


def test_the_z_test_gives_the_number_of_spotify_confidence() -> None:
    assert z_test(*BIG).p_value[0] == pytest.approx(0.0016401335, abs=5e-11)


def test_proportions_are_tested_pooled_and_their_interval_is_unpooled() -> None:
    found = proportions(proportion(column(1430), column(12044)), proportion(column(1551), column(11987)))
    assert found.p_value[0] == pytest.approx(0.0122008077, abs=5e-11)
    assert (found.low[0], found.high[0]) == pytest.approx((0.0023237735, 0.0189939349), abs=5e-11)


def test_the_relative_interval_counts_the_variance_of_control() -> None:
    found = relative(*BIG, df=column(math.inf))
    assert found.value[0] == pytest.approx(0.0406639166, abs=5e-11)
    assert (found.low[0], found.high[0]) == pytest.approx((0.0148548, 0.0664730), abs=5e-8)
    by_t = relative(*BIG)  # as gbstats, which uses Student's quantile
    assert (by_t.low[0], by_t.high[0]) == pytest.approx((0.014854041973844, 0.066473791256393), abs=1e-12)
    # An absolute interval divided by control's mean, as spotify-confidence does, is narrower.
    absolute = welch(*BIG)
    assert absolute.low[0] / BIG[0].value[0] == pytest.approx(0.01535, abs=5e-6)
    assert by_t.low[0] < absolute.low[0] / BIG[0].value[0]
    assert by_t.high[0] > absolute.high[0] / BIG[0].value[0]


def test_the_relative_conventions_differ_and_each_has_its_name() -> None:
    found = {method: relative(*BIG, method=method) for method in ("delta", "fieller", "log")}
    assert len({round(float(c.low[0]), 8) for c in found.values()}) == 3
    assert {float(c.value[0]) for c in found.values()} == {float(found["delta"].value[0])}
    for comparison in found.values():  # they are intervals of one test
        assert comparison.p_value[0] == pytest.approx(welch(*BIG).p_value[0], rel=1e-12)
    delta, log = found["delta"], found["log"]
    assert delta.high[0] - delta.value[0] == pytest.approx(delta.value[0] - delta.low[0])
    assert (1 + log.high[0]) / (1 + log.value[0]) == pytest.approx((1 + log.value[0]) / (1 + log.low[0]))
    assert relative(*BIG).low[0] == delta.low[0]


def test_fieller_bounds_are_the_ratios_that_a_test_would_not_reject() -> None:
    control, treatment = (
        Estimate(column(2.0), column(0.09), column(50)),
        Estimate(column(3.0), column(0.16), column(50)),
    )
    found = relative(control, treatment, method="fieller", df=column(40.0))
    quantile = stats.t.isf(0.025, 40)
    for bound in (found.low[0], found.high[0]):
        factor = 1 + bound
        assert abs(3.0 - factor * 2.0) / math.sqrt(0.16 + factor**2 * 0.09) == pytest.approx(quantile, rel=1e-12)


@pytest.mark.parametrize("method", ["delta", "fieller", "log"])
def test_no_relative_interval_where_control_cannot_be_told_from_zero(method) -> None:
    control, treatment = (
        Estimate(column(0.1), column(0.09), column(50)),
        Estimate(column(3.0), column(0.16), column(50)),
    )
    found = relative(control, treatment, method=method)
    assert found.undefined[0] == Undefined.UNBOUNDED
    assert np.isnan(found.low[0])
    assert found.value[0] == pytest.approx(29.0)
    zero = relative(Estimate(column(0.0), column(0.09), column(50)), treatment, method=method)
    assert zero.undefined[0] == Undefined.ZERO_CONTROL
    assert np.isnan(zero.value[0])


def test_a_logarithm_needs_positive_values() -> None:
    found = relative(
        Estimate(column(5.0), column(0.1), column(9)), Estimate(column(-1.0), column(0.1), column(9)), method="log"
    )
    assert found.undefined[0] == Undefined.NOT_POSITIVE
    assert np.isnan(found.low[0])


def test_cuped_and_ratios_give_the_numbers_of_tea_tasting() -> None:
    revenue = welch(mean(USERS[0], REVENUE), mean(USERS[1], REVENUE))
    assert revenue.p_value[0] == pytest.approx(0.1230698855, abs=5e-11)
    adjusted = cuped_mean(*USERS, REVENUE, REVENUE_BEFORE)
    found = welch(adjusted.control, adjusted.treatment)
    assert adjusted.theta[0] == pytest.approx(0.4333752632, abs=5e-11)
    assert found.value[0] == pytest.approx(0.7310144483, abs=5e-11)
    assert found.p_value[0] == pytest.approx(0.0067439293, abs=5e-11)
    assert adjusted.reduction[0] == pytest.approx(0.2767, abs=5e-4)
    plain = [ratio(side, ORDERS, SESSIONS) for side in USERS]
    per_session = welch(*plain)
    assert per_session.value[0] == pytest.approx(0.0233050055, abs=5e-11)
    assert per_session.p_value[0] == pytest.approx(0.0762375998, abs=5e-11)
    both = cuped_ratio(*USERS, (ORDERS, SESSIONS), (ORDERS_BEFORE, SESSIONS_BEFORE))
    found = welch(both.control, both.treatment)
    assert found.value[0] == pytest.approx(0.03173426303678, abs=1e-12)
    assert found.p_value[0] == pytest.approx(0.00229294384252, abs=1e-12)


def test_cuped_is_the_regression_on_the_covariate_and_leaves_alone_what_it_cannot_help() -> None:
    rng = np.random.default_rng(3)
    before = rng.normal(10, 2, 400)
    after = before * 0.8 + rng.normal(0, 1, 400)
    groups = (np.arange(400) >= 200).astype(np.int64)
    data = np.stack([after, before, np.full(400, 7.0)], axis=1)
    moments = Moments.of_rows(groups, data, 2)
    control, treatment = moments.take(np.array([0])), moments.take(np.array([1]))
    adjusted = cuped_mean(control, treatment, 0, 1)
    assert adjusted.theta[0] == pytest.approx(np.polyfit(before, after, 1)[0], rel=1e-10)
    by_hand = after - adjusted.theta[0] * (before - before.mean())
    assert adjusted.control.value[0] == pytest.approx(by_hand[:200].mean(), rel=1e-12)
    assert adjusted.treatment.variance[0] == pytest.approx(by_hand[200:].var(ddof=1) / 200, rel=1e-10)
    constant = cuped_mean(control, treatment, 0, 2)
    assert (constant.theta[0], constant.reduction[0]) == (0.0, 0.0)
    assert constant.control.variance[0] == mean(control).variance[0]


def test_the_variance_of_a_ratio_is_that_of_linearised_units() -> None:
    rng = np.random.default_rng(4)
    under = rng.poisson(4, 300) + 1.0
    over = rng.poisson(under * 2.0).astype(np.float64)
    moments = Moments.of_rows(np.zeros(300, np.int64), np.stack([over, under], axis=1), 1)
    found = ratio(moments)
    share = over.sum() / under.sum()
    assert found.value[0] == pytest.approx(share, rel=1e-13)
    units = (over - share * under) / under.mean()
    assert found.variance[0] == pytest.approx(units.var(ddof=1) / 300, rel=1e-10)


@pytest.mark.parametrize(
    ("control", "treatment", "reason"),
    [
        ((), (1.0, 2.0), Undefined.EMPTY),
        ((1.0, 2.0), (), Undefined.EMPTY),
        ((1.0, 2.0), (3.0,), Undefined.ONE_UNIT),
        ((5.0, 5.0), (7.0, 7.0), Undefined.NO_VARIANCE),
        ((0.1,) * 7, (0.1,) * 9, Undefined.NO_VARIANCE),
    ],
)
def test_what_small_data_cannot_tell_is_undefined_with_a_reason(control, treatment, reason) -> None:
    for found in (welch(estimate(*control), estimate(*treatment)), z_test(estimate(*control), estimate(*treatment))):
        assert found.undefined[0] == reason
        assert np.isnan([found.p_value[0], found.log_p[0], found.low[0], found.high[0]]).all()
        assert np.isfinite(found.value[0]) == (reason != Undefined.EMPTY)


def test_one_variant_that_does_not_vary_is_no_obstacle() -> None:
    found = welch(estimate(5.0, 5.0, 5.0), estimate(6.0, 7.0, 9.0))
    assert found.p_value[0] == pytest.approx(stats.ttest_1samp([6, 7, 9], 5).pvalue, rel=1e-12)


@pytest.mark.parametrize(
    ("hits", "n", "reason"),
    [
        ((10, 10), (10, 10), Undefined.NO_VARIANCE),  # everybody converts
        ((0, 0), (10, 10), Undefined.NO_VARIANCE),
        ((0, 10), (10, 10), Undefined.NO_VARIANCE),  # none and all: no unpooled error
        ((0, 3), (0, 10), Undefined.EMPTY),
        ((1, 3), (1, 10), Undefined.DEFINED),
    ],
)
def test_shares_at_the_edge_are_undefined_with_a_reason(hits, n, reason) -> None:
    found = proportions(*(proportion(column(h), column(m)) for h, m in zip(hits, n, strict=True)))
    assert found.undefined[0] == reason
    assert np.isfinite(found.p_value[0]) == (reason == Undefined.DEFINED)
    assert np.isfinite(found.low[0]) == (reason == Undefined.DEFINED)


def test_a_ratio_of_units_that_are_all_alike_has_no_variance_and_one_without_denominator_no_value() -> None:
    counts = np.array([3.0, 1.0, 7.0, 2.0])
    constant = Moments.of_rows(np.zeros(4, np.int64), np.stack([counts * 31.7, counts], axis=1), 1)
    assert ratio(constant).variance[0] == 0.0
    nothing = Moments.of_rows(np.zeros(4, np.int64), np.zeros((4, 2)), 1)
    assert np.isnan(ratio(nothing).value[0])
    assert welch(ratio(nothing), ratio(constant)).undefined[0] == Undefined.EMPTY


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_a_large_mean_does_not_change_the_test(offset: float) -> None:
    rng = np.random.default_rng(5)
    data = np.round(rng.normal(3, 1, 500) * 1024) / 1024 + offset
    moments = Moments.of_rows((np.arange(500) % 2), data, 2)
    found = welch(mean(moments.take(np.array([0]))), mean(moments.take(np.array([1]))))
    expected = stats.ttest_ind(data[1::2] - offset, data[::2] - offset, equal_var=False)
    assert found.p_value[0] == pytest.approx(expected.pvalue, rel=1e-6)


def test_tails_are_never_zero_while_a_float_can_hold_them_and_have_logarithms_beyond() -> None:
    # Expected logarithms are by 50-digit arithmetic.
    assert 2 * (1 - stats.t.cdf(12.0, 40000)) == 0.0  # what gbstats computes
    p, log_p = student_two_sided(column(12.0, 60.0, 1e5, 1e9), column(40000, 40000, 100, 30))
    assert p[0] == pytest.approx(2 * stats.t.sf(12.0, 40000), rel=1e-12)
    assert p[0] > 0
    assert p[1] == 0.0
    assert log_p[1:] == pytest.approx((-1727.8312557090759, -923.56491409669342, -572.61473621910998), rel=1e-13)
    assert 1 - stats.chi2.cdf(200.0, 1) == 0.0  # what spotify-confidence computes
    p, log_p = chi_square(column(200.0, 1e4, 3000, 2000), column(1, 1, 5, 50))
    assert p[0] == pytest.approx(stats.chi2.sf(200.0, 1), rel=1e-12)
    assert p[0] > 0
    assert log_p[1:] == pytest.approx((-5004.8310615136451, -1489.313852456615, -888.97433515176623), rel=1e-13)
    _p, log_p = normal_two_sided(column(50.0))
    assert log_p[0] == pytest.approx(-1254.13821395886, rel=1e-13)


def test_logarithms_of_tails_go_on_smoothly_where_the_tails_end() -> None:
    df = np.full(400, 25.0)
    t = np.logspace(10, 14, 400)
    _p, log_p = student_two_sided(t, df)
    assert np.allclose(np.diff(log_p) / np.diff(np.log(t)), -25.0, rtol=1e-6)
    x = np.linspace(1000, 1600, 400)
    _p, log_p = chi_square(x, np.full(400, 3.0))
    assert np.allclose(np.diff(log_p) / np.diff(x), -0.5, rtol=1e-2)


def test_levels_may_differ_by_comparison_and_be_tiny() -> None:
    pair = [Estimate(np.repeat(e.value, 3), np.repeat(e.variance, 3), np.repeat(e.n, 3)) for e in BIG]
    found = welch(pair[0], pair[1], column(0.05, 0.01, 1e-30))
    assert np.all(np.diff(found.high) > 0)
    assert np.isfinite(found.high).all()
    assert found.high[2] - found.value[2] == pytest.approx(stats.t.isf(5e-31, found.df[0]) * found.error[0], rel=1e-9)


def test_variances_of_any_magnitude_have_degrees_of_freedom() -> None:
    tiny = of_sums(10, 0, 1e-200)
    assert welch(tiny, tiny).df[0] == pytest.approx(18.0)
