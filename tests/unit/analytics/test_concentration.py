"""Concentration against its definitions in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.analytics.concentration import Concentration, concentration


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200))
def test_concentration_equals_its_definition_in_exact_fractions(amounts: list[int]) -> None:
    total, ordered = sum(amounts), sorted(amounts, reverse=True)
    values, counts = np.unique(np.array(amounts), return_counts=True)
    result = concentration(values.astype(np.int64), counts.astype(np.int64))
    assert result is not None
    top = max(1, -(-len(amounts) // 100))
    assert result.top_percent == pytest.approx(float(Fraction(sum(ordered[:top]), total)), rel=1e-12)
    assert result.top_ten == pytest.approx(float(Fraction(sum(ordered[:10]), total)), rel=1e-12)
    assert result.hhi == pytest.approx(float(sum(Fraction(a, total) ** 2 for a in amounts)), rel=1e-12)
    differences = sum(abs(a - b) for a in amounts for b in amounts)
    gini = Fraction(differences, 2 * len(amounts) * total)
    assert result.gini == pytest.approx(float(gini), rel=1e-12, abs=1e-15)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_neither_order_nor_how_items_are_counted_together_matters(amounts: list[int], rng) -> None:
    one_by_one = concentration(np.array(amounts), np.ones(len(amounts), dtype=np.int64))
    shuffled = rng.sample(amounts, len(amounts))
    values, counts = np.unique(np.array(shuffled), return_counts=True)
    together = concentration(values, counts)
    for name in Concentration.__dataclass_fields__:
        assert getattr(together, name) == pytest.approx(getattr(one_by_one, name), rel=1e-12, abs=1e-15)


def test_equal_items_and_a_monopoly_are_the_ends_of_concentration() -> None:
    assert concentration(np.array([7]), np.array([1])) == Concentration(1.0, 1.0, 1.0, 0.0)
    equal = concentration(np.array([3]), np.array([200]))
    assert equal == Concentration(pytest.approx(0.01), pytest.approx(0.05), pytest.approx(1 / 200), pytest.approx(0))
    one_has_nearly_all = concentration(np.array([10**12, 1]), np.array([1, 99]))
    assert one_has_nearly_all.gini == pytest.approx(0.99, abs=1e-9)


def test_nothing_at_all_has_no_concentration() -> None:
    nothing = np.array([], dtype=np.int64)
    assert concentration(nothing, nothing) is None
    assert concentration(np.array([0, 5]), np.array([4, 0])) is None


def test_items_without_any_amount_take_no_part() -> None:
    assert concentration(np.array([0, 2]), np.array([50, 3])) == concentration(np.array([2]), np.array([3]))
