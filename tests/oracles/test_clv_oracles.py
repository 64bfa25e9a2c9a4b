# requirements: lifetimes==0.11.3 pandas==2.3.3 setuptools==80.9.0 mpmath==1.3.0 pytest
"""Lifetime values against ``lifetimes``, where that is right, and against arbitrary precision, where it is not."""

from __future__ import annotations

import warnings

import mpmath
import numpy as np
import pytest
from lifetimes import (
    BetaGeoBetaBinomFitter,
    BetaGeoFitter,
    GammaGammaFitter,
    ModifiedBetaGeoFitter,
    ParetoNBDFitter,
)
from lifetimes.datasets import load_cdnow_summary, load_cdnow_summary_data_with_monetary_value, load_donations

from collectors.analytics.clv import bg_bb, bg_nbd, gamma_gamma, pareto_nbd
from collectors.analytics.clv.history import Histories, histories
from collectors.analytics.refusal import Refusal

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def frame():
    return load_cdnow_summary()


@pytest.fixture(scope="module")
def rows(frame) -> Histories:
    return histories(frame["frequency"].to_numpy().astype(np.int64), frame["recency"].to_numpy(), frame["T"].to_numpy())


def lifetimes_fit(fitter, *columns, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fitter(penalizer_coef=0.0).fit(*columns, **options)


@pytest.mark.parametrize(
    ("ours", "theirs", "tolerance"),
    [
        (bg_nbd.fit, BetaGeoFitter, 2e-3),
        (lambda rows: bg_nbd.fit(rows, may_leave_at_once=True), ModifiedBetaGeoFitter, 2e-3),
        (pareto_nbd.fit, ParetoNBDFitter, 5e-3),
    ],
    ids=["BG/NBD", "MBG/NBD", "Pareto/NBD"],
)
def test_fits_and_predictions_agree(ours, theirs, tolerance, frame, rows) -> None:
    model = ours(rows)
    assert not isinstance(model, Refusal)
    peer = lifetimes_fit(theirs, frame["frequency"], frame["recency"], frame["T"])
    assert model.estimate.values == pytest.approx(np.array(peer.params_), rel=tolerance)
    time = 39.0
    with np.errstate(all="ignore"):
        expected = peer.conditional_expected_number_of_purchases_up_to_time(
            time, frame["frequency"], frame["recency"], frame["T"]
        )
        alive = peer.conditional_probability_alive(frame["frequency"], frame["recency"], frame["T"])
    assert rows.spread(model.expected(rows, time)) == pytest.approx(np.asarray(expected), rel=5e-3, abs=1e-4)
    assert rows.spread(model.alive(rows)) == pytest.approx(np.asarray(alive), rel=5e-3, abs=1e-4)
    times = np.array([1.0, 10.0, 52.0])
    new = [float(peer.expected_number_of_purchases_up_to_time(t)) for t in times]
    assert model.expected_new(times) == pytest.approx(new, rel=5e-3)


def test_gamma_gamma_agrees() -> None:
    frame = load_cdnow_summary_data_with_monetary_value()
    frame = frame[frame["frequency"] > 0]
    peer = lifetimes_fit(GammaGammaFitter, frame["frequency"], frame["monetary_value"])
    model = gamma_gamma.fit(frame["frequency"].to_numpy().astype(np.int64), frame["monetary_value"].to_numpy())
    assert not isinstance(model, Refusal)
    assert model.estimate.values == pytest.approx(np.array(peer.params_)[[0, 1, 2]], rel=2e-3)
    expected = peer.conditional_expected_average_profit(frame["frequency"], frame["monetary_value"])
    found = model.expected(frame["frequency"].to_numpy(), frame["monetary_value"].to_numpy())
    assert found == pytest.approx(np.asarray(expected), rel=2e-3)


def test_bg_bb_agrees() -> None:
    frame = load_donations()
    columns = [frame[name].to_numpy().astype(np.int64) for name in ("frequency", "recency", "periods", "weights")]
    rows = bg_bb.chances(*columns)
    model = bg_bb.fit(rows)
    assert not isinstance(model, Refusal)
    peer = lifetimes_fit(
        BetaGeoBetaBinomFitter, frame["frequency"], frame["recency"], frame["periods"], frame["weights"]
    )
    assert model.estimate.values == pytest.approx(np.array(peer.params_), rel=5e-3)
    expected = peer.conditional_expected_number_of_purchases_up_to_time(
        5, frame["frequency"], frame["recency"], frame["periods"]
    )
    assert model.expected(rows, 5) == pytest.approx(np.asarray(expected), rel=5e-3)


def test_where_the_peer_is_infinite_ours_is_the_limit(frame) -> None:
    """At a = 1 the published formula divides by zero; in 40 digits just beside it there is the limit."""
    peer = lifetimes_fit(BetaGeoFitter, frame["frequency"], frame["recency"], frame["T"])
    r, alpha, _, b = np.array(peer.params_)
    peer.params_["a"] = 1.0
    with np.errstate(all="ignore"):
        assert not np.isfinite(peer.conditional_expected_number_of_purchases_up_to_time(39, 2, 30.43, 38.86))
    ours = bg_nbd.expected(np.array([r, alpha, 1.0, b]), histories([2], [30.43], [38.86]), 39.0)[0]
    with mpmath.workdps(60):
        a = mpmath.mpf(1) + mpmath.mpf(10) ** -25
        exact = by_the_paper(r, alpha, a, b, 2, 30.43, 38.86, 39)
    assert ours == pytest.approx(float(exact), rel=1e-10)


def by_the_paper(r, alpha, a, b, x, recency, age, time):
    """Equation 10 of Fader, Hardie & Lee 2005, in arbitrary precision."""
    r, alpha, b, recency, age, time = (mpmath.mpf(float(v)) for v in (r, alpha, b, recency, age, time))
    power = ((alpha + age) / (alpha + age + time)) ** (r + x)
    series = mpmath.hyp2f1(r + x, b + x, a + b + x - 1, time / (alpha + age + time))
    odds = a / (b + x - 1) * ((alpha + age) / (alpha + recency)) ** (r + x) if x else 0
    return (a + b + x - 1) / (a - 1) * (1 - power * series) / (1 + odds)


@pytest.mark.parametrize("theta", [(0.243, 4.414, 0.793, 2.426), (0.05, 300.0, 0.2, 0.3), (8.0, 2.0, 6.0, 90.0)])
@pytest.mark.parametrize(("x", "recency", "age"), [(0, 0.0, 38.9), (2, 30.4, 38.9), (400, 35.0, 38.9)])
@pytest.mark.parametrize("time", [1.0, 39.0, 2000.0])
def test_bg_expectations_are_those_of_the_published_formula(theta, x, recency, age, time) -> None:
    with mpmath.workdps(60):
        exact = by_the_paper(theta[0], theta[1], mpmath.mpf(theta[2]), theta[3], x, recency, age, time)
    found = bg_nbd.expected(np.array(theta), histories([x], [recency], [age]), time)[0]
    assert found == pytest.approx(float(exact), rel=1e-8)


@pytest.mark.parametrize("theta", [(0.553, 10.578, 0.606, 11.669), (2.0, 3.0, 1.0, 9.0), (0.4, 90.0, 4.0, 0.5)])
@pytest.mark.parametrize(("x", "recency", "age"), [(0, 0.0, 39.0), (7, 35.0, 77.86), (900, 70.0, 77.86)])
def test_dert_is_that_of_tricomis_function(theta, x, recency, age) -> None:
    r, alpha, s, beta = (mpmath.mpf(v) for v in theta)
    rate, age_, recency_ = mpmath.mpf("0.0027"), mpmath.mpf(age), mpmath.mpf(recency)
    with mpmath.workdps(40):
        stayed = (alpha + age_) ** -(r + x) * (beta + age_) ** -s
        left = s * mpmath.quad(
            lambda t: (alpha + t) ** -(r + x) * (beta + t) ** -(s + 1), mpmath.linspace(recency_, age_, 12)
        )
        tricomi = mpmath.hyperu(s, s, rate * (beta + age_))
        exact = rate ** (s - 1) * (r + x) * (alpha + age_) ** -(r + x + 1) * tricomi / (stayed + left)
    rows = histories([x], [recency], [age])
    assert pareto_nbd.dert(np.array(theta), rows, 0.0027)[0] == pytest.approx(float(exact), rel=1e-8)
    assert pareto_nbd.alive(np.array(theta), rows)[0] == pytest.approx(float(stayed / (stayed + left)), rel=1e-9)


def test_the_peer_stops_at_the_optimum_where_ours_converges(frame, rows) -> None:
    """Asked for a tight tolerance, ``lifetimes`` raises although it has arrived."""
    with pytest.raises(Exception, match="converge"):
        lifetimes_fit(BetaGeoFitter, frame["frequency"], frame["recency"], frame["T"], tol=1e-10)
    model = bg_nbd.fit(rows)
    assert not isinstance(model, Refusal)
    gradient = bg_nbd.log_likelihood(model.estimate.values, rows)[1]
    assert np.abs(gradient * model.estimate.values).max() < 1e-6


def test_the_peers_likelihood_is_not_that_of_the_papers(frame, rows) -> None:
    peer = lifetimes_fit(BetaGeoFitter, frame["frequency"], frame["recency"], frame["T"])
    model = bg_nbd.fit(rows)
    assert not isinstance(model, Refusal)
    assert model.estimate.log_likelihood == pytest.approx(-9582.4, abs=0.05)
    assert abs(float(peer._negative_log_likelihood_)) < 1.0


def test_a_single_donor_is_foretold_where_the_peer_fails() -> None:
    frame = load_donations()
    peer = lifetimes_fit(
        BetaGeoBetaBinomFitter, frame["frequency"], frame["recency"], frame["periods"], frame["weights"]
    )
    with pytest.raises(AttributeError):
        peer.conditional_expected_number_of_purchases_up_to_time(10, 4, 5, 6)
    theta = np.array(peer.params_)
    assert bg_bb.expected(theta, bg_bb.chances(4, 5, 6), 10)[0] == pytest.approx(3.628, abs=2e-3)
