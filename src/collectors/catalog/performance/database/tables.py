# ruff: noqa: S608  # every part of these texts is a constant of this package
"""Tables of the connected database: the largest and busiest by name, sizes of the largest.

Sources: ``pg_stat_user_tables``, ``pg_statio_user_tables`` and size functions. Those open a file for each segment and
wait for exclusive locks, so they are called only for the tables that are named, and not for locked ones.
"""

from __future__ import annotations

from collectors.catalog.performance.database.probe import Probe, Table, counter, gauge, since
from collectors.model.metric import Unit

NOT_LOCKED = """NOT EXISTS (SELECT FROM pg_locks l WHERE l.mode = 'AccessExclusiveLock' AND l.granted
                     AND l.relation = c.oid)"""
"""SQL: the relation ``c`` is not locked exclusively, so that asking for its size does not wait."""

_NEVER = "it was never done since statistics were reset"
_ROWS = ("postgresql.rows", Unit.COUNT, "Rows of the table, as estimated, by state.")
_OPERATIONS = ("postgresql.operations", Unit.OPERATIONS, "Rows changed, by operation.")
_SCANS = ("postgresql.table.scans", Unit.OPERATIONS, "Scans of the table by kind.")
_SCANNED = ("postgresql.table.rows_read", Unit.COUNT, "Rows read by scans of the kind.")
_ENDED = ("postgresql.table.vacuum.count", Unit.OPERATIONS, "Times the table was vacuumed and analyzed.")
_AGO = ("postgresql.table.vacuum.age", Unit.SECONDS, "Time since the table was vacuumed and analyzed.")
_TOOK = ("postgresql.table.vacuum.time", Unit.SECONDS, "Time spent vacuuming and analyzing the table.")
_DONE = ("vacuum", "autovacuum", "analyze", "autoanalyze")

_BUSIEST = """
SELECT s.schemaname, s.relname, s.seq_scan, s.seq_tup_read, s.idx_scan, s.idx_tup_fetch, s.n_tup_ins, s.n_tup_upd,
       s.n_tup_del, s.n_tup_hot_upd, s.n_live_tup, s.n_dead_tup, s.n_mod_since_analyze, s.n_ins_since_vacuum,
       s.vacuum_count, s.autovacuum_count, s.analyze_count, s.autoanalyze_count,
       {ago}, s.n_dead_tup::float8 / nullif(s.n_dead_tup + s.n_live_tup, 0) AS dead_ratio,
       s.n_tup_hot_upd::float8 / nullif(s.n_tup_upd, 0) AS hot_ratio,
       i.heap_blks_read, i.heap_blks_hit, i.idx_blks_read, i.idx_blks_hit, i.toast_blks_read, i.toast_blks_hit,
       i.tidx_blks_read, i.tidx_blks_hit, i.heap_blks_hit::float8 / nullif(i.heap_blks_hit + i.heap_blks_read, 0)
         AS hit_ratio, i.idx_blks_hit::float8 / nullif(i.idx_blks_hit + i.idx_blks_read, 0) AS idx_ratio,
       i.toast_blks_hit::float8 / nullif(i.toast_blks_hit + i.toast_blks_read, 0) AS toast_ratio,
       i.tidx_blks_hit::float8 / nullif(i.tidx_blks_hit + i.tidx_blks_read, 0) AS tidx_ratio {more}
FROM (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm')
        AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      ORDER BY c.relpages DESC, coalesce(pg_stat_get_numscans(c.oid), 0) + pg_stat_get_tuples_inserted(c.oid) DESC
      LIMIT {{top}}) t
JOIN pg_stat_user_tables s ON s.relid = t.oid JOIN pg_statio_user_tables i ON i.relid = t.oid"""
_AGO_SQL = ", ".join(f"{since(f's.last_{what}')} AS {what}_age" for what in _DONE)
_USED = f", s.n_tup_newpage_upd, {since('greatest(s.last_seq_scan, s.last_idx_scan)')} AS unused"
_TIMES = "".join(f", s.total_{what}_time / 1000 AS {what}_time" for what in _DONE)

