"""How often listeners come back, and how they listen.

Definitions
    * A listener is active on a day of the tenant's time zone on which they heard more than 0 ms. Day, week and month
      are 1, 7 and 30 days that include their end: monthly active users as Spotify's F-1 prospectus counts them.
    * Active users count today as far as it has passed. What compares days (stickiness, L7, L28, retention, growth)
      ends with the last complete day, or it would fall each midnight and climb until the next.
    * Stickiness is daily over monthly active users. Its L28 form, mean(L28) / 28, equals the mean of the daily over
      the 28-day active users: https://www.philihp.com/2021/user-retention-with-lness-using-postgresql-and-superset.html
    * A stream is a play of at least 30 s: https://support.spotify.com/us/artists/article/how-we-count-streams/
    * A session ends after 30 minutes of inactivity and does not end at midnight, as in Google Analytics 4:
      https://graphed.com/blog/google-analytics-4-sessions-do-not-restart-at-midnight. Inactivity is measured from
      the latest end of a play, a play lasting from its ``event_time`` for ``ms_played``, in whole milliseconds.
    * Retention is by calendar day, pooled over daily cohorts; see ``analytics.engagement``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from collectors.analytics.engagement import MASK_DAYS, Activity
from collectors.analytics.local_days import day_start, local_day, utc
from collectors.config.collector import CollectorConfig
from collectors.contract.collector import Analytical
from collectors.contract.example import Example
from collectors.contract.tables import events, rollup
from collectors.model.metric import Collection, Kind, MetricSpec, Sample, Unit, Window
from collectors.model.rollups import STREAM_MS

if TYPE_CHECKING:
    import ibis.expr.types as ir

INACTIVITY_MS = 30 * 60 * 1000
LONGEST_PLAY = timedelta(days=1)  # the most that the event type lets a play last
COMPLETE = 1  # bit of the last complete day: today is bit 0
PERIODS = {"day": 1, "week": 7, "month": 30}
RETENTION_DAYS = (1, 7, 30)
COHORTS = 28
WEEKS = 8
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def _gauge(name: str, unit: Unit, description: str, *labels: str, nullable: bool = False) -> MetricSpec:
    return MetricSpec(f"collectors.engagement.{name}", Kind.GAUGE, unit, description, labels, nullable=nullable)


ACTIVE = _gauge(
    "active_users", Unit.USERS, "Listeners active in the trailing day, week or month, today included.", "period"
)
STICKINESS = _gauge(
    "stickiness", Unit.RATIO, "Daily over monthly active users on the last complete day.", nullable=True
)
STICKINESS_L28 = _gauge(
    "stickiness_l28",
    Unit.RATIO,
    "Mean share of the last 28 complete days on which a listener of these days was active.",
    nullable=True,
)
L7 = _gauge("l7", Unit.USERS, "Listeners by number of active days among the last 7 complete days.", "days")
L28 = _gauge("l28", Unit.USERS, "Listeners by number of active days among the last 28 complete days.", "days")
GROWTH = _gauge(
    "growth_users",
    Unit.USERS,
    "Listeners who are new, retained, resurrected or dormant: the last complete week or month against the one before.",
    "period",
    "state",
)
RETENTION = _gauge(
    "retention",
    Unit.RATIO,
    "Share of new listeners active a number of days after their first (n_day), or then or later (unbounded).",
    "kind",
    "days",
    nullable=True,
)
TRIANGLE = _gauge(
    "weekly_retention",
    Unit.RATIO,
    "Share of the listeners new a number of weeks ago who were active in a later week.",
    "weeks_ago",
    "week",
    nullable=True,
)
SESSIONS = _gauge("sessions", Unit.COUNT, "Sessions that began in the recent hours.")
SESSIONS_PER_USER = _gauge(
    "sessions_per_user", Unit.RATIO, "Sessions of the recent hours per listener who had one.", nullable=True
)
SESSION_DURATION = _gauge(
    "session_duration",
    Unit.SECONDS,
    "Mean length of the sessions of the recent hours, as far as it goes.",
    nullable=True,
)
SKIP_RATE = _gauge(
    "skip_rate", Unit.RATIO, "Share of recent plays that were skipped, of those that say so.", nullable=True
)
STREAM_RATE = _gauge("stream_rate", Unit.RATIO, "Share of recent plays that count as a stream.", nullable=True)
COMPLETION = _gauge(
    "completion",
    Unit.RATIO,
    "Quantiles of the part of its track that a recent play reached.",
    "quantile",
    nullable=True,
)


class UserEngagementConfig(CollectorConfig):
    """How user engagement is measured."""

    interval_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """Seconds between the starts of two runs."""

    recent_hours: int = Field(default=24, ge=1, le=168)
    """Length of the trailing window for sessions, skips, streams and completion."""


@dataclass(frozen=True, slots=True)
class _Times:
    """The instants that the queries of one window need."""

    today: date
    today_start: datetime
    recent_start: datetime
    end: datetime


class UserEngagementCollector(Analytical[UserEngagementConfig]):
    """Report active users, stickiness, sessions, skips, completion, retention and growth of a tenant's listeners."""

    name = "user_engagement"
    Config = UserEngagementConfig
    emits = (
        ACTIVE, STICKINESS, STICKINESS_L28, L7, L28, GROWTH, RETENTION, TRIANGLE, SESSIONS, SESSIONS_PER_USER,
        SESSION_DURATION, SKIP_RATE, STREAM_RATE, COMPLETION,
    )  # fmt: skip

    @classmethod
    def examples(cls) -> Iterable[Example]:
        plays = [
            {
                "event_time": timedelta(days=ago, minutes=7 * nth), "user_id": f"listener-{who}",
                "track_id": f"track-{nth}", "ms_played": 90_000 * (nth % 3) + 15_000, "track_ms": 240_000,
                "skipped": nth == 1,
            }
            for who, days in enumerate(((0, 1, 2, 3), (0, 1, 8, 9), (1, 20, 21), (40, 41), (2, 9, 16, 23, 30)))
            for ago in days
            for nth in range(3)
        ]  # fmt: skip
        yield Example("six_weeks", events={"playback": plays})
        yield Example("new_years_night", events={"playback": plays}, end=datetime(2026, 1, 1, 6, tzinfo=UTC),
                      time_zone="America/New_York")  # fmt: skip

    def queries(self, window: Window) -> Mapping[str, ir.Table]:
        zone = self.context.tenant.time_zone
        today = local_day(window.end_us - 1, zone)
        end = utc(window.end_us)
        times = _Times(today, day_start(today, zone), end - timedelta(hours=self.config.recent_hours), end)
        return {"activity": _activity(times), "sessions": _sessions(times), "plays": _plays(times)}

    def derive(self, results: Mapping[str, pa.Table], window: Window) -> Collection:  # noqa: ARG002  # results have it
        patterns = results["activity"]
        activity = Activity(
            masks=patterns.column("days").to_numpy().astype(np.int64),
            older=patterns.column("older").to_numpy().astype(np.bool_),
            users=patterns.column("users").to_numpy().astype(np.int64),
        )
        sessions = results["sessions"].to_pylist()[0]
        plays = results["plays"].to_pylist()[0]
        hours = f"in the last {self.config.recent_hours} h"
        samples = (
            *_active(activity),
            *_growth(activity),
            *_retention(activity),
            *_triangle(activity),
            *_session_samples(sessions, f"no session began {hours}"),
            *_play_samples(plays, hours),
        )
        return Collection(samples=samples)


