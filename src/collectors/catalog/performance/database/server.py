"""The server as a whole and its databases.

Sources: ``pg_stat_database`` and ``pg_stat_database_conflicts``, catalogs, functions of the server.
"""

from __future__ import annotations

from collectors.catalog.performance.database.probe import Probe, Table, counter, gauge
from collectors.model.metric import Unit

_SERVER = Table(
    "server",
    {
        13: """
        SELECT extract(epoch FROM pg_postmaster_start_time()) AS started,
               extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()) AS uptime,
               extract(epoch FROM pg_conf_load_time()) AS loaded, pg_is_in_recovery()::int AS standby,
               current_setting('server_version_num')::int AS version, (SELECT count(*) FROM pg_database) AS databases,
               (SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace NOT IN (
                  SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema')) AS tables"""
    },
    (
        gauge("started", "postgresql.start_time", Unit.SECONDS, "When the server started, as Unix time."),
        gauge("uptime", "postgresql.uptime", Unit.SECONDS, "Seconds since the server started."),
        gauge("loaded", "postgresql.config.loaded", Unit.SECONDS, "When its configuration was loaded, as Unix time."),
        gauge("standby", "postgresql.is_standby", Unit.COUNT, "1 if it is a replica in recovery, else 0."),
        gauge("version", "postgresql.version", Unit.COUNT, "Version as a number, such as 150018."),
        gauge("databases", "postgresql.database.count", Unit.COUNT, "Databases of the server."),
        gauge("tables", "postgresql.table.count", Unit.COUNT, "Tables of users in the connected database."),
    ),
)

_DATABASES_13 = """
SELECT coalesce(s.datname, '') AS name, s.numbackends, s.xact_commit, s.xact_rollback, s.blks_read, s.blks_hit,
       s.tup_returned, s.tup_fetched, s.tup_inserted, s.tup_updated, s.tup_deleted, s.conflicts, s.temp_files,
       s.temp_bytes, s.deadlocks, s.checksum_failures, s.blk_read_time / 1000 AS blk_read_time,
       s.blk_write_time / 1000 AS blk_write_time, extract(epoch FROM s.stats_reset) AS stats_reset,
       s.blks_hit::float8 / nullif(s.blks_hit + s.blks_read, 0) AS hit_ratio,
       s.xact_commit::float8 / nullif(s.xact_commit + s.xact_rollback, 0) AS commit_ratio,
       s.tup_fetched::float8 / nullif(s.tup_returned, 0) AS fetched_ratio,
       nullif(d.datconnlimit, -1) AS connection_limit, s.numbackends::float8 / nullif(CASE
         WHEN d.datconnlimit >= 0 THEN d.datconnlimit ELSE current_setting('max_connections')::int END, 0) AS used
       %s
FROM pg_stat_database s LEFT JOIN pg_database d ON d.oid = s.datid
WHERE d.datname IS NOT NULL OR s.datid = 0 ORDER BY s.xact_commit + s.blks_hit DESC LIMIT {top}"""
_SESSIONS = """, s.sessions, s.sessions_abandoned, s.sessions_fatal, s.sessions_killed,
       s.session_time / 1000 AS session_time, s.active_time / 1000 AS active_time,
       s.idle_in_transaction_time / 1000 AS idle_in_transaction_time"""
_PARALLEL = ", s.parallel_workers_to_launch, s.parallel_workers_launched"
_UNLIMITED = "the database has no limit of its own"

