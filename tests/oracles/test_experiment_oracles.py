# requirements: tea-tasting==1.14.0 experiment-toolkit==0.2.0 statsmodels==0.15.0 pytest
"""Experiment kernels against tea-tasting, experiment-toolkit and statsmodels, on drawn data."""

from __future__ import annotations

import numpy as np
import pytest
import tea_tasting as tt
from experiment_toolkit.sequential import msprt_pvalue
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

from collectors.analytics.experiments import multiplicity
from collectors.analytics.experiments.always_valid import mixture
from collectors.analytics.experiments.comparisons import relative, welch
from collectors.analytics.experiments.estimates import cuped_mean, cuped_ratio, mean, ratio
from collectors.analytics.experiments.moments import Moments
from collectors.analytics.experiments.power import Plan, units_needed

COLUMNS = ("orders", "sessions", "orders_covariate", "sessions_covariate", "revenue", "revenue_covariate")


@pytest.fixture(params=[42, 1, 2, 3], scope="module")
def users(request):
    return tt.make_users_data(rng=request.param, covariates=True)


@pytest.fixture(scope="module")
def sides(users):
    values = np.stack([users[name].to_numpy().astype(float) for name in COLUMNS], axis=1)
    moments = Moments.of_rows(users["variant"].to_numpy().astype(np.int64), values, 2)
    return moments.take(np.array([0])), moments.take(np.array([1]))


def agree(found, lift, expected) -> None:
    assert found.value[0] == pytest.approx(expected.effect_size, rel=1e-10)
    assert found.low[0] == pytest.approx(expected.effect_size_ci_lower, rel=1e-9)
    assert found.high[0] == pytest.approx(expected.effect_size_ci_upper, rel=1e-9)
    assert found.p_value[0] == pytest.approx(expected.pvalue, rel=1e-8)
    assert lift.value[0] == pytest.approx(expected.rel_effect_size, rel=1e-10)
    # Its convention is the logarithmic one; degrees of freedom are taken on another scale, hence the tolerance.
    assert lift.low[0] == pytest.approx(expected.rel_effect_size_ci_lower, abs=2e-4)
    assert lift.high[0] == pytest.approx(expected.rel_effect_size_ci_upper, abs=2e-4)


def test_means_ratios_and_their_adjustment_agree_with_tea_tasting(users, sides) -> None:
    expected = tt.Experiment(
        mean=tt.Mean("revenue"),
        adjusted_mean=tt.Mean("revenue", covariate="revenue_covariate"),
        ratio=tt.RatioOfMeans("orders", "sessions"),
        adjusted_ratio=tt.RatioOfMeans("orders", "sessions", "orders_covariate", "sessions_covariate"),
    ).analyze(users)
    pairs = {
        "mean": [mean(side, 4) for side in sides],
        "ratio": [ratio(side, 0, 1) for side in sides],
    }
    for name, adjusted in (("adjusted_mean", cuped_mean(*sides, 4, 5)), ("adjusted_ratio", cuped_ratio(*sides))):
        pairs[name] = [adjusted.control, adjusted.treatment]
    for name, pair in pairs.items():
        agree(welch(*pair), relative(*pair, method="log"), expected[name])


@pytest.mark.parametrize("seed", range(5))
def test_the_mixture_test_agrees_with_experiment_toolkit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    difference, sigma, tau, n = (
        rng.normal(0, 0.1),
        rng.uniform(0.5, 2),
        rng.uniform(0.01, 0.3),
        int(rng.integers(50, 5000)),
    )
    found = mixture(np.array([difference]), np.array([np.sqrt(2 * sigma**2 / n)]), tau)
    assert found.p_value[0] == pytest.approx(msprt_pvalue(difference, sigma, n, tau), rel=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), [("bonferroni", "bonferroni"), ("holm", "holm"), ("hommel", "hommel"),
                                              ("benjamini_hochberg", "fdr_bh")])  # fmt: skip
def test_adjusted_p_values_agree_with_statsmodels(ours: str, theirs: str) -> None:
    rng = np.random.default_rng(7)
    for m in (1, 2, 3, 15, 60):
        p = rng.random(m) ** 3
        np.testing.assert_allclose(multiplicity.CORRECTIONS[ours](p), multipletests(p, method=theirs)[1], rtol=1e-12)


@pytest.mark.parametrize("allocation", [0.5, 1.0, 3.0])
def test_planned_sizes_agree_with_statsmodels(allocation: float) -> None:
    expected = NormalIndPower().solve_power(0.13, alpha=0.05, power=0.9, ratio=allocation)
    found = float(units_needed(0.13, 1.0, Plan(power=0.9, allocation=allocation)))
    assert found == pytest.approx(np.ceil(expected) + np.ceil(expected * allocation), abs=2)
