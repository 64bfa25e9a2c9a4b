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
    * Trial conversion: of the customers whose trial began in the 30 days that ended ``conversion_days`` ago, the share
      who began to pay within that many days. So every trial had its full time.
    * Concentration: the share of the recent streams that the top tracks have, and the Herfindahl-Hirschman index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, PositiveFloat

from collectors.analytics.engagement import concentration
from collectors.analytics.local_days import day_start, local_day, utc
from collectors.config.collector import CollectorConfig
from collectors.contract.collector import Analytical
from collectors.contract.example import Example
from collectors.contract.tables import events, rollup
from collectors.model.metric import Collection, Issue, Kind, MetricSpec, Sample, Unit, Window
from collectors.model.rollups import STREAM_MS

if TYPE_CHECKING:
    import ibis.expr.types as ir

PERIODS = {"day": 1, "week": 7, "month": 30}
DEVICES = ("phone", "tablet", "desktop", "tv", "speaker", "car", "console")
MAX_CURRENCIES = 32
TRIAL_DAYS = timedelta(days=30)
ANNOUNCED = timedelta(days=31)  # how long before it takes effect an action may be recorded
PAID_ACTIONS = ("start", "renew", "reactivate")
MS_AN_HOUR = 3_600_000

Quota = Literal["active_users", "plays", "streams", "listening_hours"]


def _gauge(name: str, unit: Unit, description: str, *labels: str, nullable: bool = False) -> MetricSpec:
    return MetricSpec(f"collectors.business.{name}", Kind.GAUGE, unit, description, labels, nullable=nullable)


ACTIVE = _gauge("active_users", Unit.USERS, "Listeners active in the period.", "period")
NEW = _gauge("new_users", Unit.USERS, "Listeners whose first active day is in the period.", "period")
RETURNING = _gauge("returning_users", Unit.USERS, "Active listeners who were active before the period.", "period")
PLAYS = _gauge("plays", Unit.EVENTS, "Plays in the period.", "period")
STREAMS = _gauge("streams", Unit.EVENTS, "Plays of at least 30 seconds in the period.", "period")
HOURS = _gauge("listening_hours", Unit.HOURS, "Hours of audio heard in the period.", "period")
PAYERS = _gauge("paying_customers", Unit.USERS, "Customers with a successful charge in the period.", "period")
REVENUE = _gauge(
    "revenue",
    Unit.MINOR_UNITS,
    "Charges less refunds and chargebacks plus reversed chargebacks in the period.",
    "period",
    "currency",
)
TRIALS = _gauge("trials", Unit.USERS, "Customers whose trial has had its full time to convert.")
CONVERSION = _gauge("trial_conversion", Unit.RATIO, "Share of these trials that became paid in time.", nullable=True)
TOP_TRACKS = _gauge(
    "top_track_share", Unit.RATIO, "Share of recent streams of the top 1 % or 10 tracks.", "top", nullable=True
)
HHI = _gauge(
    "track_concentration", Unit.RATIO, "Herfindahl-Hirschman index of recent streams over tracks.", nullable=True
)
COUNTRIES = _gauge("country_share", Unit.RATIO, "Share of recent streams by country.", "country", nullable=True)
DEVICE_MIX = _gauge("device_share", Unit.RATIO, "Share of recent streams by device class.", "device", nullable=True)
QUOTA_USE = _gauge("quota_use", Unit.RATIO, "Use of a quota since the first of the calendar month.", "quota")


class TenantBusinessMetricsConfig(CollectorConfig):
    """What is reported of a tenant's business."""

    interval_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """Seconds between the starts of two runs."""

    recent_hours: int = Field(default=24, ge=1, le=168)
    """Length of the trailing window for concentration and the mix of countries and devices."""

    conversion_days: int = Field(default=30, ge=1, le=366)
    """Days a trial has to become paid."""

    top_countries: int = Field(default=20, ge=1, le=50)
    """Countries reported by name; the others are added up."""

    quotas: Mapping[Quota, PositiveFloat] = Field(default_factory=dict)
    """What the tenant may use in a calendar month of its time zone."""


