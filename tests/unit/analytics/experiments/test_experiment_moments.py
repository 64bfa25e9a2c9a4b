"""Moments against exact rational arithmetic: any order, any split, any offset."""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.analytics.experiments.moments import Moments, clustered
from collectors.analytics.experiments.winsorise import winsorise

GROUPS = 3
values = st.floats(-1e3, 1e3).map(lambda x: round(x, 4))
rows = st.lists(st.tuples(st.integers(0, GROUPS - 1), values, values), min_size=1, max_size=60)
offsets = st.sampled_from([0.0, 1e9, -1e12])


def moments(data: list[tuple[int, float, float]]) -> Moments:
    array = np.array(data, dtype=np.float64).reshape(-1, 3)
    return Moments.of_rows(array[:, 0].astype(np.int64), array[:, 1:], GROUPS)


def exact(data: list[tuple[int, float, float]], group: int) -> tuple[int, list[Fraction], list[list[Fraction]]]:
    units = [(Fraction(x), Fraction(y)) for g, x, y in data if g == group]
    n = len(units)
    if not n:
        return 0, [Fraction(0)] * 2, [[Fraction(0)] * 2] * 2
    mean = [sum(u[i] for u in units) / n for i in range(2)]
    products = [[sum((u[i] - mean[i]) * (u[j] - mean[j]) for u in units) for j in range(2)] for i in range(2)]
    return n, mean, products


def assert_exact(found: Moments, data: list[tuple[int, float, float]]) -> None:
    for g in range(GROUPS):
        n, mean, products = exact(data, g)
        assert found.n[g] == n
        for i in range(2):
            error = Fraction(found.mean[g, i]) + Fraction(found.rest[g, i]) - mean[i]
            assert abs(error) <= 1e-12 * max(1e-3, abs(float(mean[i]))) * 1e-2 + 1e-13
            for j in range(2):
                scale = float(products[i][i] * products[j][j]) ** 0.5
                assert abs(found.comoment[g, i, j] - float(products[i][j])) <= 1e-12 * scale + 1e-300


@given(rows, offsets)
def test_moments_are_those_of_exact_arithmetic_whatever_the_offset(data, offset: float) -> None:
    moved = [(g, x + offset, y + offset) for g, x, y in data]
    assert_exact(moments(moved), moved)


@given(rows, offsets, st.randoms(use_true_random=False), st.lists(st.integers(0, 60), max_size=4))
def test_any_order_and_any_split_into_batches_gives_the_same_moments(data, offset, random, cuts) -> None:
    moved = [(g, x + offset, y + offset) for g, x, y in data]
    shuffled = random.sample(moved, len(moved))
    edges = [0, *sorted(min(cut, len(moved)) for cut in cuts), len(moved)]
    parts = [moments(shuffled[a:b]) for a, b in pairwise(edges)]
    left = reduce(Moments.merge, parts)
    right = reduce(lambda later, earlier: earlier.merge(later), reversed(parts))
    for merged in (left, right):
        assert_exact(merged, moved)


def test_units_that_are_all_the_same_have_exactly_no_variance_also_in_parts() -> None:
    part = Moments.of_rows(np.zeros(10_007, np.int64), np.full(10_007, 0.1), 1)
    assert part.comoment[0, 0, 0] == 0.0
    assert part.merge(part).comoment[0, 0, 0] == 0.0
    assert part.merge(part).mean[0, 0] == 0.1


def test_a_large_common_offset_costs_no_digits_where_raw_squares_lose_all() -> None:
    small = np.arange(1000) % 7 / 8
    groups = np.zeros(1000, np.int64)
    large = Moments.of_rows(groups, small + 1e9, 1)
    assert large.comoment[0, 0, 0] == pytest.approx(Moments.of_rows(groups, small, 1).comoment[0, 0, 0], rel=1e-13)
    x = small + 1e9
    raw = Moments.of_sums(np.array([1000.0]), np.array([[x.sum()]]), np.array([[[(x * x).sum()]]]))
    assert raw.comoment[0, 0, 0] != pytest.approx(large.comoment[0, 0, 0], rel=0.1)
    distance = x - x.min()
    n, sums, products = np.array([1000.0]), distance.sum().reshape(1, 1), (distance**2).sum().reshape(1, 1, 1)
    near = Moments.of_sums(n, sums, products, origin=x.min().reshape(1, 1))
    assert near.comoment[0, 0, 0] == pytest.approx(large.comoment[0, 0, 0], rel=1e-13)
    assert near.mean[0, 0] == large.mean[0, 0]


def test_units_without_an_outcome_are_merged_as_zeros() -> None:
    seen = Moments.of_rows(np.array([0, 0, 1]), np.array([3.0, 5.0, 7.0]), 2)
    filled = seen.merge(Moments.zeros(np.array([2.0, 1.0]), 1))
    whole = Moments.of_rows(np.array([0, 0, 0, 0, 1, 1]), np.array([3.0, 5.0, 0.0, 0.0, 7.0, 0.0]), 2)
    np.testing.assert_allclose(filled.mean, whole.mean)
    np.testing.assert_allclose(filled.comoment, whole.comoment)


def test_groups_are_taken_in_the_order_asked_for_and_small_ones_have_no_covariance() -> None:
    found = Moments.of_rows(np.array([0, 1, 1]), np.array([1.0, 2.0, 4.0]), 3).take(np.array([1, 0, 2]))
    assert found.n.tolist() == [2.0, 1.0, 0.0]
    covariance = found.covariance()[:, 0, 0]
    assert covariance[0] == 2.0
    assert np.isnan(covariance[1:]).all()


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4), values), min_size=1, max_size=40))
def test_clusters_are_summed_before_their_moments_are_taken(data) -> None:
    array = np.array(data)
    groups, clusters = array[:, 0].astype(np.int64), array[:, 1].astype(np.int64)
    found = clustered(groups, clusters, array[:, 2], 2)
    sums: dict[tuple[int, int], list[float]] = {}
    for g, c, x in data:
        total = sums.setdefault((g, c), [0.0, 0.0])
        total[0] += x
        total[1] += 1
    for g in range(2):
        units = np.array([t for (group, _), t in sums.items() if group == g]).reshape(-1, 2)
        assert found.n[g] == len(units)
        if len(units):
            np.testing.assert_allclose(found.mean[g], units.mean(0), atol=1e-9)
            np.testing.assert_allclose(
                found.comoment[g], (units - units.mean(0)).T @ (units - units.mean(0)), atol=1e-6
            )


@given(st.lists(st.tuples(st.integers(0, 2), values), max_size=50), st.sampled_from([0.6, 0.9, 0.99]))
def test_values_beyond_a_quantile_of_their_group_count_as_the_quantile(data, quantile: float) -> None:
    array = np.array(data).reshape(-1, 2)
    groups = array[:, 0].astype(np.int64)
    found = winsorise(groups, array[:, 1], 4, quantile)
    for g in range(4):
        own = array[groups == g, 1]
        if not len(own):
            assert found.caps[g] == np.inf
            assert found.capped[g] == 0
            continue
        cap = np.quantile(own, quantile)
        assert found.caps[g] == pytest.approx(cap, rel=1e-12, abs=1e-12)
        np.testing.assert_allclose(found.values[groups == g], np.minimum(own, cap), atol=1e-9)
        assert found.capped[g] == np.count_nonzero(own > found.caps[g])
