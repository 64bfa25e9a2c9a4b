"""Renewal models and the contracts they are counted from."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from clv_data import HIGH_END, REGULAR, survivors
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaln, hyp2f1

from collectors.analytics.clv import sbg
from collectors.analytics.clv.contracts import NEVER, Contracts, add_months, period_days
from collectors.analytics.clv.sbg import Renewals
from collectors.analytics.refusal import Refusal


def day(*when: int) -> int:
    return (date(*when) - date(1970, 1, 1)).days


def days(*dates: tuple[int, int, int]) -> np.ndarray:
    return np.array([day(*when) for when in dates], dtype=np.int64)


def renewals(left: tuple[int, ...]) -> Renewals:
    return sbg.from_survivors(np.array(left))


@pytest.mark.parametrize("theta", [(0.7, 1.2), (3.0, 40.0), (0.05, 0.4)])
def test_derivatives_are_those_of_the_likelihood(theta) -> None:
    data = renewals(HIGH_END)
    for likelihood, at in ((sbg.log_likelihood, theta), (sbg.weibull_log_likelihood, (*theta, 1.3))):
        center = np.array(at)
        _, gradient, hessian = likelihood(center, data)
        for i in range(len(at)):
            step = np.zeros(len(at))
            step[i] = 1e-5 * at[i]
            up, down = likelihood(center + step, data), likelihood(center - step, data)
            assert (up[0] - down[0]) / (2 * step[i]) == pytest.approx(gradient[i], rel=1e-5, abs=1e-4)
            assert (up[1] - down[1]) / (2 * step[i]) == pytest.approx(hessian[i], rel=1e-4, abs=1e-3)


def test_the_likelihood_is_that_of_leaving_and_staying() -> None:
    alpha, beta = 0.7, 1.2
    left = np.array(REGULAR)
    log_survival = betaln(alpha, beta + np.arange(8)) - betaln(alpha, beta)
    share = -np.diff(np.exp(log_survival))
    expected = -np.diff(left) @ np.log(share) + left[-1] * log_survival[-1]
    assert sbg.log_likelihood(np.array([alpha, beta]), renewals(REGULAR))[0] == pytest.approx(expected)
    assert sbg.weibull_log_likelihood(np.array([alpha, beta, 1.0]), renewals(REGULAR))[0] == pytest.approx(expected)


def test_lifetimes_agree_with_the_hypergeometric_form() -> None:
    theta, rate = np.array([0.668088, 3.806095]), 0.1
    alpha, beta = theta
    assert sbg.lifetime(theta, rate) == pytest.approx(float(hyp2f1(1, beta, alpha + beta, 1 / 1.1)), rel=1e-10)
    for n in (1, 2, 8, 40):
        expected = (beta + n - 1) / (alpha + beta + n - 1) * hyp2f1(1, beta + n, alpha + beta + n, 1 / 1.1)
        assert sbg.residual(theta, np.array([n]), rate)[0] == pytest.approx(float(expected), rel=1e-10)
    many = sbg.residual(theta, np.array([3, 1]), rate, periods=2000)
    assert many == pytest.approx(sbg.residual(theta, np.array([3, 1]), rate), rel=1e-9)
    with pytest.raises(ValueError, match="discount rate"):
        sbg.residual(theta, np.array([1]), 0.0)
    assert sbg.residual(theta, np.array([1]), 0.0, periods=1)[0] == pytest.approx(beta / (alpha + beta))


def test_beta_discrete_weibull_has_the_sbg_within() -> None:
    """High End: the third parameter is worth its place, and fits the hold-out no worse."""
    simple, rich = sbg.fit(renewals(HIGH_END)), sbg.fit_weibull(renewals(HIGH_END))
    assert isinstance(simple, sbg.Sbg)
    assert isinstance(rich, sbg.Weibull)
    assert rich.estimate.log_likelihood > simple.estimate.log_likelihood
    actual = [0.468, 0.445, 0.427, 0.409, 0.394]
    assert np.abs(rich.survival(12)[8:] - actual).max() < np.abs(simple.survival(12)[8:] - actual).max()
    assert rich.survival(0).tolist() == [1.0]


def test_beta_discrete_weibull_finds_the_truth() -> None:
    alpha, beta, c = 1.5, 4.0, 0.7
    powers = np.concatenate([[0.0], np.arange(1.0, 13.0) ** c])
    survival = np.exp(betaln(alpha, beta + powers) - betaln(alpha, beta))
    model = sbg.fit_weibull(renewals(tuple(np.round(1e7 * survival).astype(int).tolist())))
    assert isinstance(model, sbg.Weibull)
    assert model.estimate.values == pytest.approx([alpha, beta, c], rel=0.05)
    assert model.survival(12) == pytest.approx(survival, abs=1e-5)


def test_sbg_finds_the_truth_in_its_intervals_at_their_level() -> None:
    """95 % intervals of 1,000 seeded cohorts of 1,000 subscribers hold the truth in 93 % to 97 % of them."""
    for truth in ((0.7, 1.2), (0.668, 3.8)):
        hits = np.zeros(2)
        for seed in range(1000):
            model = sbg.fit(sbg.from_survivors(survivors(1000, seed, *truth, ages=7)))
            assert isinstance(model, sbg.Sbg)
            for i, name in enumerate(sbg.NAMES):
                interval = model.estimate.interval(name)
                hits[i] += interval.lower <= truth[i] <= interval.upper
        assert ((hits >= 930) & (hits <= 970)).all(), hits


def test_cohorts_of_different_age_add_up() -> None:
    whole = renewals(HIGH_END)
    old, young = renewals(tuple(n // 2 for n in HIGH_END)), renewals(tuple(HIGH_END[:4]))
    both = old + young
    assert both.due.tolist() == [500 + 1000, 434 + 869, 371 + 743, 326, 296, 275, 258]
    assert (young + old).left.tolist() == both.left.tolist()
    one, other = sbg.fit(whole), sbg.fit(both)
    assert isinstance(one, sbg.Sbg)
    assert isinstance(other, sbg.Sbg)
    assert other.survival(12)[12] == pytest.approx(one.survival(12)[12], abs=0.04)


@pytest.mark.parametrize(
    ("due", "left", "reason"),
    [
        ([], [], "no renewal has come due yet"),
        ([0, 0], [0, 0], "no renewal has come due yet"),
        ([100], [10], "only 1 renewals"),
        ([100, 100], [0, 0], "nobody has left yet"),
        ([100, 100], [100, 100], "nobody renewed"),
        ([1000, 900, 810], [100, 90, 81], "too alike"),
    ],
)
def test_what_tells_nothing_is_refused_with_the_reason(due, left, reason) -> None:
    data = Renewals(np.array(due, dtype=np.int64), np.array(left, dtype=np.int64))
    for found in (sbg.fit(data), sbg.fit_weibull(data)):
        assert isinstance(found, Refusal)
    found = sbg.fit(data)
    assert isinstance(found, Refusal)
    assert reason in found.detail


def test_more_cannot_leave_than_came() -> None:
    with pytest.raises(ValueError, match="between 0 and due"):
        Renewals(np.array([3]), np.array([4]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2000)), min_size=1, max_size=15))
def test_any_renewals_are_fitted_or_refused_and_never_nan(pairs) -> None:
    due = np.array([max(pair) for pair in pairs])
    left = np.array([min(pair) for pair in pairs])
    for fit in (sbg.fit, sbg.fit_weibull):
        model = fit(Renewals(due, left))
        if not isinstance(model, Refusal):
            assert np.isfinite(model.estimate.standard_errors).all()
            curve = model.survival(50)
            assert ((curve >= 0) & (curve <= 1) & (np.diff(curve, prepend=1.0) <= 0)).all()


@pytest.mark.parametrize(
    ("start", "months", "expected"),
    [
        ((2026, 1, 31), 1, (2026, 2, 28)), ((2024, 1, 31), 1, (2024, 2, 29)), ((2026, 1, 31), 3, (2026, 4, 30)),
        ((2026, 3, 15), 12, (2027, 3, 15)), ((2024, 2, 29), 12, (2025, 2, 28)), ((2026, 5, 1), 0, (2026, 5, 1)),
    ],
)  # fmt: skip
def test_months_are_those_of_the_calendar(start, months, expected) -> None:
    assert add_months(days(start), np.array([months])).tolist() == [day(*expected)]


def test_a_contract_leaves_at_the_end_of_the_period_it_ends_in() -> None:
    start = (2026, 1, 31)
    ends = [(2026, 2, 10), (2026, 2, 28), (2026, 3, 1), (2026, 3, 31), (2026, 1, 31)]
    contracts = Contracts("month", days(*[start] * 6), np.append(days(*ends), NEVER))
    assert contracts.left_at().tolist() == [1, 1, 2, 2, 1, NEVER]
    assert contracts.due(day(2026, 4, 29)).tolist() == [2] * 6
    assert contracts.due(day(2026, 4, 30)).tolist() == [3] * 6
    counted = contracts.renewals(day(2026, 4, 30))
    assert counted.due.tolist() == [6, 3, 1]
    assert counted.left.tolist() == [3, 2, 0]


def test_only_renewals_that_came_due_count() -> None:
    contracts = Contracts("month", days((2026, 1, 10), (2026, 1, 10)), np.array([day(2026, 4, 10), NEVER]))
    counted = contracts.renewals(day(2026, 3, 20))
    assert (counted.due.tolist(), counted.left.tolist()) == ([2, 2], [0, 0])
    nothing = Contracts("month", days(), days()).renewals(day(2026, 3, 20))
    assert (nothing.due.tolist(), nothing.left.tolist()) == ([], [])
    young = contracts.renewals(day(2026, 1, 20))
    assert (young.due.tolist(), young.left.tolist()) == ([], [])
    assert contracts.due(day(2025, 1, 1)).tolist() == [0, 0]


@pytest.mark.parametrize(("interval", "length"), [("day", 1), ("week", 7), ("month", 30.4), ("year", 365.2)])
def test_every_interval_has_its_length(interval, length) -> None:
    assert period_days(interval) == pytest.approx(length, rel=0.01)
    contracts = Contracts(interval, days((2024, 2, 29)), np.array([NEVER]))
    about = day(2024, 2, 29) + round(3 * period_days(interval))
    assert contracts.due(about + 2)[0] >= 3
    assert contracts.due(about - 2)[0] <= 3 - (interval != "day")
    weekly = Contracts("week", days((2024, 2, 29)), days((2024, 3, 14)))
    assert weekly.left_at().tolist() == [2]
