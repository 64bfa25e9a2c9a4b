"""Keep rollups: partial sums of each loaded table, added up when they are compacted or queried."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from collectors.model.rollups import Measure, Rollup

Zone = Callable[[str], str]
"""Tenant id to the IANA name of its time zone."""

_DAY_US = 86_400 * 10**6


def partial_rows(rollup: Rollup, events: pa.Table, zone: Zone) -> pa.Table:
    """Sum ``events`` (lake schema of the rollup's source, sorted by tenant) to rows of the rollup's lake schema."""
    parts = []
    start = 0
    runs = pc.run_end_encode(events.column("tenant_id").combine_chunks().cast(pa.string()))
    for tenant, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        parts.append(_of_tenant(rollup, events.slice(start, end - start), tenant, zone(tenant)))
        start = end
    return pa.concat_tables(parts)


def _of_tenant(rollup: Rollup, events: pa.Table, tenant: str, zone: str) -> pa.Table:
    """Sum one tenant's events; one period, which is the rule, is no key to sort them by."""
    period = _local_period(events.column("event_time"), rollup.period, zone)
    columns = {} if isinstance(period, pa.Scalar) else {rollup.period: period}
    columns |= {name: events.column(name) for name, _ in rollup.keys}
    keys = list(columns)
    columns |= {m.name: _contribution(m, events) for m in rollup.measures}
    sums = _sums(rollup, pa.table(columns), keys)
    sums = sums.append_column("tenant_id", pa.repeat(pa.scalar(tenant, pa.string()), sums.num_rows))
    if isinstance(period, pa.Scalar):
        return _ordered(rollup, sums.append_column(rollup.period, pa.repeat(period, sums.num_rows)))
    return _ordered(rollup, sums).sort_by(rollup.period)


def add_up(rollup: Rollup, rows: pa.Table) -> pa.Table:
    """Merge rows with equal keys; sorted by tenant, then period."""
    sums = _ordered(rollup, _sums(rollup, rows, ["tenant_id", rollup.period, *(name for name, _ in rollup.keys)]))
    return sums.sort_by([("tenant_id", "ascending"), (rollup.period, "ascending")])


def _sums(rollup: Rollup, rows: pa.Table, keys: list[str]) -> pa.Table:
    sums = rows.group_by(keys, use_threads=False).aggregate([(m.name, "sum") for m in rollup.measures])
    return sums.rename_columns([*keys, *(m.name for m in rollup.measures)])


def _ordered(rollup: Rollup, sums: pa.Table) -> pa.Table:
    return sums.select(rollup.lake_schema.names).cast(rollup.lake_schema)


def _local_period(times: pa.ChunkedArray, period: str, zone: str) -> pa.Scalar | pa.ChunkedArray:
    """Return the local calendar period of each time, or the one that all of them are in."""
    extremes = pc.min_max(times)
    bounds = _periods(pa.array([extremes["min"], extremes["max"]]), period, zone)
    # Within a day there is at most one change of the clock, and none puts it back over a midnight it has passed.
    within_a_day = extremes["max"].value - extremes["min"].value < _DAY_US
    return bounds[0] if within_a_day and bounds[0] == bounds[1] else _periods(times, period, zone)


def _periods(times: pa.Array | pa.ChunkedArray, period: str, zone: str) -> pa.Array | pa.ChunkedArray:
    local = pc.local_timestamp(pc.cast(times, pa.timestamp("us", zone)))
    if period == "month":
        local = pc.floor_temporal(local, unit="month")
    return pc.cast(local, pa.date32())


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
