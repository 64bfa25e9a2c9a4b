# ruff: noqa: S608  # every part of these texts is a constant of this package
"""How pages and the log reach the disk: background writer, checkpoints, WAL, archiver, I/O, SLRU, shared buffers.

Sources: the ``pg_stat_*`` views of the same names. Counters moved between views over the years: checkpoints left
``pg_stat_bgwriter`` in 17, times of WAL writes moved to ``pg_stat_io`` in 18.
"""

from __future__ import annotations

from collectors.catalog.performance.database.probe import Probe, Table, counter, gauge
from collectors.model.metric import Unit

_RESET = "statistics were never reset"
_CHECKPOINTS = ("postgresql.bgwriter.checkpoint.count", Unit.OPERATIONS, "Checkpoints begun, by what asked for them.")
_DURATION = ("postgresql.bgwriter.duration", Unit.SECONDS, "Time checkpoints took, by phase.")
_WRITTEN = ("postgresql.bgwriter.buffers.writes", Unit.COUNT, "Buffers written, by who wrote them.")

_WRITER = Table(
    "bgwriter",
    {
        13: """
        SELECT checkpoints_timed AS timed, checkpoints_req AS requested,
               checkpoint_write_time / 1000 AS write_time, checkpoint_sync_time / 1000 AS sync_time,
               buffers_checkpoint, buffers_clean, maxwritten_clean, buffers_backend, buffers_backend_fsync,
               buffers_alloc, extract(epoch FROM stats_reset) AS reset FROM pg_stat_bgwriter""",
        17: """
        SELECT buffers_clean, maxwritten_clean, buffers_alloc, extract(epoch FROM stats_reset) AS reset,
               (SELECT sum(writes) FROM pg_stat_io WHERE backend_type = 'client backend' AND object = 'relation')
                 AS buffers_backend,
               (SELECT sum(fsyncs) FROM pg_stat_io WHERE backend_type = 'client backend' AND object = 'relation')
                 AS buffers_backend_fsync
        FROM pg_stat_bgwriter""",
    },
    (
        counter("timed", *_CHECKPOINTS, type="scheduled"),
        counter("requested", *_CHECKPOINTS, type="requested"),
        counter("write_time", *_DURATION, type="write"),
        counter("sync_time", *_DURATION, type="sync"),
        counter("buffers_checkpoint", *_WRITTEN, source="checkpoints"),
        counter("buffers_clean", *_WRITTEN, source="bgwriter"),
        counter("buffers_backend", *_WRITTEN, source="backend"),
        counter("buffers_backend_fsync", "postgresql.backend.fsyncs", Unit.OPERATIONS, "Backends' own fsync calls."),
        counter("maxwritten_clean", "postgresql.bgwriter.maxwritten", Unit.OPERATIONS, "Rounds stopped at the limit."),
        counter("buffers_alloc", "postgresql.bgwriter.buffers.allocated", Unit.COUNT, "Buffers allocated."),
        gauge("reset", "postgresql.bgwriter.stats_reset", Unit.SECONDS, "Unix time of the reset.", unless=_RESET),
    ),
)

_CHECKPOINTER_17 = """
SELECT num_timed AS timed, num_requested AS requested, restartpoints_timed, restartpoints_req, restartpoints_done,
       write_time / 1000 AS write_time, sync_time / 1000 AS sync_time, buffers_written,
       extract(epoch FROM stats_reset) AS reset %s FROM pg_stat_checkpointer"""
_RESTARTPOINTS = ("postgresql.restartpoints", Unit.OPERATIONS, "Restartpoints of a standby, by state.")

_CHECKPOINTER = Table(
    "checkpointer",
    {17: _CHECKPOINTER_17 % "", 18: _CHECKPOINTER_17 % ", num_done AS done, slru_written"},
    (
        counter("timed", *_CHECKPOINTS, type="scheduled"),
        counter("requested", *_CHECKPOINTS, type="requested"),
        counter("done", "postgresql.checkpoints.done", Unit.OPERATIONS, "Checkpoints completed."),
        counter("write_time", *_DURATION, type="write"),
        counter("sync_time", *_DURATION, type="sync"),
        counter("buffers_written", *_WRITTEN, source="checkpoints"),
        counter("slru_written", *_WRITTEN, source="checkpoints_slru"),
        counter("restartpoints_timed", *_RESTARTPOINTS, state="timed"),
        counter("restartpoints_req", *_RESTARTPOINTS, state="requested"),
        counter("restartpoints_done", *_RESTARTPOINTS, state="done"),
        gauge("reset", "postgresql.checkpointer.stats_reset", Unit.SECONDS, "Unix time of the reset.", unless=_RESET),
    ),
)

_CONTROL = Table(
    "checkpoint",
    {
        13: """
        SELECT greatest(0, extract(epoch FROM clock_timestamp() - checkpoint_time)) AS age,
               pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                               ELSE pg_current_wal_lsn() END, redo_lsn) AS behind FROM pg_control_checkpoint()"""
    },
    (
        gauge("age", "postgresql.checkpoint.age", Unit.SECONDS, "Time since the last checkpoint."),
        gauge("behind", "postgresql.checkpoint.wal", Unit.BYTES, "WAL that a crash now would replay."),
    ),
)

