"""A tenant's calendar days as UTC instants, so that a query needs no time zone.

A local day begins at the first instant whose local date it is. So a day of the change to summer time has 23 hours,
one of the change back 25; where midnight is skipped the day begins at 1:00, and a date that a zone skipped altogether
has no length.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(time_us: int) -> datetime:
    """Return UTC microseconds since 1970 as an instant."""
    return _EPOCH + timedelta(microseconds=time_us)


def local_day(time_us: int, time_zone: str) -> date:
    """Return the date that a clock in ``time_zone`` shows at UTC microsecond ``time_us``."""
    return utc(time_us).astimezone(ZoneInfo(time_zone)).date()


def day_start(day: date, time_zone: str) -> datetime:
    """Return the instant, in UTC, at which ``day`` begins in ``time_zone``."""
    # Of a midnight that comes twice the first is meant; one that is skipped maps to the instant of the change.
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(time_zone)).astimezone(UTC)