def _activity(times: _Times) -> ir.Table:
    """Count listeners by the mask of their active days; older days are in the rollup, today is read from the plays."""
    import ibis

    user_day, playback = rollup("user_day"), events("playback")
    past = user_day.filter(
        user_day.day < ibis.literal(times.today), user_day.ms_played > 0, user_day.user_id.notnull()
    ).select("user_id", "day")
    present = (
        playback.filter(
            playback.event_time >= ibis.literal(times.today_start),
            playback.event_time < ibis.literal(times.end),
            playback.ms_played > 0,
            playback.user_id.notnull(),
        )
        .select("user_id")
        .distinct()
        .mutate(day=ibis.literal(times.today))
    )
    days = past.union(present)
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


def _sessions(times: _Times) -> ir.Table:
    """Count the sessions that began in the recent hours, their listeners and their total length.

    Plays are read from so far back that each one that ends in the recent hours, or up to half an hour before them, is
    there: so a session that goes on is never taken for a new one. A play makes its session longer by what it reaches
    beyond all plays before it (the pause included), which adds up to the lengths without numbering the sessions. What
    a listener's plays add before the first recent beginning belongs to a session that began earlier.
    """
    import ibis

    recent_ms = _milliseconds(times.recent_start)
    pause = timedelta(milliseconds=INACTIVITY_MS)
    playback = events("playback")
    chosen = playback.filter(
        playback.event_time >= ibis.literal(times.recent_start - LONGEST_PLAY - pause),
        playback.event_time < ibis.literal(times.end),
        # Of the plays before, a short one ended long ago; dropping it early saves most of the work.
        (playback.event_time >= ibis.literal(times.recent_start - 2 * pause)) | (playback.ms_played >= INACTIVITY_MS),
        playback.user_id.notnull(),
    )
    clock = chosen.event_time.cast("timestamp")  # engines take a time without zone apart several times faster
    start_ms = clock.truncate("s").epoch_seconds().cast("int64") * 1000 + clock.millisecond()
    spans = chosen.select("user_id", start_ms=start_ms.cast("int64"), played=chosen.ms_played.cast("int64"))
    plays = spans.select("user_id", "start_ms", end_ms=spans.start_ms + spans.played)
    earlier = ibis.window(group_by=plays.user_id, order_by=[plays.start_ms, plays.end_ms], preceding=(None, 1))
    heard = plays.mutate(reached_ms=plays.end_ms.max().over(earlier))
    heard = heard.filter(heard.start_ms >= recent_ms)
    begins = heard.reached_ms.isnull() | (heard.start_ms - heard.reached_ms > INACTIVITY_MS)
    heard = heard.mutate(begins=begins, from_ms=ibis.coalesce(heard.reached_ms, heard.start_ms))
    gain_ms = ibis.greatest(heard.end_ms - ibis.cases((heard.begins, heard.start_ms), else_=heard.from_ms), 0)
    listeners = heard.group_by("user_id").agg(
        sessions=heard.count(where=heard.begins),
        gained_ms=gain_ms.sum(),
        earlier_ms=heard.from_ms.min(where=heard.begins) - heard.from_ms.min(),
    )
    with_sessions = listeners.filter(listeners.sessions > 0)
    return with_sessions.agg(
        sessions=with_sessions.sessions.sum(),
        users=with_sessions.count(),
        length_ms=(with_sessions.gained_ms - with_sessions.earlier_ms).sum(),
    )


