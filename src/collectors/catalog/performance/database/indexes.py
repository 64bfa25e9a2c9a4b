# ruff: noqa: S608  # every part of these texts is a constant of this package
"""Indexes of the connected database: use, size, and those that cost more than they bring.

Sources: ``pg_stat_user_indexes``, ``pg_statio_user_indexes``, ``pg_index``. An index is a duplicate if another one of
the same table has the same columns, operator classes, collations, options, expressions and condition; it is redundant
if it is a plain B-tree whose columns are the first ones of another.
"""

from __future__ import annotations

from collectors.catalog.performance.database.probe import Probe, Table, counter, gauge, since
from collectors.catalog.performance.database.tables import NOT_LOCKED
from collectors.model.metric import Unit

_BUSIEST = """
SELECT s.schemaname, s.relname, s.indexrelname, s.idx_scan, s.idx_tup_read, s.idx_tup_fetch, i.idx_blks_read,
       i.idx_blks_hit, c.relpages::bigint * current_setting('block_size')::int AS estimate {more}
FROM pg_stat_user_indexes s JOIN pg_statio_user_indexes i USING (indexrelid) JOIN pg_class c ON c.oid = s.indexrelid
ORDER BY c.relpages DESC, s.idx_scan DESC, s.indexrelname LIMIT {{top}}"""
_ROWS = ("postgresql.index.rows", Unit.COUNT, "Index entries read, and live rows fetched by them.")

_INDEXES = Table(
    "indexes",
    {13: _BUSIEST.format(more=""), 16: _BUSIEST.format(more=f", {since('s.last_idx_scan')} AS unused")},
    (
        counter("idx_scan", "postgresql.index.scans", Unit.OPERATIONS, "Scans of the index."),
        counter("idx_tup_read", *_ROWS, kind="read"),
        counter("idx_tup_fetch", *_ROWS, kind="fetched"),
        counter("idx_blks_read", "postgresql.index.blocks", Unit.COUNT, "Blocks of the index.", source="read"),
        counter("idx_blks_hit", "postgresql.index.blocks", Unit.COUNT, "Blocks of the index.", source="hit"),
        gauge("estimate", "postgresql.index.size", Unit.BYTES, "Size of the largest indexes, when last analyzed."),
        gauge("unused", "postgresql.index.unused", Unit.SECONDS, "Time since it was used.", unless="no use is known"),
    ),
    by={"schema": "schemaname", "table": "relname", "index": "indexrelname"},
)

_TWINS = """
EXISTS (SELECT FROM pg_index o WHERE o.indrelid = i.indrelid AND o.indexrelid < i.indexrelid AND o.indkey = i.indkey
  AND o.indclass = i.indclass AND o.indcollation = i.indcollation AND o.indoption = i.indoption
  AND o.indexprs IS NOT DISTINCT FROM i.indexprs AND o.indpred IS NOT DISTINCT FROM i.indpred)"""
_PREFIX = """
NOT i.indisunique AND i.indexprs IS NULL AND i.indpred IS NULL
  AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'btree')
  AND EXISTS (SELECT FROM pg_index o JOIN pg_class oc ON oc.oid = o.indexrelid WHERE o.indrelid = i.indrelid
  AND o.indexrelid <> i.indexrelid AND oc.relam = c.relam AND o.indexprs IS NULL AND o.indpred IS NULL AND o.indisvalid
  AND (o.indkey::text || ' ') LIKE (i.indkey::text || ' %')
  AND (o.indclass::text || ' ') LIKE (i.indclass::text || ' %')
  AND o.indnatts > i.indnatts)"""

_WASTE = """
SELECT n.nspname, t.relname AS tablename, c.relname AS indexname, f.flaw, 1 AS found,
       c.relpages::bigint * current_setting('block_size')::int AS bytes
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (VALUES ('invalid', NOT i.indisvalid AND NOT EXISTS (
    SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)),
  ('unused', NOT i.indisunique AND c.relpages > 8 AND coalesce(pg_stat_get_numscans(i.indexrelid), 0) = 0),
  ('duplicate', {twins}), ('redundant', {prefix})) AS f (flaw, present)
WHERE f.present AND c.relkind = 'i' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"""
_FLAWS = _WASTE.format(twins=_TWINS, prefix=_PREFIX)

_FLAWED = Table(
    "index_flaws",
    {13: f"{_FLAWS} ORDER BY bytes DESC, indexname, flaw LIMIT {{top}}"},
    (
        gauge(
            "bytes", "postgresql.index.wasted", Unit.BYTES, "Size of an index that could be dropped or must be rebuilt."
        ),
    ),
    by={"schema": "nspname", "table": "tablename", "index": "indexname", "flaw": "flaw"},
)

_COUNTS = Table(
    "index_counts",
    {
        13: f"""
        SELECT k.flaw, count(w.found) AS number, coalesce(sum(w.bytes), 0) AS bytes
        FROM (VALUES ('invalid'), ('unused'), ('duplicate'), ('redundant')) AS k (flaw)
        LEFT JOIN ({_FLAWS}) AS w USING (flaw) GROUP BY 1 ORDER BY 1"""
    },
    (
        gauge("number", "postgresql.indexes.flawed", Unit.COUNT, "Indexes that are invalid, unused or superfluous."),
        gauge("bytes", "postgresql.indexes.flawed_size", Unit.BYTES, "Their size when last analyzed."),
    ),
    by={"flaw": "flaw"},
)

_SIZES = Table(
    "index_sizes",
    {
        13: f"""
        SELECT n.nspname, c.relname AS indexname, pg_relation_size(c.oid) AS bytes
        FROM (SELECT oid, relname, relnamespace FROM pg_class WHERE relkind = 'i' AND relnamespace NOT IN (
                SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_') ORDER BY relpages DESC, relname LIMIT {{top}}) c
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {NOT_LOCKED}"""
    },
    (gauge("bytes", "postgresql.index.exact_size", Unit.BYTES, "Size of the largest indexes now."),),
    by={"schema": "nspname", "index": "indexname"},
)

PROBES: tuple[Probe, ...] = (_INDEXES, _FLAWED, _COUNTS, _SIZES)
