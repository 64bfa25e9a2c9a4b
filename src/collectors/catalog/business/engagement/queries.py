"""What user engagement asks of the lake.

Funnels are put together by the engine, person by person, and leave it as a row of totals, for a month's steps of a busy
tenant need not fit into this process. The plays of the recent hours do: a kernel puts their sessions together in less
time than the engine would need.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from collectors.catalog.business.engagement.config import Funnel, FunnelStep
from collectors.catalog.business.engagement.metrics import PARTS, QUANTILES, SKIP_SECONDS
from collectors.catalog.business.listening import Times, active_days, between, milliseconds
from collectors.contract.tables import events
from collectors.model.rollups import STREAM_MS

if TYPE_CHECKING:
    import ibis.expr.types as ir

LONGEST_PLAY = timedelta(days=1)  # the most that the event type lets a play last
FEATURE_DAYS = 28


def spans(times: Times, inactivity_ms: int) -> ir.Table:
    """Return from when to when each play of a known listener went on that can belong to a recent session.

    Plays are read from so far back that each one that ends in the recent hours, or up to the inactivity before them,
    is there: so a session that goes on is never taken for a new one.
    """
    import ibis

    pause = timedelta(milliseconds=inactivity_ms)
    playback = between(events("playback"), times.recent_start - LONGEST_PLAY - pause, times.end)
    chosen = playback.filter(
        # Of the plays before, a short one ended long ago; dropping it early saves most of the work.
        (playback.event_time >= ibis.literal(times.recent_start - 2 * pause)) | (playback.ms_played >= inactivity_ms),
        playback.user_id.notnull(),
    )
    started = chosen.select("user_id", start_ms=milliseconds(chosen.event_time), played=chosen.ms_played.cast("int64"))
    return started.select("user_id", "start_ms", end_ms=started.start_ms + started.played)


def plays(times: Times) -> ir.Table:
    """Count recent plays, how far into their track they went, and how soon they were skipped."""
    import ibis

    recent = between(events("playback"), times.recent_start, times.end)
    heard, whole = recent.ms_played.cast("int64"), recent.track_ms.cast("int64").nullif(0)
    part = heard.cast("float64") / whole.cast("float64")
    all_of_it = ibis.literal(1.0, "float64")  # a track that was wound back can be heard for longer than it is
    rows = recent.select(
        "skipped", heard=heard, whole=whole, completion=ibis.cases((part > all_of_it, all_of_it), else_=part)
    )
    reached = {f"reached_{p}": rows.count(where=rows.heard * 100 >= rows.whole * p) for p in PARTS}
    skipped = {f"skipped_{s}": rows.count(where=rows.skipped & (rows.heard < s * 1000)) for s in SKIP_SECONDS}
    return rows.agg(
        plays=rows.count(),
        streams=rows.count(where=rows.heard >= STREAM_MS),
        known_skips=rows.skipped.count(),
        skips=rows.count(where=rows.skipped),
        known_tracks=rows.whole.count(),
        **reached,
        **skipped,
        **_quantiles(rows.completion),
    )


def features(times: Times, names: Sequence[str], most: int) -> ir.Table:
    """Count, by application event, the listeners of the last complete days who caused it in them."""
    import ibis

    first = times.today - timedelta(days=FEATURE_DAYS)
    days = active_days(times)
    listeners = days.filter(days.day >= ibis.literal(first), days.day < ibis.literal(times.today))
    used = between(events("app_event"), times.start(first), times.start(times.today))
    if names:
        used = used.filter(used.name.isin(names))
    uses = used.filter(used.user_id.notnull()).select("user_id", "name").distinct()
    by_listeners = uses.semi_join(listeners, "user_id")
    found = by_listeners.group_by("name").agg(users=by_listeners.count())
    return found.order_by([ibis.desc("users"), ibis.asc("name")]).limit(len(names) or most)


def funnel(of: Funnel, end: datetime) -> ir.Table:
    """Count the people who reached each step, as columns ``step_1``, ``step_2`` and so on.

    Who has taken some steps is best off with the latest possible beginning, as that leaves most time for the others.
    So each event carries the latest beginning from which it can be reached, if any.
    """
    import ibis

    window = timedelta(hours=of.window_hours)
    start = end - window - timedelta(days=of.days)
    first, *others = of.steps
    rows = _step(first, 0, start, end - window)
    for number, step in enumerate(others, start=1):
        rows = rows.union(_step(step, number, start, end))
    rows = rows.mutate(begun_0=ibis.cases((rows.step == 0, rows.at_ms)))
    for number in range(1, len(of.steps)):
        # At the same millisecond later steps come first, so that they see what is strictly earlier.
        before = ibis.window(group_by=rows.person, order_by=[rows.at_ms, ibis.desc(rows.step)], preceding=(None, 1))
        latest = f"latest_{number}"
        rows = rows.mutate(**{latest: rows[f"begun_{number - 1}"].max().over(before)})
        in_time = (rows.step == number) & (rows.at_ms - rows[latest] <= of.window_hours * 3_600_000)
        rows = rows.mutate(**{f"begun_{number}": ibis.cases((in_time, rows[latest]))})
    reached = {f"step_{n + 1}": rows.person.nunique(where=rows[f"begun_{n}"].notnull()) for n in range(len(of.steps))}
    return rows.agg(**reached)


def _step(step: FunnelStep, number: int, start: datetime, end: datetime) -> ir.Table:
    """Return person, time and number of a step's events."""
    import ibis

    table = between(events(step.event), start, end)
    for name, value in step.where.items():
        table = table.filter(table[name] == ibis.literal(value))
    for name, least in step.at_least.items():
        table = table.filter(table[name] >= ibis.literal(least))
    who = table.user_id
    if "customer_id" in table.columns:  # who pays is the person, if the producer names nobody else
        who = ibis.coalesce(who, table.customer_id)
    rows = table.select(person=who, at_ms=milliseconds(table.event_time), step=ibis.literal(number, "int64"))
    return rows.filter(rows.person.notnull())


def _quantiles(column: Any) -> dict[str, Any]:
    return {f"q{number}": column.quantile(q) for number, q in enumerate(QUANTILES)}
