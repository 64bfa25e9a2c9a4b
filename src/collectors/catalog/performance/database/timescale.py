# ruff: noqa: S608  # every part of these texts is a constant of this package
"""TimescaleDB: hypertables and chunks, the columnstore, continuous aggregates and background jobs.

Sources: the views of ``timescaledb_information`` and the size functions. Hypertables are told of by name up to a
bound, those with the most chunks first; size functions open every chunk, so they are asked for these only, and the
probe's cost decides how often.
"""

from __future__ import annotations

from collectors.catalog.performance.database import timescale_jobs
from collectors.catalog.performance.database.probe import Probe, Table, Value, gauge
from collectors.catalog.performance.database.timescale_activity import ACTIVITY
from collectors.model.metric import Unit

_EXTENSION = "timescaledb"
_COLUMNSTORE = ("2.18", "9999")
_INTEGER = "the hypertable is not divided by time"
_NAMED = "FROM timescaledb_information.hypertables h ORDER BY num_chunks DESC, 1, 2 LIMIT {top}"
_HYPERTABLE = {"schema": "hypertable_schema", "hypertable": "hypertable_name"}
_RELATION = "format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass"
_MANY_CHUNKS = 500


_CHUNKS_SQL = (
    """
SELECT h.hypertable_schema, h.hypertable_name, count(c.chunk_name) AS chunks,
       count(*) FILTER (WHERE c.is_compressed) AS compressed, (count(c.chunk_name) > 500)::int AS many,
       extract(epoch FROM clock_timestamp() - min(c.range_start)) AS oldest,
       extract(epoch FROM max(c.range_end) - clock_timestamp()) AS ahead,
       count(*) FILTER (WHERE NOT c.is_compressed AND p.after IS NOT NULL AND c.range_end < now() - p.after) AS backlog,
       count(*) FILTER (WHERE {late}) AS late, extract(epoch FROM max({created})) AS created
FROM (SELECT h.hypertable_schema, h.hypertable_name """
    + _NAMED
    + """) h
LEFT JOIN timescaledb_information.chunks c USING (hypertable_schema, hypertable_name)
LEFT JOIN LATERAL (SELECT (j.config->>'compress_after')::interval AS after FROM timescaledb_information.jobs j
  WHERE j.hypertable_schema = h.hypertable_schema AND j.hypertable_name = h.hypertable_name
    AND j.proc_name IN ('policy_compression', 'policy_columnstore') AND j.config->>'compress_after' !~ '^[0-9]+$'
  LIMIT 1) p ON true
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"""
)
_CHUNK_VALUES: tuple[Value, ...] = (
    gauge("chunks", "timescaledb.chunks", Unit.COUNT, "Chunks of the hypertable."),
    gauge("compressed", "timescaledb.chunks.compressed", Unit.COUNT, "Of them, those in the columnstore."),
    gauge("many", "timescaledb.chunks.too_many", Unit.COUNT, f"1 if there are more than {_MANY_CHUNKS}."),
    gauge("oldest", "timescaledb.chunks.oldest_age", Unit.SECONDS, "Age of the oldest data.", unless=_INTEGER),
    gauge("ahead", "timescaledb.chunks.ahead", Unit.SECONDS, "Time until the newest chunk ends.", unless=_INTEGER),
    gauge(
        "backlog",
        "timescaledb.chunks.backlog",
        Unit.COUNT,
        "Chunks that by the policy should be in the columnstore and are not.",
    ),
    gauge("late", "timescaledb.chunks.late", Unit.COUNT, "Chunks made after their time range had ended."),
    gauge("created", "timescaledb.chunks.created", Unit.SECONDS, "When the newest chunk was made, as Unix time.",
          unless="there is no chunk, or the version does not tell"),
)  # fmt: skip
_CHUNKS_OLD = Table(
    "timescaledb_chunks_before_2_13",
    {13: _CHUNKS_SQL.replace("{late}", "false").replace("{created}", "NULL::timestamptz")},
    _CHUNK_VALUES,
    by=_HYPERTABLE,
    extension=_EXTENSION,
    extension_versions=("2.0", "2.13"),
)
_CHUNKS = Table(
    "timescaledb_chunks",
    {
        13: _CHUNKS_SQL.replace("{late}", "c.chunk_creation_time > c.range_end").replace(
            "{created}", "c.chunk_creation_time"
        )
    },
    _CHUNK_VALUES,
    by=_HYPERTABLE,
    extension=_EXTENSION,
    extension_versions=("2.13", "9999"),
)