_TABLES = Table(
    "tables",
    {
        13: _BUSIEST.format(ago=_AGO_SQL, more=""),
        16: _BUSIEST.format(ago=_AGO_SQL, more=_USED),
        18: _BUSIEST.format(ago=_AGO_SQL, more=_USED + _TIMES),
    },
    (
        gauge("n_live_tup", *_ROWS, state="live"),
        gauge("n_dead_tup", *_ROWS, state="dead"),
        gauge("dead_ratio", "postgresql.table.dead_ratio", Unit.RATIO, "Share of dead rows.", unless="it has no rows"),
        gauge("n_mod_since_analyze", "postgresql.table.modified", Unit.COUNT, "Rows modified since analyzed."),
        gauge("n_ins_since_vacuum", "postgresql.table.inserted", Unit.COUNT, "Rows inserted since vacuumed."),
        counter("n_tup_ins", *_OPERATIONS, operation="ins"),
        counter("n_tup_upd", *_OPERATIONS, operation="upd"),
        counter("n_tup_del", *_OPERATIONS, operation="del"),
        counter("n_tup_hot_upd", *_OPERATIONS, operation="hot_upd"),
        counter("n_tup_newpage_upd", *_OPERATIONS, operation="newpage_upd"),
        gauge(
            "hot_ratio", "postgresql.table.hot_ratio", Unit.RATIO, "Share of HOT updates.", unless="no row was updated"
        ),
        counter("seq_scan", *_SCANS, kind="sequential"),
        counter("idx_scan", *_SCANS, kind="index"),
        counter("seq_tup_read", *_SCANNED, kind="sequential"),
        counter("idx_tup_fetch", *_SCANNED, kind="index"),
        gauge("unused", "postgresql.table.unused", Unit.SECONDS, "Time since a scan of it.", unless="no scan is known"),
        *(counter(f"{what}_count", *_ENDED, task=what) for what in _DONE),
        *(gauge(f"{what}_age", *_AGO, task=what, unless=_NEVER) for what in _DONE),
        *(counter(f"{what}_time", *_TOOK, task=what) for what in _DONE),
        *(
            counter(
                f"{part}_blks_{how}",
                "postgresql.blocks_read",
                Unit.COUNT,
                "Blocks of the table by part, and whether they were in shared buffers.",
                source=f"{name}_{how}",
            )
            for part, name in (("heap", "heap"), ("idx", "idx"), ("toast", "toast"), ("tidx", "tidx"))
            for how in ("read", "hit")
        ),
        *(
            gauge(
                column,
                "postgresql.table.hit_ratio",
                Unit.RATIO,
                "Share of blocks found in shared buffers, by part of the table.",
                part=part,
                unless="no block of it was asked for yet",
            )
            for column, part in (
                ("hit_ratio", "heap"),
                ("idx_ratio", "index"),
                ("toast_ratio", "toast"),
                ("tidx_ratio", "toast_index"),
            )
        ),
    ),
    by={"schema": "schemaname", "table": "relname"},
)

_SIZES = Table(
    "table_sizes",
    {
        13: f"""
        SELECT n.nspname, c.relname, pg_relation_size(c.oid) AS heap, pg_indexes_size(c.oid) AS indexes,
               pg_table_size(c.oid) - pg_relation_size(c.oid) AS other, pg_total_relation_size(c.oid) AS total
        FROM (SELECT oid, relname, relnamespace FROM pg_class WHERE relkind IN ('r', 'm') AND relnamespace NOT IN (
                SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema')
              ORDER BY relpages DESC, relname LIMIT {{top}}) c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {NOT_LOCKED}"""
    },
    (
        gauge("heap", "postgresql.table.size", Unit.BYTES, "Size of the largest tables by part.", part="heap"),
        gauge("indexes", "postgresql.table.size", Unit.BYTES, "Size of the largest tables by part.", part="indexes"),
        gauge(
            "other", "postgresql.table.size", Unit.BYTES, "Size of the largest tables by part.", part="toast_and_maps"
        ),
        gauge(
            "total", "postgresql.table.total_size", Unit.BYTES, "Size of the largest tables with all that is theirs."
        ),
    ),
    by={"schema": "nspname", "table": "relname"},
)

_SUMS = Table(
    "table_sums",
    {
        13: """
        SELECT coalesce(sum(seq_scan), 0) AS seq, coalesce(sum(idx_scan), 0) AS idx,
               coalesce(sum(n_live_tup), 0) AS live, coalesce(sum(n_dead_tup), 0) AS dead,
               count(*) FILTER (WHERE last_autoanalyze IS NULL AND last_analyze IS NULL AND n_live_tup > 0) AS blind
        FROM pg_stat_user_tables"""
    },
    (
        gauge("seq", "postgresql.sequential_scans", Unit.OPERATIONS, "Sequential scans of the tables there are now."),
        gauge("idx", "postgresql.index_scans", Unit.OPERATIONS, "Index scans of the tables there are now."),
        gauge("live", "postgresql.tables.rows", Unit.COUNT, "Rows of all tables, as estimated.", state="live"),
        gauge("dead", "postgresql.tables.rows", Unit.COUNT, "Rows of all tables, as estimated.", state="dead"),
        gauge("blind", "postgresql.tables.unanalyzed", Unit.COUNT, "Tables with rows that were never analyzed."),
    ),
)

_NULL_COLUMNS = Table(
    "null_columns",
    {
        13: """
        SELECT schemaname, tablename, count(*) AS columns FROM pg_stats
        WHERE null_frac >= 0.9999 AND schemaname NOT IN ('pg_catalog', 'information_schema')
        GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT {top}"""
    },
    (gauge("columns", "postgresql.table.null_columns", Unit.COUNT, "Columns that hold nothing but NULL."),),
    by={"schema": "schemaname", "table": "tablename"},
)

PROBES: tuple[Probe, ...] = (_TABLES, _SIZES, _SUMS, _NULL_COLUMNS)
