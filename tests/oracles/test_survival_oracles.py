# requirements: lifelines==0.30.3 statsmodels==0.15.0 scikit-learn==1.9.1 pytest
"""Survival and probability kernels against lifelines, statsmodels and scikit-learn, on drawn data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from lifelines import CoxPHFitter, KaplanMeierFitter, NelsonAalenFitter
from lifelines.statistics import multivariate_logrank_test, proportional_hazard_test
from lifelines.utils import concordance_index, median_survival_times, restricted_mean_survival_time
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from collectors.analytics.classification import auc, brier, isotonic, log_loss, logistic, platt
from collectors.analytics.survival import concordance, cox, kaplan_meier, log_rank, nelson_aalen, proportionality

pytestmark = pytest.mark.filterwarnings("ignore")  # the peers' own


def drawn(seed: int, n: int = 500, ties: bool = True):
    """Draw covariates, times, deaths and entries, none of whom came after everybody had gone."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(size=n), rng.integers(0, 2, n), rng.uniform(-1, 1, n)])
    life = rng.exponential(np.exp(-x @ [0.5, -0.7, 0.2])) * 40
    limit = rng.uniform(5, 90, n)
    time = np.minimum(life, limit)
    entry = np.where(rng.random(n) < 0.5, 0.0, rng.uniform(0, 1, n) * time)
    if ties:
        time, entry = np.ceil(time), np.floor(entry)
    return x, time, life <= limit, entry


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kaplan_meier_is_that_of_lifelines(seed, late, ties):
    _, time, died, entry = drawn(seed, ties=ties)
    start = entry if late else None
    peer = KaplanMeierFitter().fit(time, died, entry=start)
    mine = kaplan_meier(time, died, start)
    assert mine.survival == pytest.approx(peer.survival_function_at_times(mine.times).to_numpy(), rel=1e-9)
    bounds = peer.confidence_interval_survival_function_.loc[mine.times].to_numpy().T
    inside = mine.survival > 0
    for own, theirs in zip(mine.band(), bounds, strict=True):
        assert own[inside] == pytest.approx(theirs[inside], rel=1e-6)
    assert mine.median().value == peer.median_survival_time_
    interval = median_survival_times(peer.confidence_interval_).to_numpy().ravel()
    assert [mine.median().lower, mine.median().upper] == pytest.approx(interval)
    assert mine.restricted_mean(30).value == pytest.approx(restricted_mean_survival_time(peer, 30), rel=1e-9)


@pytest.mark.parametrize("late", [True, False])
def test_nelson_aalen_is_that_of_lifelines(late):
    _, time, died, entry = drawn(4, ties=False)  # with ties lifelines has other estimates, with or without smoothing
    start = entry if late else None
    peer = NelsonAalenFitter().fit(time, died, entry=start)
    mine = nelson_aalen(time, died, start)
    assert mine.hazard == pytest.approx(peer.cumulative_hazard_at_times(mine.times).to_numpy(), rel=1e-9)
    low, high = peer.confidence_interval_.loc[mine.times[20]]
    found = mine.at(mine.times[20])
    assert (found.lower, found.upper) == pytest.approx((low, high), rel=1e-6)


@pytest.mark.parametrize("groups", [2, 4])
def test_the_log_rank_test_is_that_of_lifelines_and_statsmodels(groups):
    x, time, died, _ = drawn(5)
    group = (x[:, 0] * 3).astype(int) % groups
    mine = log_rank(time, died, group)
    peer = multivariate_logrank_test(time, group, died)
    assert (mine.statistic, mine.p_value) == pytest.approx((peer.test_statistic, peer.p_value), rel=1e-8)
    statistic, p_value = sm.duration.survdiff(time, died, group)
    assert (mine.statistic, mine.p_value) == pytest.approx((statistic, p_value), rel=1e-8)


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_is_that_of_statsmodels(ties, late):
    x, time, died, entry = drawn(6)
    # statsmodels counts who enters at a time of death as at risk then, so entries are put between the times.
    start = np.minimum(entry + 0.5, time - 0.5) if late else None
    peer = sm.PHReg(time, x, status=died, entry=start, ties=ties).fit(gtol=1e-10)
    mine = cox(x, time, died, start, ties=ties)
    assert mine.coefficients == pytest.approx(peer.params, rel=1e-6)
    assert mine.log_likelihood == pytest.approx(peer.llf, rel=1e-9)
    assert mine.standard_errors == pytest.approx(peer.bse, rel=1e-5)


