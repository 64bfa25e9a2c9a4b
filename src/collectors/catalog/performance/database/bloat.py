# ruff: noqa: S608  # every part of these texts is a constant of this package
"""How much of the largest tables and B-tree indexes is empty.

The estimate is the one known as ioguix's (pgsql-bloat-estimation): the pages that the rows need, by the mean widths of
columns that ANALYZE found, the headers and alignment of pages and tuples, and the fill factor, against the pages there
are. It reads catalogs only. It is off by a few percent, and more for types that compress or for stale statistics.
Widths are seen only by who may read the columns (``pg_read_all_data``); without them the estimate is undefined.
With the extension pgstattuple, the tables with the most dead rows are measured too.
"""

from __future__ import annotations

from collectors.catalog.performance.database.probe import Probe, Table, gauge
from collectors.catalog.performance.database.tables import NOT_LOCKED
from collectors.model.metric import Unit

_PADDED = "({0} + 8 - CASE WHEN ceil({0})::int % 8 = 0 THEN 8 ELSE ceil({0})::int % 8 END)"
_FILL = (
    "coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions) WHERE option_name = 'fillfactor'), {0})"
)
_HIDDEN = "there are no statistics of its columns: it was not analyzed, or they may not be read"

_TABLES = Table(
    "table_bloat",
    {
        13: f"""
        SELECT nspname, relname, (pages - needed) * block AS bytes,
               1 - needed / nullif(pages, 0) AS share
        FROM (SELECT *, CASE WHEN known THEN
                least(pages, ceil(reltuples / ((block - 24) * fill / 100.0
                  / (4 + {_PADDED.format("header")} + {_PADDED.format("width")})))) END AS needed
              FROM (SELECT n.nspname, c.relname, c.relpages::float8 AS pages, greatest(c.reltuples, 0) AS reltuples,
                      current_setting('block_size')::float8 AS block, {_FILL.format(100)} AS fill,
                      (23 + CASE WHEN max(coalesce(s.null_frac, 0)) > 0 THEN (7 + count(*)) / 8 ELSE 0 END)::float8
                        AS header,
                      sum((1 - coalesce(s.null_frac, 0)) * coalesce(s.avg_width, 0))::float8 AS width,
                      count(s.attname) = count(*) AND c.reltuples >= 0 AS known
                    FROM (SELECT * FROM pg_class WHERE relkind IN ('r', 'm') AND relpages > 0 AND relnamespace NOT IN (
                            SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema')
                          ORDER BY relpages DESC, relname LIMIT {{top}}) c
                    JOIN pg_namespace n ON n.oid = c.relnamespace
                    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                    LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname
                      AND s.attname = a.attname AND NOT s.inherited
                    GROUP BY 1, 2, 3, 4, c.reloptions, c.reltuples) AS measured) AS estimated"""
    },
    (
        gauge("bytes", "postgresql.table.bloat", Unit.BYTES, "Empty space in the table, estimated.", unless=_HIDDEN),
        gauge("share", "postgresql.table.bloat_ratio", Unit.RATIO, "The same as a share of it.", unless=_HIDDEN),
    ),
    by={"schema": "nspname", "table": "relname"},
)

_INDEXES = Table(
    "index_bloat",
    {
        13: f"""
        SELECT nspname, relname, indexname, (pages - needed) * block AS bytes,
               1 - needed / nullif(pages, 0) AS share
        FROM (SELECT *, CASE WHEN known THEN least(pages, 1 + ceil(reltuples / floor((block - 40) * fill
                / (100.0 * (4 + {_PADDED.format("header")} + {_PADDED.format("width")}))))) END AS needed
              FROM (SELECT n.nspname, t.relname, c.relname AS indexname, c.relpages::float8 AS pages,
                      greatest(c.reltuples, 0) AS reltuples, current_setting('block_size')::float8 AS block,
                      {_FILL.format(90)} AS fill,
                      (CASE WHEN max(coalesce(s.null_frac, 0)) = 0 THEN 8 ELSE 12 END)::float8 AS header,
                      sum((1 - coalesce(s.null_frac, 0)) * coalesce(s.avg_width, 0))::float8 AS width,
                      count(s.attname) = count(*) AND c.reltuples >= 0 AS known
                    FROM (SELECT * FROM pg_class WHERE relkind = 'i' AND relpages > 1
                            AND relam = (SELECT oid FROM pg_am WHERE amname = 'btree') AND relnamespace NOT IN (
                              SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema')
                          ORDER BY relpages DESC, relname LIMIT {{top}}) c
                    JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indexrelid = c.oid
                    JOIN pg_class t ON t.oid = i.indrelid
                    JOIN pg_attribute ia ON ia.attrelid = c.oid
                    LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[ia.attnum - 1]
                      AND a.attnum > 0
                    LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND NOT s.inherited AND (
                      (a.attname IS NOT NULL AND s.tablename = t.relname AND s.attname = a.attname)
                      OR (a.attname IS NULL AND s.tablename = c.relname AND s.attname = ia.attname))
                    GROUP BY 1, 2, 3, 4, 5, c.reloptions, c.reltuples) AS measured) AS estimated"""
    },
    (
        gauge("bytes", "postgresql.index.bloat", Unit.BYTES, "Empty space in the B-tree, estimated.", unless=_HIDDEN),
        gauge("share", "postgresql.index.bloat_ratio", Unit.RATIO, "The same as a share of it.", unless=_HIDDEN),
    ),
    by={"schema": "nspname", "table": "relname", "index": "indexname"},
)

_MEASURED = Table(
    "measured_bloat",
    {
        13: f"""
        SELECT n.nspname, c.relname, p.approx_free_space AS free, p.dead_tuple_len AS dead
        FROM (SELECT c.oid, c.relname, c.relnamespace FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
              WHERE c.relkind = 'r' AND c.relpages BETWEEN 1 AND 12800 AND s.n_dead_tup > 0 AND {NOT_LOCKED}
              ORDER BY s.n_dead_tup DESC, c.relname LIMIT least(5, {{top}})) c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN LATERAL {{schema}}.pgstattuple_approx(c.oid) p"""
    },
    (
        gauge("free", "postgresql.table.free_space", Unit.BYTES, "Empty space of the table, measured.", kind="free"),
        gauge(
            "dead", "postgresql.table.free_space", Unit.BYTES, "Empty space of the table, measured.", kind="dead_rows"
        ),
    ),
    by={"schema": "nspname", "table": "relname"},
    extension="pgstattuple",
)

PROBES: tuple[Probe, ...] = (_TABLES, _INDEXES, _MEASURED)
