"""Published numbers, each with its source; all are maximum-likelihood estimates of data that the papers give."""

from __future__ import annotations

import numpy as np
import pytest
from clv_data import CALIBRATION_END, CDNOW_END, HIGH_END, REGULAR, cdnow, donors, weeks

from collectors.analytics.clv import bg_bb, bg_nbd, gamma_gamma, pareto_nbd, rfm, sbg, tracking
from collectors.analytics.clv.history import histories
from collectors.analytics.refusal import Refusal

approx = pytest.approx


def fitted(model):
    assert not isinstance(model, Refusal), model
    return model


@pytest.fixture(scope="module")
def summary() -> rfm.Summary:
    return rfm.summarise(cdnow(), CALIBRATION_END)


@pytest.fixture(scope="module")
def cdnow_bg(summary):
    return fitted(bg_nbd.fit(weeks(summary)))


@pytest.fixture(scope="module")
def cdnow_pareto(summary):
    return fitted(pareto_nbd.fit(weeks(summary)))


CUSTOMER_1516 = histories([26], [216 / 7], [31.0])


def test_the_cdnow_sample_is_the_published_one() -> None:
    """Fader & Hardie 2001, "Forecasting Repeat Sales at CDNOW"; the 1/10 sample: 2,357 customers, 244,091.94 USD."""
    whole = rfm.summarise(cdnow(), CDNOW_END)
    assert len(whole.first) == 2357
    assert cdnow().minor.sum() == 24_409_194
    assert len(rfm.summarise(cdnow(), CALIBRATION_END).first) == 2357
    assert (rfm.summarise(cdnow(), CALIBRATION_END).repeats > 0).sum() == 946


def test_bg_nbd_reproduces_its_paper(summary) -> None:
    """Fader, Hardie & Lee 2005, table 2: .243, 4.414, .793, 2.426, LL -9582.4; weeks rounded to two digits."""
    model = fitted(bg_nbd.fit(weeks(summary, digits=2)))
    assert model.estimate.values == approx([0.242593, 4.41353, 0.792886, 2.42575], rel=5e-6)
    assert np.round(model.estimate.values, 3).tolist() == [0.243, 4.414, 0.793, 2.426]
    assert model.estimate.log_likelihood == approx(-9582.42556, abs=5e-6)


def test_bg_nbd_reproduces_the_vignette_of_btyd(cdnow_bg) -> None:
    """R package BTYD, vignette: LL -9582.429, E[X(52)] 1.444004, customer 1516 P(alive) .9688523; days over 7."""
    model = cdnow_bg
    assert model.estimate.values == approx([0.2425945, 4.413602, 0.792922, 2.425907], rel=5e-7)
    assert model.estimate.log_likelihood == approx(-9582.42921, abs=5e-6)
    assert model.expected_new(np.array([52.0]))[0] == approx(1.44401, abs=5e-6)
    # The vignette's optimum is looser than ours: four digits agree.
    assert model.expected_new(np.array([52.0]))[0] == approx(1.444004, rel=1e-5)
    assert model.expected(CUSTOMER_1516, 52.0)[0] == approx(25.7573, abs=5e-5)
    assert model.expected(CUSTOMER_1516, 52.0)[0] == approx(25.75659, rel=5e-5)
    assert model.alive(CUSTOMER_1516)[0] == approx(0.968854, abs=5e-7)
    assert model.alive(CUSTOMER_1516)[0] == approx(0.9688523, abs=3e-6)


def test_bg_nbd_foretells_the_customer_of_the_spreadsheet_note() -> None:
    """Fader & Hardie, "Implementing the BG/NBD Model in Excel": x = 2, t_x = 30.43, T = 38.86 gives E[Y(39)] 1.226."""
    one = histories([2], [30.43], [38.86])
    theta = np.array([0.2425929, 4.4135315, 0.7928862, 2.4257534])
    assert bg_nbd.expected(theta, one, 39.0)[0] == approx(1.225910, abs=2e-6)
    assert bg_nbd.expected(np.array([0.243, 4.414, 0.793, 2.426]), one, 39.0)[0] == approx(1.22603, abs=5e-6)
    assert bg_nbd.alive(theta, one)[0] == approx(0.7266, abs=5e-5)