_POLICY = "EXISTS (SELECT FROM timescaledb_information.jobs j WHERE j.hypertable_schema = h.hypertable_schema AND j.hypertable_name = h.hypertable_name AND j.proc_name {0})::int"  # noqa: E501  # one condition
_HYPERTABLES = Table(
    "timescaledb_hypertables",
    {
        13: f"""
        SELECT h.hypertable_schema, h.hypertable_name, h.num_dimensions AS dimensions,
               h.compression_enabled::int AS compressed, coalesce(array_length(h.tablespaces, 1), 0) AS tablespaces,
               {_POLICY.format("= 'policy_retention'")} AS retention,
               {_POLICY.format("IN ('policy_compression', 'policy_columnstore')")} AS columnstore,
               {_POLICY.format("= 'policy_reorder'")} AS reorder,
               (SELECT extract(epoch FROM d.time_interval) FROM timescaledb_information.dimensions d
                WHERE d.hypertable_schema = h.hypertable_schema AND d.hypertable_name = h.hypertable_name
                ORDER BY d.dimension_number LIMIT 1) AS interval
        {_NAMED}"""
    },
    (
        gauge("dimensions", "timescaledb.hypertable.dimensions", Unit.COUNT, "Dimensions it is divided by."),
        gauge("compressed", "timescaledb.hypertable.columnstore", Unit.COUNT, "1 if its chunks may be compressed."),
        gauge("tablespaces", "timescaledb.hypertable.tablespaces", Unit.COUNT, "Tablespaces attached to it."),
        gauge(
            "interval", "timescaledb.hypertable.chunk_interval", Unit.SECONDS, "Time a chunk spans.", unless=_INTEGER
        ),
        *(
            gauge(
                kind, "timescaledb.hypertable.policy", Unit.COUNT, "1 if there is such a policy, else 0.", policy=kind
            )
            for kind in ("retention", "columnstore", "reorder")
        ),
    ),
    by=_HYPERTABLE,
    extension=_EXTENSION,
)

_TOTALS = Table(
    "timescaledb_totals",
    {
        13: """
        SELECT (SELECT count(*) FROM timescaledb_information.hypertables) AS hypertables,
               (SELECT coalesce(sum(num_chunks), 0) FROM timescaledb_information.hypertables) AS chunks,
               (SELECT count(*) FROM timescaledb_information.continuous_aggregates) AS aggregates,
               (SELECT count(*) FROM timescaledb_information.dimensions) AS dimensions,
               (SELECT count(*) FROM timescaledb_information.jobs) AS jobs"""
    },
    tuple(
        gauge(kind, "timescaledb.objects", Unit.COUNT, "Objects of the extension by kind.", kind=kind)
        for kind in ("hypertables", "chunks", "aggregates", "dimensions", "jobs")
    ),
    extension=_EXTENSION,
)