_WAL_14 = """
SELECT wal_records, wal_fpi, wal_bytes, wal_buffers_full %s FROM pg_stat_wal"""

_WAL = Table(
    "wal",
    {
        14: _WAL_14 % ", wal_write, wal_sync, wal_write_time / 1000 AS write_time, wal_sync_time / 1000 AS sync_time",
        18: _WAL_14 % "",
    },
    (
        counter("wal_records", "postgresql.wal.records", Unit.COUNT, "WAL records written."),
        counter("wal_fpi", "postgresql.wal.full_page_images", Unit.COUNT, "Whole pages written to WAL."),
        counter("wal_bytes", "postgresql.wal.bytes", Unit.BYTES, "WAL written."),
        counter(
            "wal_buffers_full", "postgresql.wal.buffers_full", Unit.OPERATIONS, "Writes because buffers were full."
        ),
        counter("wal_write", "postgresql.wal.writes", Unit.OPERATIONS, "Writes of WAL; in postgresql.io from 18."),
        counter("wal_sync", "postgresql.wal.syncs", Unit.OPERATIONS, "Syncs of WAL; in postgresql.io from 18."),
        counter("write_time", "postgresql.wal.write_time", Unit.SECONDS, "Time writing WAL."),
        counter("sync_time", "postgresql.wal.sync_time", Unit.SECONDS, "Time syncing WAL."),
    ),
)

_POSITION = Table(
    "wal_position",
    {
        13: """
        SELECT pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                               ELSE pg_current_wal_lsn() END, '0/0') AS position"""
    },
    (
        counter(
            "position", "postgresql.wal.position", Unit.BYTES, "Position in WAL: written, or replayed on a standby."
        ),
    ),
)

_FILES = Table(
    "wal_files",
    {
        13: """
        SELECT count(*) FILTER (WHERE name ~ '^[0-9A-F]{24}$') AS segments,
               sum(size) FILTER (WHERE name ~ '^[0-9A-F]{24}$') AS bytes,
               extract(epoch FROM clock_timestamp() - min(modification) FILTER (WHERE name ~ '^[0-9A-F]{24}$'))
                 AS oldest,
               extract(epoch FROM clock_timestamp() - max(modification) FILTER (WHERE name ~ '\\.backup$')) AS backup
        FROM pg_ls_waldir()"""
    },
    (
        gauge("segments", "postgresql.wal.segments", Unit.COUNT, "Segments in pg_wal."),
        gauge("bytes", "postgresql.wal.size", Unit.BYTES, "Size of pg_wal's segments."),
        gauge("oldest", "postgresql.wal.age", Unit.SECONDS, "Age of the oldest segment kept."),
        gauge(
            "backup",
            "postgresql.backup.age",
            Unit.SECONDS,
            "Time since the last base backup ended, by the history file it leaves.",
            unless="no base backup has left its history file, as it does where WAL is archived",
        ),
    ),
)

_ARCHIVE_FILES = Table(
    "archive_files",
    {
        13: """
        SELECT count(*) FILTER (WHERE name LIKE '%.ready') AS ready, count(*) FILTER (WHERE name LIKE '%.done') AS done
        FROM pg_ls_archive_statusdir()"""
    },
    (
        gauge("ready", "postgresql.archive.files", Unit.COUNT, "WAL files by archiving state.", state="ready"),
        gauge("done", "postgresql.archive.files", Unit.COUNT, "WAL files by archiving state.", state="done"),
    ),
)

_NEVER = "nothing was archived since statistics were reset"

_ARCHIVER = Table(
    "archiver",
    {
        13: """
        SELECT archived_count, failed_count, extract(epoch FROM clock_timestamp() - last_archived_time) AS archived_age,
               extract(epoch FROM clock_timestamp() - last_failed_time) AS failed_age,
               (coalesce(last_failed_time > last_archived_time, last_failed_time IS NOT NULL))::int AS failing,
               (current_setting('archive_mode') <> 'off')::int AS enabled FROM pg_stat_archiver"""
    },
    (
        counter("archived_count", "postgresql.archiver.files", Unit.COUNT, "WAL files archived.", outcome="archived"),
        counter("failed_count", "postgresql.archiver.files", Unit.COUNT, "WAL files archived.", outcome="failed"),
        gauge(
            "archived_age", "postgresql.archiver.age", Unit.SECONDS, "Time since a file was archived.", unless=_NEVER
        ),
        gauge(
            "failed_age",
            "postgresql.archiver.failure_age",
            Unit.SECONDS,
            "Time since archiving failed.",
            unless="archiving has not failed",
        ),
        gauge("failing", "postgresql.archiver.failing", Unit.COUNT, "1 if the last attempt failed."),
        gauge("enabled", "postgresql.archiver.enabled", Unit.COUNT, "1 if archive_mode is on."),
    ),
)

