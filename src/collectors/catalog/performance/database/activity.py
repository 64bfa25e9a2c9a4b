"""Who is connected, what they wait for, and how long their transactions last.

Source: ``pg_stat_activity`` and ``pg_stat_ssl``. Without ``pg_monitor`` other users' states are hidden; they are
counted as ``unknown``.
"""

from __future__ import annotations

from collectors.catalog.performance.database.probe import Probe, Table, counter, gauge
from collectors.model.metric import Unit

_CONNECTIONS = Table(
    "connections",
    {
        13: """
        SELECT datname, coalesce(state, 'unknown') AS state, count(*) AS connections,
               max(extract(epoch FROM clock_timestamp() - xact_start)) AS longest
        FROM pg_stat_activity
        WHERE backend_type = 'client backend' OR backend_type IS NULL
        GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 6 * {top}"""
    },
    (
        gauge("connections", "postgresql.connections", Unit.COUNT, "Client connections by database and state."),
        gauge("longest", "postgresql.transaction.longest", Unit.SECONDS, "Age of the oldest transaction by state."),
    ),
    by={"db.namespace": "datname", "state": "state"},
)

_LIMITS = Table(
    "connection_limits",
    {
        13: """
        SELECT current_setting('max_connections')::int AS most,
               current_setting('superuser_reserved_connections')::int AS reserved, count(*) AS used,
               count(*)::float8 / (current_setting('max_connections')::int
                                   - current_setting('superuser_reserved_connections')::int) AS share
        FROM pg_stat_activity WHERE backend_type = 'client backend' OR backend_type IS NULL"""
    },
    (
        gauge("most", "postgresql.connection.max", Unit.COUNT, "Connections the server takes at most."),
        gauge("reserved", "postgresql.connection.reserved", Unit.COUNT, "Connections kept for superusers."),
        gauge("used", "postgresql.connection.used", Unit.COUNT, "Client connections there are."),
        gauge(
            "share",
            "postgresql.connection.utilization",
            Unit.RATIO,
            "Connections in use, as a share of those that are not kept for superusers.",
            aliases=("database_connections",),
            scale=100.0,
        ),
    ),
)

_WAITS = Table(
    "waits",
    {
        13: """
        SELECT coalesce(backend_type, 'unknown') AS backend, coalesce(wait_event_type, 'CPU') AS type,
               coalesce(wait_event, 'running') AS event, count(*) AS waiting
        FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND (state = 'active' OR backend_type <> 'client backend')
        GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 10 * {top}"""
    },
    (gauge("waiting", "postgresql.waits", Unit.PROCESSES, "Processes by what they wait for; CPU if for nothing."),),
    by={"backend_type": "backend", "wait_event_type": "type", "wait_event": "event"},
)

_AGES = Table(
    "activity_ages",
    {
        13: """
        SELECT coalesce(max(now - xact_start), 0) AS transaction,
               coalesce(max(now - query_start) FILTER (WHERE state = 'active'), 0) AS query,
               coalesce(max(now - state_change) FILTER (WHERE state LIKE 'idle in%'), 0) AS idle_in,
               coalesce(max(xmin_age), 0) AS xmin_age,
               min(extract(epoch FROM started)) AS oldest_start,
               coalesce(max(now - state_change) FILTER (WHERE state = 'idle'), 0) AS idle_longest,
               coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY now - state_change)
                        FILTER (WHERE state = 'idle'), 0) AS idle_median,
               coalesce(max(now - started) FILTER (WHERE backend_type = 'autovacuum worker'), 0) AS autovacuum
        FROM (SELECT state, backend_type, xact_start AS started, age(backend_xmin) AS xmin_age,
                     extract(epoch FROM clock_timestamp()) AS now, extract(epoch FROM xact_start) AS xact_start,
                     extract(epoch FROM query_start) AS query_start, extract(epoch FROM state_change) AS state_change
              FROM pg_stat_activity WHERE pid <> pg_backend_pid()) AS a""".replace(
            "now - started", "extract(epoch FROM clock_timestamp() - started)"
        )
    },
    (
        gauge(
            "transaction",
            "postgresql.transaction.oldest_age",
            Unit.SECONDS,
            "How long the oldest open transaction has lasted.",
            aliases=("database_oldest_transaction",),
        ),
        gauge(
            "oldest_start",
            "postgresql.transaction.oldest_start",
            Unit.SECONDS,
            "When the oldest open transaction began, as Unix time.",
            unless="no transaction is open",
        ),
        gauge("query", "postgresql.query.longest", Unit.SECONDS, "How long the longest running query has run."),
        gauge("idle_in", "postgresql.idle_in_transaction.longest", Unit.SECONDS, "Longest idle transaction."),
        gauge("idle_longest", "postgresql.idle.longest", Unit.SECONDS, "Longest idle connection."),
        gauge("idle_median", "postgresql.idle.median", Unit.SECONDS, "Median idle time of idle connections."),
        gauge("xmin_age", "postgresql.xmin.age", Unit.OPERATIONS, "Transactions since the oldest snapshot in use."),
        gauge("autovacuum", "postgresql.autovacuum.longest", Unit.SECONDS, "Longest running autovacuum worker."),
    ),
)