_DATABASES = Table(
    "databases",
    {
        13: _DATABASES_13 % "",
        14: _DATABASES_13 % _SESSIONS,
        18: _DATABASES_13 % (_SESSIONS + _PARALLEL),
    },
    (
        gauge("numbackends", "postgresql.backends", Unit.COUNT, "Backends connected to the database."),
        counter("xact_commit", "postgresql.commits", Unit.OPERATIONS, "Transactions committed."),
        counter("xact_rollback", "postgresql.rollbacks", Unit.OPERATIONS, "Transactions rolled back."),
        counter("blks_read", "postgresql.blks_read", Unit.COUNT, "Blocks read that were not in shared buffers."),
        counter("blks_hit", "postgresql.blks_hit", Unit.COUNT, "Blocks found in shared buffers."),
        counter("tup_returned", "postgresql.tup_returned", Unit.COUNT, "Rows that scans went over."),
        counter("tup_fetched", "postgresql.tup_fetched", Unit.COUNT, "Rows that index scans fetched."),
        counter("tup_inserted", "postgresql.tup_inserted", Unit.COUNT, "Rows inserted."),
        counter("tup_updated", "postgresql.tup_updated", Unit.COUNT, "Rows updated."),
        counter("tup_deleted", "postgresql.tup_deleted", Unit.COUNT, "Rows deleted."),
        counter("conflicts", "postgresql.conflicts", Unit.OPERATIONS, "Queries cancelled by recovery on a standby."),
        counter("temp_files", "postgresql.temp_files", Unit.COUNT, "Temporary files that queries wrote."),
        counter("temp_bytes", "postgresql.temp.io", Unit.BYTES, "Bytes written to temporary files."),
        counter("deadlocks", "postgresql.deadlocks", Unit.ERRORS, "Deadlocks."),
        counter("checksum_failures", "postgresql.checksum_failures", Unit.ERRORS, "Pages with a wrong checksum."),
        counter("blk_read_time", "postgresql.block.read_time", Unit.SECONDS, "Time reading; needs track_io_timing."),
        counter("blk_write_time", "postgresql.block.write_time", Unit.SECONDS, "Time writing; needs track_io_timing."),
        gauge(
            "stats_reset",
            "postgresql.database.stats_reset",
            Unit.SECONDS,
            "When statistics were reset, as Unix time.",
            unless="statistics were never reset",
        ),
        gauge(
            "hit_ratio",
            "postgresql.cache.hit_ratio",
            Unit.RATIO,
            "Share of blocks found in shared buffers since statistics were reset.",
            unless="no block was asked for yet",
        ),
        gauge(
            "commit_ratio",
            "postgresql.commit_ratio",
            Unit.RATIO,
            "Share of transactions that were committed.",
            unless="no transaction has ended yet",
        ),
        gauge(
            "fetched_ratio",
            "postgresql.fetched_ratio",
            Unit.RATIO,
            "Rows fetched by index per row that scans went over.",
            unless="no row was read yet",
        ),
        gauge(
            "connection_limit",
            "postgresql.database.connection_limit",
            Unit.COUNT,
            "Connections the database takes at most.",
            unless=_UNLIMITED,
        ),
        gauge(
            "used",
            "postgresql.database.connection_utilization",
            Unit.RATIO,
            "Backends as a share of the database's limit, or else the server's.",
            unless="the database takes no connection",
        ),
        counter("sessions", "postgresql.sessions", Unit.COUNT, "Sessions begun."),
        counter(
            "sessions_abandoned", "postgresql.sessions.ended", Unit.COUNT, "Sessions ended badly.", cause="abandoned"
        ),
        counter("sessions_fatal", "postgresql.sessions.ended", Unit.COUNT, "Sessions ended badly.", cause="fatal"),
        counter("sessions_killed", "postgresql.sessions.ended", Unit.COUNT, "Sessions ended badly.", cause="killed"),
        counter("session_time", "postgresql.session.time", Unit.SECONDS, "Time of sessions.", state="all"),
        counter("active_time", "postgresql.session.time", Unit.SECONDS, "Time of sessions.", state="active"),
        counter(
            "idle_in_transaction_time",
            "postgresql.session.time",
            Unit.SECONDS,
            "Time of sessions.",
            state="idle_in_transaction",
        ),
        counter(
            "parallel_workers_to_launch",
            "postgresql.parallel_workers",
            Unit.PROCESSES,
            "Parallel workers planned and had.",
            state="planned",
        ),
        counter(
            "parallel_workers_launched",
            "postgresql.parallel_workers",
            Unit.PROCESSES,
            "Parallel workers planned and had.",
            state="launched",
        ),
    ),
    by={"db.namespace": "name"},
)