_OPERATIONS = ("read", "write", "extend", "writeback", "fsync")
_COUNTS = ", ".join(f"sum({op}s) AS {op}s" for op in _OPERATIONS)
_TIMES = ", ".join(f"sum({op}_time) / 1000 AS {op}_time" for op in _OPERATIONS)
_IO_16 = f"""
SELECT backend_type, object, context, {_COUNTS}, {_TIMES},
       sum(hits) AS hits, sum(evictions) AS evictions, sum(reuses) AS reuses, %s
FROM pg_stat_io GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT 10 * {{top}}"""
_BYTES_16 = ", ".join(f"sum({op}s * op_bytes) AS {op}_bytes" for op in ("read", "write", "extend"))
_BYTES_18 = ", ".join(f"sum({op}_bytes) AS {op}_bytes" for op in ("read", "write", "extend"))

_IO = Table(
    "io",
    {16: _IO_16 % _BYTES_16, 18: _IO_16 % _BYTES_18},
    (
        *(
            counter(f"{op}s", "postgresql.io.operations", Unit.OPERATIONS, "I/O operations.", operation=op)
            for op in _OPERATIONS
        ),
        *(
            counter(
                f"{op}_time", "postgresql.io.time", Unit.SECONDS, "Time of I/O; needs track_io_timing.", operation=op
            )
            for op in _OPERATIONS
        ),
        *(
            counter(f"{op}_bytes", "postgresql.io.bytes", Unit.BYTES, "Bytes of I/O.", operation=op)
            for op in ("read", "write", "extend")
        ),
        counter("hits", "postgresql.io.hits", Unit.COUNT, "Blocks found in shared buffers."),
        counter("evictions", "postgresql.io.evictions", Unit.COUNT, "Buffers evicted for another block."),
        counter("reuses", "postgresql.io.reuses", Unit.COUNT, "Buffers of a ring used again."),
    ),
    by={"backend_type": "backend_type", "object": "object", "context": "context"},
)

_SLRU = Table(
    "slru",
    {
        13: """
        SELECT name, blks_zeroed, blks_hit, blks_read, blks_written, blks_exists, flushes, truncates
        FROM pg_stat_slru"""
    },
    tuple(
        counter(column, "postgresql.slru.operations", Unit.OPERATIONS, "Use of the SLRU cache.", operation=operation)
        for column, operation in (
            ("blks_zeroed", "zero"),
            ("blks_hit", "hit"),
            ("blks_read", "read"),
            ("blks_written", "write"),
            ("blks_exists", "exists"),
            ("flushes", "flush"),
            ("truncates", "truncate"),
        )
    ),
    by={"slru": "name"},
)

_BUFFERS = Table(
    "buffercache",
    {
        13: """
        SELECT count(*) FILTER (WHERE relfilenode IS NOT NULL) AS used,
               count(*) FILTER (WHERE relfilenode IS NULL) AS unused, count(*) FILTER (WHERE isdirty) AS dirty,
               count(*) FILTER (WHERE pinning_backends > 0) AS pinned, avg(usagecount) AS usage
        FROM {schema}.pg_buffercache""",
        16: """
        SELECT buffers_used AS used, buffers_unused AS unused, buffers_dirty AS dirty, buffers_pinned AS pinned,
               usagecount_avg AS usage FROM {schema}.pg_buffercache_summary()""",
    },
    (
        *(
            gauge(
                state, "postgresql.shared_buffers", Unit.COUNT, "Shared buffers by state; states overlap.", state=state
            )
            for state in ("used", "unused", "dirty", "pinned")
        ),
        gauge("usage", "postgresql.shared_buffers.usage_count", Unit.COUNT, "Mean usage count of buffers."),
    ),
    extension="pg_buffercache",
)

_BUFFERS_BY = Table(
    "buffercache_by_database",
    {
        13: """
        SELECT d.datname, CASE c.relkind WHEN 'i' THEN 'index' WHEN 't' THEN 'toast' WHEN 'r' THEN 'table'
                 ELSE 'other' END AS kind, count(*) AS buffers
        FROM {schema}.pg_buffercache b LEFT JOIN pg_database d ON d.oid = b.reldatabase
        LEFT JOIN pg_class c ON c.relfilenode = b.relfilenode AND d.datname = current_database()
        WHERE b.relfilenode IS NOT NULL GROUP BY 1, 2 ORDER BY 3 DESC LIMIT {top}"""
    },
    (
        gauge(
            "buffers", "postgresql.shared_buffers.held", Unit.COUNT, "Shared buffers by database and kind of relation."
        ),
    ),
    by={"db.namespace": "datname", "kind": "kind"},
    extension="pg_buffercache",
)

PROBES: tuple[Probe, ...] = (
    _WRITER,
    _CHECKPOINTER,
    _CONTROL,
    _WAL,
    _POSITION,
    _FILES,
    _ARCHIVE_FILES,
    _ARCHIVER,
    _IO,
    _SLRU,
    _BUFFERS,
    _BUFFERS_BY,
)