def _plays(times: _Times) -> ir.Table:
    """Count recent plays, and take the quantiles of how much of its track each reached."""
    import ibis

    playback = events("playback")
    recent = playback.filter(
        playback.event_time >= ibis.literal(times.recent_start), playback.event_time < ibis.literal(times.end)
    )
    part = recent.ms_played.cast("float64") / recent.track_ms.nullif(0).cast("float64")
    whole = ibis.literal(1.0, "float64")  # a track that was wound back can be heard for longer than it is
    plays = recent.select("ms_played", "skipped", completion=ibis.cases((part > whole, whole), else_=part))
    quantiles = {f"q{number}": plays.completion.quantile(q) for number, q in enumerate(QUANTILES)}
    return plays.agg(
        plays=plays.count(),
        streams=plays.count(where=plays.ms_played >= STREAM_MS),
        known_skips=plays.skipped.count(),
        skips=plays.count(where=plays.skipped),
        **quantiles,
    )


def _active(activity: Activity) -> Iterator[Sample]:
    for period, days in PERIODS.items():
        yield Sample(ACTIVE.name, activity.active(0, days), (period,))
    monthly = activity.active(COMPLETE, PERIODS["month"])
    yield _ratio(STICKINESS, activity.active(COMPLETE, 1), monthly, "nobody was active in the last 30 complete days")
    distribution = activity.active_days(COMPLETE, 28)
    total = int((distribution * np.arange(29)).sum())
    yield _ratio(
        STICKINESS_L28, total, 28 * activity.active(COMPLETE, 28), "nobody was active in the last 28 complete days"
    )
    for spec, counts in ((L7, activity.active_days(COMPLETE, 7)), (L28, distribution)):
        for days, users in enumerate(counts.tolist()[1:], start=1):
            yield Sample(spec.name, users, (str(days),))


