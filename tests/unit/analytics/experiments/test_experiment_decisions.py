"""Multiplicity, sample ratios and planning, against published numbers and against what they promise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from experiment_reference import column
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from collectors.analytics.experiments.group_sequential import crossing_probabilities, spending_bounds
from collectors.analytics.experiments.multiplicity import (
    CORRECTIONS,
    benjamini_hochberg,
    bonferroni,
    holm,
    hommel,
)
from collectors.analytics.experiments.power import (
    Plan,
    achieved_power,
    days_needed,
    detectable_effect,
    sequential_inflation,
    units_needed,
    units_needed_for_shares,
)
from collectors.analytics.experiments.srm import sample_ratio
from collectors.errors import BadInput

BH_1995 = column(
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0
)
"""The fifteen p-values of Benjamini & Hochberg (1995, JRSS B 57), table of section 4."""

p_values = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=6).map(np.array)


def test_the_published_example_rejects_four_by_false_discovery_and_three_by_familywise_error() -> None:
    adjusted = benjamini_hochberg(BH_1995)
    assert adjusted[:5] == pytest.approx((0.0015, 0.003, 0.0095, 0.035625, 0.0603), rel=1e-12)
    assert np.count_nonzero(adjusted <= 0.05) == 4
    assert np.count_nonzero(bonferroni(BH_1995) <= 0.05) == 3
    assert np.count_nonzero(holm(BH_1995) <= 0.05) == 3


@given(p_values)
def test_holm_and_hommel_are_the_closures_of_bonferroni_and_simes(p) -> None:
    """A hypothesis is rejected if every intersection that it is part of is: by brute force over all of them."""
    for i in range(len(p)):
        others = [j for j in range(len(p)) if j != i]
        sets = [np.array([i, *s]) for size in range(len(p)) for s in itertools.combinations(others, size)]
        by_bonferroni = max(min(1.0, len(s) * p[s].min()) for s in sets)
        by_simes = max(min(1.0, np.min(len(s) * np.sort(p[s]) / np.arange(1, len(s) + 1))) for s in sets)
        assert holm(p)[i] == pytest.approx(by_bonferroni, rel=1e-9)
        assert hommel(p)[i] == pytest.approx(by_simes, rel=1e-9)


@given(p_values)
def test_false_discovery_is_controlled_as_scipy_does(p) -> None:
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), rtol=1e-12)


@given(p_values, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_tests_that_do_not_exist_do_not_count(p, random) -> None:
    order = random.sample(range(len(p)), len(p))
    for adjust in CORRECTIONS.values():
        whole = adjust(p)
        np.testing.assert_allclose(adjust(p[order]), whole[order])
        with_gap = adjust(np.insert(p, 1, np.nan))
        assert np.isnan(with_gap[1])
        np.testing.assert_allclose(np.delete(with_gap, 1), whole)
        assert np.all((whole >= p) & (whole <= 1))


@pytest.mark.parametrize("name", sorted(CORRECTIONS))
def test_no_test_at_all_is_no_trouble(name: str) -> None:
    assert CORRECTIONS[name](np.array([])).tolist() == []
    assert np.isnan(CORRECTIONS[name](np.array([np.nan]))).all()


def test_the_published_mismatch_is_found() -> None:
    # Kohavi, Tang & Xu (2020), Trustworthy Online Controlled Experiments, chapter 21: a test at 50/50.
    found = sample_ratio(np.array([0, 0]), column(821588, 815482), column(1, 1), 1)
    assert found.statistic[0] == pytest.approx(22.774369, abs=5e-7)
    assert found.p_value[0] == pytest.approx(1.8217929e-6, abs=5e-14)
    assert found.mismatch.tolist() == [True]


def test_many_experiments_of_any_number_of_variants_are_tested_at_once() -> None:
    experiments = np.array([2, 0, 0, 0, 2, 3, 4, 4, 5, 5])
    units = column(900, 10, 22, 33, 100, 7, 0, 0, 5, 6)
    weights = column(9, 1, 2, 3, 1, 1, 1, 1, 1, 0)
    found = sample_ratio(experiments, units, weights, 6)
    expected = stats.chisquare([10, 22, 33], np.array([1, 2, 3]) / 6 * 65)
    assert found.p_value[0] == pytest.approx(expected.pvalue, rel=1e-12)
    assert found.p_value[2] == pytest.approx(1.0)
    assert np.isnan(found.p_value[[1, 3, 4]]).all()  # no variants, one variant, no units
    assert not found.mismatch[[1, 3, 4]].any()


def test_units_in_a_variant_that_was_to_have_none_are_a_mismatch() -> None:
    found = sample_ratio(np.array([0, 0, 0]), column(50, 50, 1), column(1, 1, 0), 1)
    assert found.p_value[0] == 0.0
    assert found.mismatch[0]


def test_a_huge_mismatch_has_a_p_value_above_zero_or_at_least_its_logarithm() -> None:
    found = sample_ratio(np.array([0, 0, 1, 1]), column(10_500, 9_000, 10_000, 1), np.ones(4), 2)
    assert found.p_value[0] > 0
    assert 1 - stats.chi2.cdf(found.statistic[0], 1) == 0.0
    assert found.p_value[1] == 0.0
    assert found.log_p[1] == pytest.approx(-10_001 / 2, rel=1e-2)


@pytest.mark.parametrize("plan", [Plan(), Plan(alpha=0.01, power=0.9), Plan(two_sided=False), Plan(allocation=3.0)])
def test_the_planned_units_have_the_planned_power_and_not_many_more(plan: Plan) -> None:
    for effect, variance in ((0.1, 1.0), (2.0, 90.0)):
        units = float(units_needed(effect, variance, plan))

        def power(n: float, effect: float = effect, variance: float = variance) -> float:
            share = n / (1 + plan.allocation)
            return float(achieved_power(effect, math.sqrt(variance / share + variance / share / plan.allocation), plan))

        assert power(units) >= plan.power - 1e-9
        assert power(units - 3 * (1 + plan.allocation)) < plan.power


def test_a_textbook_size_of_two_means_and_of_two_shares() -> None:
    # Half a standard deviation at 5 % and 80 %: 63 a group; 10 % against 12 %: 3,841 a group (pooled test).
    assert float(units_needed(0.5, 1.0)) == 126
    assert units_needed_for_shares(0.10, 0.12) == 2 * 3841
    assert float(units_needed(0.0, 1.0)) == math.inf


def test_shares_that_are_equal_or_impossible_and_absurd_plans_are_refused() -> None:
    for pair in ((0.1, 0.1), (0.0, 0.5), (0.2, 1.0)):
        with pytest.raises(BadInput, match="two different shares"):
            units_needed_for_shares(*pair)
    with pytest.raises(BadInput, match="a plan needs"):
        Plan(power=0.04)


def test_shares_are_found_at_the_planned_rate() -> None:
    n = int(units_needed_for_shares(0.2, 0.25, Plan(allocation=2.0)) // 3)
    rng = np.random.default_rng(8)
    a, b = rng.binomial(n, 0.2, 20_000), rng.binomial(2 * n, 0.25, 20_000)
    pooled = (a + b) / (3 * n)
    z = (b / (2 * n) - a / n) / np.sqrt(pooled * (1 - pooled) * 1.5 / n)
    assert (np.abs(z) > 1.959964).mean() == pytest.approx(0.8, abs=0.012)


def test_the_detectable_effect_is_found_with_the_planned_power() -> None:
    error = column(0.3, 2.0)
    assert achieved_power(detectable_effect(error), error) == pytest.approx(0.8, abs=1e-5)
    assert achieved_power(0.0, 1.0) == pytest.approx(0.05)


@pytest.mark.parametrize("spending", ["quadratic", "obrien_fleming", "pocock"])
def test_a_group_sequential_test_needs_that_much_more_for_the_same_power(spending: str) -> None:
    fractions = [0.2, 0.4, 0.6, 0.8, 1.0]
    factor = sequential_inflation(fractions, spending)
    assert 1.0 < factor < 1.3
    bounds = spending_bounds(fractions, 0.05, spending)
    drift = Plan().drift * math.sqrt(factor)
    assert sum(crossing_probabilities(fractions, bounds, drift)) == pytest.approx(0.8, abs=1e-8)
    rng = np.random.default_rng(9)
    steps = rng.standard_normal((40_000, 5)) * math.sqrt(0.2) + drift * 0.2
    z = np.cumsum(steps, axis=1) / np.sqrt(fractions)
    assert (np.abs(z) >= bounds).any(axis=1).mean() == pytest.approx(0.8, abs=0.009)


def test_the_published_inflation_of_pococks_and_obrien_flemings_designs() -> None:
    # Jennison & Turnbull (2000), tables 2.2 and 2.4: 5 looks, 5 %, power 80 %: 1.228 and 1.028.
    from collectors.analytics.experiments.group_sequential import obrien_fleming_bounds, pocock_bounds

    fractions = [0.2, 0.4, 0.6, 0.8, 1.0]
    for bounds, inflation in ((pocock_bounds(fractions), 1.229), (obrien_fleming_bounds(fractions), 1.028)):
        drift = Plan().drift * math.sqrt(inflation)
        assert sum(crossing_probabilities(fractions, bounds, drift)) == pytest.approx(0.8, abs=5e-4)


@pytest.mark.parametrize(
    ("units", "seen", "days"),
    [
        (100, [50, 60], 0),
        (100, [10] * 5, 5),
        (100, [50, 0, 0, 0, 0, 0, 0, 0], None),
        (100, [], None),
        (100, [90, 1, 1, 1, 1, 1, 1, 1], 3),
        (math.inf, [10], None),
    ],
)
def test_days_to_go_follow_the_last_week(units, seen, days) -> None:
    assert days_needed(units, seen) == days
