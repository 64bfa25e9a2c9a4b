"""Unusual hours, against figures from the literature and hours counted by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.analytics.seasonality import LEAST_WEEKS, judge, same_hours


def test_the_score_is_the_modified_z_score_where_counts_vary_more_than_by_chance() -> None:
    """0.6745 (x - median) / MAD, as the NIST/SEMATECH handbook has it, section 1.3.5.17.

    Of these the median is 300 and the MAD 100, far above the square root of 300.
    """
    found = judge(1000, np.array([100.0, 200, 300, 400, 500]))
    assert found.usual == 300
    assert found.score == pytest.approx(0.6745 * 700 / 100, rel=1e-12)


def test_half_of_the_weeks_being_equal_does_not_make_the_others_anomalies() -> None:
    """The MAD is zero; what a count of 100 varies by chance, ten, takes its place."""
    earlier = np.array([100.0, 100, 100, 100, 90, 110])
    assert judge(105, earlier).score == pytest.approx(0.5)
    assert judge(40, earlier).score == pytest.approx(-6)


def test_an_hour_that_is_usually_empty_has_a_scale_all_the_same() -> None:
    found = judge(3, np.array([1.0, 0, 0, 0, 0]))
    assert (found.usual, found.scale, found.score) == (0, 1, 3)


def test_one_odd_week_changes_nothing() -> None:
    usual = judge(500, np.array([480.0, 500, 520, 490, 510, 505, 495]))
    with_outlier = judge(500, np.array([480.0, 500, 520, 490, 510, 505, 495_000]))
    assert abs(with_outlier.score - usual.score) < 1


@pytest.mark.parametrize("earlier", [[], [0, 0, 0, 0, 0, 0], [1, 2, 3], [0, 0, 0, 5, 5, 5]])
def test_without_four_weeks_since_there_was_anything_nothing_is_judged(earlier: list[float]) -> None:
    assert judge(9, np.array(earlier, dtype=np.float64)) is None


def test_an_empty_week_counts_once_the_platform_is_there() -> None:
    assert LEAST_WEEKS == 4
    assert judge(5, np.array([0.0, 0, 5, 0, 5, 5])).usual == 5


def hours(*when: int, zone: str = "Europe/Berlin", weeks: int = 2) -> list[str | None]:
    found = same_hours(datetime(*when, tzinfo=UTC), zone, weeks)
    return [start and f"{start:%m-%d %H:%M}" for start in found]


def test_the_last_whole_hour_is_compared_by_the_tenants_clock() -> None:
    """Summer time began on 29 March: 14:00 in Berlin is 12:00 UTC after, 13:00 UTC before."""
    assert hours(2026, 4, 1, 13, 5) == ["04-01 12:00", "03-25 13:00", "03-18 13:00"]
    assert hours(2026, 4, 1, 13) == ["04-01 12:00", "03-25 13:00", "03-18 13:00"], "an hour that is just over is whole"


def test_hours_of_zones_off_the_hour_begin_there() -> None:
    assert hours(2026, 4, 1, 13, 5, zone="Asia/Kathmandu", weeks=1) == ["04-01 11:15", "03-25 11:15"]


def test_an_hour_that_was_skipped_has_no_instant() -> None:
    """On 29 March clocks in Berlin went from 2:00 to 3:00."""
    assert hours(2026, 4, 5, 1, 30) == ["04-05 00:00", None, "03-22 01:00"]


def test_of_an_hour_that_came_twice_the_first_is_compared() -> None:
    """On 25 October 2:00 to 3:00 came twice in Berlin: at 0:00 and at 1:00 UTC."""
    assert hours(2026, 11, 1, 2, 10) == ["11-01 01:00", "10-25 00:00", "10-18 00:00"]
    assert hours(2026, 10, 25, 2, 10, weeks=1) == ["10-25 01:00", "10-18 00:00"], "the second is compared with one"


@given(
    st.integers(0, 3 * 366 * 24 * 60),
    st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Chatham"]),
)
def test_every_hour_is_whole_and_at_the_same_local_time(minutes: int, zone: str) -> None:
    end = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    tz = ZoneInfo(zone)
    last, *earlier = same_hours(end, zone, 8)
    assert timedelta(hours=1) <= end - last < timedelta(hours=2.5)
    for start in earlier:
        if start is not None:
            one, other = start.astimezone(tz), last.astimezone(tz)
            assert (one.weekday(), one.hour, one.minute) == (other.weekday(), other.hour, other.minute)
