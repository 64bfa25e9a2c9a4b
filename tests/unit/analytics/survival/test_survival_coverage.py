"""Intervals hold what they promise: 95 % of them cover the truth they were drawn from, give or take chance."""

from __future__ import annotations

import numpy as np

from collectors.analytics.survival import CoxModel, cox, kaplan_meier, log_rank, proportionality

REPLICATIONS = 1000
NOMINAL = (0.93, 0.97)


def test_intervals_of_survival_median_and_mean_cover_under_censoring_and_delayed_entry():
    """Weibull lifetimes, uniform censoring; half of the subjects are seen only if they outlive a late beginning."""
    rng = np.random.default_rng(20261101)
    shape, scale, at = 1.3, 10.0, 8.0
    truth = np.exp(-((at / scale) ** shape))
    median = scale * np.log(2) ** (1 / shape)
    grid = np.linspace(0, at, 100_001)
    mean = np.trapezoid(np.exp(-((grid / scale) ** shape)), grid)
    covered = np.zeros(3)
    for _ in range(REPLICATIONS):
        life = scale * rng.weibull(shape, 400)
        entry = np.where(rng.random(400) < 0.5, 0.0, rng.uniform(0, 6, 400))
        limit = entry + rng.uniform(2, 25, 400)
        seen = life > entry
        time, event = np.minimum(life, limit)[seen], (life <= limit)[seen]
        curve = kaplan_meier(time, event, entry[seen])
        for place, (found, true) in enumerate(
            ((curve.at(at), truth), (curve.median(), median), (curve.restricted_mean(at), mean))
        ):
            covered[place] += found.lower <= true <= found.upper
    assert np.all((covered / REPLICATIONS >= NOMINAL[0]) & (covered / REPLICATIONS <= NOMINAL[1])), covered


def test_intervals_of_hazard_ratios_cover_with_ties_and_delayed_entry_and_tests_keep_their_level():
    rng = np.random.default_rng(7)
    truth = np.array([0.5, -0.7, 0.0])
    covered, rejected, inconstant = np.zeros(3), 0, 0
    for _ in range(REPLICATIONS):
        x = np.column_stack([rng.normal(size=300), rng.integers(0, 2, 300), rng.uniform(-1, 1, 300)])
        life = rng.exponential(30 * np.exp(-x @ truth))
        entry = rng.integers(0, 2, 300) * rng.uniform(0, 10, 300)
        limit = entry + rng.uniform(5, 80, 300)
        seen = life > entry
        # Narrow whole intervals: ties without grouping so coarse that the ratio itself changes.
        time = np.ceil(10 * np.minimum(life, limit))[seen]
        event, start = (life <= limit)[seen], np.floor(10 * entry)[seen]
        model = cox(x[seen], time, event, start)
        assert isinstance(model, CoxModel)
        lower, upper = model.interval()
        covered += (lower <= truth) & (truth <= upper)
        rejected += model.p_values[2] < 0.05
        inconstant += proportionality(model, x[seen], time, event, start).overall.p_value < 0.05
    assert np.all((covered / REPLICATIONS >= NOMINAL[0]) & (covered / REPLICATIONS <= NOMINAL[1])), covered
    assert 0.03 <= rejected / REPLICATIONS <= 0.07
    assert 0.03 <= inconstant / REPLICATIONS <= 0.07


def test_the_log_rank_test_keeps_its_level():
    rng = np.random.default_rng(11)
    rejected = 0
    for _ in range(REPLICATIONS):
        life, limit = np.ceil(rng.exponential(20, 150)), rng.integers(1, 60, 150)
        found = log_rank(np.minimum(life, limit), life <= limit, rng.integers(0, 3, 150))
        rejected += found.p_value < 0.05
    assert 0.03 <= rejected / REPLICATIONS <= 0.07
