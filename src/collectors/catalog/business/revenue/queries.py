"""What the revenue metrics ask of the lake.

Actions on subscriptions are read as far back as they go, but a renewal that changes nothing stays in the lake.
Payments of past months come from the rollup, which is kept by the tenant's own months; it does not tell sources apart,
so they are read one by one where a source has other minor units. Amounts leave the lake as sums and counts of the
sources' integers; ``digits`` says how many they lack for those of ISO 4217.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from collectors.analytics.local_days import day_start, local_day, utc
from collectors.analytics.recurring import ACTIONS, INTERVALS, UNKNOWN
from collectors.catalog.business.revenue.metrics import PAYMENT_KINDS, USER_PERIODS
from collectors.contract.tables import events, rollup

if TYPE_CHECKING:
    import ibis.expr.types as ir

LONGEST_PERIOD = timedelta(days=400)
"""A payment for a longer service period is not looked for once it is older than this."""

Decimals = Mapping[tuple[str, str], int]

_PAID_STATES = ("start", "renew", "resume", "reactivate")


@dataclass(frozen=True)
class Calendar:
    """The months that are reported, in the tenant's time zone: ``months`` of them, and the running one."""

    end_us: int
    zone: str
    months: int

    @cached_property
    def end(self) -> datetime:
        return utc(self.end_us)

    @cached_property
    def today(self) -> date:
        """The day that is not over, or the one that begins, when the window ends."""
        return local_day(self.end_us, self.zone)

    @cached_property
    def starts(self) -> list[date]:
        """First days of the months, oldest first; the last is that of the running month."""
        first = local_day(self.end_us - 1, self.zone).replace(day=1)
        starts = [first]
        for _ in range(self.months):
            starts.append((starts[-1] - timedelta(days=1)).replace(day=1))
        return starts[::-1]

    @cached_property
    def edges(self) -> list[date]:
        """First days of the months, then the day up to which the running one is counted."""
        return [*self.starts, self.today]

    @cached_property
    def instants(self) -> list[int]:
        """Beginnings of the months and the end of the window, UTC microseconds."""
        starts = [day_start(day, self.zone) for day in self.starts]
        return [*((start - utc(0)) // timedelta(microseconds=1) for start in starts), self.end_us]

    def days(self, month: int) -> list[date]:
        """Return the days of a month that have begun; it is numbered from the oldest."""
        last = local_day(self.end_us - 1, self.zone) + timedelta(days=1)
        end = self.starts[month + 1] if month < self.months else last
        return [self.starts[month] + timedelta(days=n) for n in range((end - self.starts[month]).days)]

    @cached_property
    def offsets(self) -> list[tuple[datetime, int]]:
        """When the zone's offset changes, and to how many seconds; the first is that of long ago."""
        zone = ZoneInfo(self.zone)
        first = day_start(self.starts[0], self.zone) - 2 * LONGEST_PERIOD

        def offset(instant: datetime) -> int:
            shift = instant.astimezone(zone).utcoffset()
            return 0 if shift is None else int(shift.total_seconds())

        found = [(first, offset(first))]
        for day in range((self.end - first).days + 2 * LONGEST_PERIOD.days):
            before, after = first + timedelta(days=day), first + timedelta(days=day + 1)
            if offset(after) == found[-1][1]:
                continue
            while after - before > timedelta(seconds=1):
                middle = before + timedelta(seconds=(after - before).total_seconds() // 2)
                before, after = (middle, after) if offset(middle) == found[-1][1] else (before, middle)
            found.append((after, offset(after)))
        return found


def subscriptions(calendar: Calendar, decimals: Decimals, *, ended_when_announced: bool) -> ir.Table:
    """Return all actions on subscriptions but those renewals that repeat what the action before them said.

    The order is the one in which ``analytics.recurring`` takes actions.
    """
    import ibis

    recorded = events("subscription")
    recorded = recorded.filter(recorded.event_time < ibis.literal(calendar.end), recorded.action.isin(ACTIONS))
    effective = ibis.coalesce(recorded.effective_time, recorded.event_time)
    if ended_when_announced:
        announced = (recorded.action == "cancel") & (effective > recorded.event_time)
        effective = ibis.cases((announced, recorded.event_time), else_=effective)
    told = recorded.select(
        "subscription_id",
        "customer_id",
        "currency",
        "event_id",
        action=_place(recorded.action, ACTIONS),
        interval=_place(recorded.interval, INTERVALS),
        amount=recorded.amount_minor.fill_null(UNKNOWN),
        discount=recorded.discount_minor.fill_null(0),
        digits=_digits(recorded, decimals),
        paid=ibis.cases((recorded.action.isin(_PAID_STATES), 1), else_=0),
        effective=effective,
        recorded=recorded.event_time,
    )
    order = ibis.window(
        group_by=told.subscription_id,
        order_by=[told.effective, told.recorded, told.paid, told.action, told.amount, told.event_id],
    )
    code = told.currency.fill_null("")
    compared = {
        "customer": told.customer_id, "code": code, "interval": told.interval, "amount": told.amount,
        "discount": told.discount, "digits": told.digits,
    }  # fmt: skip
    before = {f"{name}_before": value.lag().over(order) for name, value in compared.items()}
    rows = told.mutate(code=code, customer=told.customer_id, action_before=told.action.lag().over(order), **before)
    paid = [ACTIONS.index(action) for action in _PAID_STATES]
    repeats = (rows.action == ACTIONS.index("renew")) & rows.action_before.isin(paid)
    for name in compared:
        repeats = repeats & (rows[name] == rows[f"{name}_before"])
    kept = rows.filter(~repeats.fill_null(False))
    return kept.select(
        "subscription_id", "customer_id", "action", "amount", "discount", "digits", "currency", "interval",
        "effective", "recorded",
    )  # fmt: skip


def payments(calendar: Calendar, decimals: Decimals) -> ir.Table:
    """Sum succeeded payments by month, currency and kind."""
    paid = _payments(calendar, decimals)
    return paid.group_by("month", "currency", "kind", "digits").agg(amount=paid.amount.sum())


def payers(calendar: Calendar, decimals: Decimals) -> ir.Table:
    """Count the different customers who paid in each period of whole months."""
    import ibis

    paid = _payments(calendar, decimals)
    paid = paid.filter(paid.kind == "charge", paid.amount > 0)
    months = {period: [ibis.literal(m) for m in calendar.starts[-1 - n : -1]] for period, n in USER_PERIODS.items()}
    return paid.agg(**{period: paid.customer_id.nunique(where=paid.month.isin(m)) for period, m in months.items()})


def service(calendar: Calendar, decimals: Decimals) -> ir.Table:
    """Count charges by currency, amount and the local days that they are for; their own day if they don't say."""
    import ibis

    first = day_start(calendar.starts[0], calendar.zone)
    charges = _succeeded(first - LONGEST_PERIOD, calendar.end)
    reaches = (charges.event_time >= ibis.literal(first)) | (charges.period_end > ibis.literal(first))
    charges = charges.filter(charges.kind == "charge", reaches)
    has_period = charges.period_start.notnull() & charges.period_end.notnull()
    day = _local_day(charges.event_time, calendar)
    rows = charges.select(
        "currency",
        amount=charges.amount_minor,
        digits=_digits(charges, decimals),
        first=ibis.cases((has_period, _local_day(charges.period_start, calendar)), else_=day),
        end=ibis.cases((has_period, _local_day(charges.period_end, calendar)), else_=day + 1),
    )
    return rows.group_by("currency", "amount", "digits", "first", "end").agg(charges=rows.count())


def covering(calendar: Calendar, decimals: Decimals) -> ir.Table:
    """Sum by customer and currency what was paid, less paid back, for service periods that hold the window's end."""
    import ibis

    end = ibis.literal(calendar.end)
    paid = _succeeded(calendar.end - LONGEST_PERIOD, calendar.end)
    paid = paid.filter(paid.period_start < end, paid.period_end >= end)
    sign = ibis.cases(*((paid.kind == kind, sign) for kind, sign in PAYMENT_KINDS.items()), else_=0).cast("int64")
    signed = paid.mutate(amount=paid.amount_minor * sign, digits=_digits(paid, decimals))
    signed = signed.filter(signed.amount != 0)
    return signed.group_by("customer_id", "currency", "digits").agg(
        amount=signed.amount.sum(),
        start=signed.period_start.min(where=signed.kind == "charge"),
        end=signed.period_end.max(where=signed.kind == "charge"),
    )


def _payments(calendar: Calendar, decimals: Decimals) -> ir.Table:
    """Return customers' succeeded payments with their month: from the rollup as far as it will do."""
    import ibis

    running = calendar.starts[-1]
    if decimals:
        return _dated(calendar.starts, calendar, decimals)
    by_customer = rollup("customer_month")
    past = by_customer.filter(
        by_customer.month >= ibis.literal(calendar.starts[0]), by_customer.month < ibis.literal(running)
    ).select("month", "customer_id", "currency", "kind", amount="amount_minor")
    past = past.mutate(digits=ibis.literal(0, "int8"))
    return past.union(_dated([running], calendar, decimals))


def _dated(months: Sequence[date], calendar: Calendar, decimals: Decimals) -> ir.Table:
    """Return the succeeded payments from the first of ``months`` on, each with the one it belongs to."""
    import ibis

    first, *later = ((month, day_start(month, calendar.zone)) for month in months)
    paid = _succeeded(first[1], calendar.end)
    month = ibis.literal(first[0])
    if later:
        latest_first = [(paid.event_time >= ibis.literal(start), ibis.literal(m)) for m, start in reversed(later)]
        month = ibis.cases(*latest_first, else_=month)
    return paid.select(
        "customer_id", "currency", "kind", month=month, amount=paid.amount_minor, digits=_digits(paid, decimals)
    ).select("month", "customer_id", "currency", "kind", "amount", "digits")


def _succeeded(start: datetime, end: datetime) -> ir.Table:
    import ibis

    payment = events("payment")
    return payment.filter(
        payment.event_time >= ibis.literal(start),
        payment.event_time < ibis.literal(end),
        payment.status.fill_null(ibis.literal("succeeded")) == "succeeded",
    )


def _place(column: ir.StringColumn, names: Sequence[str]) -> ir.Value:
    """Return the position of a word in ``names``; ``UNKNOWN`` if it is null or not there."""
    import ibis

    return ibis.cases(*((column == name, place) for place, name in enumerate(names)), else_=UNKNOWN).cast("int8")


def _digits(table: ir.Table, decimals: Decimals) -> ir.Value:
    import ibis

    if not decimals:
        return ibis.literal(0, "int8")
    cases = (((table.source == s) & (table.currency == code), digits) for (s, code), digits in decimals.items())
    return ibis.cases(*cases, else_=0).cast("int8")


def _local_day(instant: ir.Value, calendar: Calendar) -> ir.Value:
    """Return the number of the local day since 1970."""
    import ibis

    (_, offset), *changes = calendar.offsets
    seconds = ibis.literal(offset, "int64")
    if changes:
        latest_first = ((instant >= ibis.literal(since), ibis.literal(o, "int64")) for since, o in reversed(changes))
        seconds = ibis.cases(*latest_first, else_=seconds)
    clock = instant.cast("timestamp")  # engines take a time without zone apart several times faster
    return (clock.truncate("s").epoch_seconds().cast("int64") + seconds) // 86_400