@dataclass(frozen=True, slots=True)
class _Times:
    """The instants and days that the queries of one window need."""

    today: date
    end: datetime
    zone: str

    def start(self, period: str) -> date:
        """Return the first day of a period that ends today."""
        return self.today - timedelta(days=PERIODS[period] - 1)

    def instant(self, day: date) -> datetime:
        return day_start(day, self.zone)


class TenantBusinessMetricsCollector(Analytical[TenantBusinessMetricsConfig]):
    """Report a tenant's audience, listening, revenue, trial conversion, concentration, mix and use of quotas."""

    name = "tenant_business_metrics"
    Config = TenantBusinessMetricsConfig
    emits = (
        ACTIVE, NEW, RETURNING, PLAYS, STREAMS, HOURS, PAYERS, REVENUE, TRIALS, CONVERSION, TOP_TRACKS, HHI, COUNTRIES,
        DEVICE_MIX, QUOTA_USE,
    )  # fmt: skip

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

    def queries(self, window: Window) -> Mapping[str, ir.Table]:
        times = self._times(window)
        recent = times.end - timedelta(hours=self.config.recent_hours)
        return {
            "users": _users(times),
            "listening": _listening(times),
            "revenue": _revenue(times),
            "payers": _payers(times),
            "trials": _trials(times, timedelta(days=self.config.conversion_days)),
            "tracks": _tracks(recent, times.end),
            "mix": _mix(recent, times.end),
        }

    def derive(self, results: Mapping[str, pa.Table], window: Window) -> Collection:
        times = self._times(window)
        users = results["users"].to_pylist()[0]
        listening = results["listening"].to_pylist()
        currencies = results["revenue"].to_pylist()
        trials = results["trials"].to_pylist()[0]
        samples = (
            *_user_samples(users),
            *(sample for period in PERIODS for sample in _listening_samples(listening, period, times)),
            *(Sample(PAYERS.name, results["payers"].column(p)[0].as_py(), (p,)) for p in PERIODS),
            *_revenue_samples(currencies[:MAX_CURRENCIES]),
            Sample(TRIALS.name, trials["trials"]),
            _ratio(CONVERSION, trials["converted"], trials["trials"], "no trial has had its full time to convert"),
            *_concentration_samples(results["tracks"], self.config.recent_hours),
            *_mix_samples(results["mix"].to_pylist(), self.config),
            *_quota_samples(self.config.quotas, users, listening, times),
        )
        issues: tuple[Issue, ...] = ()
        if len(currencies) > MAX_CURRENCIES:
            message = f"only the {MAX_CURRENCIES} currencies with the most payments are reported; check the sources"
            issues = (Issue("too_many_currencies", message),)
        return Collection(samples=samples, issues=issues)

    def _times(self, window: Window) -> _Times:
        zone = self.context.tenant.time_zone
        return _Times(local_day(window.end_us - 1, zone), utc(window.end_us), zone)


def _plays_of_today(times: _Times) -> ir.Table:
    return _between(events("playback"), times.instant(times.today), times.end)


def _between(table: ir.Table, start: datetime, end: datetime) -> ir.Table:
    import ibis

    return table.filter(table.event_time >= ibis.literal(start), table.event_time < ibis.literal(end))


def _users(times: _Times) -> ir.Table:
    """Count active and new listeners of each period; older days are in the rollup, today is read from the plays."""
    import ibis

    user_day, today = rollup("user_day"), _plays_of_today(times)
    past = user_day.filter(user_day.day < ibis.literal(times.today), user_day.ms_played > 0, user_day.user_id.notnull())
    present = today.filter(today.ms_played > 0, today.user_id.notnull()).select("user_id").distinct()
    days = past.select("user_id", "day").union(present.mutate(day=ibis.literal(times.today)))
    listeners = days.group_by("user_id").agg(earliest=days.day.min(), latest=days.day.max())
    starts = {period: ibis.literal(times.start(period)) for period in PERIODS}
    active = {f"active_{p}": listeners.count(where=listeners.latest >= start) for p, start in starts.items()}
    new = {f"new_{p}": listeners.count(where=listeners.earliest >= start) for p, start in starts.items()}
    month = ibis.literal(times.today.replace(day=1))
    return listeners.agg(**active, **new, active_month_to_date=listeners.count(where=listeners.latest >= month))


