"""What is asked of plays by more than one collector, so that their figures agree.

Past days come from the rollup, which is kept by the tenant's own days; today is read from the plays. A listener is
active on a day on which they heard more than 0 ms; a play without a listener counts as a play, but as nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from collectors.analytics.engagement import MASK_DAYS, Activity
from collectors.analytics.local_days import day_start, local_day, utc
from collectors.contract.tables import events, rollup
from collectors.model.rollups import STREAM_MS

if TYPE_CHECKING:
    import ibis.expr.types as ir

MS_AN_HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class Times:
    """The instants and the tenant's days that the queries of one window need."""

    end: datetime
    today: date
    zone: str
    recent_hours: int

    @classmethod
    def of(cls, end_us: int, zone: str, recent_hours: int) -> Times:
        """Return the times of a window that ends at ``end_us``; today is the day of its last microsecond."""
        return cls(utc(end_us), local_day(end_us - 1, zone), zone, recent_hours)

    @property
    def recent_start(self) -> datetime:
        """When the recent hours begin."""
        return self.end - timedelta(hours=self.recent_hours)

    def first_day(self, days: int) -> date:
        """Return the first of the ``days`` days that end with today."""
        return self.today - timedelta(days=days - 1)

    def start(self, day: date) -> datetime:
        """Return when a day begins."""
        return day_start(day, self.zone)


def between(table: ir.Table, start: datetime, end: datetime) -> ir.Table:
    """Return the events of ``table`` in a half-open interval."""
    import ibis

    return table.filter(table.event_time >= ibis.literal(start), table.event_time < ibis.literal(end))


def milliseconds(times: Any) -> Any:
    """Return a column of times as whole milliseconds since 1970."""
    clock = times.cast("timestamp")  # engines take a time without zone apart several times faster
    return (clock.truncate("s").epoch_seconds().cast("int64") * 1000 + clock.millisecond()).cast("int64")


def active_days(times: Times) -> ir.Table:
    """Return user_id and day of every active day of every listener, each once."""
    import ibis

    user_day, today = rollup("user_day"), between(events("playback"), times.start(times.today), times.end)
    past = user_day.filter(user_day.day < ibis.literal(times.today), user_day.ms_played > 0, user_day.user_id.notnull())
    present = today.filter(today.ms_played > 0, today.user_id.notnull()).select("user_id").distinct()
    return past.select("user_id", "day").union(present.mutate(day=ibis.literal(times.today)))


def activity(times: Times) -> ir.Table:
    """Count listeners by the mask of their active days, see ``analytics.engagement``."""
    import ibis

    days = active_days(times)
    today_number = (times.today - date(1970, 1, 1)).days
    aged = days.select("user_id", age=(ibis.literal(today_number, "int64") - days.day.epoch_days().cast("int64")))
    within = aged.age < MASK_DAYS
    shift = ibis.least(aged.age, ibis.literal(MASK_DAYS - 1, "int64"))
    weighed = aged.select(
        "user_id",
        bit=ibis.cases((within, ibis.literal(1, "int64") << shift), else_=ibis.literal(0, "int64")),
        beyond=ibis.cases((within, 0), else_=1),
    )
    # The days of a listener are distinct, so the sum of their bits is the mask.
    listeners = weighed.group_by("user_id").agg(
        days=weighed.bit.sum().cast("int64"), older=weighed.beyond.max().cast("int64")
    )
    recent = listeners.filter(listeners.days > 0)
    return recent.group_by("days", "older").agg(users=recent.count())


def people(patterns: pa.Table) -> Activity:
    """Return the result of ``activity`` for the kernels."""
    return Activity(
        masks=patterns.column("days").to_numpy().astype(np.int64),
        older=patterns.column("older").to_numpy().astype(np.bool_),
        users=patterns.column("users").to_numpy().astype(np.int64),
    )


def by_day(times: Times, first: date) -> ir.Table:
    """Return plays, streams and milliseconds heard, in all and by known listeners, by day from ``first`` to today."""
    import ibis

    user_day, today = rollup("user_day"), between(events("playback"), times.start(times.today), times.end)
    past = user_day.filter(user_day.day >= ibis.literal(first), user_day.day < ibis.literal(times.today))
    sums = past.group_by("day").agg(
        plays=past.plays.sum(),
        streams=past.streams.sum(),
        ms_played=past.ms_played.sum(),
        known_ms=past.ms_played.sum(where=past.user_id.notnull()).fill_null(0),
    )
    heard = today.ms_played.cast("int64")
    present = today.agg(
        plays=today.count(),
        streams=today.count(where=today.ms_played >= STREAM_MS),
        ms_played=heard.sum().fill_null(0),
        known_ms=heard.sum(where=today.user_id.notnull()).fill_null(0),
    )
    of_today = present.mutate(day=ibis.literal(times.today))
    return sums.union(of_today.select(*sums.columns))


@dataclass(frozen=True, slots=True)
class Heard:
    """What was listened to on some days: plays, streams, and milliseconds in all and by known listeners."""

    plays: int
    streams: int
    ms_played: int
    known_ms: int

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return self.ms_played / MS_AN_HOUR

    @classmethod
    def on(cls, days: list[dict[str, Any]], first: date, last: date) -> Heard:
        """Add up the rows of ``by_day`` from ``first`` to ``last``, both included."""
        chosen = [day for day in days if first <= day["day"] <= last]
        return cls(*(sum(day[key] for day in chosen) for key in ("plays", "streams", "ms_played", "known_ms")))
