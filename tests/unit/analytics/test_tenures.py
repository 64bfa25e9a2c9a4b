"""Tenures and movements of subscribers against loops over customers and days; the three churn rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.analytics.churn import average_subscriber_churn, logo_churn, revenue_churn
from collectors.analytics.survival import kaplan_meier
from collectors.analytics.tenures import DAY_S, NEVER, Spells

END = 40 * DAY_S


def spells(rows: list[tuple[int, int, int, int, int, bool]]) -> Spells:
    """Make spells of rows of customer, begun, recorded, ended, number, known; the end is told when it comes."""
    customer, begun, recorded, ended, number, known = (
        np.array(c, dtype=np.int64) for c in (zip(*rows, strict=True) if rows else [[]] * 6)
    )
    return Spells(customer, begun, recorded, ended, ended, number, known.astype(bool))


QUARTERS = st.integers(0, 160).map(lambda quarter: quarter * DAY_S // 4)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 5), QUARTERS, st.integers(-3, 8), st.integers(1, 100) | st.none(), st.integers(0, 1),
        st.booleans(),
    ).map(
        lambda r: (
            r[0], r[1], r[1] + r[2] * DAY_S, NEVER if r[3] is None else r[1] + r[3] * DAY_S // 4, r[4], r[5]
        )
    ).filter(lambda r: r[1] < END),
    max_size=25,
)  # fmt: skip


@given(ROWS, st.none() | st.integers(0, 40))
def test_lifetimes_are_those_counted_day_by_day(rows, since_day):
    since = None if since_day is None else since_day * DAY_S
    found = spells(rows).lifetimes(END, since)
    expected = []
    for _, begun, recorded, ended, number, known in rows:
        if number or not known:
            continue
        seen_from = max(recorded, begun, since if since is not None else begun)
        # Day k of a tenure is its k-th 24 hours; it counts if observed from its beginning and over by the end.
        days = [k for k in range(1, 200) if begun + (k - 1) * DAY_S >= seen_from and begun + k * DAY_S <= END]
        days = [k for k in days if ended > begun + (k - 1) * DAY_S]
        if days:
            expected.append((days[-1], ended <= begun + days[-1] * DAY_S, days[0] - 1))
    assert sorted(zip(*(c.tolist() for c in found), strict=True)) == sorted(expected)


@given(ROWS, st.integers(1, 20))
def test_movement_is_that_counted_customer_by_customer(rows, days):
    # A customer's spells don't overlap.
    tidy, last = [], {}
    for row in sorted(rows, key=lambda r: r[1]):
        if row[1] > last.get(row[0], -1):
            tidy.append(row)
            last[row[0]] = row[3]
    start = END - days * DAY_S

    def there(instant):
        return {c for c, begun, _, ended, _, _ in tidy if begun <= instant < ended}

    found = spells(tidy).movement(END, days)
    assert found.at_start == len(there(start))
    assert found.lost == len(there(start) - there(END))
    assert found.cancellations == sum(start < ended <= END for _, _, _, ended, _, _ in tidy)
    assert found.daily == tuple(len(there(start + d * DAY_S)) for d in range(1, days + 1))
    counted = found.daily[-1] - found.at_start
    began = sum(start < begun <= END for _, begun, _, _, _, _ in tidy)
    assert counted == began - found.cancellations


def test_a_tenure_in_its_unfinished_day_compares_with_nobody_and_counts_for_nothing():
    half = DAY_S // 2
    rows = [(0, END - half, END - half, NEVER, 0, True), (1, END - half, END - half, END - half + 60, 0, True)]
    assert len(spells(rows).lifetimes(END).durations) == 0


def test_leavers_are_not_taken_for_more_than_they_are_when_many_are_half_way_through_a_day():
    """Cutting only the stayers' days down would show a hazard that is twice as high in the newest days."""
    rng = np.random.default_rng(1)
    begun = rng.uniform(0, END, 40_000).astype(np.int64)
    ended = begun + (rng.exponential(5, 40_000) * DAY_S).astype(np.int64)
    data = Spells(
        np.arange(40_000), begun, begun, ended, ended, np.zeros(40_000, dtype=np.int64), np.ones(40_000, dtype=bool)
    )
    curve = kaplan_meier(*data.lifetimes(END))
    for day in (1, 5, 20):
        found = curve.at(day)
        assert abs(found.value - np.exp(-day / 5)) < 4 * found.standard_error


def test_those_who_began_before_the_records_do_not_make_tenures_look_longer():
    """Only the long-lived of them are on record: counted from their beginning they would hide everyone who left."""
    rng = np.random.default_rng(2)
    n, since, end = 20_000, 300 * DAY_S, 400 * DAY_S
    begun = rng.uniform(0, end, n).astype(np.int64)
    ended = begun + (rng.exponential(60, n) * DAY_S).astype(np.int64)
    seen = ended > since
    data = Spells(
        *(np.arange(seen.sum()), begun[seen], begun[seen], ended[seen], ended[seen]),
        np.zeros(seen.sum(), dtype=np.int64),
        np.ones(seen.sum(), dtype=bool),
    )
    naive, entered = kaplan_meier(*data.lifetimes(end)).at(60), kaplan_meier(*data.lifetimes(end, since)).at(60)
    assert naive.value > np.exp(-1) + 0.1
    assert abs(entered.value - np.exp(-1)) < 4 * entered.standard_error


def test_whoever_announced_an_end_is_decided():
    one = Spells(*(np.array([v]) for v in (0, 10, 10, 100, 50, 0)), np.array([True]))
    assert [bool(one.undecided(t)[0]) for t in (9, 10, 50, 51, 100)] == [False, True, True, False, False]
    assert [bool(one.active(t)[0]) for t in (9, 10, 99, 100)] == [False, True, True, False]


def test_the_three_rates_answer_three_questions():
    # 100 customers; 10 of the small ones leave, 50 come and 20 of these leave again at once.
    assert logo_churn(100, 10) == 0.1
    assert revenue_churn(1000, 980) == pytest.approx(0.02)
    assert average_subscriber_churn(30, [110, 130], 1) == pytest.approx(0.25)
    # Spotify's form: a quarter's cancellations over its average daily subscribers, per month.
    assert average_subscriber_churn(90, [1000] * 90, 3) == pytest.approx(0.03)


def test_rates_of_nobody_are_undefined():
    assert logo_churn(0, 0) is None
    assert revenue_churn(0, 0) is None
    assert average_subscriber_churn(0, [0, 0], 1) is None
    assert average_subscriber_churn(0, [], 1) is None
