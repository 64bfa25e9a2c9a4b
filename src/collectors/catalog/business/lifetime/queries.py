"""What the customer lifetime value collector reads from the lake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from collectors.contract.tables import events

if TYPE_CHECKING:
    import ibis.expr.types as ir

PAID_ACTIONS = ("start", "renew", "change", "resume", "reactivate")
DAY_S = 86_400
CUSTOMER_ORDER = ("currency", "first", "last", "repeats", "repeat_minor", "split_last", "split_repeats")


@dataclass(frozen=True, slots=True)
class Times:
    """What a window means in days of the tenant's zone; days are numbers since 1970.

    ``last_day`` is the last complete day, ``split`` the last before the hold-out.
    """

    start: datetime
    end: datetime
    last_day: int
    split: int
    zone: str


def customers(times: Times) -> ir.Table:
    """Summarise each customer's purchases in each currency, up to the last complete day and up to the split.

    The split's columns are null for who came after it.
    """
    bought = _occasions(times)
    by_customer = bought.group_by("currency", "customer_id").agg(
        first=bought.day.min(),
        last=bought.day.max(),
        occasions=bought.count(),
        minor=bought.minor.sum().cast("int64"),
        first_minor=bought.minor.argmin(bought.day),
        split_last=bought.day.max(where=bought.day <= times.split),
        split_occasions=bought.count(where=bought.day <= times.split),
    )
    return by_customer.select(
        "currency",
        "customer_id",
        "first",
        "last",
        "split_last",
        repeats=by_customer.occasions - 1,
        repeat_minor=by_customer.minor - by_customer.first_minor,
        split_repeats=by_customer.split_occasions - 1,
    )


def occasion_counts(times: Times) -> ir.Table:
    """Count the customers who bought on each day, by currency."""
    bought = _occasions(times)
    return bought.group_by("currency", "day").agg(occasions=bought.count())


def subscriptions(times: Times) -> ir.Table:
    """Return each subscription that has started: when, when its first end takes effect, and its price of a period."""
    import ibis

    recorded = _between(events("subscription"), times)
    effective = ibis.coalesce(recorded.effective_time, recorded.event_time)
    actions = recorded.mutate(day=_local_day(effective, times), second=_seconds(effective))
    started = actions.filter(actions.action == "start", actions.day <= times.last_day)
    starts = started.group_by("subscription_id").agg(start=started.day.min(), start_second=started.second.min())
    later = actions.join(starts, "subscription_id").filter(lambda t: t.second >= t.start_second)
    ends = later.action.isin(("cancel", "expire"))
    paid = later.action.isin(PAID_ACTIONS) & later.amount_minor.notnull() & (later.day <= times.last_day)
    price = later.amount_minor - later.discount_minor.fill_null(0)
    known = later.action.isin(PAID_ACTIONS) & later.interval.notnull()
    of_each = later.group_by("subscription_id", "start").agg(
        end=later.day.min(where=ends),
        interval=later.interval.argmin(later.second, where=known),
        currency=later.currency.argmax(later.second, where=paid),
        price=price.argmax(later.second, where=paid),
    )
    whole = of_each.filter(of_each.interval.notnull()).drop("subscription_id")
    return whole.order_by("interval", "start", "end", "currency", "price")


def _occasions(times: Times) -> ir.Table:
    """Return what each customer spent on each complete day of the tenant, by currency; taxes and fees are no kind."""
    import ibis

    payment = _between(events("payment"), times)
    charges = payment.filter(
        payment.kind == "charge",
        payment.status.fill_null(ibis.literal("succeeded")) == "succeeded",
        payment.amount_minor > 0,
        payment.period_start.isnull(),
        payment.period_end.isnull(),
    )
    bought = charges.select("currency", "customer_id", "amount_minor", day=_local_day(charges.event_time, times))
    complete = bought.filter(bought.day <= times.last_day)
    return complete.group_by("currency", "customer_id", "day").agg(minor=complete.amount_minor.sum().cast("int64"))


def _between(table: ir.Table, times: Times) -> ir.Table:
    import ibis

    return table.filter(table.event_time >= ibis.literal(times.start), table.event_time < ibis.literal(times.end))


def _seconds(time: ir.TimestampValue) -> ir.IntegerValue:
    return time.cast("timestamp").truncate("s").epoch_seconds().cast("int64")


def _local_day(time: ir.TimestampValue, times: Times) -> ir.IntegerValue:
    """Return the day a clock of the tenant shows, so that a query needs no time zones: its offset is known by time."""
    import ibis

    changes = offsets(times.zone, times.start - timedelta(days=40), times.end + timedelta(days=400))
    seconds = _seconds(time)
    branches = [(seconds < until, offset) for until, offset in changes[:-1]]
    offset = ibis.cases(*branches, else_=changes[-1][1]) if branches else ibis.literal(changes[-1][1], "int64")
    return ((seconds + offset) // DAY_S).cast("int64")


def offsets(zone: str, start: datetime, end: datetime) -> list[tuple[int, int]]:
    """Return until which UTC second which offset of ``zone`` holds, in seconds, from ``start`` on to past ``end``."""
    clock = ZoneInfo(zone)

    def offset(second: int) -> int:
        there = datetime.fromtimestamp(second, clock).utcoffset()
        return int(there.total_seconds()) if there is not None else 0

    found: list[tuple[int, int]] = []
    at, stop = int(start.timestamp()), int(end.timestamp())
    while at < stop:
        step = min(at + DAY_S, stop)
        if offset(step) != offset(at):
            before, after = at, step
            while after - before > 1:
                middle = (before + after) // 2
                before, after = (middle, after) if offset(middle) == offset(at) else (before, middle)
            found.append((after, offset(at)))
        at = step
    return [*found, (stop, offset(stop))]