def _growth(activity: Activity) -> Iterator[Sample]:
    for period in ("week", "month"):
        growth = activity.growth(COMPLETE, PERIODS[period])
        yield Sample(GROWTH.name, growth.new, (period, "new"))
        yield Sample(GROWTH.name, growth.retained, (period, "retained"))
        yield Sample(GROWTH.name, growth.resurrected, (period, "resurrected"))
        yield Sample(GROWTH.name, growth.dormant, (period, "dormant"))


def _retention(activity: Activity) -> Iterator[Sample]:
    for days in RETENTION_DAYS:
        retention = activity.retention(days, COMPLETE, COHORTS)
        reason = f"no listener was new {days} to {days + COHORTS - 1} days before the last complete day"
        yield _ratio(RETENTION, retention.on_day, retention.cohort, reason, "n_day", str(days))
        yield _ratio(RETENTION, retention.on_day_or_later, retention.cohort, reason, "unbounded", str(days))


def _triangle(activity: Activity) -> Iterator[Sample]:
    sizes, active = activity.triangle(COMPLETE, WEEKS, 7)
    for ago in range(1, WEEKS):
        for week in range(1, WEEKS):
            labels = (str(ago), str(week))
            if week > ago:
                yield Sample(TRIANGLE.name, None, labels, reason="this week has not ended yet")
            else:
                yield _ratio(TRIANGLE, int(active[ago, week]), int(sizes[ago]), "no listener was new then", *labels)


def _session_samples(sessions: Mapping[str, Any], none: str) -> Iterator[Sample]:
    count = sessions["sessions"] or 0
    yield Sample(SESSIONS.name, count)
    yield _ratio(SESSIONS_PER_USER, count, sessions["users"], none)
    yield _ratio(SESSION_DURATION, (sessions["length_ms"] or 0) / 1000, count, none)


def _play_samples(plays: Mapping[str, Any], hours: str) -> Iterator[Sample]:
    yield _ratio(SKIP_RATE, plays["skips"], plays["known_skips"], f"no play {hours} says whether it was skipped")
    yield _ratio(STREAM_RATE, plays["streams"], plays["plays"], f"nothing was played {hours}")
    for number, quantile in enumerate(QUANTILES):
        value = plays[f"q{number}"]
        reason = "" if value is not None else f"no play {hours} says how long its track is"
        yield Sample(COMPLETION.name, value, (f"{quantile:g}",), reason=reason)


def _ratio(spec: MetricSpec, part: float, whole: float, undefined: str, *labels: str) -> Sample:
    """Return a sample of ``part / whole``, without value and with the reason ``undefined`` if whole is zero."""
    if not whole:
        return Sample(spec.name, None, labels, reason=undefined)
    return Sample(spec.name, part / whole, labels)


def _milliseconds(instant: datetime) -> int:
    """Return the first whole millisecond since 1970 that is not before ``instant``."""
    return -(-(instant - utc(0)) // timedelta(milliseconds=1))
