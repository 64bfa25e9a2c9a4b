"""A thousand simulated experiments of each kind: 95 % intervals hold the truth 93 to 97 % of the time."""

from __future__ import annotations

import numpy as np
import pytest

from collectors.analytics.experiments.comparisons import Comparison, proportions, relative, welch
from collectors.analytics.experiments.estimates import Estimate, cuped_mean, cuped_ratio, mean, proportion, ratio
from collectors.analytics.experiments.moments import Moments, clustered

REPLICATIONS = 1000


def sides(data: list[np.ndarray], units: int) -> Moments:
    """Return one group a replication from (replications, units) arrays, one for each variable."""
    groups = np.repeat(np.arange(REPLICATIONS), units)
    return Moments.of_rows(groups, np.stack([d.ravel() for d in data], axis=1), REPLICATIONS)


def coverage(found: Comparison, truth: float) -> float:
    assert not found.undefined.any()
    return float(((found.low <= truth) & (truth <= found.high)).mean())


def skewed(rng, mu: float, units: int) -> np.ndarray:
    return rng.gamma(2.0, mu / 2.0, (REPLICATIONS, units))


def test_welch_and_every_relative_interval_cover_with_unequal_variances_and_sizes() -> None:
    rng = np.random.default_rng(21)
    control, treatment = mean(sides([skewed(rng, 10.0, 250)], 250)), mean(sides([skewed(rng, 12.0, 400)], 400))
    assert 0.93 <= coverage(welch(control, treatment), 2.0) <= 0.97
    for method in ("delta", "fieller", "log"):
        assert 0.93 <= coverage(relative(control, treatment, method=method), 0.2) <= 0.97


def test_dividing_an_absolute_interval_by_controls_mean_would_not_cover() -> None:
    rng = np.random.default_rng(22)
    control, treatment = (
        Estimate(rng.normal(m, 0.5, REPLICATIONS), np.full(REPLICATIONS, 0.25), np.full(REPLICATIONS, 1e6))
        for m in (10.0, 15.0)
    )
    absolute = welch(control, treatment)
    naive = (absolute.low / control.value <= 0.5) & (absolute.high / control.value >= 0.5)
    assert naive.mean() < 0.9
    assert 0.93 <= coverage(relative(control, treatment), 0.5) <= 0.97


def test_shares_cover() -> None:
    rng = np.random.default_rng(23)
    n = np.full(REPLICATIONS, 800.0)
    pair = [proportion(rng.binomial(800, p, REPLICATIONS).astype(float), n) for p in (0.12, 0.15)]
    assert 0.93 <= coverage(proportions(*pair), 0.03) <= 0.97


def play_counts(rng, rate: float, units: int) -> tuple[np.ndarray, np.ndarray]:
    """Return plays and sessions of units that differ in both: plays per session is ``rate``."""
    sessions = rng.poisson(rng.gamma(3.0, 1.5, (REPLICATIONS, units)))
    return rng.poisson(sessions * rng.gamma(4.0, rate / 4.0, (REPLICATIONS, units))).astype(float), sessions.astype(
        float
    )


def test_ratios_cover_although_rows_of_a_unit_depend_on_each_other() -> None:
    rng = np.random.default_rng(24)
    control, treatment = (ratio(sides(list(play_counts(rng, rate, 400)), 400)) for rate in (3.0, 3.3))
    assert 0.93 <= coverage(welch(control, treatment), 0.3) <= 0.97
    assert 0.93 <= coverage(relative(control, treatment), 0.1) <= 0.97


def test_clustered_rows_cover_where_rows_taken_as_units_would_not() -> None:
    rng = np.random.default_rng(25)
    households, rows = 60, 6
    found, naive = [], []
    for mu in (5.0, 5.5):
        value = (
            mu + rng.normal(0, 1, (REPLICATIONS, households, 1)) + rng.normal(0, 1, (REPLICATIONS, households, rows))
        )
        groups = np.repeat(np.arange(REPLICATIONS), households * rows)
        clusters = np.repeat(np.arange(REPLICATIONS * households), rows)
        found.append(ratio(clustered(groups, clusters, value.ravel(), REPLICATIONS)))
        naive.append(mean(Moments.of_rows(groups, value.ravel(), REPLICATIONS)))
    assert 0.93 <= coverage(welch(*found), 0.5) <= 0.97
    assert coverage(welch(*naive), 0.5) < 0.85


def test_cuped_covers_with_much_narrower_intervals() -> None:
    rng = np.random.default_rng(26)
    arms = []
    for lift in (0.0, 0.4):
        before = rng.normal(10, 2, (REPLICATIONS, 200))
        arms.append(sides([before + rng.normal(lift, 1, before.shape), before], 200))
    adjusted = cuped_mean(arms[0], arms[1])
    found = welch(adjusted.control, adjusted.treatment)
    assert 0.93 <= coverage(found, 0.4) <= 0.97
    assert adjusted.reduction.mean() == pytest.approx(0.8, abs=0.02)  # 1 - 1 / (1 + 4)


def test_cuped_of_ratios_covers() -> None:
    rng = np.random.default_rng(27)
    arms = []
    for lift in (1.0, 1.1):
        taste = rng.gamma(4.0, 0.75, (REPLICATIONS, 300))
        sessions, before = (1.0 + rng.poisson(4, taste.shape) for _period in range(2))
        arms.append(sides([rng.poisson(sessions * taste * lift) * 1.0, sessions,
                           rng.poisson(before * taste) * 1.0, before], 300))  # fmt: skip
    adjusted = cuped_ratio(arms[0], arms[1])
    assert 0.93 <= coverage(welch(adjusted.control, adjusted.treatment), 0.3) <= 0.97
    assert adjusted.reduction.mean() > 0.3


def test_without_effect_welch_rejects_at_its_level() -> None:
    rng = np.random.default_rng(28)
    control, treatment = (mean(sides([skewed(rng, 10.0, 300)], 300)) for _variant in range(2))
    assert (welch(control, treatment).p_value <= 0.05).mean() == pytest.approx(0.05, abs=0.021)
