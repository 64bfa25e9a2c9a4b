"""Keep rollups: partial sums of each loaded table, added up when they are compacted or queried."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from collectors.model.rollups import Measure, Rollup

Zone = Callable[[str], str]
"""Tenant id to the IANA name of its time zone."""


def partial_rows(rollup: Rollup, events: pa.Table, zone: Zone) -> pa.Table:
    """Sum ``events`` (lake schema of the rollup's source, sorted by tenant) to rows of the rollup's lake schema."""
    periods = [
        _local_period(events.filter(pc.equal(events.column("tenant_id"), tenant)), rollup.period, zone(tenant))
        for tenant in pc.unique(events.column("tenant_id")).to_pylist()
    ]
    columns = {"tenant_id": events.column("tenant_id"), rollup.period: pa.chunked_array(periods, pa.date32())}
    columns |= {name: events.column(name) for name, _ in rollup.keys}
    columns |= {m.name: _contribution(m, events) for m in rollup.measures}
    return add_up(rollup, pa.table(columns))


def add_up(rollup: Rollup, rows: pa.Table) -> pa.Table:
    """Merge rows with equal keys; sorted by tenant, then period."""
    keys = ["tenant_id", rollup.period, *(name for name, _ in rollup.keys)]
    sums = rows.group_by(keys, use_threads=False).aggregate([(m.name, "sum") for m in rollup.measures])
    sums = sums.rename_columns([*keys, *(m.name for m in rollup.measures)])
    order = [("tenant_id", "ascending"), (rollup.period, "ascending")]
    return sums.select(rollup.lake_schema.names).cast(rollup.lake_schema).sort_by(order)


def _local_period(events: pa.Table, period: str, zone: str) -> pa.Array:
    local = pc.local_timestamp(pc.cast(events.column("event_time"), pa.timestamp("us", zone)))
    if period == "month":
        local = pc.floor_temporal(local, unit="month")
    return pc.cast(local, pa.date32()).combine_chunks()


def _contribution(measure: Measure, events: pa.Table) -> pa.ChunkedArray:
    """Return what each event adds to the measure, as int64."""
    chosen = _chosen(measure, events)
    if measure.of is None or measure.count:
        if chosen is None:
            return pa.chunked_array([pa.repeat(pa.scalar(1, pa.int64()), events.num_rows)])
        return pc.cast(chosen, pa.int64())
    amount = pc.fill_null(pc.cast(events.column(measure.of), pa.int64()), 0)
    return amount if chosen is None else pc.if_else(chosen, amount, 0)


def _chosen(measure: Measure, events: pa.Table) -> pa.ChunkedArray | None:
    """Return which events the measure is about, None for all."""
    chosen = None
    if measure.at_least is not None and measure.of is not None:
        chosen = pc.greater_equal(events.column(measure.of), measure.at_least)
    if measure.only is not None:
        column, values = measure.only
        data = events.column(column)
        named = pc.is_in(data, value_set=pa.array(values, data.type))
        chosen = named if chosen is None else pc.and_(chosen, named)
    return None if chosen is None else pc.fill_null(chosen, False)
