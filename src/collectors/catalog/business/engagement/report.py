"""From what the queries counted to samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from collectors.analytics.engagement import Activity
from collectors.analytics.local_days import utc
from collectors.analytics.sessions import sessions as sessionise
from collectors.catalog.business.engagement.metrics import (
    ACTIVE,
    ADOPTION,
    COHORTS,
    COMPARED,
    COMPLETION,
    COMPLETION_CURVE,
    FEATURE_USERS,
    FUNNEL_CONVERSION,
    FUNNEL_USERS,
    GROWTH,
    GROWTH_RATIO,
    HOURS,
    HOURS_PER_USER,
    L7,
    L28,
    PARTS,
    PERIODS,
    POWER,
    QUANTILES,
    RETENTION,
    RETENTION_DAYS,
    SESSION_DURATION,
    SESSION_LENGTH,
    SESSIONS,
    SESSIONS_PER_USER,
    SKIP_CURVE,
    SKIP_RATE,
    SKIP_SECONDS,
    STICKINESS,
    STICKINESS_L28,
    STREAM_RATE,
    TRIANGLE,
    TRIANGLE_UNBOUNDED,
    WEEKS,
)
from collectors.catalog.business.listening import MS_AN_HOUR, Heard, Times
from collectors.model.metric import MetricSpec, Sample

TODAY, COMPLETE = 0, 1
"""Bits of a mask: today, and the last complete day."""

Row = Mapping[str, Any]


def active(people: Activity) -> Iterator[Sample]:
    """Report active users, stickiness, and on how many days people were active."""
    for period, days in PERIODS.items():
        yield Sample(ACTIVE.name, people.active(TODAY, days), (period,))
    month, monthly = PERIODS["month"], people.active(COMPLETE, PERIODS["month"])
    nobody = f"nobody was active in the last {month} complete days"
    yield ratio(STICKINESS, people.active(COMPLETE, 1), monthly, nobody)
    l28 = people.active_days(COMPLETE, 28)
    days_in_all = int((l28 * np.arange(29)).sum())
    users = people.active(COMPLETE, 28)
    yield ratio(STICKINESS_L28, days_in_all, 28 * users, "nobody was active in the last 28 complete days")
    for spec, counts in ((L7, people.active_days(COMPLETE, 7)), (L28, l28)):
        for days, count in enumerate(counts.tolist()[1:], start=1):
            yield Sample(spec.name, count, (str(days),))
    for days, count in enumerate(people.active_days(COMPLETE, month).tolist()[1:], start=1):
        yield ratio(POWER, count, monthly, nobody, str(days))


def growth(people: Activity) -> Iterator[Sample]:
    """Account for everybody who was active in a period or in the one before."""
    for period in COMPARED:
        found = people.growth(COMPLETE, PERIODS[period])
        yield Sample(GROWTH.name, found.new, (period, "new"))
        yield Sample(GROWTH.name, found.retained, (period, "retained"))
        yield Sample(GROWTH.name, found.resurrected, (period, "resurrected"))
        yield Sample(GROWTH.name, found.dormant, (period, "dormant"))
        reason = f"no listener of the {period} before went dormant"
        yield ratio(GROWTH_RATIO, found.new + found.resurrected, found.dormant, reason, period)


def retention(people: Activity) -> Iterator[Sample]:
    """Report who came back: by day, pooled over cohorts that are old enough, and as triangles of weeks."""
    for days in RETENTION_DAYS:
        found = people.retention(days, COMPLETE, COHORTS)
        reason = f"no listener was new {days} to {days + COHORTS - 1} days before the last complete day"
        yield ratio(RETENTION, found.on_day, found.cohort, reason, "n_day", str(days))
        yield ratio(RETENTION, found.on_day_or_later, found.cohort, reason, "unbounded", str(days))
    triangle = people.triangle(COMPLETE, WEEKS, 7)
    for spec, cells in ((TRIANGLE, triangle.active), (TRIANGLE_UNBOUNDED, triangle.active_or_later)):
        for ago in range(1, WEEKS):
            for week in range(1, WEEKS):
                labels = (str(ago), str(week))
                if week > ago:
                    yield Sample(spec.name, None, labels, reason="this week has not ended yet")
                else:
                    size = int(triangle.sizes[ago])
                    yield ratio(spec, int(cells[ago, week]), size, "no listener was new then", *labels)


def listening(days: list[dict[str, Any]], people: Activity, times: Times) -> Iterator[Sample]:
    """Report hours heard, in all and by listener."""
    for period, length in PERIODS.items():
        heard = Heard.on(days, times.first_day(length), times.today)
        yield Sample(HOURS.name, heard.hours, (period,))
        users, hours = people.active(TODAY, length), heard.known_ms / MS_AN_HOUR
        yield ratio(HOURS_PER_USER, hours, users, "nobody was active in the period", period)


def sessions(plays: pa.Table, times: Times, inactivity_ms: int) -> Iterator[Sample]:
    """Report sessions, per listener and by length."""
    listeners = plays["user_id"].combine_chunks().dictionary_encode().indices
    who, start, end = (column.to_numpy().astype(np.int64) for column in (listeners, plays["start_ms"], plays["end_ms"]))
    recent_ms = -(-(times.recent_start - utc(0)) // timedelta(milliseconds=1))
    found = sessionise(who, start, end, inactivity_ms).since(recent_ms)
    none = f"no session began in the last {times.recent_hours} h"
    seconds = (found.end - found.start) / 1000
    count = len(seconds)
    yield Sample(SESSIONS.name, count)
    yield ratio(SESSIONS_PER_USER, count, found.people, none)
    yield ratio(SESSION_DURATION, float(seconds.sum()), count, none)
    for quantile in QUANTILES:
        value = float(np.quantile(seconds, quantile)) if count else None
        yield Sample(SESSION_LENGTH.name, value, (f"{quantile:g}",), reason="" if count else none)


def plays(row: Row, hours: int) -> Iterator[Sample]:
    """Report what became of plays: skipped, streamed, heard to which part."""
    recent = f"in the last {hours} h"
    unknown_skips = f"no play {recent} says whether it was skipped"
    yield ratio(SKIP_RATE, row["skips"], row["known_skips"], unknown_skips)
    for seconds in SKIP_SECONDS:
        yield ratio(SKIP_CURVE, row[f"skipped_{seconds}"], row["known_skips"], unknown_skips, str(seconds))
    yield ratio(STREAM_RATE, row["streams"], row["plays"], f"nothing was played {recent}")
    unknown_length = f"no play {recent} says how long its track is"
    for number, quantile in enumerate(QUANTILES):
        value = row[f"q{number}"]
        reason = "" if value is not None else unknown_length
        yield Sample(COMPLETION.name, value, (f"{quantile:g}",), reason=reason)
    for part in PARTS:
        yield ratio(COMPLETION_CURVE, row[f"reached_{part}"], row["known_tracks"], unknown_length, str(part))


def features(rows: Sequence[Row], named: Sequence[str], people: Activity, days: int) -> Iterator[Sample]:
    """Report how many use each feature; of those named in the configuration also which nobody used."""
    users = {row["name"]: row["users"] for row in rows}
    listeners = people.active(COMPLETE, days)
    for name in dict.fromkeys(named or users):
        yield Sample(FEATURE_USERS.name, users.get(name, 0), (name,))
        reason = f"nobody was active in the last {days} complete days"
        yield ratio(ADOPTION, users.get(name, 0), listeners, reason, name)


def funnel(name: str, row: Row, window: timedelta) -> Iterator[Sample]:
    """Report who reached each step."""
    hours = window // timedelta(hours=1)
    for number, users in enumerate(row.values(), start=1):
        yield Sample(FUNNEL_USERS.name, users, (name, str(number)))
        reason = f"nobody entered the funnel who has had {hours} h since"
        yield ratio(FUNNEL_CONVERSION, users, row["step_1"], reason, name, str(number))


def ratio(spec: MetricSpec, part: float, whole: float, undefined: str, *labels: str) -> Sample:
    """Return a sample of ``part / whole``, without value and with the reason ``undefined`` if whole is zero."""
    if not whole:
        return Sample(spec.name, None, labels, reason=undefined)
    return Sample(spec.name, part / whole, labels)