def _listening(times: _Times) -> ir.Table:
    """Return plays, streams and milliseconds heard by local day, as far back as a period or the month goes."""
    import ibis

    user_day, today = rollup("user_day"), _plays_of_today(times)
    first = min(times.start("month"), times.today.replace(day=1))
    past = user_day.filter(user_day.day >= ibis.literal(first), user_day.day < ibis.literal(times.today))
    by_day = past.group_by("day").agg(
        plays=past.plays.sum(), streams=past.streams.sum(), ms_played=past.ms_played.sum()
    )
    present = today.agg(
        plays=today.count(),
        streams=today.count(where=today.ms_played >= STREAM_MS),
        ms_played=today.ms_played.cast("int64").sum().fill_null(0),
    )
    of_today = present.mutate(day=ibis.literal(times.today))
    return by_day.union(of_today.select("day", "plays", "streams", "ms_played"))


def _payments(times: _Times) -> ir.Table:
    """Return the payments of the longest period that took place."""
    import ibis

    payment = _between(events("payment"), times.instant(times.start("month")), times.end)
    return payment.filter(payment.status.fill_null(ibis.literal("succeeded")) == "succeeded")


def _revenue(times: _Times) -> ir.Table:
    """Sum each period's revenue by currency, the busiest currencies first."""
    import ibis

    payments = _payments(times)
    amount = payments.amount_minor
    signed = payments.mutate(
        revenue=ibis.cases(
            (payments.kind.isin(("charge", "chargeback_reversal")), amount),
            (payments.kind.isin(("refund", "chargeback")), -amount),
        )
    )
    moved = signed.filter(signed.revenue.notnull())
    sums = {
        period: moved.revenue.sum(where=moved.event_time >= ibis.literal(times.instant(times.start(period))))
        for period in PERIODS
    }
    by_currency = moved.group_by("currency").agg(payments=moved.count(), **sums)
    order = [ibis.desc("payments"), ibis.asc("currency")]
    return by_currency.order_by(order).limit(MAX_CURRENCIES + 1)


def _payers(times: _Times) -> ir.Table:
    import ibis

    payments = _payments(times)
    charges = payments.filter(payments.kind == "charge", payments.amount_minor > 0)
    counts = {
        period: charges.customer_id.nunique(
            where=charges.event_time >= ibis.literal(times.instant(times.start(period)))
        )
        for period in PERIODS
    }
    return charges.agg(**counts)


def _trials(times: _Times, to_convert: timedelta) -> ir.Table:
    """Count the customers whose trial has had its time, and those of them who began to pay in that time."""
    import ibis

    cohort_end = times.end - to_convert
    recorded = _between(events("subscription"), cohort_end - TRIAL_DAYS - ANNOUNCED, times.end)
    actions = recorded.mutate(effective=ibis.coalesce(recorded.effective_time, recorded.event_time))
    began = actions.filter(
        actions.action == "trial",
        actions.effective >= ibis.literal(cohort_end - TRIAL_DAYS),
        actions.effective < ibis.literal(cohort_end),
    )
    trials = began.group_by("customer_id").agg(trial=began.effective.min())
    price = actions.amount_minor - actions.discount_minor.fill_null(0)
    paid = actions.filter(actions.action.isin(PAID_ACTIONS), price.isnull() | (price > 0))
    payments = paid.select(payer="customer_id", paid="effective")
    both = trials.left_join(payments, trials.customer_id == payments.payer)
    in_time = (both.paid >= both.trial) & (both.paid <= both.trial + ibis.interval(days=to_convert.days))
    return both.agg(trials=both.customer_id.nunique(), converted=both.customer_id.nunique(where=in_time))


def _tracks(start: datetime, end: datetime) -> ir.Table:
    """Count the tracks by how many recent streams they have."""
    recent = _between(events("playback"), start, end)
    streams = recent.filter(recent.ms_played >= STREAM_MS)
    by_track = streams.group_by("track_id").agg(streams=streams.count())
    return by_track.group_by("streams").agg(tracks=by_track.count())


def _mix(start: datetime, end: datetime) -> ir.Table:
    """Count recent streams by country and device class."""
    import ibis

    recent = _between(events("playback"), start, end)
    streams = recent.filter(recent.ms_played >= STREAM_MS)
    device = ibis.cases(
        (streams.device.isnull(), "unknown"), (streams.device.isin(DEVICES), streams.device), else_="other"
    )
    named = streams.select(country=streams.country.fill_null("unknown"), device=device)
    return named.group_by("country", "device").agg(streams=named.count())


