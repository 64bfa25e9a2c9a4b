"""The engagement kernels against sets of days, person by person."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.analytics.engagement import MASK_DAYS, Activity

people = st.lists(st.sets(st.integers(0, 80), min_size=1, max_size=12), max_size=25)


def activity(histories: list[set[int]]) -> Activity:
    """Fold people, each a set of days before the reference day, to masks."""
    folded: dict[tuple[int, bool], int] = {}
    for history in histories:
        key = (sum(1 << d for d in history if d < MASK_DAYS), any(d >= MASK_DAYS for d in history))
        folded[key] = folded.get(key, 0) + 1
    return Activity(
        np.array([mask for mask, _older in folded], dtype=np.int64),
        np.array([older for _mask, older in folded], dtype=np.bool_),
        np.array(list(folded.values()), dtype=np.int64),
    )


@given(people, st.integers(0, 30), st.integers(1, 30))
def test_active_users_are_those_with_a_day_in_the_window(histories, since: int, days: int) -> None:
    expected = sum(any(since <= d < since + days for d in h) for h in histories)
    assert activity(histories).active(since, days) == expected


@given(people, st.integers(0, 30), st.integers(1, 30))
def test_new_people_are_those_whose_first_day_is_in_the_window(histories, since: int, days: int) -> None:
    expected = sum(since <= max(h) < since + days for h in histories)
    assert activity(histories).new(since, days) == expected


@given(people, st.sampled_from([7, 28]))
def test_active_days_count_the_distinct_days_of_each_person(histories, days: int) -> None:
    result = activity(histories).active_days(1, days)
    assert result.tolist() == [
        sum(len([d for d in h if 1 <= d <= days]) == n for h in histories) for n in range(days + 1)
    ]


@given(people)
def test_mean_l28_equals_mean_daily_over_monthly_actives(histories) -> None:
    """The two ways to state stickiness are one number."""
    people_of = activity(histories)
    monthly = people_of.active(1, 28)
    distribution = people_of.active_days(1, 28)
    mean_daily = Fraction(sum(people_of.active(day, 1) for day in range(1, 29)), 28)
    days_in_all = sum(n * int(count) for n, count in enumerate(distribution))
    assert sum(distribution[1:]) == monthly
    if monthly:
        assert Fraction(days_in_all, monthly * 28) == mean_daily / monthly


@given(people, st.sampled_from([7, 30]))
def test_growth_accounts_for_everyone_active_now_or_then(histories, days: int) -> None:
    new = retained = resurrected = dormant = 0
    for h in histories:
        now = any(1 <= d <= days for d in h)
        then = any(days < d <= 2 * days for d in h)
        before = any(d > 2 * days for d in h)
        retained += now and then
        new += now and not then and not before
        resurrected += now and not then and before
        dormant += then and not now
    people_of = activity(histories)
    growth = people_of.growth(1, days)
    assert (growth.new, growth.retained, growth.resurrected, growth.dormant) == (new, retained, resurrected, dormant)
    assert growth.new + growth.retained + growth.resurrected == people_of.active(1, days)
    assert growth.retained + growth.dormant == people_of.active(1 + days, days)


@given(people, st.sampled_from([1, 7, 30]), st.integers(1, 32))
def test_retention_follows_the_cohorts_that_are_old_enough(histories, after: int, cohorts: int) -> None:
    members = [h for h in histories if after + 1 <= max(h) <= after + cohorts]
    result = activity(histories).retention(after, 1, cohorts)
    assert result.cohort == len(members)
    assert result.on_day == sum(max(h) - after in h for h in members)
    assert result.on_day_or_later == sum(any(1 <= d <= max(h) - after for d in h) for h in members)


@given(people)
def test_the_triangle_follows_weekly_cohorts(histories) -> None:
    triangle = activity(histories).triangle(1, 8, 7)
    for k in range(8):
        members = [h for h in histories if 1 + 7 * k <= max(h) <= 7 + 7 * k]
        assert triangle.sizes[k] == len(members)
        for j in range(8):
            block = range(1 + 7 * (k - j), 8 + 7 * (k - j))
            expected = sum(any(d in block for d in h) for h in members) if j <= k else -1
            assert triangle.active[k, j] == expected
            later = sum(any(1 <= d < block.stop for d in h) for h in members) if j <= k else -1
            assert triangle.active_or_later[k, j] == later


def test_nobody_at_all_is_zero_everywhere() -> None:
    nobody = activity([])
    assert nobody.active(0, 30) == 0
    assert nobody.active_days(1, 7).tolist() == [0] * 8
    assert nobody.retention(1, 1, 28).cohort == 0
    assert nobody.triangle(1, 8, 7).sizes.tolist() == [0] * 8


def test_days_beyond_the_mask_are_refused() -> None:
    with pytest.raises(ValueError, match="63 days"):
        activity([{1}]).active(40, 30)
