"""From purchases to values of customers and cohorts, with intervals, and what the data do not carry."""

from __future__ import annotations

import random
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
from clv_data import CALIBRATION_END, cdnow
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from collectors.analytics.clv import bg_nbd, gamma_gamma, pareto_nbd, rfm, valuation
from collectors.analytics.clv.history import Histories
from collectors.analytics.clv.report import SCHEMA, predictions
from collectors.analytics.clv.valuation import Horizon, Valuation
from collectors.analytics.refusal import Reason, Refusal

purchases = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 20), st.integers(1, 2**40)), min_size=1, max_size=60)


@pytest.fixture(scope="module")
def summary() -> rfm.Summary:
    return rfm.summarise(cdnow(), CALIBRATION_END)


@pytest.fixture(scope="module")
def valued(summary) -> Valuation:
    model, spend = bg_nbd.fit(summary.rows), valuation.fit_spend(summary, 0.3)
    assert not isinstance(model, Refusal)
    found = valuation.value(summary, model, spend, Horizon(180, 0.0003))
    assert isinstance(found, Valuation)
    return found


def columns(rows: list[tuple[int, int, int]]) -> list[np.ndarray]:
    return [np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)]


@given(purchases, st.integers(0, 25))
def test_customers_are_summarised_as_by_hand(rows, end) -> None:
    bought: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for customer, day, minor in rows:
        if day <= end:
            bought[customer][day] += minor
    found = rfm.summarise(rfm.occasions(*columns(rows)), end)
    expected = []
    for customer in sorted(bought):
        days = sorted(bought[customer])
        repeat = sum(bought[customer][day] for day in days[1:])
        expected.append((days[0], days[-1], len(days) - 1, repeat))
    got = zip(*(c.tolist() for c in (found.first, found.last, found.repeats, found.repeat_minor)), strict=True)
    assert list(got) == expected
    assert found.rows.customers == len(expected)