@pytest.mark.parametrize("late", [True, False])
def test_cox_is_that_of_lifelines(late):
    x, time, died, entry = drawn(7)
    frame = pd.DataFrame(x, columns=list("abc")).assign(time=time, died=died, entry=entry)
    peer = CoxPHFitter().fit(
        frame if late else frame.drop(columns="entry"),
        "time",
        "died",
        entry_col="entry" if late else None,
        fit_options={"precision": 1e-10},
    )
    start = entry if late else None
    mine = cox(x, time, died, start, names=list("abc"))
    assert mine.coefficients == pytest.approx(peer.params_.to_numpy(), rel=1e-5)
    assert mine.standard_errors == pytest.approx(peer.standard_errors_.to_numpy(), rel=1e-5)
    assert mine.log_likelihood == pytest.approx(peer.log_likelihood_, rel=1e-9)
    if not late:
        assert concordance(mine.risk(x), time, died).index == pytest.approx(peer.concordance_index_, rel=1e-9)
        assert mine.likelihood_ratio_test.statistic == pytest.approx(peer.log_likelihood_ratio_test().test_statistic)


def test_concordance_is_that_of_lifelines_with_ties_of_all_kinds():
    rng = np.random.default_rng(8)
    time, died, risk = rng.integers(1, 30, 800), rng.random(800) < 0.6, rng.integers(0, 9, 800)
    assert concordance(risk, time, died).index == pytest.approx(concordance_index(time, -risk, died), rel=1e-12)


@pytest.mark.parametrize("transform", ["rank", "identity", "log", "km"])
def test_the_schoenfeld_test_is_that_of_lifelines_where_no_times_tie(transform):
    x, time, died, _ = drawn(9, ties=False)
    frame = pd.DataFrame(x, columns=list("abc")).assign(time=time, died=died)
    peer = proportional_hazard_test(
        CoxPHFitter().fit(frame, "time", "died", fit_options={"precision": 1e-10}), frame, time_transform=transform
    )
    mine = proportionality(cox(x, time, died, names=list("abc")), x, time, died, transform=transform)
    statistics = [mine.covariates[name].statistic for name in peer.name]
    tolerance = 0.05 if transform == "km" else 1e-4  # lifelines takes the curve at the time, not just before it
    assert statistics == pytest.approx(peer.test_statistic, rel=tolerance, abs=tolerance)


def test_schoenfelds_residuals_are_those_of_statsmodels():
    x, time, died, _ = drawn(10)
    peer = sm.PHReg(time, x, status=died, ties="breslow").fit(gtol=1e-10).schoenfeld_residuals
    order = np.argsort(time, kind="stable")
    theirs = peer[order][died[order]]
    mine = proportionality(cox(x, time, died, ties="breslow"), x, time, died).residuals
    assert mine == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("penalty", [0.01, 1.0, 50.0])
def test_logistic_regression_is_that_of_scikit_learn(penalty):
    rng = np.random.default_rng(11)
    x = rng.normal(size=(1000, 4)) * [1, 10, 0.1, 3]
    y = rng.random(1000) < 1 / (1 + np.exp(1 - x @ [0.5, 0.1, 0, -0.2]))
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    peer = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(z, y)
    mine = logistic(x, y, penalty=penalty)
    assert mine.coefficients == pytest.approx(peer.coef_[0], abs=1e-6)
    assert mine.probability(x) == pytest.approx(peer.predict_proba(z)[:, 1], abs=1e-6)


def test_unpenalised_standard_errors_are_those_of_statsmodels():
    rng = np.random.default_rng(12)
    x = rng.normal(size=(800, 3))
    y = rng.random(800) < 0.3
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    peer = sm.Logit(y, sm.add_constant(z)).fit(disp=0)
    mine = logistic(x, y, penalty=0)
    assert mine.standard_errors == pytest.approx(peer.bse[1:], rel=1e-6)
    assert mine.log_likelihood == pytest.approx(peer.llf)


def test_calibration_and_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(13)
    score = np.round(rng.normal(size=3000), 1)
    y = rng.random(3000) < 1 / (1 + np.exp(2 - score))
    curve = isotonic(score, y)
    peer = IsotonicRegression(out_of_bounds="clip").fit(score, y)
    least = 1 / 3002
    grid = np.linspace(-4, 4, 301)
    # Between the scores the two differ by what keeps mine from being certain.
    assert curve.probability(score) == pytest.approx(np.clip(peer.predict(score), least, 1 - least), abs=1e-9)
    sigmoid = _SigmoidCalibration().fit(score, y)
    assert platt(score, y).probability(grid) == pytest.approx(sigmoid.predict(grid), abs=1e-4)
    p = curve.probability(score)
    assert auc(score, y) == pytest.approx(roc_auc_score(y, score), rel=1e-12)
    assert brier(p, y) == pytest.approx(brier_score_loss(y, p), rel=1e-12)
    assert log_loss(p, y) == pytest.approx(sklearn_log_loss(y, p), rel=1e-9)