def test_bg_nbd_shows_the_increasing_frequency_paradox(cdnow_bg) -> None:
    """R package BTYD, vignette: last seen in week 20 of 39, the more frequent buy less in the next 52."""
    rows = histories([10, 15, 20, 25], [20.0] * 4, [39.0] * 4)
    assert cdnow_bg.expected(rows, 52.0) == approx([0.34748, 0.042837, 0.0041593, 0.00035839], rel=2e-5)


def test_pareto_nbd_reproduces_its_paper_and_btyd(cdnow_pareto) -> None:
    """Fader, Hardie & Lee 2005, table 2: .553, 10.578, .606, 11.669, LL -9595.0; BTYD: LL -9594.976, 1.473434."""
    model = cdnow_pareto
    assert np.round(model.estimate.values, 3).tolist() == [0.553, 10.578, 0.606, 11.669]
    assert model.estimate.values == approx([0.553277, 10.5777, 0.606240, 11.6687], rel=5e-6)
    assert model.estimate.log_likelihood == approx(-9594.97618, abs=5e-6)
    assert model.expected_new(np.array([52.0]))[0] == approx(1.473434, abs=5e-7)
    assert model.expected(CUSTOMER_1516, 52.0)[0] == approx(25.4552, abs=5e-5)
    assert model.alive(CUSTOMER_1516)[0] == approx(0.997873, abs=1e-6)
    assert model.expected(CUSTOMER_1516, 52.0)[0] == approx(25.45647, rel=1e-4)


def test_dert_of_pareto_nbd() -> None:
    """Parameters and customer of the BTYD manual, pnbd.DERT; equation 2 of Fader, Hardie & Lee 2005 (JMR)."""
    theta = np.array([0.5629966, 12.5590370, 0.4081095, 10.5148048])
    assert pareto_nbd.dert(theta, histories([7], [35.0], [77.86]), 0.0027)[0] == approx(1.8641833, abs=5e-8)


def test_gamma_gamma_reproduces_its_note(summary) -> None:
    """Fader & Hardie 2013, note 025: 6.25, 3.74, 15.44, mean 35.17; from the transactions, in dollars."""
    model = fitted(gamma_gamma.fit(summary.repeats, summary.mean_spend / 100))
    assert model.estimate.values == approx([6.2496, 3.7442, 15.4435], abs=6e-5)
    assert gamma_gamma.correlation(summary.repeats, summary.mean_spend) == approx(0.114, abs=5e-4)
    assert model.population_mean() == approx(35.17, abs=0.005)


def test_gamma_gamma_reproduces_the_rounded_summary(summary) -> None:
    """The published summary rounds mean spend to cents: 6.248802, 3.744588, 15.447748, LL -4055.923244."""
    rounded = np.array([float(f"{m:.2f}") for m in np.nextafter(summary.mean_spend / 100, np.inf)])
    model = fitted(gamma_gamma.fit(summary.repeats, rounded))
    assert model.estimate.values == approx([6.248802, 3.744588, 15.447748], rel=5e-6)
    assert model.estimate.log_likelihood == approx(-4055.923244, abs=5e-4)
    assert model.population_mean() == approx(35.1710, abs=5e-4)
    assert model.expected(np.array([3]), np.array([35.0]))[0] == approx(35.0218, abs=5e-5)


def test_bg_bb_reproduces_its_paper() -> None:
    """Fader, Hardie & Shang 2010, table 3: 1.204, .750, .657, 2.783, LL -33225.6; BTYD 3.179805, .1302169, 3.627858."""
    model = fitted(bg_bb.fit(donors()))
    assert model.estimate.values == approx([1.203522, 0.749716, 0.656718, 2.783442], abs=6e-7)
    assert model.estimate.log_likelihood == approx(-33225.58127, abs=6e-6)
    assert model.estimate.observations == 11_104
    assert model.expected_new(10) == approx(3.17983, abs=5e-6)
    assert model.expected(bg_bb.chances(0, 0, 6), 10)[0] == approx(0.130218, abs=5e-7)
    assert model.expected(bg_bb.chances(4, 5, 6), 10)[0] == approx(3.62797, abs=5e-6)


