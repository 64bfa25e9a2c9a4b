# ruff: noqa: S608  # every part of these texts is a constant of this package
"""What keeps the server usable: vacuum's progress and need, distance to wraparound, prepared transactions.

Sources: ``pg_stat_progress_*``, ``pg_database``, ``pg_prepared_xacts``, and the thresholds as autovacuum computes them
(documentation of ``autovacuum_vacuum_threshold`` and its siblings), with the tables' own settings.
"""

from __future__ import annotations

from collectors.catalog.performance.database.probe import Probe, Role, Table, counter, gauge
from collectors.model.metric import Unit

_WRAPAROUND = Table(
    "wraparound",
    {
        13: """
        SELECT datname, age(datfrozenxid) AS xid_age, mxid_age(datminmxid) AS mxid_age,
               age(datfrozenxid) / 2147483648.0 AS used, mxid_age(datminmxid) / 2147483648.0 AS mxid_used,
               age(datfrozenxid)::float8 / current_setting('autovacuum_freeze_max_age')::float8 AS forced
        FROM pg_database WHERE datallowconn ORDER BY 2 DESC LIMIT {top}"""
    },
    (
        gauge("xid_age", "postgresql.wraparound.age", Unit.OPERATIONS, "Oldest age not frozen.", kind="xid"),
        gauge("mxid_age", "postgresql.wraparound.age", Unit.OPERATIONS, "Oldest age not frozen.", kind="multixact"),
        gauge("used", "postgresql.wraparound.used", Unit.RATIO, "Share of the 2^31 before data is lost.", kind="xid"),
        gauge(
            "mxid_used",
            "postgresql.wraparound.used",
            Unit.RATIO,
            "Share of the 2^31 before data is lost.",
            kind="multixact",
        ),
        gauge(
            "forced",
            "postgresql.wraparound.to_autovacuum",
            Unit.RATIO,
            "Age as a share of autovacuum_freeze_max_age, at which a vacuum is forced.",
        ),
    ),
    by={"db.namespace": "datname"},
)

_PROGRESS = """
SELECT p.pid, p.datname,
       coalesce(CASE WHEN p.datname = current_database() THEN c.relname END, p.relid::text) AS relation,
       p.phase, p.heap_blks_total, p.heap_blks_scanned, p.heap_blks_vacuumed, p.index_vacuum_count, %s,
       p.heap_blks_scanned::float8 / nullif(p.heap_blks_total, 0) AS done
FROM pg_stat_progress_vacuum p LEFT JOIN pg_class c ON c.oid = p.relid ORDER BY 5 DESC LIMIT {top}"""
_BLOCKS = ("postgresql.vacuum.blocks", Unit.COUNT, "Blocks of the table that a running vacuum has to do and did.")
_DEAD = ("postgresql.vacuum.dead_rows", Unit.COUNT, "Dead rows a running vacuum remembers, and can remember.")
_MEMORY = ("postgresql.vacuum.memory", Unit.BYTES, "Memory for dead rows that a running vacuum uses, and may use.")
_DEAD_17 = """
p.max_dead_tuple_bytes, p.dead_tuple_bytes, p.num_dead_item_ids AS num_dead_tuples, p.indexes_total,
p.indexes_processed"""

_VACUUM = Table(
    "vacuum_progress",
    {
        13: _PROGRESS % "p.max_dead_tuples, p.num_dead_tuples",
        17: _PROGRESS % _DEAD_17,
        18: _PROGRESS % f"{_DEAD_17}, p.delay_time / 1000 AS delay_time",
    },
    (
        gauge("heap_blks_total", *_BLOCKS, state="total"),
        gauge("heap_blks_scanned", *_BLOCKS, state="scanned"),
        gauge("heap_blks_vacuumed", *_BLOCKS, state="vacuumed"),
        gauge("index_vacuum_count", "postgresql.vacuum.index_rounds", Unit.COUNT, "Rounds over the indexes."),
        gauge("indexes_total", "postgresql.vacuum.indexes", Unit.COUNT, "Indexes to do and done.", state="total"),
        gauge(
            "indexes_processed", "postgresql.vacuum.indexes", Unit.COUNT, "Indexes to do and done.", state="processed"
        ),
        gauge("max_dead_tuples", *_DEAD, state="limit"),
        gauge("num_dead_tuples", *_DEAD, state="used"),
        gauge("max_dead_tuple_bytes", *_MEMORY, state="limit"),
        gauge("dead_tuple_bytes", *_MEMORY, state="used"),
        gauge("delay_time", "postgresql.vacuum.delay_time", Unit.SECONDS, "Time it slept for vacuum_cost_delay."),
        gauge(
            "done", "postgresql.vacuum.progress", Unit.RATIO, "Share of blocks scanned.", unless="the table is empty"
        ),
    ),
    by={"pid": "pid", "db.namespace": "datname", "table": "relation", "phase": "phase"},
)

