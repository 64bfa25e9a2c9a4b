"""Local days as UTC instants, also where the clock changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.analytics.local_days import day_start, local_day, utc

ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "America/Havana", "America/Asuncion",
    "America/Sao_Paulo", "Africa/Cairo", "Australia/Lord_Howe", "Pacific/Kiritimati",
]  # fmt: skip


def micros(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@given(st.integers(0, 2_000_000_000_000_000), st.sampled_from(ZONES))
def test_the_local_day_is_the_date_arrow_sees(time_us: int, zone: str) -> None:
    """The rollups' days are made with Arrow, so both must agree."""
    local = pc.local_timestamp(pa.scalar(time_us, pa.timestamp("us", zone)))
    assert local_day(time_us, zone) == local.cast(pa.date32()).as_py()


@given(st.integers(0, 2_000_000_000_000_000), st.sampled_from(ZONES))
def test_an_instant_lies_between_the_start_of_its_day_and_the_next(time_us: int, zone: str) -> None:
    day = local_day(time_us, zone)
    assert day_start(day, zone) <= utc(time_us) < day_start(day + timedelta(days=1), zone)


@given(st.dates(date(1990, 1, 1), date(2030, 1, 1)), st.sampled_from(ZONES))
def test_a_day_begins_at_its_first_instant(day: date, zone: str) -> None:
    start = day_start(day, zone)
    assert local_day(micros(start) - 1, zone) < day
    if start != day_start(day + timedelta(days=1), zone):  # else the zone left the date out
        assert local_day(micros(start), zone) == day


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 6, 1), 24),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),  # midnight itself was skipped
        ("America/Havana", date(2026, 11, 1), 25),  # midnight comes twice
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Pacific/Apia", date(2011, 12, 30), 0),  # this date was skipped
    ],
)
def test_days_have_the_length_the_zone_gives_them(zone: str, day: date, hours: float) -> None:
    assert day_start(day + timedelta(days=1), zone) - day_start(day, zone) == timedelta(hours=hours)