_AGGREGATES = Table(
    "timescaledb_continuous_aggregates",
    {
        13: """
        SELECT a.view_schema, a.view_name, a.materialized_only::int AS materialized_only,
               a.compression_enabled::int AS compressed, (SELECT count(*) FROM timescaledb_information.jobs j
                 WHERE (j.hypertable_schema, j.hypertable_name) IN ((a.view_schema, a.view_name),
                     (a.materialization_hypertable_schema, a.materialization_hypertable_name))
                   AND j.proc_name = 'policy_refresh_continuous_aggregate') AS refreshed,
               extract(epoch FROM clock_timestamp() - nullif(_timescaledb_functions.to_timestamp(
                 _timescaledb_functions.cagg_watermark(m.id)), '-infinity')) AS lag
        FROM timescaledb_information.continuous_aggregates a
        LEFT JOIN (_timescaledb_catalog.hypertable m JOIN _timescaledb_catalog.dimension d ON d.hypertable_id = m.id
                   AND d.column_type = 'timestamptz'::regtype)
          ON m.schema_name = a.materialization_hypertable_schema AND m.table_name = a.materialization_hypertable_name
        ORDER BY 6 DESC NULLS LAST, 1, 2 LIMIT {top}"""
    },
    (
        gauge(
            "materialized_only", "timescaledb.aggregate.materialized_only", Unit.COUNT, "1 if it has no recent data."
        ),
        gauge("compressed", "timescaledb.aggregate.columnstore", Unit.COUNT, "1 if it may be compressed."),
        gauge("refreshed", "timescaledb.aggregate.policies", Unit.COUNT, "Policies that refresh it."),
        gauge(
            "lag",
            "timescaledb.aggregate.lag",
            Unit.SECONDS,
            "Time since the end of what is materialized.",
            unless="nothing is materialized yet, or it is not divided by time with a zone",
        ),
    ),
    by={"schema": "view_schema", "aggregate": "view_name"},
    extension=_EXTENSION,
    extension_versions=("2.12", "9999"),
)

_SETTINGS_SQL = """
SELECT n.nspname AS hypertable_schema, t.relname AS hypertable_name, count(c.chunk) AS chunks,
       count(c.chunk) FILTER (WHERE c.segmentby IS DISTINCT FROM h.segmentby) AS segmentby,
       count(c.chunk) FILTER (WHERE c.orderby IS DISTINCT FROM h.orderby) AS orderby
FROM timescaledb_information.hypertable_{name}_settings h JOIN pg_class t ON t.oid = h.hypertable
JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN timescaledb_information.chunk_{name}_settings c ON c.hypertable = h.hypertable
GROUP BY 1, 2 ORDER BY 4 DESC, 1, 2 LIMIT {top}"""
_SETTINGS_VALUES = (
    gauge("chunks", "timescaledb.columnstore.configured_chunks", Unit.COUNT, "Chunks with columnstore settings."),
    *(
        gauge(
            what,
            "timescaledb.columnstore.drift",
            Unit.COUNT,
            "Chunks whose setting is not the hypertable's, because it was changed after they were compressed.",
            setting=what,
        )
        for what in ("segmentby", "orderby")
    ),
)
_SETTINGS_OLD = Table(
    "timescaledb_compression_settings",
    {13: _SETTINGS_SQL.replace("{name}", "compression")},
    _SETTINGS_VALUES,
    by=_HYPERTABLE,
    extension=_EXTENSION,
    extension_versions=("2.14", "2.18"),
)
_SETTINGS = Table(
    "timescaledb_columnstore_settings",
    {13: _SETTINGS_SQL.replace("{name}", "columnstore")},
    _SETTINGS_VALUES,
    by=_HYPERTABLE,
    extension=_EXTENSION,
    extension_versions=_COLUMNSTORE,
)

