"""What churn analytics asks of the lake: who subscribed from when to when, what they did, and what they paid."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from collectors.contract.tables import events, rollup

if TYPE_CHECKING:
    import ibis.expr.types as ir

BEGINS = ("start", "renew", "resume", "reactivate")
"""Actions after which a subscription runs and is paid for; a change or a pause leaves it as it was."""
ENDS = ("trial", "cancel", "expire")
YEARLY = {"day": 365, "week": 52, "month": 12, "quarter": 4, "half_year": 2, "year": 1}
"""Periods in a year: what recurs in a year is a whole number of minor units."""
MAX_CURRENCIES = 32
LISTENING_DAYS = 28
RECENT_DAYS = 7
REFUND_MONTHS = 3
DAY_S = 86_400


def spells(end: datetime) -> ir.Table:
    """Return a row for each time that a customer was a subscriber without a break.

    Columns: customer_id, listener (the user, else the customer), ``begun``, ``recorded``, ``ended``, ``told`` in whole
    seconds since 1970, ``number`` (0 for a customer's first), ``known`` (whether this is surely where it began),
    ``billing`` (interval). ``recorded`` is when the beginning was known; ``told`` when the end was, which may lie
    ahead; both ends are null while the subscription runs.
    """
    import ibis

    rows = _recorded(end, (*BEGINS, *ENDS))
    rows = rows.mutate(on=ibis.cases((rows.action.isin(BEGINS), 1), else_=0).cast("int64"))
    rows = _not_withdrawn(rows)
    in_turn = ibis.window(group_by=rows.subscription_id, order_by=[rows.effective, rows.recorded, rows.on, rows.action])
    rows = rows.mutate(was=rows.on.lag().over(in_turn))
    rows = rows.mutate(step=rows.on - rows.was.fill_null(0))
    steps = rows.filter(rows.step != 0)
    # A plan that ends while another begins is no break, so of one instant beginnings come first.
    order = [steps.effective, ibis.desc(steps.step), steps.recorded, steps.subscription_id]
    so_far = ibis.window(group_by=steps.customer_id, order_by=order, preceding=(None, 0))
    steps = steps.mutate(running=steps.step.sum().over(so_far))
    edges = steps.filter(((steps.step == 1) & (steps.running == 1)) | ((steps.step == -1) & (steps.running == 0)))
    order = [edges.effective, ibis.desc(edges.step), edges.recorded, edges.subscription_id]
    by_customer = ibis.window(group_by=edges.customer_id, order_by=order)
    edges = edges.mutate(
        ended=edges.effective.lead().over(by_customer),
        told=ibis.least(edges.recorded, edges.effective).lead().over(by_customer),
        number=(ibis.row_number().over(by_customer) // 2).cast("int64"),
    )
    found = edges.filter(edges.step == 1, edges.effective < ibis.literal(end))
    return found.select(
        "customer_id",
        "listener",
        begun=_seconds(found.effective),
        recorded=_seconds(found.recorded),
        ended=_seconds(found.ended),
        told=_seconds(found.told),
        number=found.number,
        known=((found.action == "start") | found.was.notnull() | (found.number > 0)),
        billing=found.interval,
    )


def subscribers(end: datetime, cutoffs: Sequence[date]) -> ir.Table:
    """Return ``spells`` with what was known of their customers at the beginning of each cutoff day.

    Number k ends the names of the columns of ``cutoffs[k]``: ``days``, ``plays``, ``skips``, ``ms`` of the 28 days
    before, ``week_ms`` of the last 7 of them, ``last`` active day since 1970, and ``refunds`` of the 3 calendar months
    before; null where there was nothing.
    """
    them, heard, refunds = spells(end), _listening(cutoffs), _refunds(cutoffs)
    joined = them.left_join(heard, them.listener == heard.user_id).drop("user_id")
    rows = joined.left_join(refunds, joined.customer_id == refunds.payer).drop("payer", "listener")
    # One order, so that sums of floating-point numbers come out the same however events were loaded.
    return rows.order_by("customer_id", "number")


def revenue(start: datetime, end: datetime) -> ir.Table:
    """Return, by currency, what recurred in a year at ``start``, and what of it did at ``end``, the largest first.

    In minor units as float64, which holds whole amounts below 2^53 exactly. A customer who pays more at the end than
    at the start keeps what was paid at the start.
    """
    import ibis

    rows = _recorded(end, (*BEGINS, *ENDS, "change"))
    rows = rows.mutate(on=ibis.cases((rows.action.isin(ENDS), 0), else_=1).cast("int64"))
    rows = _not_withdrawn(rows)
    price = rows.amount_minor.fill_null(0) - rows.discount_minor.fill_null(0)
    periods = ibis.cases(*((rows.interval == name, n) for name, n in YEARLY.items()), else_=12).cast("float64")
    # A product, for a literal 0.0 would be a decimal, and so all of it, to some engines.
    yearly = price.cast("float64") * periods * rows.on.cast("float64")
    order = [rows.effective, rows.recorded, rows.on, rows.action, yearly]
    in_turn = ibis.window(group_by=rows.subscription_id, order_by=order)
    rows = rows.mutate(yearly=yearly, until=rows.effective.lead().over(in_turn))

    def amount(instant: datetime) -> Any:
        moment = ibis.literal(instant)
        return rows.yearly.sum(where=(rows.effective <= moment) & (rows.until.isnull() | (rows.until > moment)))

    paying = rows.filter(rows.currency.notnull())
    payers = paying.group_by("customer_id", "currency").agg(
        then=amount(start).fill_null(0), now=amount(end).fill_null(0)
    )
    before = payers.filter(payers.then > 0)
    sums = before.group_by("currency").agg(at_start=before.then.sum(), kept=ibis.least(before.then, before.now).sum())
    return sums.order_by([ibis.desc("at_start"), ibis.asc("currency")]).limit(MAX_CURRENCIES + 1)


def _recorded(end: datetime, actions: Sequence[str]) -> ir.Table:
    """Return the subscriptions' actions that were known by ``end``, with when each takes effect."""
    import ibis

    all_of_them = events("subscription")
    rows = all_of_them.filter(all_of_them.event_time < ibis.literal(end), all_of_them.action.isin(actions))
    return rows.select(
        "subscription_id", "customer_id", "action", "interval", "amount_minor", "discount_minor", "currency",
        listener=ibis.coalesce(rows.user_id, rows.customer_id),
        recorded=rows.event_time,
        effective=ibis.coalesce(rows.effective_time, rows.event_time),
    )  # fmt: skip


def _not_withdrawn(rows: ir.Table) -> ir.Table:
    """Leave out notices to leave that were taken back: the subscription ran again before they took effect."""
    import ibis

    later = ibis.window(
        group_by=rows.subscription_id, order_by=[ibis.desc(rows.recorded), ibis.desc(rows.on)], preceding=(None, 1)
    )
    runs = ibis.cases((rows.action.isin(BEGINS), rows.effective))
    rows = rows.mutate(runs_again=runs.min().over(later))
    notice = rows.action.isin(("cancel", "expire")) & (rows.effective > rows.recorded)
    withdrawn = notice & (rows.runs_again <= rows.effective)
    return rows.filter(~withdrawn.fill_null(False)).drop("runs_again")


def _listening(cutoffs: Sequence[date]) -> ir.Table:
    import ibis

    user_day = rollup("user_day")
    first = min(cutoffs) - timedelta(days=LISTENING_DAYS)
    days = user_day.filter(
        user_day.day >= ibis.literal(first), user_day.day < ibis.literal(max(cutoffs)), user_day.user_id.notnull()
    )
    measures: dict[str, Any] = {}
    for k, cutoff in enumerate(cutoffs):
        before = (days.day >= ibis.literal(cutoff - timedelta(days=LISTENING_DAYS))) & (days.day < ibis.literal(cutoff))
        week = before & (days.day >= ibis.literal(cutoff - timedelta(days=RECENT_DAYS)))
        heard = before & (days.ms_played > 0)
        measures |= {
            f"days{k}": days.count(where=heard),
            f"plays{k}": days.plays.sum(where=before),
            f"skips{k}": days.skips.sum(where=before),
            f"ms{k}": days.ms_played.sum(where=before),
            f"week_ms{k}": days.ms_played.sum(where=week),
            f"last{k}": days.day.epoch_days().cast("int64").max(where=heard),
        }
    return days.group_by("user_id").agg(**measures)


def _refunds(cutoffs: Sequence[date]) -> ir.Table:
    import ibis

    months = rollup("customer_month")
    bounds = [(_months_before(cutoff, REFUND_MONTHS), _months_before(cutoff, 0)) for cutoff in cutoffs]
    rows = months.filter(
        months.month >= ibis.literal(min(first for first, _ in bounds)),
        months.month < ibis.literal(max(last for _, last in bounds)),
        months.kind.isin(("refund", "chargeback")),
    )
    measures = {
        f"refunds{k}": rows.payments.sum(where=(rows.month >= ibis.literal(first)) & (rows.month < ibis.literal(last)))
        for k, (first, last) in enumerate(bounds)
    }
    return rows.group_by(payer=rows.customer_id).agg(**measures)


def _months_before(day: date, months: int) -> date:
    """Return the first of the month ``months`` before that of ``day``."""
    number = day.year * 12 + day.month - 1 - months
    return date(number // 12, number % 12 + 1, 1)


def _seconds(column: Any) -> Any:
    # Engines take a time without zone apart several times faster.
    return column.cast("timestamp").truncate("s").epoch_seconds().cast("int64")
