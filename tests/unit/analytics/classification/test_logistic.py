"""Ridge logistic regression against published fits, its defining equations, and data that have no estimate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from collectors.analytics.classification import Logistic, logistic
from collectors.analytics.refusal import Reason, Refusal
from collectors.errors import BadInput


def fitted(*arguments, **options) -> Logistic:
    model = logistic(*arguments, **options)
    assert isinstance(model, Logistic), model
    return model


def test_a_two_by_two_table_gives_its_log_odds_ratio_and_woolfs_standard_error():
    x = np.repeat([0.0, 0.0, 1.0, 1.0], [30, 10, 15, 25])
    y = np.repeat([0, 1, 0, 1], [30, 10, 15, 25])
    model = fitted(x[:, None], y, penalty=0)
    scale = x.std()
    assert model.coefficients[0] / scale == pytest.approx(math.log(30 * 25 / (10 * 15)))
    assert model.standard_errors[0] / scale == pytest.approx(math.sqrt(1 / 30 + 1 / 10 + 1 / 15 + 1 / 25))
    assert model.probability([[0.0], [1.0]]) == pytest.approx([0.25, 0.625])
    assert model.log_likelihood == pytest.approx(
        10 * math.log(0.25) + 30 * math.log(0.75) + 25 * math.log(0.625) + 15 * math.log(0.375)
    )


def test_challenger_o_rings_are_the_published_fit():
    """Dalal, Fowlkes & Hoadley (1989), JASA 84:945-957: 15.043 - 0.2322 x temperature in degrees Fahrenheit."""
    cold = [53, 57, 58, 63, 66, 67, 67, 67, 68, 69, 70, 70, 70, 70, 72, 73, 75, 75, 76, 76, 78, 79, 81]
    hurt = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    x = np.array(cold, dtype=float)[:, None]
    model = fitted(x, hurt, penalty=0)
    slope = model.coefficients[0] / model.scales[0]
    assert slope == pytest.approx(-0.2322, abs=5e-5)
    assert model.intercept - slope * model.means[0] == pytest.approx(15.0429, abs=5e-4)
    assert model.standard_errors[0] / model.scales[0] == pytest.approx(0.1082, abs=5e-5)


CASES = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.booleans()), min_size=4, max_size=40).filter(
    lambda rows: len({r[2] for r in rows}) == 2
)


@given(CASES, st.sampled_from([0.1, 1.0, 30.0]), st.randoms(use_true_random=False))
def test_the_penalised_likelihood_is_at_its_maximum_in_whatever_order(rows, penalty, random):
    def run(cases):
        x, y = np.array([r[:2] for r in cases], dtype=float), np.array([r[2] for r in cases])
        return x, y, logistic(x, y, penalty=penalty)

    shuffled = rows[:]
    random.shuffle(shuffled)
    (x, y, model), (_, _, other) = run(rows), run(shuffled)
    if isinstance(model, Refusal):
        assert model.reason is Reason.CONSTANT
        assert other == model
        return
    assert isinstance(other, Logistic)
    assert other.coefficients == pytest.approx(model.coefficients, abs=1e-8)
    z = (x - x.mean(axis=0)) / x.std(axis=0)

    def cost(beta):
        eta = beta[0] + z @ beta[1:]
        return np.logaddexp(0, eta).sum() - eta[y].sum() + penalty / 2 * (beta[1:] ** 2).sum()

    reached = cost(np.array([model.intercept, *model.coefficients]))
    assert reached <= minimize(cost, np.zeros(3)).fun + 1e-8
    assert model.log_likelihood == pytest.approx(-reached + penalty / 2 * (model.coefficients**2).sum())
    assert np.all(np.isfinite(model.standard_errors))


def test_units_and_origin_of_features_do_not_matter():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(300, 2)), rng.random(300) < 0.3
    plain, changed = fitted(x, y), fitted(x * [1e6, 1e-6] + [5e7, 3], y)
    assert changed.coefficients == pytest.approx(plain.coefficients, rel=1e-6)


def test_intervals_cover_the_truth_at_their_nominal_rate():
    rng = np.random.default_rng(20261122)
    covered = np.zeros(2)
    for _ in range(1000):
        x = rng.normal(size=(400, 2))
        y = rng.random(400) < 1 / (1 + np.exp(1.0 - x @ [0.8, -0.4]))
        model = fitted(x, y, penalty=0)
        lower, upper = model.interval()
        truth = np.array([0.8, -0.4]) * model.scales
        covered += (lower <= truth) & (truth <= upper)
    assert np.all((covered >= 930) & (covered <= 970)), covered


def test_data_without_an_estimate_are_refused_with_the_reason():
    x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1]
    assert logistic(np.zeros((0, 1)), []).reason is Reason.NO_SUBJECTS
    assert logistic(x, [1, 1, 1, 1]).reason is Reason.ONE_CLASS
    assert logistic(x, [0, 0, 0, 0]).reason is Reason.ONE_CLASS
    constant = logistic(np.full((4, 1), 1e9), y, names=["plan"])
    assert (constant.reason, "plan" in str(constant)) == (Reason.CONSTANT, True)
    assert logistic(np.column_stack([x, 2 * x]), [0, 1, 0, 1], penalty=0).reason is Reason.COLLINEAR
    separated = logistic(x, y, penalty=0)
    assert separated.reason is Reason.SEPARATION
    assert "use a penalty" in str(separated)
    # With a penalty the same data have one.
    assert np.isfinite(fitted(x, y).coefficients).all()
    assert fitted(np.column_stack([x, 2 * x]), [0, 1, 0, 1]).coefficients[0] > 0


def test_nearly_separated_data_still_have_an_estimate():
    x = np.concatenate([np.linspace(-3, -0.1, 50), np.linspace(0.1, 3, 50), [0.05]])
    y = np.concatenate([np.zeros(50), np.ones(50), [0]])
    y[10] = 1
    assert fitted(x[:, None], y, penalty=0).coefficients[0] > 1


@pytest.mark.parametrize(
    ("x", "y", "options"),
    [
        (np.ones(3), [0, 1, 1], {}),
        (np.ones((3, 1)), [0, 1], {}),
        (np.array([[math.nan], [1.0]]), [0, 1], {}),
        (np.ones((2, 1)), [0, 2], {}),
        (np.ones((2, 1)), [0, 1], {"penalty": -1}),
        (np.ones((2, 1)), [0, 1], {"names": []}),
    ],
)
def test_malformed_features_are_refused(x, y, options):
    with pytest.raises(BadInput):
        logistic(x, y, **options)