_PARTS = ("table", "index", "toast", "total")
_STATS_SQL = """
SELECT h.hypertable_schema, h.hypertable_name, s.total_chunks, s.number_compressed_chunks, w.worst, {bytes},
       s.before_compression_total_bytes::float8 / nullif(s.after_compression_total_bytes, 0) AS ratio
FROM (SELECT h.hypertable_schema, h.hypertable_name FROM timescaledb_information.hypertables h
      WHERE compression_enabled ORDER BY num_chunks DESC, 1, 2 LIMIT {top}) h
CROSS JOIN LATERAL {schema}.hypertable_{name}_stats({relation}) s
CROSS JOIN LATERAL (SELECT min(c.before_compression_total_bytes::float8 / nullif(c.after_compression_total_bytes, 0))
                      AS worst FROM {schema}.chunk_{name}_stats({relation}) c) w
WHERE s.total_chunks IS NOT NULL"""
_STATS_SQL = _STATS_SQL.replace("{relation}", _RELATION).replace(
    "{bytes}", ", ".join(f"s.{when}_compression_{part}_bytes" for when in ("before", "after") for part in _PARTS)
)
_EMPTY = "no chunk is in the columnstore"
_STATS_VALUES = (
    gauge("total_chunks", "timescaledb.columnstore.chunks", Unit.COUNT, "Chunks, by state.", state="all"),
    gauge(
        "number_compressed_chunks",
        "timescaledb.columnstore.chunks",
        Unit.COUNT,
        "Chunks, by state.",
        state="compressed",
    ),
    *(
        gauge(
            f"{when}_compression_{part}_bytes",
            "timescaledb.columnstore.size",
            Unit.BYTES,
            "Size of compressed chunks before and after, by part.",
            when=when,
            part=part,
            unless=_EMPTY,
        )
        for when in ("before", "after")
        for part in _PARTS
    ),
    gauge("ratio", "timescaledb.columnstore.ratio", Unit.RATIO, "Size before per size after.", unless=_EMPTY),
    gauge("worst", "timescaledb.columnstore.worst_ratio", Unit.RATIO, "The same of the worst chunk.", unless=_EMPTY),
)
_STATS_OLD = Table(
    "timescaledb_compression",
    {13: _STATS_SQL.replace("{name}", "compression")},
    _STATS_VALUES,
    by=_HYPERTABLE,
    extension=_EXTENSION,
    extension_versions=("2.0", "2.18"),
)
_STATS = Table(
    "timescaledb_columnstore",
    {13: _STATS_SQL.replace("{name}", "columnstore")},
    _STATS_VALUES,
    by=_HYPERTABLE,
    extension=_EXTENSION,
    extension_versions=_COLUMNSTORE,
)

_SIZE = ("timescaledb.hypertable.size", Unit.BYTES, "Size of the hypertable with all its chunks, by part.")
_SIZES = Table(
    "timescaledb_sizes",
    {
        13: f"""
        SELECT h.hypertable_schema, h.hypertable_name, s.table_bytes, s.index_bytes, s.toast_bytes, s.total_bytes,
               c.largest, {{schema}}.approximate_row_count({_RELATION}) AS rows
        FROM (SELECT h.hypertable_schema, h.hypertable_name {_NAMED}) h
        CROSS JOIN LATERAL {{schema}}.hypertable_detailed_size({_RELATION}) s
        CROSS JOIN LATERAL (SELECT max(d.total_bytes) AS largest
                            FROM {{schema}}.chunks_detailed_size({_RELATION}) d) c"""
    },
    (
        *(gauge(f"{part}_bytes", *_SIZE, part=part) for part in _PARTS),
        gauge(
            "largest", "timescaledb.chunks.largest", Unit.BYTES, "Size of its largest chunk.", unless="it has no chunk"
        ),
        gauge("rows", "timescaledb.hypertable.rows", Unit.COUNT, "Rows of the hypertable, as estimated."),
    ),
    by=_HYPERTABLE,
    extension=_EXTENSION,
)

_APPROXIMATE = Table(
    "timescaledb_approximate_sizes",
    {
        13: f"""
        SELECT h.hypertable_schema, h.hypertable_name, s.table_bytes, s.index_bytes, s.toast_bytes, s.total_bytes
        FROM (SELECT h.hypertable_schema, h.hypertable_name {_NAMED}) h
        CROSS JOIN LATERAL {{schema}}.hypertable_approximate_detailed_size({_RELATION}) s"""
    },
    tuple(
        gauge(
            f"{part}_bytes",
            "timescaledb.hypertable.approximate_size",
            Unit.BYTES,
            "Size of the hypertable as the cheap function estimates it, by part.",
            part=part,
        )
        for part in _PARTS
    ),
    by=_HYPERTABLE,
    extension=_EXTENSION,
    extension_versions=("2.14", "9999"),
)

PROBES: tuple[Probe, ...] = (
    *timescale_jobs.PROBES,
    _CHUNKS_OLD,
    _CHUNKS,
    _HYPERTABLES,
    _TOTALS,
    _AGGREGATES,
    _SETTINGS_OLD,
    _SETTINGS,
    _STATS_OLD,
    _STATS,
    _SIZES,
    _APPROXIMATE,
    ACTIVITY,
)
