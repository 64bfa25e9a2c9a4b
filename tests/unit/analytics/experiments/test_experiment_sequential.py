"""Bounds against published constants, other integrations and simulated paths; what may be looked at any time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from experiment_reference import BIG, column
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from collectors.analytics.experiments.always_valid import asymptotic, mixture
from collectors.analytics.experiments.comparisons import welch
from collectors.analytics.experiments.group_sequential import (
    SPENDING,
    crossing_probabilities,
    obrien_fleming_bounds,
    pocock_bounds,
    spending_bounds,
)
from collectors.errors import BadInput


def equal(looks: int) -> list[float]:
    return [k / looks for k in range(1, looks + 1)]


@pytest.mark.parametrize(
    ("looks", "pocock", "obrien_fleming"),
    [
        (2, 2.178272, 1.977431),
        (3, 2.289478, 2.004036),
        (4, 2.361298, 2.024295),
        (5, 2.413176, 2.040073),
        (10, 2.555013, 2.086502),
    ],
)
def test_constants_are_those_of_jennison_and_turnbull(looks: int, pocock: float, obrien_fleming: float) -> None:
    assert pocock_bounds(equal(looks)) == pytest.approx([pocock] * looks, abs=5.1e-7)
    bounds = obrien_fleming_bounds(equal(looks))
    assert bounds[-1] == pytest.approx(obrien_fleming, abs=5.1e-7)
    assert [b * math.sqrt(t) for b, t in zip(bounds, equal(looks), strict=True)] == pytest.approx([bounds[-1]] * looks)


@pytest.mark.parametrize(
    ("spending", "alpha", "two_sided", "expected"),
    [  # Lan & DeMets' two by their published tables; quadratic as in Spotify's method
        ("obrien_fleming", 0.05, True, (4.876885, 3.357012, 2.680280, 2.289817, 2.031032)),
        ("pocock", 0.05, True, (2.437977, 2.426814, 2.410194, 2.396645, 2.385985)),
        ("quadratic", 0.05, True, (3.090232, 2.714112, 2.472777, 2.279863, 2.114028)),
        ("quadratic", 0.05, False, (2.878162, 2.470229, 2.200954, 1.981820, 1.790237)),
    ],
)
def test_spending_bounds_of_five_looks_are_the_published_ones(spending, alpha, two_sided, expected) -> None:
    found = spending_bounds(equal(5), alpha, spending, two_sided=two_sided)
    assert found == pytest.approx(expected, abs=1.1e-6)


def on_a_grid(fractions, bounds, per_step: int = 16) -> list[float]:
    """Return the upper crossing probabilities by Simpson's rule on even grids."""
    crossed, nodes, density, before = [], None, None, 0.0
    for t, bound in zip(fractions, bounds, strict=True):
        step, edge = t - before, bound * math.sqrt(t)
        if nodes is None:
            crossed.append(stats.norm.sf(bound))
        else:
            crossed.append(integrate.simpson(density * stats.norm.sf((edge - nodes) / math.sqrt(step)), x=nodes))
        points = 2 * math.ceil(edge / math.sqrt(step) * per_step) + 1
        places = np.linspace(-edge, edge, points)
        if nodes is None:
            density = stats.norm.pdf(places / math.sqrt(step)) / math.sqrt(step)
        else:
            gaps = (places[:, None] - nodes[None, :]) / math.sqrt(step)
            kernel = np.exp(-0.5 * gaps**2) / math.sqrt(2 * math.pi * step)
            density = integrate.simpson(kernel * density[None, :], x=nodes, axis=1)
        nodes, before = places, t
    return crossed


@pytest.mark.parametrize("looks", [5, 30, 100])
def test_each_look_spends_what_it_may_by_another_integration(looks: int) -> None:
    fractions = equal(looks)
    bounds = spending_bounds(fractions, 0.05, "quadratic")
    due = np.diff([0.0, *(0.025 * t * t for t in fractions)])
    # What an error of 1e-6 in a bound would change.
    sensitivity = np.array([stats.norm.pdf(b) * 1e-6 for b in bounds]) * (0.1 if looks == 100 else 0.3)
    assert np.all(np.abs(np.array(on_a_grid(fractions, bounds)) - due) < sensitivity)


def test_a_hundred_looks_end_at_the_right_bound() -> None:
    assert spending_bounds(equal(100), 0.05, "quadratic")[-1] == pytest.approx(2.28554, abs=5e-6)
    assert abs(spending_bounds(equal(100), 0.05, "quadratic")[-1] - 2.28523) > 3e-4  # the figure of a coarse grid


def test_two_looks_agree_with_the_bivariate_normal() -> None:
    first, second = spending_bounds([0.3, 1.0], 0.05, "pocock")
    both = stats.multivariate_normal(cov=[[1.0, math.sqrt(0.3)], [math.sqrt(0.3), 1.0]])
    corners = [(first, second), (-first, second), (first, -second), (-first, -second)]
    inside = sum(s * both.cdf(c) for c, s in zip(corners, (1, -1, -1, 1), strict=True))
    assert 1 - inside == pytest.approx(0.05, abs=1e-6)


@given(
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8),
    st.sampled_from(sorted(SPENDING)),
    st.sampled_from([0.05, 0.01, 0.2]),
    st.booleans(),
)
def test_any_looks_spend_the_level_exactly_and_no_more(gaps, spending: str, alpha: float, two_sided: bool) -> None:
    fractions = (np.cumsum(gaps) / np.sum(gaps)).tolist()
    if fractions[0] < 0.002:
        return
    bounds = spending_bounds(fractions, alpha, spending, two_sided=two_sided)
    # Crossing both bounds counts on the side met first; the other side's spending assumes the same.
    assert sum(crossing_probabilities(fractions, bounds, two_sided=two_sided)) == pytest.approx(alpha, rel=1e-6)


