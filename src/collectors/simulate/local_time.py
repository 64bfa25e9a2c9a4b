"""A tenant's local calendar days, vectorised over UTC microseconds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from collectors.simulate.sampling import DAY_US, Ints

_EPOCH = date(1970, 1, 1)
_AHEAD = 30  # days looked up in advance, so that a long run does not start over every day


class LocalDays:
    """Maps times to days of a time zone; a day is its number since 1970-01-01 in that zone.

    A day begins at the first instant that the zone's rules put on it, so days of 23 and 25 hours are right.
    """

    def __init__(self, time_zone: str) -> None:
        self._zone = ZoneInfo(time_zone)
        self._first = 0
        self._starts = np.empty(0, dtype=np.int64)

    def start_us(self, day: int) -> int:
        """Return the UTC microsecond at which local ``day`` begins."""
        d = _EPOCH + timedelta(days=day)
        midnight = datetime(d.year, d.month, d.day, tzinfo=self._zone).astimezone(UTC)
        return int(midnight.timestamp()) * 1_000_000

    def day(self, time_us: int) -> int:
        """Return the local day of one time."""
        return int(self.days(np.array([time_us], dtype=np.int64))[0])

    def days(self, times: Ints) -> Ints:
        """Return the local day of each time."""
        if len(times) == 0:
            return np.empty(0, dtype=np.int64)
        self._cover(int(times.min()), int(times.max()))
        return np.asarray(np.searchsorted(self._starts, times, side="right") - 1 + self._first, dtype=np.int64)

    def months(self, times: Ints) -> Ints:
        """Return the local month of each time, as its number since January 1970."""
        return self.days(times).astype("M8[D]").astype("M8[M]").astype(np.int64)

    def month_start_us(self, month: int) -> int:
        """Return the UTC microsecond at which local ``month`` begins."""
        return self.start_us(int(np.datetime64(month, "M").astype("M8[D]").astype(np.int64)))

    def _cover(self, low: int, high: int) -> None:
        # A local day starts within a day and a half of its UTC namesake, hence the margin of two.
        first, last = low // DAY_US - 2, high // DAY_US + 2
        known = self._first + len(self._starts)
        if self._first <= first and last < known:
            return
        if len(self._starts):
            first, last = min(first, self._first), max(last, known - 1)
        last += _AHEAD
        self._first = first
        self._starts = np.array([self.start_us(d) for d in range(first, last + 1)], dtype=np.int64)


def day_name(day: int) -> str:
    """Write a day number as an ISO 8601 date."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def month_name(month: int) -> str:
    """Write a month number as ``YYYY-MM``."""
    return str(np.datetime64(month, "M"))


def add_months(times: Ints, months: int | Ints) -> Ints:
    """Move UTC microseconds by calendar months, keeping day and time of day.

    Days up to the 28th are exact; a later day that the target month lacks runs over into the next one.
    """
    instant = times.astype("M8[us]")
    month = instant.astype("M8[M]")
    moved = (month + np.asarray(months).astype("m8[M]")).astype("M8[us]") + (instant - month.astype("M8[us]"))
    return np.asarray(moved.astype(np.int64), dtype=np.int64)