def test_dert_of_bg_bb() -> None:
    """Fader, Hardie & Shang 2010, figure of DERT: parameters to two digits, 10 % a year."""
    theta = np.array([1.20, 0.75, 0.66, 2.78])
    assert bg_bb.dert(theta, bg_bb.chances(3, 4, 6), 0.1)[0] == approx(1.621379, abs=5e-7)
    several = bg_bb.dert(theta, bg_bb.chances(np.arange(1, 7), 6, 6), 0.1)
    assert several == approx([1.802045, 2.621156, 3.440267, 4.259379, 5.07849, 5.897601], abs=5e-7)


@pytest.mark.parametrize(
    ("left", "theta", "log_likelihood", "projected", "lifetime"),
    [
        (REGULAR, (0.704077, 1.182043), -1680.26519, (0.2201, 0.2044, 0.1912, 0.1799, 0.1700), 3.694908),
        (HIGH_END, (0.668088, 3.806095), -1611.15815, (0.4604, 0.4358, 0.4142, 0.3951, 0.3780), 5.922254),
    ],
    ids=["regular", "high end"],
)
def test_sbg_reproduces_its_paper(left, theta, log_likelihood, projected, lifetime) -> None:
    """Fader & Hardie 2007, seven renewals and the five after; lifetimes as in Fader & Hardie 2010 at 10 %."""
    model = fitted(sbg.fit(sbg.from_survivors(np.array(left))))
    assert model.estimate.values == approx(theta, abs=6e-7)
    assert model.estimate.log_likelihood == approx(log_likelihood, abs=6e-6)
    assert model.survival(12)[8:] == approx(projected, abs=5.1e-5)
    assert model.lifetime(0.1) == approx(lifetime, abs=6e-7)


def test_residual_lifetime_and_retention_of_sbg() -> None:
    """High End: retention .850679 ... .910614; after seven renewals DERL 7.530 (package of jdmaturen)."""
    model = fitted(sbg.fit(sbg.from_survivors(np.array(HIGH_END))))
    assert model.retention(np.arange(1, 5)) == approx([0.850679, 0.877957, 0.896807, 0.910614], abs=6e-7)
    assert model.residual(np.array([8]), 0.1)[0] == approx(7.529628, abs=6e-7)
    jdmaturen = [0.460, 0.436, 0.414, 0.395, 0.378]
    assert np.round(model.survival(12)[8:], 3).tolist() == jdmaturen
    actual = [0.468, 0.445, 0.427, 0.409, 0.394]
    assert model.survival(12)[8:] == approx(actual, abs=0.017)


@pytest.mark.parametrize("fit", [bg_nbd.fit, pareto_nbd.fit])
def test_cdnow_is_tracked_through_its_hold_out(summary, fit) -> None:
    """Fader, Hardie & Lee 2005, section 6: cumulative repeat sales to week 78 are missed by a few per cent."""
    bought, whole = cdnow(), rfm.summarise(cdnow(), CDNOW_END)
    assert (whole.first == summary.first).all()
    after, time = whole.repeats - summary.repeats, CDNOW_END - CALIBRATION_END
    days, counts = np.unique(bought.day, return_counts=True)
    at = np.arange(CALIBRATION_END, CDNOW_END + 1, 7)
    actual = tracking.actual_cumulative(days, counts, summary.first, at)
    assert actual[0] == summary.repeats.sum()
    assert actual[-1] == whole.repeats.sum()
    model = fitted(fit(summary.rows))
    expected = tracking.cumulative(model, summary.first, at)
    assert expected == approx(actual, rel=0.06)
    compared = tracking.by_frequency(model, summary.rows, time, after)
    assert compared.customers.tolist()[:3] == [1411, 439, 214]
    total = float(summary.rows.count @ model.expected(summary.rows, time))
    assert float(compared.expected @ compared.customers) == approx(total)
    assert total == approx(after.sum(), rel=0.13)
    assert compared.actual @ compared.customers == approx(after.sum())
    assert compared.expected == approx(compared.actual, abs=0.5, rel=0.15)