def test_a_look_that_may_spend_nothing_has_an_infinite_bound() -> None:
    bounds = spending_bounds([0.002, 0.5, 1.0], 0.05, "obrien_fleming")
    assert bounds[0] == math.inf
    assert sum(crossing_probabilities([0.002, 0.5, 1.0], bounds)) == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize("fractions", [[], [0.0, 1.0], [0.5, 0.5], [0.6, 0.4], [0.5, 1.1]])
def test_fractions_that_do_not_rise_to_one_are_refused(fractions) -> None:
    with pytest.raises(BadInput, match="fractions must rise"):
        spending_bounds(fractions)


def test_an_unknown_spending_function_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="obrien_fleming"):
        spending_bounds([1.0], 0.05, "linear")


@pytest.mark.parametrize("spending", sorted(SPENDING))
def test_peeking_at_every_look_of_simulated_paths_rejects_at_the_level_only(spending: str) -> None:
    looks, paths = 14, 100_000
    rng = np.random.default_rng(6)
    z = np.cumsum(rng.standard_normal((paths, looks)), axis=1) / np.sqrt(np.arange(1, looks + 1))
    rejected = np.any(np.abs(z) >= spending_bounds(equal(looks), 0.05, spending), axis=1).mean()
    assert rejected == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / paths))
    naive = np.any(np.abs(z) >= 1.96, axis=1).mean()
    assert naive > 0.2


def test_the_asymptotic_sequence_gives_the_numbers_of_gbstats() -> None:
    comparison = welch(*BIG)
    found = asymptotic(comparison.value, comparison.error, column(40400))
    bounds = comparison.value[0] - found.half_width[0], comparison.value[0] + found.half_width[0]
    assert bounds == pytest.approx((-0.0020169663, 0.1980699074), abs=5e-11)
    assert found.p_value[0] == pytest.approx(0.06124901948093389, rel=1e-12)


def test_the_mixture_test_is_the_average_likelihood_ratio() -> None:
    difference, error, tau = 0.031, 0.012, 0.02
    ratio, _ = integrate.quad(
        lambda effect: stats.norm.pdf(difference, effect, error) * stats.norm.pdf(effect, 0, tau), -0.3, 0.3,
        points=[0, difference], epsabs=1e-14,
    )  # fmt: skip
    expected = stats.norm.pdf(difference, 0, error) / ratio
    found = mixture(column(difference), column(error), tau)
    assert found.p_value[0] == pytest.approx(expected, rel=1e-9)
    assert found.log_p[0] == pytest.approx(math.log(expected), rel=1e-9)


@given(st.floats(0.001, 10), st.floats(10, 1e6), st.sampled_from([0.05, 0.01, 0.2]))
def test_a_sequence_excludes_zero_exactly_where_its_p_value_is_below_the_level(error, n, alpha) -> None:
    for of in (
        lambda x: asymptotic(x, column(error), column(n), alpha),
        lambda x: mixture(x, column(error), 0.7, alpha),
    ):
        half = of(column(0.0)).half_width
        assert of(half).p_value[0] == pytest.approx(alpha, rel=1e-9)
        assert of(half * 1.001).p_value[0] < alpha
        assert of(column(0.0)).p_value[0] == 1.0


def test_a_sequence_without_error_is_undefined_and_a_huge_effect_keeps_its_logarithm() -> None:
    assert np.isnan(asymptotic(column(1.0), column(0.0), column(10)).half_width[0])
    assert np.isnan(mixture(column(1.0), column(0.0), 1.0).p_value[0])
    huge = asymptotic(column(100.0), column(1.0), column(10_000))
    assert huge.p_value[0] == 0.0
    assert huge.log_p[0] < -2000


def test_peeking_at_sequences_of_skewed_data_stays_below_the_level() -> None:
    """A thousand experiments without effect, looked at 60 times from 200 to 8,000 units a variant."""
    rng = np.random.default_rng(7)
    replications, looks = 1000, np.unique(np.logspace(np.log10(200), np.log10(8000), 60).astype(int))
    ever = {"asymptotic": np.zeros(replications, bool), "mixture": np.zeros(replications, bool)}
    naive = np.zeros(replications, bool)
    for block in range(0, replications, 100):
        sums, squares = [], []
        for _variant in range(2):
            data = rng.exponential(1.0, (100, looks[-1]))
            sums.append(np.cumsum(data, axis=1)[:, looks - 1])
            squares.append(np.cumsum(data * data, axis=1)[:, looks - 1])
        means = [s / looks for s in sums]
        variances = [(q / looks - m * m) / (looks - 1) for q, m in zip(squares, means, strict=True)]
        difference, error = means[1] - means[0], np.sqrt(variances[0] + variances[1])
        here = slice(block, block + 100)
        ever["asymptotic"][here] = (asymptotic(difference, error, 2.0 * looks).p_value <= 0.05).any(axis=1)
        ever["mixture"][here] = (mixture(difference, error, 0.05).p_value <= 0.05).any(axis=1)
        naive[here] = (np.abs(difference / error) >= 1.96).any(axis=1)
    assert ever["asymptotic"].mean() <= 0.05
    assert ever["mixture"].mean() <= 0.05
    assert naive.mean() > 0.2