_OTHERS = Table(
    "operations_progress",
    {
        13: """
        SELECT 'analyze' AS command, phase, pid, sample_blks_scanned::float8 / nullif(sample_blks_total, 0) AS done
        FROM pg_stat_progress_analyze
        UNION ALL SELECT lower(command), phase, pid, heap_blks_scanned::float8 / nullif(heap_blks_total, 0)
        FROM pg_stat_progress_cluster
        UNION ALL SELECT lower(command), phase, pid, greatest(blocks_done::float8 / nullif(blocks_total, 0),
                         tuples_done::float8 / nullif(tuples_total, 0)) FROM pg_stat_progress_create_index
        UNION ALL SELECT 'basebackup', phase, pid, backup_streamed::float8 / nullif(backup_total, 0)
        FROM pg_stat_progress_basebackup"""
    },
    (
        gauge(
            "done",
            "postgresql.operation.progress",
            Unit.RATIO,
            "How far a running ANALYZE, CLUSTER, CREATE INDEX or base backup is in its phase.",
            unless="the server does not say how much there is to do",
        ),
    ),
    by={"command": "command", "phase": "phase", "pid": "pid"},
)

_OPTION = """coalesce((SELECT option_value::float8 FROM pg_options_to_table(c.reloptions) WHERE option_name = '{0}'),
                current_setting('{0}')::float8)"""
_NEED = Table(
    "vacuum_need",
    {
        13: f"""
        SELECT * FROM (SELECT s.schemaname, s.relname,
               s.n_dead_tup / nullif({_OPTION.format("autovacuum_vacuum_threshold")}
                 + {_OPTION.format("autovacuum_vacuum_scale_factor")} * greatest(c.reltuples, 0), 0) AS dead,
               s.n_mod_since_analyze / nullif({_OPTION.format("autovacuum_analyze_threshold")}
                 + {_OPTION.format("autovacuum_analyze_scale_factor")} * greatest(c.reltuples, 0), 0) AS changed,
               s.n_ins_since_vacuum / nullif({_OPTION.format("autovacuum_vacuum_insert_threshold")}
                 + {_OPTION.format("autovacuum_vacuum_insert_scale_factor")} * greatest(c.reltuples, 0), 0) AS inserted,
               age(c.relfrozenxid)::float8 / {_OPTION.format("autovacuum_freeze_max_age")} AS unfrozen
        FROM (SELECT * FROM pg_stat_user_tables
              ORDER BY n_dead_tup + n_mod_since_analyze + n_ins_since_vacuum DESC LIMIT 5 * {{top}}) s
        JOIN pg_class c ON c.oid = s.relid
        WHERE c.relkind IN ('r', 'm')) AS need
        ORDER BY greatest(dead, changed, inserted, unfrozen) DESC NULLS LAST, relname LIMIT {{top}}"""
    },
    tuple(
        gauge(column, "postgresql.vacuum.need", Unit.RATIO, "Autovacuum comes when one is above 1.", cause=column)
        for column in ("dead", "changed", "inserted", "unfrozen")
    ),
    by={"schema": "schemaname", "table": "relname"},
)

_DUE = Table(
    "vacuum_due",
    {
        13: """
        SELECT coalesce(max(age(c.relfrozenxid)), 0) AS oldest,
               count(*) FILTER (WHERE age(c.relfrozenxid)
                                > current_setting('autovacuum_freeze_max_age')::int) AS forced,
               count(*) FILTER (WHERE 'autovacuum_enabled=false' = ANY (c.reloptions)
                                OR 'autovacuum_enabled=off' = ANY (c.reloptions)) AS off
        FROM pg_class c WHERE c.relkind IN ('r', 'm', 't') AND c.relfrozenxid <> '0'::xid"""
    },
    (
        gauge("oldest", "postgresql.table.oldest_age", Unit.OPERATIONS, "Age of the table with the oldest rows."),
        gauge("forced", "postgresql.vacuum.forced", Unit.COUNT, "Tables that need a vacuum against wraparound now."),
        gauge("off", "postgresql.vacuum.disabled", Unit.COUNT, "Tables for which autovacuum is switched off."),
    ),
)

_PREPARED = Table(
    "prepared_transactions",
    {
        13: """
        SELECT d.datname, count(p.gid) AS number, coalesce(max(extract(epoch FROM clock_timestamp() - p.prepared)), 0)
               AS oldest, coalesce(max(age(p.transaction)), 0) AS xid_age
        FROM pg_database d LEFT JOIN pg_prepared_xacts p ON p.database = d.datname
        WHERE d.datallowconn GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {top}"""
    },
    (
        gauge("number", "postgresql.prepared_transactions", Unit.COUNT, "Prepared transactions nobody has ended."),
        gauge("oldest", "postgresql.prepared_transaction.oldest", Unit.SECONDS, "Age of the oldest of them."),
        gauge("xid_age", "postgresql.prepared_transaction.xid_age", Unit.OPERATIONS, "Transactions since it."),
    ),
    by={"db.namespace": "datname"},
)

_OLD_ROWS = Table(
    "snapshots",
    {
        13: """
        SELECT txid_snapshot_xmax(txid_current_snapshot()) AS next,
               txid_snapshot_xmin(txid_current_snapshot()) AS oldest"""
    },
    (
        counter("next", "postgresql.transaction.next", Unit.OPERATIONS, "Next transaction's number, with its epoch."),
        counter("oldest", "postgresql.transaction.oldest", Unit.OPERATIONS, "Oldest running transaction's number."),
    ),
    role=Role.PRIMARY,
)

PROBES: tuple[Probe, ...] = (_WRAPAROUND, _VACUUM, _OTHERS, _NEED, _DUE, _PREPARED, _OLD_ROWS)
