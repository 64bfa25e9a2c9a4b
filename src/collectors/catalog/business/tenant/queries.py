"""What a tenant's business metrics ask of the lake."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from collectors.catalog.business.listening import Times, between, by_day
from collectors.catalog.business.tenant.metrics import COMPARED, DEVICES, PERIODS
from collectors.contract.tables import events
from collectors.model.rollups import STREAM_MS

if TYPE_CHECKING:
    import ibis.expr.types as ir

MAX_CURRENCIES = 32
TRIAL_DAYS = timedelta(days=30)
ANNOUNCED = timedelta(days=31)  # how long before it takes effect an action may be recorded
PAID_ACTIONS = ("start", "renew", "reactivate")
NEXT = timedelta(hours=1)


def complete(times: Times, period: str) -> tuple[date, date]:
    """Return the first days of the last complete period and of the one before; the last one ends with yesterday."""
    days = timedelta(days=PERIODS[period])
    return times.today - days, times.today - 2 * days


def listening(times: Times) -> ir.Table:
    """Return what was listened to by day, as far back as a period, the one before it or the month goes."""
    return by_day(times, min(complete(times, "month")[1], times.today.replace(day=1)))


def revenue(times: Times) -> ir.Table:
    """Sum each period's revenue by currency, the currencies with the most payments of the month first."""
    import ibis

    payments = _payments(times, complete(times, "month")[1])
    amount = payments.amount_minor
    signed = payments.mutate(
        revenue=ibis.cases(
            (payments.kind.isin(("charge", "chargeback_reversal")), amount),
            (payments.kind.isin(("refund", "chargeback")), -amount),
        )
    )
    moved = signed.filter(signed.revenue.notnull())
    when = moved.event_time
    starts = {period: ibis.literal(times.start(times.first_day(days))) for period, days in PERIODS.items()}
    sums = {period: moved.revenue.sum(where=when >= start) for period, start in starts.items()}
    today = ibis.literal(times.start(times.today))
    for period in COMPARED:
        now, before = (ibis.literal(times.start(day)) for day in complete(times, period))
        sums[f"now_{period}"] = moved.revenue.sum(where=(when >= now) & (when < today))
        sums[f"before_{period}"] = moved.revenue.sum(where=(when >= before) & (when < now))
    by_currency = moved.group_by("currency").agg(payments=moved.count(where=when >= starts["month"]), **sums)
    order = [ibis.desc("payments"), ibis.asc("currency")]
    return by_currency.order_by(order).limit(MAX_CURRENCIES + 1)


def payers(times: Times) -> ir.Table:
    """Count the customers who paid in each period."""
    import ibis

    payments = _payments(times, times.first_day(PERIODS["month"]))
    charges = payments.filter(payments.kind == "charge", payments.amount_minor > 0)
    counts = {
        period: charges.customer_id.nunique(
            where=charges.event_time >= ibis.literal(times.start(times.first_day(days)))
        )
        for period, days in PERIODS.items()
    }
    return charges.agg(**counts)


def trials(times: Times, to_convert: timedelta) -> ir.Table:
    """Count the customers whose trial has had its time, and those of them who began to pay in that time."""
    import ibis

    cohort_end = times.end - to_convert
    recorded = between(events("subscription"), cohort_end - TRIAL_DAYS - ANNOUNCED, times.end)
    actions = recorded.mutate(effective=ibis.coalesce(recorded.effective_time, recorded.event_time))
    began = actions.filter(
        actions.action == "trial",
        actions.effective >= ibis.literal(cohort_end - TRIAL_DAYS),
        actions.effective < ibis.literal(cohort_end),
    )
    them = began.group_by("customer_id").agg(trial=began.effective.min())
    price = actions.amount_minor - actions.discount_minor.fill_null(0)
    paid = actions.filter(actions.action.isin(PAID_ACTIONS), price.isnull() | (price > 0))
    payments = paid.select(payer="customer_id", paid="effective")
    both = them.left_join(payments, them.customer_id == payments.payer)
    in_time = (both.paid >= both.trial) & (both.paid <= both.trial + ibis.interval(days=to_convert.days))
    return both.agg(trials=both.customer_id.nunique(), converted=both.customer_id.nunique(where=in_time))


def content(times: Times, item: str) -> ir.Table:
    """Count the items, tracks or artists by their column, by how many recent streams they have."""
    recent = between(events("playback"), times.recent_start, times.end)
    streams = recent.filter(recent.ms_played >= STREAM_MS, recent[item].notnull())
    by_item = streams.group_by(item).agg(streams=streams.count())
    return by_item.group_by("streams").agg(items=by_item.count())


def mix(times: Times) -> ir.Table:
    """Count recent streams by country and device class."""
    import ibis

    recent = between(events("playback"), times.recent_start, times.end)
    streams = recent.filter(recent.ms_played >= STREAM_MS)
    device = ibis.cases(
        (streams.device.isnull(), "unknown"), (streams.device.isin(DEVICES), streams.device), else_="other"
    )
    named = streams.select(country=streams.country.fill_null("unknown"), device=device)
    return named.group_by("country", "device").agg(streams=named.count())


def hours_of_plays(hours: Sequence[datetime | None]) -> ir.Table:
    """Count plays, streams and listeners of each hour, numbered by its place in ``hours``; no row if nothing was."""
    plays = _of_hours(events("playback"), hours)
    return plays.group_by("hour").agg(
        plays=plays.count(),
        streams=plays.count(where=plays.ms_played >= STREAM_MS),
        active_users=plays.user_id.nunique(where=plays.ms_played > 0),
    )


def hours_of_charges(hours: Sequence[datetime | None]) -> ir.Table:
    """Count the successful charges of each hour, numbered as in ``hours_of_plays``."""
    payments = _of_hours(_succeeded(events("payment")), hours)
    charges = payments.filter(payments.kind == "charge")
    return charges.group_by("hour").agg(charges=charges.count())


def _of_hours(table: ir.Table, hours: Sequence[datetime | None]) -> ir.Table:
    """Return the events of the given hours, with their numbers; nothing else is read but these hours' row groups."""
    import ibis

    known = [(number, start) for number, start in enumerate(hours) if start is not None]
    parts = [between(table, start, start + NEXT).mutate(hour=ibis.literal(number, "int64")) for number, start in known]
    return ibis.union(*parts)


def _payments(times: Times, first: date) -> ir.Table:
    """Return the payments from the day ``first`` on that took place."""
    return _succeeded(between(events("payment"), times.start(first), times.end))


def _succeeded(payments: ir.Table) -> ir.Table:
    import ibis

    return payments.filter(payments.status.fill_null(ibis.literal("succeeded")) == "succeeded")