_DURATIONS = Table(
    "durations",
    {
        13: """
        SELECT b.bound AS longer, count(*) FILTER (WHERE now - xact_start >= b.bound) AS transactions,
               count(*) FILTER (WHERE state = 'active' AND now - query_start >= b.bound) AS queries
        FROM (VALUES (0.0), (0.1), (1), (10), (60), (600)) AS b (bound)
        CROSS JOIN (SELECT state, extract(epoch FROM clock_timestamp()) AS now, extract(epoch FROM xact_start)
                    AS xact_start, extract(epoch FROM query_start) AS query_start
                    FROM pg_stat_activity WHERE pid <> pg_backend_pid()) AS a
        GROUP BY 1 ORDER BY 1"""
    },
    (
        gauge("transactions", "postgresql.transactions.lasting", Unit.COUNT, "Open transactions at least so old."),
        gauge("queries", "postgresql.queries.lasting", Unit.COUNT, "Running queries at least so old."),
    ),
    by={"seconds": "longer"},
)

_TLS = Table(
    "tls",
    {
        13: """
        SELECT coalesce(s.version, 'none') AS version, coalesce(s.cipher, 'none') AS cipher, count(*) AS connections
        FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
        WHERE a.client_addr IS NOT NULL GROUP BY 1, 2 ORDER BY 3 DESC LIMIT {top}"""
    },
    (gauge("connections", "postgresql.tls.connections", Unit.COUNT, "Network connections by TLS version and cipher."),),
    by={"version": "version", "cipher": "cipher"},
)

_WORKERS = Table(
    "autovacuum_workers",
    {
        13: """
        SELECT CASE WHEN query LIKE 'autovacuum: VACUUM ANALYZE%' THEN 'vacuum_analyze'
                    WHEN query LIKE '%to prevent wraparound%' THEN 'wraparound'
                    WHEN query LIKE 'autovacuum: VACUUM%' THEN 'vacuum'
                    WHEN query LIKE 'autovacuum: ANALYZE%' THEN 'analyze'
                    WHEN query LIKE 'autovacuum: BRIN%' THEN 'brin' ELSE 'other' END AS task, count(*) AS workers
        FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' GROUP BY 1
        UNION ALL
        SELECT 'limit', current_setting('autovacuum_max_workers')::int"""
    },
    (
        gauge(
            "workers", "postgresql.autovacuum.workers", Unit.PROCESSES, "Autovacuum workers by task, and their limit."
        ),
    ),
    by={"task": "task"},
)

_FUNCTIONS = Table(
    "functions",
    {
        13: """
        SELECT schemaname, funcname, sum(calls) AS calls, sum(total_time) / 1000 AS total, sum(self_time) / 1000 AS own
        FROM pg_stat_user_functions GROUP BY 1, 2 ORDER BY 4 DESC LIMIT {top}"""
    },
    (
        counter("calls", "postgresql.function.calls", Unit.OPERATIONS, "Calls of the function; needs track_functions."),
        counter("total", "postgresql.function.time", Unit.SECONDS, "Time in the function and what it called."),
        counter("own", "postgresql.function.self_time", Unit.SECONDS, "Time in the function itself."),
    ),
    by={"schema": "schemaname", "function": "funcname"},
)

PROBES: tuple[Probe, ...] = (_CONNECTIONS, _LIMITS, _WAITS, _AGES, _DURATIONS, _TLS, _WORKERS, _FUNCTIONS)