_CONFLICT = ("postgresql.query.conflicts", Unit.OPERATIONS, "Queries that recovery cancelled, by cause.")
_CONFLICTS_13 = """
SELECT datname, confl_tablespace, confl_lock, confl_snapshot, confl_bufferpin, confl_deadlock %s
FROM pg_stat_database_conflicts
ORDER BY confl_tablespace + confl_lock + confl_snapshot + confl_bufferpin + confl_deadlock DESC LIMIT {top}"""

_CONFLICTS = Table(
    "conflicts",
    {13: _CONFLICTS_13 % "", 16: _CONFLICTS_13 % ", confl_active_logicalslot"},
    tuple(
        counter(f"confl_{cause}", *_CONFLICT, cause=cause)
        for cause in ("tablespace", "lock", "snapshot", "bufferpin", "deadlock", "active_logicalslot")
    ),
    by={"db.namespace": "datname"},
)

_SIZES = Table(
    "database_sizes",
    {
        13: """
        SELECT datname, pg_database_size(oid) AS bytes FROM pg_database
        WHERE has_database_privilege(oid, 'CONNECT') OR pg_has_role(current_user, 'pg_read_all_stats', 'MEMBER')
        ORDER BY 2 DESC LIMIT {top}"""
    },
    (gauge("bytes", "postgresql.db_size", Unit.BYTES, "Size of the database on disk."),),
    by={"db.namespace": "datname"},
)

_TABLESPACES = Table(
    "tablespaces",
    {
        13: """
        SELECT spcname, pg_tablespace_size(oid) AS bytes FROM pg_tablespace
        WHERE spcname = 'pg_default' OR has_tablespace_privilege(oid, 'CREATE')
              OR pg_has_role(current_user, 'pg_read_all_stats', 'MEMBER') ORDER BY 2 DESC LIMIT {top}"""
    },
    (gauge("bytes", "postgresql.tablespace.size", Unit.BYTES, "Size of the tablespace on disk."),),
    by={"tablespace": "spcname"},
)

_ROLES = Table(
    "roles",
    {
        13: """
        SELECT rolname, rolconnlimit AS most FROM pg_roles
        WHERE rolcanlogin AND rolconnlimit >= 0 ORDER BY 1 LIMIT {top}"""
    },
    (gauge("most", "postgresql.role.connection_limit", Unit.COUNT, "Connections of roles that have a limit."),),
    by={"role": "rolname"},
)

_EXTENSIONS = Table(
    "extensions",
    {
        13: """
        SELECT e.extname, e.extversion, 1 AS installed, (e.extversion <> a.default_version)::int AS outdated
        FROM pg_extension e LEFT JOIN pg_available_extensions a ON a.name = e.extname ORDER BY 1 LIMIT 5 * {top}"""
    },
    (
        gauge("installed", "postgresql.extension.installed", Unit.COUNT, "1 for each extension of the database."),
        gauge("outdated", "postgresql.extension.outdated", Unit.COUNT, "1 if a newer version lies on the server."),
    ),
    by={"extension": "extname", "version": "extversion"},
)

_RELATIONS = Table(
    "relations",
    {
        13: """
        SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'i' THEN 'index' WHEN 'S' THEN 'sequence' WHEN 't' THEN 'toast'
                 WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized_view' WHEN 'c' THEN 'composite_type'
                 WHEN 'f' THEN 'foreign_table' WHEN 'p' THEN 'partitioned_table' ELSE 'partitioned_index' END AS kind,
               count(*) AS relations, sum(relpages::bigint) * current_setting('block_size')::int AS bytes
        FROM pg_class GROUP BY 1"""
    },
    (
        gauge("relations", "postgresql.relations", Unit.COUNT, "Relations of the database by kind."),
        gauge("bytes", "postgresql.relations.size", Unit.BYTES, "Their size when last analyzed."),
    ),
    by={"kind": "kind"},
)

PROBES: tuple[Probe, ...] = (
    _SERVER,
    _DATABASES,
    _CONFLICTS,
    _SIZES,
    _TABLESPACES,
    _ROLES,
    _EXTENSIONS,
    _RELATIONS,
)