@given(purchases, st.randoms(use_true_random=False))
def test_the_order_of_purchases_does_not_matter(rows, rng: random.Random) -> None:
    shuffled = rows[:]
    rng.shuffle(shuffled)
    one, other = (rfm.summarise(rfm.occasions(*columns(r)), 25) for r in (rows, shuffled))
    for name in ("first", "last", "repeats", "repeat_minor"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


def test_no_purchases_make_no_customers() -> None:
    nothing = rfm.occasions(*(np.zeros(0, dtype=np.int64) for _ in range(3)))
    found = rfm.summarise(nothing, 5)
    assert len(found.first) == len(found.mean_spend) == found.rows.customers == 0
    assert bg_nbd.fit(found.rows) == Refusal(Reason.NO_SUBJECTS, "there are no customers")


@pytest.mark.parametrize("module", [bg_nbd, pareto_nbd])
def test_a_discount_is_that_of_each_purchase_when_it_happens(summary, module) -> None:
    model = module.fit(summary.rows)
    assert not isinstance(model, Refusal)
    rows, theta = summary.rows, model.estimate.values
    some = Histories(rows.x[::100], rows.recency[::100], rows.age[::100], rows.count[::100], rows.row[:0])
    found = valuation.discounted(model, theta, some, Horizon(365, 0.001))

    def bought(t: float, row: int) -> float:
        return float(model.predict(theta, some, t)[row])

    for row in range(0, len(some.x), 4):
        by_parts = np.exp(-0.365) * bought(365, row)
        by_parts += 0.001 * quad(lambda t, row=row: np.exp(-0.001 * t) * bought(t, row), 0, 365, epsrel=1e-9)[0]
        assert found[row] == pytest.approx(by_parts, rel=1e-6)
    assert (found < model.predict(theta, some, 365)).all()
    undiscounted = valuation.discounted(model, theta, some, Horizon(365))
    assert np.array_equal(undiscounted, model.predict(theta, some, 365))


def test_groups_add_up_and_their_intervals_hold_them(valued) -> None:
    months = valued.summary.row_values(valued.summary.first // 30)
    group = np.unique(months, return_inverse=True)[1]
    count = int(group.max()) + 1
    values = valued.value_totals(group, count)
    assert isinstance(values, list)
    for totals in (valued.purchase_totals(group, count), values):
        assert totals[0].estimate == pytest.approx(sum(t.estimate for t in totals[1:]))
        for total in totals:
            assert 0 < total.lower < total.estimate < total.upper < 2 * total.estimate
    each = valued.value
    assert isinstance(each, np.ndarray)
    assert values[0].estimate == pytest.approx(each.sum())
    wide = valued.value_totals(group, count, level=0.99)
    assert isinstance(wide, list)
    assert wide[0].upper > values[0].upper


def test_the_delta_method_agrees_with_drawing_parameters(valued) -> None:
    """Total purchases under parameters drawn from their asymptotic distribution spread as the interval says."""
    group = np.zeros(len(valued.summary.rows.x), dtype=np.int64)
    interval = valued.purchase_totals(group, 1)[0]
    estimate, rows = valued.model.estimate, valued.summary.rows
    rng = np.random.default_rng(2)
    draws = rng.multivariate_normal(np.log(estimate.values), estimate.log_covariance, 400)
    totals = [float(rows.count @ valuation.discounted(valued.model, np.exp(d), rows, valued.horizon)) for d in draws]
    half_width = np.log(interval.upper / interval.estimate)
    assert np.sqrt(np.diag(estimate.covariance)) == pytest.approx(estimate.standard_errors)
    assert 1.96 * np.std(np.log(totals)) == pytest.approx(half_width, rel=0.1)


def test_a_horizon_longer_than_the_history_is_refused(summary, valued) -> None:
    found = valuation.value(summary, valued.model, valued.spend_model, Horizon(400))
    assert isinstance(found, Refusal)
    assert "extrapolation" in found.detail
    assert isinstance(valuation.value(summary, valued.model, valued.spend_model, Horizon(400, reach=2.0)), Valuation)


def test_without_a_model_of_spend_there_are_purchases_only(summary, valued) -> None:
    refusal = valuation.fit_spend(summary, 0.1)  # CDNOW's correlation is .114
    assert isinstance(refusal, Refusal)
    assert "0.11" in refusal.detail
    found = valuation.value(summary, valued.model, refusal, Horizon(180))
    assert isinstance(found, Valuation)
    assert found.value == found.spend == refusal
    assert found.value_totals(np.zeros(len(summary.rows.x), dtype=np.int64), 1) == refusal
    table = predictions(pa.array([b"x"] * len(summary.first)), found)
    assert table.schema == SCHEMA
    assert table.column("expected_value_minor").null_count == table.num_rows
    assert table.column("expected_purchases").null_count == 0


def test_each_customer_has_a_row_of_predictions(summary, valued) -> None:
    ids = pa.array([f"c{n}".encode() for n in range(len(summary.first))])
    table = predictions(ids, valued)
    rows = table.to_pylist()
    assert [r["customer_id"] for r in rows[:2]] == [b"c0", b"c1"]
    assert str(rows[0]["first_day"]) == "1997-01-01"
    assert rows[0]["expected_value_minor"] == pytest.approx(
        rows[0]["expected_purchases"] * rows[0]["expected_spend_minor"]
    )
    assert all(0 <= r["probability_alive"] <= 1 for r in rows)


def test_spend_is_shrunk_towards_the_mean_of_all(summary) -> None:
    model = valuation.fit_spend(summary, 0.3)
    assert isinstance(model, gamma_gamma.GammaGamma)
    mean = model.population_mean()
    assert isinstance(mean, float)
    x, spend = np.array([0, 1, 10, 1000]), np.array([0.0, 9000.0, 9000.0, 9000.0])
    found = model.expected(x, spend)
    assert found[0] == pytest.approx(mean)
    assert mean < found[1] < found[2] < found[3] < 9000


@pytest.mark.parametrize("theta", [(6.0, 3.7, 15.0), (1.0, 1.2, 0.4)])
def test_derivatives_of_spend(theta) -> None:
    rng = np.random.default_rng(4)
    data = gamma_gamma._Spend(rng.integers(1, 9, 50).astype(float), rng.gamma(2.0, 9.0, 50))
    _, gradient, hessian = data.log_likelihood(np.array(theta))
    for i in range(3):
        step = np.zeros(3)
        step[i] = 1e-5 * theta[i]
        up, down = data.log_likelihood(np.array(theta) + step), data.log_likelihood(np.array(theta) - step)
        assert (up[0] - down[0]) / (2 * step[i]) == pytest.approx(gradient[i], rel=1e-5, abs=1e-5)
        assert (up[1] - down[1]) / (2 * step[i]) == pytest.approx(hessian[i], rel=1e-5, abs=1e-4)


def test_gamma_gamma_finds_the_truth_in_its_intervals() -> None:
    truth, hits = (6.0, 4.0, 15.0), np.zeros(3)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = rng.integers(1, 8, 1500)
        spend = rng.gamma(6.0 * x) / x / rng.gamma(4.0, 1 / 15.0, 1500)
        model = gamma_gamma.fit(x, spend)
        assert not isinstance(model, Refusal)
        for i, name in enumerate(gamma_gamma.NAMES):
            interval = model.estimate.interval(name)
            hits[i] += interval.lower <= truth[i] <= interval.upper
    assert (hits >= 180).all(), hits


def test_spend_that_tells_nothing_is_refused() -> None:
    few = gamma_gamma.fit(np.array([1, 2, 0]), np.array([5.0, 6.0, 0.0]))
    assert few == Refusal(Reason.TOO_FEW, "only 2 customers have known repeat spend; 10 are needed")
    same = gamma_gamma.fit(np.full(50, 3), np.full(50, 7.0))
    assert same == Refusal(Reason.CONSTANT, "all customers spend the same, so nothing tells how spend differs")
    assert gamma_gamma.correlation(np.array([1, 1, 1]), np.array([1.0, 2.0, 3.0])) is None
    assert gamma_gamma.correlation(np.array([1]), np.array([1.0])) is None


def test_spend_without_a_finite_mean_is_refused() -> None:
    rng = np.random.default_rng(1)
    spend = rng.gamma(3.0, size=3000) / rng.gamma(0.6, size=3000)
    model = gamma_gamma.fit(np.ones(3000, dtype=np.int64) * 2, spend)
    assert isinstance(model, gamma_gamma.GammaGamma)
    assert isinstance(model.population_mean(), Refusal)
    minor = np.maximum(1, np.round(spend * 200)).astype(np.int64)
    ones = np.ones(3000, dtype=np.int64)
    summary = rfm.Summary(10, 0 * ones, 5 * ones, 2 * ones, minor)
    found = valuation.fit_spend(summary, 0.9)
    assert isinstance(found, Refusal)
    assert "finite mean" in found.detail


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(0.01, 1e9)), min_size=1, max_size=60))
def test_any_spend_is_fitted_or_refused_and_never_nan(pairs) -> None:
    x, spend = (np.array(column) for column in zip(*pairs, strict=True))
    model = gamma_gamma.fit(x, spend)
    if not isinstance(model, Refusal):
        assert np.isfinite(model.estimate.standard_errors).all()
        assert np.isfinite(model.estimate.values).all()
