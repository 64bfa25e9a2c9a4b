"""The models of purchases: exact derivatives, no singularities, the truth found again, refusals instead of NaN."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from clv_data import CALIBRATION_END, cdnow, donors, shop
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betaln, gammaln

from collectors.analytics.clv import bg_bb, bg_nbd, pareto_nbd, rfm
from collectors.analytics.clv.fit import Estimate, log_interval, maximise
from collectors.analytics.clv.history import Histories, histories
from collectors.analytics.clv.quadrature import beta_rule, scaled_expint, shrinking_power
from collectors.analytics.refusal import Reason, Refusal

MBG = partial(bg_nbd.fit, may_leave_at_once=True)
FITS = {"bg": bg_nbd.fit, "mbg": MBG, "pareto": pareto_nbd.fit}
LIKELIHOODS = {
    "bg": bg_nbd.log_likelihood,
    "mbg": partial(bg_nbd.log_likelihood, leave_at_once=True),
    "pareto": pareto_nbd.log_likelihood,
}
CASE = (0.3, 2.0, 1.5, 2.5)
SOME = histories([0, 0, 1, 2, 5, 26, 300], [0, 0, 1.7, 30.4, 20, 30.8, 290], [38.9, 0, 38.9, 38.9, 21, 31, 300])
rates = st.floats(0.05, 20.0)


@pytest.fixture(scope="module")
def sample() -> Histories:
    return rfm.summarise(cdnow(), CALIBRATION_END).rows


def assert_derivatives(likelihood, theta: np.ndarray) -> None:
    """Compare gradient and Hessian with central differences of value and gradient."""
    _, gradient, hessian = likelihood(theta)
    for i, size in enumerate(theta):
        step = np.zeros(len(theta))
        step[i] = 1e-5 * size
        up, down = likelihood(theta + step), likelihood(theta - step)
        scale = max(1.0, float(np.abs(gradient).max()), abs(up[0]) * 1e-3)
        assert (up[0] - down[0]) / (2 * step[i]) == pytest.approx(gradient[i], rel=1e-5, abs=1e-6 * scale)
        scale = max(1.0, float(np.abs(hessian).max()))
        assert (up[1] - down[1]) / (2 * step[i]) == pytest.approx(hessian[i], rel=1e-5, abs=1e-6 * scale)
    assert hessian == pytest.approx(hessian.T, rel=1e-12)


@pytest.mark.parametrize("model", sorted(LIKELIHOODS))
@pytest.mark.parametrize("theta", [CASE, (1.0, 1.0, 1.0, 1.0), (3.0, 0.4, 0.2, 40.0)])
def test_gradient_and_hessian_are_those_of_the_likelihood(model, theta) -> None:
    assert_derivatives(lambda t: LIKELIHOODS[model](t, SOME), np.array(theta))


def test_derivatives_of_chances() -> None:
    assert_derivatives(lambda t: bg_bb.log_likelihood(t, donors()), np.array(CASE))
    mixed = bg_bb.chances([0, 2, 3], [0, 2, 9], [4, 6, 10], [7, 2, 1])
    assert_derivatives(lambda t: bg_bb.log_likelihood(t, mixed), np.array(CASE))


def bg_likelihood_by_integration(theta, x, recency, age, m) -> float:
    """Integrate over the leaving probability; the purchase rate is integrated in closed form."""
    r, alpha, a, b = theta
    common = gammaln(r + x) - gammaln(r) + r * np.log(alpha)

    def stays(p: float) -> float:
        return (1 - p) ** (x + m) * np.exp(common - (r + x) * np.log(alpha + age))

    def leaves(p: float) -> float:
        return p * (1 - p) ** (x + m - 1) * np.exp(common - (r + x) * np.log(alpha + recency)) if x + m else 0.0

    def integrand(p: float) -> float:
        return (stays(p) + leaves(p)) * np.exp((a - 1) * np.log(p) + (b - 1) * np.log1p(-p) - betaln(a, b))

    return float(quad(integrand, 0, 1, epsabs=1e-14, epsrel=1e-11, limit=500)[0])


@pytest.mark.parametrize(("x", "recency", "age"), [(0, 0.0, 39.0), (1, 5.0, 39.0), (7, 30.0, 39.0)])
@pytest.mark.parametrize("m", [0, 1])
def test_bg_likelihood_is_per_customer_in_the_papers_units(x, recency, age, m) -> None:
    theta = (0.5, 6.0, 1.2, 2.4)
    expected = np.log(bg_likelihood_by_integration(theta, x, recency, age, m))
    rows = histories([x], [recency], [age])
    assert bg_nbd.log_likelihood(np.array(theta), rows, leave_at_once=bool(m))[0] == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("theta", [(0.55, 10.6, 0.6, 11.7), (2.0, 3.0, 1.0, 9.0), (0.1, 40.0, 3.0, 0.2)])
@pytest.mark.parametrize(("x", "recency", "age"), [(0, 0.0, 39.0), (2, 30.4, 38.9), (40, 38.0, 39.0)])
def test_pareto_likelihood_is_the_integral_over_the_time_of_leaving(theta, x, recency, age) -> None:
    r, alpha, s, beta = theta
    constant = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta)
    peak = -(r + x) * np.log(alpha + recency) - (s + 1) * np.log(beta + recency)

    def leaving(t: float) -> float:
        return np.exp(-(r + x) * np.log(alpha + t) - (s + 1) * np.log(beta + t) - peak)

    left = s * quad(leaving, recency, age, epsabs=0, epsrel=1e-12, limit=500)[0]
    stayed = np.exp(-(r + x) * np.log(alpha + age) - s * np.log(beta + age) - peak)
    rows = histories([x], [recency], [age])
    value = pareto_nbd.log_likelihood(np.array(theta), rows)[0]
    assert value == pytest.approx(constant + peak + np.log(left + stayed), abs=1e-9)
    assert pareto_nbd.alive(np.array(theta), rows)[0] == pytest.approx(stayed / (left + stayed), rel=1e-9)


def bg_expected_by_integration(theta, x, age, time, m) -> float:
    """Integrate the purchases of who is still a customer over the posterior of the leaving probability."""
    r, alpha, a, b = theta
    t = time / (alpha + age)

    def integrand(p: float) -> float:
        bought = -np.expm1(-(r + x) * np.log1p(p * t)) / p
        return bought * np.exp((a - 1) * np.log(p) + (b + x + m - 1) * np.log1p(-p) - betaln(a, b + x + m))

    edges = [0.0, 1e-6, 1e-4, 1e-2, 0.5, 1.0]
    return float(sum(quad(integrand, *ends, epsabs=1e-13, epsrel=1e-9, limit=500)[0] for ends in pairwise(edges)))


@pytest.mark.parametrize("a", [0.999_999, 1.0, 1.000_001])
def test_bg_expectation_is_smooth_where_the_formula_divides_by_a_less_one(a) -> None:
    theta = np.array([0.243, 4.414, a, 2.426])
    row = histories([2], [30.43], [38.86])
    expected = bg_expected_by_integration((0.243, 4.414, 1.0, 2.426), 2, 38.86, 39.0, 0) * bg_nbd.alive(theta, row)[0]
    assert bg_nbd.expected(theta, row, 39.0)[0] == pytest.approx(expected, rel=3e-6)
    new = bg_nbd.expected_new(theta, np.array([52.0]))[0]
    assert new == pytest.approx(bg_expected_by_integration((0.243, 4.414, 1.0, 2.426), 0, 0.0, 52.0, 0), rel=3e-6)
    assert 1.2 < new < 1.4  # and not infinite


@pytest.mark.parametrize("m", [0, 1])
@pytest.mark.parametrize("theta", [(0.3, 2.0, 0.7, 2.5), (5.0, 0.3, 3.0, 1.1), (0.9, 30.0, 40.0, 200.0)])
@pytest.mark.parametrize(("x", "age", "time"), [(0, 0.0, 1000.0), (1, 40.0, 1.0), (30, 40.0, 400.0)])
def test_bg_expectation_is_that_over_the_leaving_probability(theta, x, age, time, m) -> None:
    row = histories([x], [age / 2], [age])
    found = bg_nbd.expected(np.array(theta), row, time, leave_at_once=bool(m))[0]
    alive = bg_nbd.alive(np.array(theta), row, leave_at_once=bool(m))[0]
    assert found / alive == pytest.approx(bg_expected_by_integration(theta, x, age, time, m), rel=1e-8)


def test_mbg_new_customers_may_leave_at_once() -> None:
    theta = np.array([0.5, 6.0, 1.0, 3.0])
    rng = np.random.default_rng(5)
    leave = rng.beta(1.0, 3.0, 400_000)
    rate = rng.gamma(0.5, 1 / 6.0, 400_000)
    # A customer who stays after the first purchase buys (1 - exp(-rate p t)) / p times.
    mean = ((1 - leave) * -np.expm1(-rate * leave * 20.0) / leave).mean()
    assert bg_nbd.expected_new(theta, np.array([20.0]), leave_at_once=True)[0] == pytest.approx(mean, rel=0.01)


def test_pareto_expectations_are_smooth_at_s_equal_to_one() -> None:
    row = histories([3], [20.0], [30.0])
    near = [pareto_nbd.expected(np.array([0.5, 9.0, s, 12.0]), row, 40.0)[0] for s in (1 - 1e-8, 1.0, 1 + 1e-8)]
    assert near == pytest.approx([near[1]] * 3, rel=1e-6)
    assert np.isfinite(near).all()
    new = pareto_nbd.expected_new(np.array([0.5, 9.0, 1.0, 12.0]), np.array([0.0, 40.0]))
    assert new == pytest.approx([0.0, 0.5 / 9.0 * 12.0 * np.log1p(40 / 12.0)])


@pytest.mark.parametrize("theta", [(0.56, 12.6, 0.41, 10.5), (2.0, 3.0, 1.0, 9.0), (0.4, 9.0, 4.0, 90.0)])
def test_dert_is_the_integral_of_discounted_expected_purchases(theta) -> None:
    row, rate = histories([7], [35.0], [77.86]), 0.0027

    def of(t: float) -> float:
        return rate * np.exp(-rate * t) * pareto_nbd.expected(np.array(theta), row, t)[0]

    expected = sum(quad(of, a, b, epsrel=1e-10)[0] for a, b in ((0, 100), (100, 2000), (2000, 12_000)))
    assert pareto_nbd.dert(np.array(theta), row, rate)[0] == pytest.approx(expected, rel=1e-6)


def test_models_without_discount_refuse_an_endless_sum() -> None:
    with pytest.raises(ValueError, match="discount rate"):
        pareto_nbd.dert(np.array(CASE), SOME, 0.0)
    with pytest.raises(ValueError, match="discount rate"):
        bg_bb.dert(np.array(CASE), donors(), 0.0)


def test_bg_bb_takes_plain_numbers_and_sums_what_it_expects() -> None:
    theta = np.array([1.2, 0.75, 1.0, 2.78])  # the closed form divides by gamma - 1
    one = bg_bb.chances(3, 4, 6)
    by_period = np.diff([bg_bb.expected(theta, one, n)[0] for n in range(200)], prepend=0.0)
    assert bg_bb.expected(theta, one, 5)[0] == pytest.approx(by_period[:6].sum())
    discounted = (by_period[1:] * 1.5 ** -np.arange(1.0, 200.0)).sum()
    assert bg_bb.dert(theta, one, 0.5)[0] == pytest.approx(discounted, rel=1e-9)
    assert bg_bb.alive(theta, one)[0] < bg_bb.alive(theta, bg_bb.chances(3, 6, 6))[0] < 1
    assert bg_bb.fit(one) == Refusal(Reason.TOO_FEW, "only 1 customers ever took a chance; 10 are needed")
    model = bg_bb.fit(donors())
    assert not isinstance(model, Refusal)
    assert model.alive(one)[0] == bg_bb.alive(model.estimate.values, one)[0]
    assert model.dert(one, 0.1)[0] == bg_bb.dert(model.estimate.values, one, 0.1)[0]


def test_bg_bb_probabilities_of_all_histories_add_up_to_one() -> None:
    theta, n = np.array([1.2, 0.75, 0.66, 2.78]), 5
    total = 0.0
    for x in range(n + 1):
        for last in range(x, n + 1) if x else (0,):
            ways = np.exp(gammaln(last) - gammaln(x) - gammaln(last - x + 1)) if x else 1.0
            total += ways * np.exp(bg_bb.log_likelihood(theta, bg_bb.chances(x, last, n))[0])
    assert total == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    "history", [(1, 0, 1, 1), (0, 1, 2, 1), (3, 2, 5, 1), (1, 6, 5, 1), (-1, 1, 1, 1), (0, 0, 1, -1)]
)
def test_an_impossible_history_of_chances_is_an_error(history) -> None:
    with pytest.raises(ValueError, match="needs"):
        bg_bb.chances(*history)


@pytest.mark.parametrize(
    "history", [([1], [0.0], [5.0]), ([0], [1.0], [5.0]), ([1], [6.0], [5.0]), ([-1], [1.0], [5.0]),
                ([1], [np.nan], [5.0]), ([0], [0.0], [np.inf])],
)  # fmt: skip
def test_an_impossible_history_is_an_error(history) -> None:
    with pytest.raises(ValueError, match="needs"):
        histories(*history)
    with pytest.raises(ValueError, match="length"):
        histories([0, 1], [0.0], [1.0])


def test_the_optimum_is_tight_wherever_the_search_starts(sample) -> None:
    """No convergence error at the optimum, however tight the tolerance: the gradient there is rounding."""
    for name, fit in FITS.items():
        model = fit(sample)
        assert not isinstance(model, Refusal)
        theta = model.estimate.values
        _, gradient, _ = LIKELIHOODS[name](theta, sample)
        assert np.abs(theta * gradient).max() < 1e-6
        starts = [np.array(start) for start in ((5.0, 5.0, 5.0, 5.0), (0.05, 500.0, 0.05, 0.5))]
        for start in starts:
            again = maximise(model.estimate.names, [start], lambda t, n=name: LIKELIHOODS[n](t, sample), 1)
            assert isinstance(again, Estimate)
            assert again.values == pytest.approx(theta, rel=1e-6)


def test_the_unit_of_time_only_scales(sample) -> None:
    for fit in FITS.values():
        days, hours = fit(sample), fit(sample_in_hours(sample))
        assert not isinstance(days, Refusal)
        assert not isinstance(hours, Refusal)
        assert hours.alive(sample_in_hours(sample)) == pytest.approx(days.alive(sample), rel=1e-6)
        assert hours.estimate.standard_errors[0] == pytest.approx(days.estimate.standard_errors[0], rel=1e-6)
        assert hours.expected_new(np.array([240.0])) == pytest.approx(days.expected_new(np.array([10.0])), rel=1e-6)
        assert hours.expected(sample_in_hours(sample), 240.0) == pytest.approx(days.expected(sample, 10.0), rel=1e-6)


def sample_in_hours(sample: Histories) -> Histories:
    return Histories(sample.x, sample.recency * 24, sample.age * 24, sample.count, sample.row)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_customers_in_any_order_or_counted_twice_give_the_same_model(fit, sample) -> None:
    rng = np.random.default_rng(1)
    order = rng.permutation(sample.customers)
    x, recency, age = (column[sample.row][order] for column in (sample.x, sample.recency, sample.age))
    one, other = fit(sample), fit(histories(x, recency, age))
    double = fit(histories(*(np.tile(column, 2) for column in (x, recency, age))))
    for model in (one, other, double):
        assert not isinstance(model, Refusal)
    assert np.array_equal(one.estimate.values, other.estimate.values)
    assert double.estimate.values == pytest.approx(one.estimate.values, rel=1e-6)
    assert double.estimate.standard_errors * 2**0.5 == pytest.approx(one.estimate.standard_errors, rel=1e-5)
    assert double.estimate.log_likelihood == pytest.approx(2 * one.estimate.log_likelihood)


REFUSED = {
    "nobody": ([], [], []),
    "no repeaters": ([0] * 500, [0.0] * 500, list(range(1, 501))),
    "few": ([0, 1, 3], [0.0, 4.0, 9.0], [10.0, 10.0, 10.0]),
    "identical": ([3] * 100, [9.0] * 100, [10.0] * 100),
}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_tells_nothing_is_refused_with_the_reason(fit, case) -> None:
    found = fit(histories(*(np.array(column) for column in REFUSED[case])))
    assert isinstance(found, Refusal)
    assert len(found.detail) > 15


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_population_is_fitted_or_refused_and_never_nan(fit, data) -> None:
    size = data.draw(st.integers(1, 60))
    scale = data.draw(st.sampled_from([1e-3, 1.0, 1e4]))
    draws = st.lists(
        st.tuples(st.sampled_from([0, 0, 1, 2, 30, 5000]), st.integers(1, 50), st.integers(0, 50)),
        min_size=size,
        max_size=size,
    )
    x, last, more = (np.array(column) for column in zip(*data.draw(draws), strict=True))
    recency = np.where(x > 0, last * scale, 0.0)
    rows = histories(x, recency, recency + more * scale)
    model = fit(rows)
    if isinstance(model, Refusal):
        return
    assert np.isfinite(model.estimate.values).all()
    assert np.isfinite(model.estimate.standard_errors).all()
    alive, expected = model.alive(rows), model.expected(rows, 10 * scale)
    assert ((alive >= 0) & (alive <= 1)).all()
    assert (np.isfinite(expected) & (expected >= 0)).all()


@settings(max_examples=60, deadline=None)
@given(rates, rates, rates, rates, st.integers(0, 100_000), st.floats(0, 1e5), st.floats(1e-3, 1e5))
def test_predictions_are_finite_and_bounded_for_any_parameters(r, alpha, a, b, x, gap, time) -> None:
    theta = np.array([r, alpha, a, b])
    row = histories([x], [5.0 if x else 0.0], [5.0 + gap])
    for model in (bg_nbd, pareto_nbd):
        alive, expected = model.alive(theta, row)[0], model.expected(theta, row, time)[0]
        most = alive * (r + x) / (alpha + 5.0 + gap) * time  # nobody buys more than without leaving
        assert 0 <= alive <= 1
        assert 0 <= expected <= most * (1 + 1e-9) + 1e-300
        assert 0 <= model.expected(theta, row, time / 2)[0] <= expected * (1 + 1e-9)
    assert np.isfinite(pareto_nbd.dert(theta, row, 1e-3)).all()


def test_bg_nbd_finds_the_truth_in_its_intervals_at_their_level() -> None:
    """95 % intervals of 1,000 seeded populations of 2,000 customers hold the truth in 93 % to 97 % of them."""
    truth = (0.8, 30.0, 1.2, 3.0)
    hits = np.zeros(4)
    for seed in range(1000):
        model = bg_nbd.fit(shop(2000, seed, truth))
        assert not isinstance(model, Refusal)
        for i, name in enumerate(bg_nbd.NAMES):
            interval = model.estimate.interval(name)
            hits[i] += interval.lower <= truth[i] <= interval.upper
    assert ((hits >= 930) & (hits <= 970)).all(), hits


def test_an_interval_needs_an_information_that_is_positive() -> None:
    saddle = maximise(("a",), [np.array([1.0])], lambda t: (0.0, np.zeros(1), np.zeros((1, 1))), 1)
    assert isinstance(saddle, Refusal)
    assert (saddle.reason, "is flat" in saddle.detail) == (Reason.NOT_IDENTIFIED, True)
    endless = maximise(("a",), [np.array([1.0])], lambda t: (float(t[0]), np.ones(1), np.zeros((1, 1))), 1)
    assert isinstance(endless, Refusal)
    assert (endless.of, "goes to infinity" in endless.detail) == ("a", True)
    shrinking = maximise(("a",), [np.array([1.0])], lambda t: (-float(t[0]), -np.ones(1), np.zeros((1, 1))), 1)
    assert isinstance(shrinking, Refusal)
    broken = maximise(("a",), [np.array([1.0])], lambda t: (float("nan"), np.ones(1), np.zeros((1, 1))), 1)
    assert isinstance(broken, Refusal)
    assert isinstance(maximise((), [], lambda t: (0.0, t, t), 0), Refusal)
    vague = maximise(("a", "b"), [np.ones(2)], lambda t: (0.0, np.zeros(2), -np.diag([1.0, 1e-3])), 1)
    assert isinstance(vague, Refusal)
    assert "determine b" in vague.detail
    lying = maximise(("a",), [np.array([1.0])], lambda t: (-float(t[0]), np.ones(1), -np.eye(1)), 1)
    assert isinstance(lying, Refusal)


def test_intervals_widen_with_the_level_and_stay_positive() -> None:
    narrow, wide = log_interval(2.0, 0.25, 0.5), log_interval(2.0, 0.25, 0.99)
    assert 0 < wide.lower < narrow.lower < 2.0 < narrow.upper < wide.upper
    assert log_interval(2.0, 0.25).upper == pytest.approx(2.0 * np.exp(1.959964 * 0.5), rel=1e-6)


@pytest.mark.parametrize(("a", "b"), [(0.01, 0.02), (0.8, 2.4), (0.5, 5000.0), (3e4, 2e5), (1e-3, 300.0)])
def test_the_rule_for_beta_gives_its_moments(a, b) -> None:
    p, weights = beta_rule(np.array([a]), np.array([b]))
    assert (weights * p).sum() == pytest.approx(a / (a + b), rel=1e-11)
    assert (weights * p**2).sum() == pytest.approx(a * (a + 1) / (a + b) / (a + b + 1), rel=1e-11)


@pytest.mark.parametrize("s", [0.05, 0.41, 1.0, 2.0, 30.0])
@pytest.mark.parametrize("z", [1e-6, 0.24, 3.0, 500.0])
def test_the_exponential_integral_is_that_integral(s, z) -> None:
    def of(v: float) -> float:
        return np.exp(-z * np.expm1(v) + (1 - s) * v)

    edges = np.linspace(0.0, np.log1p(750.0 / z), 40)
    expected = sum(quad(of, a, b, epsabs=0, epsrel=1e-11)[0] for a, b in pairwise(edges))
    assert scaled_expint(s, np.array([z]))[0] == pytest.approx(expected, rel=1e-9)


def test_a_shrinking_power_has_its_limit() -> None:
    assert shrinking_power(np.array([-2.0, -2.0]), 0.0) == pytest.approx([2.0, 2.0])
    assert shrinking_power(np.array([-2.0]), 0.5)[0] == pytest.approx((1 - np.exp(-1.0)) / 0.5)


def test_unique_rows_keep_every_customer_even_where_keys_would_overflow() -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(1, 3, 300) * 2**40
    recency, age = rng.integers(1, 4, 300) * 2**20, np.full(300, 2**41)
    rows = histories(x, recency, age)
    assert rows.customers == 300
    assert (rows.spread(rows.recency) == recency).all()
    assert (rows.x[rows.row] == x).all()
    assert len(rows.x) == len(set(zip(x.tolist(), recency.tolist(), strict=True)))
