"""Expressions inside and outside the portable subset: what its lint must tell apart, and engines must agree on."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.operations as ops
from ibis import _

from collectors.contract.tables import events, rollup

P = events("playback")
UNBOUND = ibis.param("int64")
HALF = ibis.literal(0.5)
SECOND = P.event_time.truncate("s").epoch_seconds()


def ratio(where: ibis.Value) -> ibis.Table:
    return P.agg(x=where)


RULES = {  # what a rule refuses, and what to write instead
    "mean": (ratio(P.ms_played.mean()), ratio(P.ms_played.cast("float64").mean())),
    "mean of a boolean": (ratio(P.skipped.mean()), ratio(P.skipped.cast("int32").cast("float64").mean())),
    "fraction added": (P.select(x=P.ms_played + 0.5), P.select(x=P.ms_played.cast("float64") + 0.5)),
    "fraction on the left": (P.select(x=HALF - P.ms_played), P.select(x=HALF - P.ms_played.cast("float64"))),
    "fraction of a sum": (ratio(P.ms_played.sum() * 0.5), ratio(P.ms_played.sum().cast("float64") * 0.5)),
    "decimal": (P.select(x=P.ms_played * ibis.literal("0.5", "decimal(2,1)")), P.select(x=P.ms_played * 2)),
    "division by a literal": (P.select(x=P.ms_played / 1000), P.select(x=P.ms_played.cast("float64") / 1000)),
    "boolean to float": (
        P.select(x=P.skipped.cast("float64")),
        P.select(x=P.skipped.cast("int32").cast("float64")),
    ),
    "epoch": (P.select(x=P.event_time.epoch_seconds()), P.select(x=SECOND)),
    "epoch of a coarser cut": (
        P.select(x=P.event_time.truncate("ms").epoch_seconds()),
        P.select(x=P.event_time.truncate("h").epoch_seconds()),
    ),
    "bucket": (P.select(x=P.event_time.bucket(minutes=5)), P.select(x=SECOND // 300 * 300)),
    "timestamp delta": (
        P.select(x=P.received_time.delta(P.event_time, unit="hour")),
        P.select(x=P.received_time.truncate("s").epoch_seconds() - SECOND),
    ),
    "date delta": (
        P.select(x=P.received_time.date().delta(P.event_time.date(), unit="month")),
        P.select(x=P.received_time.date().epoch_days() - P.event_time.date().epoch_days()),
    ),
    "first": (
        P.group_by("user_id").agg(x=P.track_id.first(order_by=P.event_time)),
        P.group_by("user_id").agg(x=P.track_id.argmin(P.event_time)),
    ),
    "last": (
        P.group_by("user_id").agg(x=P.track_id.last(order_by=P.event_time)),
        P.group_by("user_id").agg(x=P.track_id.argmax(P.event_time)),
    ),
    "arbitrary": (ratio(P.track_id.arbitrary()), ratio(P.track_id.min())),
    "pivot_wider": (
        P.group_by("user_id", "device")
        .agg(n=_.count())
        .pivot_wider(id_cols="user_id", names_from="device", values_from="n", names=["tv", "car"]),
        P.group_by("user_id").agg(tv=_.count(where=_.device == "tv"), car=_.count(where=_.device == "car")),
    ),
    "mode": (
        ratio(P.country.mode()),
        P.group_by("country")
        .agg(n=_.count())
        .mutate(rank=ibis.row_number().over(order_by=[ibis.desc("n"), "country"]))
        .filter(_.rank == 0),
    ),
    "correlation": (
        ratio(P.ms_played.corr(P.track_ms, how="pop")),
        ratio(
            (
                (P.ms_played.cast("float64") * P.track_ms.cast("float64")).mean()
                - P.ms_played.cast("float64").mean() * P.track_ms.cast("float64").mean()
            )
            / P.ms_played.std(how="pop")
            / P.track_ms.std(how="pop")
        ),
    ),
    "hash": (P.select(x=P.track_id.hash()), P.select(x=P.track_id)),
    "hash of bytes": (P.select(x=P.track_id.hashbytes("sha256")), P.select(x=P.user_id)),
    "hexdigest": (P.select(x=P.track_id.hexdigest("sha256")), P.select(x=P.track_id.length())),
    "asof join": (
        P.asof_join(events("label"), "event_time"),
        P.join(events("label"), "event_time"),
    ),
    "approximate distinct": (ratio(P.user_id.approx_nunique()), ratio(P.user_id.nunique())),
    "approximate median": (ratio(P.ms_played.approx_median()), ratio(P.ms_played.quantile(0.5))),
    "approximate quantile": (ratio(P.ms_played.approx_quantile(0.5)), ratio(P.ms_played.quantile(0.5))),
    "bits": (
        rollup("user_day").group_by("user_id").agg(x=_.plays.bit_or()),
        rollup("user_day").distinct().group_by("user_id").agg(x=_.plays.sum()),
    ),
    "microsecond": (P.select(x=P.event_time.microsecond()), P.select(x=P.event_time.millisecond())),
    "now": (
        P.filter(P.event_time < ibis.now()),
        P.filter(P.event_time < ibis.literal(dt.datetime(2026, 3, 1, tzinfo=dt.UTC))),
    ),
    "today": (
        P.filter(P.event_time.date() < ibis.today()),
        P.filter(P.event_time.date() < ibis.literal(dt.date(2026, 3, 1))),
    ),
    "random": (P.filter(ibis.random() < 0.1), P.filter(P.ms_played < 10)),
    "sample": (P.sample(0.1), P.limit(10)),
    "parameter": (P.filter(P.ms_played > UNBOUND), P.filter(P.ms_played > 5)),
    "range window": (
        P.select(x=P.ms_played.sum().over(ibis.range_window(order_by=P.event_time, preceding=ibis.interval(days=1)))),
        P.mutate(s=SECOND).select(
            x=_.ms_played.sum().over(ibis.range_window(order_by="s", preceding=86_400, following=0))
        ),
    ),
    "tumble": (
        P.window_by(P.event_time).tumble(size=ibis.interval(minutes=5)).agg(n=_.count()),
        P.group_by(window=SECOND // 300).agg(n=_.count()),
    ),
    "raw sql": (
        ops.SQLStringView(parent=P.op(), query="SELECT 1 AS x", schema=ibis.schema({"x": "int64"})).to_expr(),
        P,
    ),
    "memory table": (ibis.memtable({"x": [1]}), ibis.literal([1]).unnest().name("x").as_table()),
    "unknown table": (ibis.table({"x": "int64"}, name="elsewhere"), rollup("user_day")),
}

WINDOW = ibis.window(group_by=P.user_id, order_by=P.event_time)
ACCEPTED = {
    "conditional aggregates": P.agg(x=_.count(where=_.skipped)),
    "conditional sum": ratio(P.ms_played.sum(where=P.skipped)),
    "distinct": ratio(P.user_id.nunique()),
    "quantile": ratio(P.ms_played.quantile(0.9)),
    "variance": ratio(P.ms_played.std(how="sample")),
    "row number": P.select(x=ibis.row_number().over(WINDOW)),
    "ntile": P.select(x=ibis.ntile(5).over(order_by=P.ms_played)),
    "lag": P.select(x=P.event_time.lag().over(WINDOW)),
    "cumulative": P.select(x=P.ms_played.cumsum(group_by=P.user_id, order_by=P.event_time)),
    "rows": P.select(x=P.ms_played.sum().over(ibis.window(order_by=P.event_time, preceding=6, following=0))),
    "semi and anti join": P.semi_join(events("label"), "event_id").anti_join(events("label"), "event_id"),
    "union": P.union(P),
    "cases": P.select(x=ibis.cases((P.ms_played > 5, "a"), else_="b")),
    "calendar": P.filter(P.event_time > ibis.literal(dt.datetime(2026, 3, 1, tzinfo=dt.UTC)) - ibis.interval(days=1)),
}
