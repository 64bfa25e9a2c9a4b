"""How often listeners come back, and how they listen.

Definitions
    * A listener is active on a day of the tenant's time zone on which they heard more than 0 ms; days of 23 and 25
      hours, where clocks change, are days as any other. Day, week and month are 1, 7 and 30 days that include their
      end: monthly active users as Spotify's F-1 prospectus counts them; 28 days hold each weekday equally often.
    * Active users count today as far as it has passed. What compares days (stickiness, L7, L28, retention, growth)
      ends with the last complete day, or it would fall each midnight and climb until the next.
    * Stickiness is daily over monthly active users. Its L28 form, mean(L28) / 28, equals the mean of the daily over
      the 28-day active users: https://www.philihp.com/2021/user-retention-with-lness-using-postgresql-and-superset.html
    * The power-user curve is the distribution of L30: https://a16z.com/the-power-user-curve-the-best-way-to-understand-your-most-engaged-users/
    * Growth accounting: new + retained + resurrected are the active of a period, retained + dormant those of the one
      before. Dormant listeners are what others call churned; they left nothing that they pay for.
    * A stream is a play of at least 30 s: https://support.spotify.com/us/artists/article/how-we-count-streams/
    * A session ends after 30 minutes of inactivity and does not end at midnight, as in Google Analytics 4:
      https://graphed.com/blog/google-analytics-4-sessions-do-not-restart-at-midnight. Inactivity is measured from
      the latest end of a play, a play lasting from its ``event_time`` for ``ms_played``, in whole milliseconds.
    * The skip curve has the share of plays that were skipped before some seconds were heard; the completion curve the
      share that reached a part of the track, as far as its length is known.
    * Retention is by calendar day, pooled over daily cohorts, and by week in triangles, whose cells have no value until
      their week is over; see ``analytics.engagement``. N-day is on that day or week exactly, unbounded then or later.
    * A feature is the name of an application event. Adoption is the share of the listeners who used it.
    * A funnel counts people who took its steps one after the other within its time; see ``engagement.config``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from collectors.catalog.business.engagement import queries, report
from collectors.catalog.business.engagement.config import UserEngagementConfig
from collectors.catalog.business.engagement.metrics import EMITS, PERIODS
from collectors.catalog.business.listening import Times, activity, by_day, people
from collectors.contract.collector import Analytical
from collectors.contract.example import Example
from collectors.model.metric import Collection, Window

if TYPE_CHECKING:
    import ibis.expr.types as ir


class UserEngagementCollector(Analytical[UserEngagementConfig]):
    """Report active users, stickiness, retention, growth, sessions, skips, completion, features and funnels."""

    name = "user_engagement"
    Config = UserEngagementConfig
    emits = EMITS

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
        uses = [
            {"event_time": timedelta(days=ago, minutes=30), "user_id": f"listener-{who}", "name": name}
            for who, ago, name in (
                (0, 1, "Search Performed"), (0, 3, "Playlist Created"), (1, 9, "Search Performed"),
                (4, 2, "Search Performed"), (9, 2, "Playlist Created"),
            )
        ]  # fmt: skip
        found = {
            "steps": [
                {"event": "app_event", "where": {"name": "Search Performed"}},
                {"event": "playback"},
                {"event": "playback", "at_least": {"ms_played": 30_000}},
            ]
        }
        yield Example("features_and_a_funnel", {"funnels": {"found_by_search": found}, "inactivity_minutes": 5},
                      {"playback": plays, "app_event": uses})  # fmt: skip

    def queries(self, window: Window) -> Mapping[str, ir.Table]:
        times, config = self._times(window), self.config
        return {
            "activity": activity(times),
            "listening": by_day(times, times.first_day(max(PERIODS.values()))),
            "spans": queries.spans(times, config.inactivity_minutes * 60_000),
            "plays": queries.plays(times),
            "features": queries.features(times, config.features, config.max_features),
            **{f"funnel_{name}": queries.funnel(funnel, times.end) for name, funnel in config.funnels.items()},
        }

    def derive(self, results: Mapping[str, pa.Table], window: Window) -> Collection:
        times, config = self._times(window), self.config
        listeners = people(results["activity"])
        rows = {name: table.to_pylist() for name, table in results.items() if name not in ("activity", "spans")}
        samples = (
            *report.active(listeners),
            *report.growth(listeners),
            *report.retention(listeners),
            *report.listening(rows["listening"], listeners, times),
            *report.sessions(results["spans"], times, config.inactivity_minutes * 60_000),
            *report.plays(rows["plays"][0], config.recent_hours),
            *report.features(rows["features"], config.features, listeners, queries.FEATURE_DAYS),
            *(
                sample
                for name, funnel in config.funnels.items()
                for sample in report.funnel(name, rows[f"funnel_{name}"][0], timedelta(hours=funnel.window_hours))
            ),
        )
        return Collection(samples=samples)

    def _times(self, window: Window) -> Times:
        return Times.of(window.end_us, self.context.tenant.time_zone, self.config.recent_hours)