def _user_samples(users: Mapping[str, int]) -> Iterator[Sample]:
    for period in PERIODS:
        active, new = users[f"active_{period}"], users[f"new_{period}"]
        yield Sample(ACTIVE.name, active, (period,))
        yield Sample(NEW.name, new, (period,))
        yield Sample(RETURNING.name, active - new, (period,))


def _since(listening: list[dict[str, Any]], first: date) -> tuple[int, int, float]:
    """Return plays, streams and hours heard from the day ``first`` on."""
    days = [day for day in listening if day["day"] >= first]
    plays, streams, heard_ms = (sum(day[key] for day in days) for key in ("plays", "streams", "ms_played"))
    return plays, streams, heard_ms / MS_AN_HOUR


def _listening_samples(listening: list[dict[str, Any]], period: str, times: _Times) -> Iterator[Sample]:
    plays, streams, hours = _since(listening, times.start(period))
    yield Sample(PLAYS.name, plays, (period,))
    yield Sample(STREAMS.name, streams, (period,))
    yield Sample(HOURS.name, hours, (period,))


def _revenue_samples(currencies: list[dict[str, Any]]) -> Iterator[Sample]:
    for row in currencies:
        for period in PERIODS:
            yield Sample(REVENUE.name, row[period] or 0, (period, row["currency"]))


def _concentration_samples(tracks: pa.Table, hours: int) -> Iterator[Sample]:
    amounts, items = (tracks.column(name).to_numpy().astype(np.int64) for name in ("streams", "tracks"))
    found = concentration(amounts, items)
    figures = (found.top_percent, found.top_ten, found.hhi) if found else (None, None, None)
    reason = "" if found else f"nothing was streamed in the last {hours} h"
    for spec, labels, value in zip((TOP_TRACKS, TOP_TRACKS, HHI), (("1%",), ("10",), ()), figures, strict=True):
        yield Sample(spec.name, value, labels, reason=reason)


def _mix_samples(rows: list[dict[str, Any]], config: TenantBusinessMetricsConfig) -> Iterator[Sample]:
    total = sum(row["streams"] for row in rows)
    reason = f"nothing was streamed in the last {config.recent_hours} h"
    countries: dict[str, int] = {}
    devices = dict.fromkeys((*DEVICES, "other", "unknown"), 0)
    for row in rows:
        country = row["country"] if row["country"] == "unknown" or _is_country(row["country"]) else "other"
        countries[country] = countries.get(country, 0) + row["streams"]
        devices[row["device"]] += row["streams"]
    rest = {name: countries.pop(name, 0) for name in ("other", "unknown")}
    ranked = sorted(countries, key=lambda country: (-countries[country], country))
    rest["other"] += sum(countries[country] for country in ranked[config.top_countries :])
    shown = {country: countries[country] for country in ranked[: config.top_countries]} | rest
    for spec, counts in ((COUNTRIES, shown), (DEVICE_MIX, devices)):
        for name, streams in counts.items():
            yield _ratio(spec, streams, total, reason, name)


def _quota_samples(
    quotas: Mapping[Quota, float], users: Mapping[str, int], listening: list[dict[str, Any]], times: _Times
) -> Iterator[Sample]:
    plays, streams, hours = _since(listening, times.today.replace(day=1))
    used = {
        "active_users": users["active_month_to_date"], "plays": plays, "streams": streams, "listening_hours": hours
    }  # fmt: skip
    for quota, limit in quotas.items():
        yield Sample(QUOTA_USE.name, used[quota] / limit, (quota,))


def _is_country(code: str) -> bool:
    return len(code) == 2 and code.isascii() and code.isalpha() and code.isupper()


def _ratio(spec: MetricSpec, part: float, whole: float, undefined: str, *labels: str) -> Sample:
    """Return a sample of ``part / whole``, without value and with the reason ``undefined`` if whole is zero."""
    if not whole:
        return Sample(spec.name, None, labels, reason=undefined)
    return Sample(spec.name, part / whole, labels)
