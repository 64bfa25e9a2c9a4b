"""Recognition and proration against fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.analytics.recognition import prorate, recognised

AMOUNTS = st.integers(0, 10**15)
SECOND = 1_000_000


def one(*values: int) -> list[np.ndarray]:
    return [np.array([value], dtype=np.int64) for value in values]


@given(AMOUNTS, st.integers(0, 30_000), st.integers(1, 800), st.lists(st.integers(-100, 31_000), max_size=8))
def test_any_division_of_a_period_adds_up_to_the_invoice(amount, first, days, cuts):
    edges = np.array([first - 1, *sorted(np.clip(cuts, first, first + days).tolist()), first + days])
    earned = np.diff(recognised(*one(amount, first, first + days), edges)[:, 0])
    assert earned.sum() == amount
    assert (earned >= 0).all()
    exact = [Fraction(amount * int(np.clip(e - first, 0, days)), days) for e in edges]
    assert all(abs(e - (b - a)) < 1 for e, a, b in zip(earned.tolist(), exact, exact[1:], strict=False))


def test_a_year_of_365_is_earned_by_the_days_of_its_months():
    months = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365])
    earned = np.diff(recognised(*one(10_000, 0, 365), months)[:, 0]).tolist()
    assert earned == [849, 767, 850, 822, 849, 822, 849, 850, 821, 850, 822, 849]
    assert sum(earned) == 10_000


def test_invoices_are_earned_side_by_side():
    amount, first, end = (np.array(x, dtype=np.int64) for x in ([300, 50], [0, 10], [30, 11]))
    assert recognised(amount, first, end, np.array([0, 10, 11, 30])).tolist() == [
        [0, 0],
        [100, 0],
        [110, 50],
        [300, 50],
    ]


def test_a_period_without_a_day_earns_nothing_and_is_refused():
    with pytest.raises(ValueError, match="positive"):
        recognised(*one(5, 3, 3), np.array([4]))


@given(AMOUNTS, AMOUNTS, st.integers(0, 2**42), st.integers(1, 2**30), st.data())
def test_proration_is_to_the_second_and_rounded_once(old, new, start, seconds, data):
    passed = data.draw(st.integers(0, seconds))
    found = prorate(*one(old, new, start * SECOND, (start + seconds) * SECOND, (start + passed) * SECOND))
    left = Fraction(seconds - passed, seconds)
    assert found.credit.tolist() == [round(old * left)]
    assert found.charge.tolist() == [round(new * left)]
    assert found.due.tolist() == [round(new * left) - round(old * left)]


@given(AMOUNTS, st.integers(1, 10**7), st.data())
def test_a_change_to_the_same_price_costs_nothing_and_one_at_either_end_all_or_nothing(price, seconds, data):
    at = data.draw(st.integers(0, seconds))
    same = prorate(*one(price, price, 0, seconds * SECOND, at * SECOND))
    assert same.due.tolist() == [0]
    begin = prorate(*one(price, 7, 0, seconds * SECOND, -5 * SECOND))
    over = prorate(*one(price, 7, 0, seconds * SECOND, (seconds + 5) * SECOND))
    assert (begin.credit.tolist(), begin.charge.tolist()) == ([price], [7])
    assert (over.credit.tolist(), over.charge.tolist()) == ([0], [0])


def test_half_a_month_of_an_upgrade_is_half_of_the_difference():
    """From 10 to 20 dollars half-way: 5 are given back, 10 are owed."""
    month = 30 * 86_400 * SECOND
    found = prorate(*one(1000, 2000, 0, month, month // 2))
    assert (found.credit.tolist(), found.charge.tolist(), found.due.tolist()) == ([500], [1000], [500])


def test_parts_of_seconds_do_not_count():
    with pytest.raises(ValueError, match="positive"):
        prorate(*one(1000, 2000, 0, SECOND - 1, 0))
    assert prorate(*one(1000, 0, 0, 2 * SECOND, SECOND + 999_999)).credit.tolist() == [500]
