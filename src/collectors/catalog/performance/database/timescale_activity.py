"""What queries and changes do to compressed chunks, by ``timescaledb_information.stat_chunk_activity``.

The view is young and has a row for each chunk that was touched. They are added up by hypertable; minima, maxima and
means are those over its chunks, means weighted by batches.
"""

from __future__ import annotations

from collectors.catalog.performance.database.probe import Table, Value, gauge
from collectors.model.metric import Unit

_ACTIONS = (
    "batches_deleted", "batches_decompressed", "tuples_decompressed", "batches_scanned", "batches_checked_by_bloom",
    "batches_pruned_by_bloom", "batches_without_bloom", "batches_bloom_false_positives",
    "batches_filtered_compressed", "batches_filtered_decompressed",
)  # fmt: skip
_SHAPES = ("batch_rows", "batch_bytes", "block_bytes")
_STATEMENTS = ("selects", "inserts", "updates", "deletes")
_NOTHING = "no batch was counted yet"


def _columns() -> str:
    columns = ["count(*) AS chunks", "sum(compressed_batch_count) AS batches", "sum(compressed_block_count) AS blocks"]
    for shape in _SHAPES:
        column, weight = f"compressed_{shape}", f"compressed_{shape.split('_')[0]}_count"
        columns += [f"min({column}_min) AS {shape}_min", f"max({column}_max) AS {shape}_max"]
        columns += [
            f"sum({column}_{kind} * {weight}) / nullif(sum({weight}), 0) AS {shape}_{kind}"
            for kind in ("avg", "stddev")
        ]
    for span in ("total", "last_op"):
        columns += [f"sum({span}_{action}) AS {span}_{action}" for action in _ACTIONS]
    columns += [f"sum(n_{statement}) AS n_{statement}" for statement in _STATEMENTS]
    columns += [
        "extract(epoch FROM clock_timestamp() - min(first_update)) AS first_update",
        "extract(epoch FROM clock_timestamp() - max(last_update)) AS last_update",
        "sum(total_batches_bloom_false_positives)::float8 / nullif(sum(total_batches_checked_by_bloom), 0) AS wrong",
        "sum(total_batches_pruned_by_bloom)::float8 / nullif(sum(total_batches_checked_by_bloom), 0) AS pruned",
    ]
    return ", ".join(columns)


def _values() -> tuple[Value, ...]:
    values = [
        gauge("chunks", "timescaledb.activity.chunks", Unit.COUNT, "Chunks with activity."),
        gauge("batches", "timescaledb.activity.held", Unit.COUNT, "Batches and blocks of them.", part="batch"),
        gauge("blocks", "timescaledb.activity.held", Unit.COUNT, "Batches and blocks of them.", part="block"),
    ]
    for shape in _SHAPES:
        unit, what = (Unit.COUNT if shape == "batch_rows" else Unit.BYTES), shape.replace("_", " ")
        values += [
            gauge(
                f"{shape}_{kind}",
                f"timescaledb.activity.{shape}",
                unit,
                f"Least, greatest, mean and deviation of {what}.",
                statistic=kind,
                unless=_NOTHING,
            )
            for kind in ("min", "max", "avg", "stddev")
        ]
    values += [
        gauge(
            f"{span}_{action}",
            f"timescaledb.activity.{action}",
            Unit.COUNT,
            f"{action.replace('_', ' ').capitalize()}, so far and by the last operation.",
            span=span,
            unless=_NOTHING,
        )
        for action in _ACTIONS
        for span in ("total", "last_op")
    ]
    values += [
        gauge(f"n_{s}", "timescaledb.activity.statements", Unit.OPERATIONS, "Statements that touched it.", kind=s)
        for s in _STATEMENTS
    ]
    return (
        *values,
        gauge("first_update", "timescaledb.activity.since", Unit.SECONDS, "Time since the first.", unless=_NOTHING),
        gauge("last_update", "timescaledb.activity.age", Unit.SECONDS, "Time since the last.", unless=_NOTHING),
        gauge("wrong", "timescaledb.activity.bloom_false_ratio", Unit.RATIO, "Bloom filters in vain.", unless=_NOTHING),
        gauge("pruned", "timescaledb.activity.bloom_pruned_ratio", Unit.RATIO, "Batches skipped.", unless=_NOTHING),
    )


ACTIVITY = Table(
    "timescaledb_activity",
    {
        13: f"""
        SELECT coalesce(hypertable::text, hypertable_id::text) AS name, {_columns()}
        FROM timescaledb_information.stat_chunk_activity GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {{top}}"""  # noqa: S608  # constants
    },
    _values(),
    by={"hypertable": "name"},
    extension="timescaledb",
    needs="timescaledb_information.stat_chunk_activity",
)
