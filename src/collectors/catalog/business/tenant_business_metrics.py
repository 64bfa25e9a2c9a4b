"""The figures by which a tenant's business is run.

Definitions
    * A listener is active on a day of the tenant's time zone on which they heard more than 0 ms. Day, week and month
      are the 1, 7 and 30 days that end with today, as far as it has passed. A listener is new in the period that
      holds their first active day, else returning.
    * A stream is a play of at least 30 s: https://support.spotify.com/us/artists/article/how-we-count-streams/
    * Revenue is charges - refunds - chargebacks + reversed chargebacks, each counted when it happened (a dispute that
      was won counts on the day of the reversal), exact in minor units and never added up across currencies. Failed
      and pending payments, taxes and fees are left out.
    * A customer pays in a period in which a charge of theirs succeeded.
    * Growth compares the 7 or 30 days that ended with yesterday with as many days before them.
    * Trial conversion: of the customers whose trial began in the 30 days that ended ``conversion_days`` ago, the share
      who began to pay within that many days. So every trial had its full time.
    * Concentration: the share of the recent streams that the top tracks or artists have, the Herfindahl-Hirschman
      index and the Gini coefficient; see ``analytics.concentration``.
    * Anomalies: the last whole hour against the same hour of the week before; see ``analytics.seasonality``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from collectors.analytics.seasonality import same_hours
from collectors.catalog.business.listening import Times, activity, people
from collectors.catalog.business.tenant import queries, report
from collectors.catalog.business.tenant.config import TenantBusinessMetricsConfig
from collectors.catalog.business.tenant.metrics import DEVICES, EMITS
from collectors.contract.collector import Analytical
from collectors.contract.example import Example
from collectors.model.metric import Collection, Issue, Window

if TYPE_CHECKING:
    import ibis.expr.types as ir


class TenantBusinessMetricsCollector(Analytical[TenantBusinessMetricsConfig]):
    """Report a tenant's audience, listening, revenue, growth, conversion, concentration, mix, anomalies and quotas."""

    name = "tenant_business_metrics"
    Config = TenantBusinessMetricsConfig
    emits = EMITS

    @classmethod
    def examples(cls) -> Iterable[Example]:
        day = timedelta(days=1)
        plays: list[dict[str, Any]] = [
            {
                "event_time": timedelta(hours=hours), "user_id": f"listener-{hours % 5}",
                "track_id": f"track-{hours % 3}", "ms_played": 20_000 * (hours % 4),
                "country": ("SE", "DE", None)[hours % 3], "device": DEVICES[hours % 7],
            }
            for hours in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377)
        ]  # fmt: skip
        contracts: list[dict[str, Any]] = [
            {"event_time": 45 * day, "subscription_id": f"s-{n}", "customer_id": f"customer-{n}", "action": "trial"}
            for n in range(4)
        ]
        contracts += [
            {"event_time": 40 * day, "subscription_id": "s-1", "customer_id": "customer-1", "action": "start",
             "plan": "premium", "amount_minor": 999, "currency": "EUR", "interval": "month"}
        ]  # fmt: skip
        payments: list[dict[str, Any]] = [
            {"event_time": ago * day, "payment_id": f"p-{ago}", "customer_id": f"customer-{ago % 2}", "kind": kind,
             "amount_minor": amount, "currency": currency, "status": "succeeded"}
            for ago, kind, amount, currency in (
                (0, "charge", 999, "EUR"), (2, "charge", 1099, "USD"), (3, "refund", 500, "EUR"),
                (9, "chargeback", 999, "EUR"), (1, "chargeback_reversal", 999, "EUR"), (12, "charge", 999, "EUR"),
            )
        ]  # fmt: skip
        events = {"playback": plays, "subscription": contracts, "payment": payments}
        yield Example("fortnight", {"quotas": {"plays": 100, "active_users": 10}}, events)
        yield Example("east_of_utc", events=events, time_zone="Asia/Kathmandu")
        weekly = [
            {"event_time": timedelta(weeks=week, minutes=30 + n), "user_id": f"listener-{n % 9}", "track_id": "track-1",
             "artist_id": f"artist-{n % 4}", "ms_played": 60_000}
            for week, count in enumerate((30, 9, 10, 12, 9, 11, 8))
            for n in range(count)
        ]  # fmt: skip
        yield Example("a_busy_hour", events={"playback": weekly})

    def queries(self, window: Window) -> Mapping[str, ir.Table]:
        times, config = self._times(window), self.config
        hours = self._hours(times)
        return {
            "activity": activity(times),
            "listening": queries.listening(times),
            "revenue": queries.revenue(times),
            "payers": queries.payers(times),
            "trials": queries.trials(times, timedelta(days=config.conversion_days)),
            "tracks": queries.content(times, "track_id"),
            "artists": queries.content(times, "artist_id"),
            "mix": queries.mix(times),
            "hours_of_plays": queries.hours_of_plays(hours),
            "hours_of_charges": queries.hours_of_charges(hours),
        }

    def derive(self, results: Mapping[str, pa.Table], window: Window) -> Collection:
        times, config = self._times(window), self.config
        listeners = people(results["activity"])
        payers, trials = (results[name].to_pylist()[0] for name in ("payers", "trials"))
        days, currencies = (results[name].to_pylist() for name in ("listening", "revenue"))
        judged = report.seasonal([results["hours_of_plays"], results["hours_of_charges"]], self._hours(times))
        samples = (
            *report.audience(listeners, payers),
            *report.listening(days, times),
            *report.growth(listeners, days, times),
            *report.revenue(currencies[: queries.MAX_CURRENCIES]),
            *report.trials(trials),
            *report.content("tracks", results["tracks"], config.recent_hours),
            *report.content("artists", results["artists"], config.recent_hours),
            *report.mix(results["mix"].to_pylist(), config),
            *report.anomalies(judged),
            *report.quotas(config.quotas, listeners, days, times),
        )
        issues: tuple[Issue, ...] = ()
        if len(currencies) > queries.MAX_CURRENCIES:
            message = f"only the {queries.MAX_CURRENCIES} currencies with the most payments are reported"
            issues = (Issue("too_many_currencies", f"{message}; check the sources"),)
        return Collection(samples, tuple(report.findings(judged, config.anomaly_score)), issues)

    def _hours(self, times: Times) -> list[datetime | None]:
        return same_hours(times.end, times.zone, self.config.season_weeks)

    def _times(self, window: Window) -> Times:
        return Times.of(window.end_us, self.context.tenant.time_zone, self.config.recent_hours)
