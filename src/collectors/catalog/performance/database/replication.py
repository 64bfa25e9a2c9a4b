# ruff: noqa: S608  # every part of these texts is a constant of this package
"""Replicas, slots and subscriptions, seen from both ends.

Sources: ``pg_stat_replication``, ``pg_replication_slots`` and ``pg_stat_replication_slots``, ``pg_stat_wal_receiver``,
``pg_stat_recovery_prefetch``, ``pg_subscription`` and its statistics.
"""

from __future__ import annotations

from collectors.catalog.performance.database.probe import Probe, Role, Table, counter, gauge, since
from collectors.model.metric import Unit

_HERE = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"
_IDLE = "nothing was sent lately that could tell"
_LAG = ("postgresql.wal.lag", Unit.SECONDS, "Time from flushing WAL here until the replica says it did the operation.")
_DELAY = (
    "postgresql.replication.data_delay",
    Unit.BYTES,
    "WAL that the replica has not yet sent, written … or replayed.",
)

_REPLICAS = Table(
    "replication",
    {
        13: f"""
        SELECT application_name, coalesce(host(client_addr), 'local') AS address, coalesce(state, 'unknown') AS state,
               coalesce(sync_state, 'unknown') AS sync, 1 AS connected, pid,
               pg_wal_lsn_diff({_HERE}, sent_lsn) AS sent, pg_wal_lsn_diff({_HERE}, write_lsn) AS written,
               pg_wal_lsn_diff({_HERE}, flush_lsn) AS flushed, pg_wal_lsn_diff({_HERE}, replay_lsn) AS replayed,
               extract(epoch FROM write_lag) AS write_lag, extract(epoch FROM flush_lag) AS flush_lag,
               extract(epoch FROM replay_lag) AS replay_lag, age(backend_xmin) AS xmin_age
        FROM pg_stat_replication ORDER BY pid LIMIT {{top}}"""
    },
    (
        gauge("connected", "postgresql.replication.connected", Unit.COUNT, "1 for each connected replica."),
        *(
            gauge(column, *_DELAY, operation=op, unless="the replica's position is unknown or hidden")
            for column, op in (("sent", "send"), ("written", "write"), ("flushed", "flush"), ("replayed", "replay"))
        ),
        gauge("write_lag", *_LAG, operation="write", unless=_IDLE),
        gauge("flush_lag", *_LAG, operation="flush", unless=_IDLE),
        gauge("replay_lag", *_LAG, operation="replay", unless=_IDLE),
        gauge(
            "xmin_age",
            "postgresql.replication.xmin_age",
            Unit.OPERATIONS,
            "Transactions that the replica's feedback holds back vacuum by.",
            unless="the replica sends no feedback",
        ),
    ),
    by={"application": "application_name", "address": "address", "state": "state", "sync_state": "sync", "pid": "pid"},
)

_SLOT_13 = f"""
SELECT slot_name, slot_type, coalesce(database, '') AS database, active::int AS active,
       pg_wal_lsn_diff({_HERE}, restart_lsn) AS retained, pg_wal_lsn_diff({_HERE}, confirmed_flush_lsn) AS unconfirmed,
       pg_wal_lsn_diff(confirmed_flush_lsn, '0/0') AS confirmed, safe_wal_size,
       age(xmin) AS xmin_age, age(catalog_xmin) AS catalog_xmin_age,
       (wal_status = 'reserved')::int AS reserved, (wal_status = 'extended')::int AS extended,
       (wal_status = 'unreserved')::int AS unreserved, (wal_status = 'lost')::int AS lost %s
FROM pg_replication_slots ORDER BY 5 DESC NULLS LAST LIMIT {{top}}"""
_STATUS = ("postgresql.slot.wal_status", Unit.COUNT, "1 for the state of the WAL that the slot needs, else 0.")
_INACTIVE = """, extract(epoch FROM clock_timestamp() - inactive_since) AS inactive,
       (invalidation_reason IS NOT NULL)::int AS invalid, synced::int AS synced, failover::int AS failover"""

_SLOTS = Table(
    "replication_slots",
    {
        13: _SLOT_13 % "",
        16: _SLOT_13 % ", conflicting::int AS conflicting",
        17: _SLOT_13 % f", conflicting::int AS conflicting{_INACTIVE}",
    },
    (
        gauge("active", "postgresql.slot.active", Unit.COUNT, "1 if somebody reads the slot."),
        gauge("retained", "postgresql.slot.retained", Unit.BYTES, "WAL kept for the slot.", unless="it keeps no WAL"),
        gauge(
            "unconfirmed",
            "postgresql.slot.unconfirmed",
            Unit.BYTES,
            "WAL that the reader of a logical slot has not confirmed.",
            unless="the slot is physical",
        ),
        gauge(
            "confirmed",
            "postgresql.slot.confirmed_position",
            Unit.BYTES,
            "Position up to which a logical slot's reader has confirmed.",
            unless="the slot is physical",
        ),
        gauge(
            "safe_wal_size",
            "postgresql.slot.safe_wal",
            Unit.BYTES,
            "WAL that can be written before the slot may be lost.",
            unless="max_slot_wal_keep_size sets no limit, or the slot is lost",
        ),
        gauge("xmin_age", "postgresql.slot.xmin_age", Unit.OPERATIONS, "Transactions it holds vacuum back by."),
        gauge("catalog_xmin_age", "postgresql.slot.catalog_xmin_age", Unit.OPERATIONS, "The same for catalogs."),
        *(gauge(state, *_STATUS, status=state) for state in ("reserved", "extended", "unreserved", "lost")),
        gauge("conflicting", "postgresql.slot.conflicting", Unit.COUNT, "1 if recovery made a logical slot useless."),
        gauge("inactive", "postgresql.slot.inactive", Unit.SECONDS, "How long nobody has read the slot."),
        gauge("invalid", "postgresql.slot.invalid", Unit.COUNT, "1 if the slot was invalidated."),
        gauge("synced", "postgresql.slot.synced", Unit.COUNT, "1 if the slot was copied from the primary."),
        gauge("failover", "postgresql.slot.failover", Unit.COUNT, "1 if the slot is kept in sync for a failover."),
    ),
    by={"slot": "slot_name", "type": "slot_type", "db.namespace": "database"},
)

_DECODED = ("postgresql.slot.decoded", Unit.BYTES, "Changes decoded, of them spilled to disk and streamed early.")
_TRANSACTIONS = ("postgresql.slot.transactions", Unit.OPERATIONS, "Transactions decoded, spilled and streamed early.")

_DECODING = Table(
    "slot_statistics",
    {
        14: """
        SELECT slot_name, spill_txns, spill_bytes, stream_txns, stream_bytes, total_txns, total_bytes
        FROM pg_stat_replication_slots ORDER BY total_bytes DESC LIMIT {top}"""
    },
    (
        counter("total_bytes", *_DECODED, kind="total"),
        counter("spill_bytes", *_DECODED, kind="spilled"),
        counter("stream_bytes", *_DECODED, kind="streamed"),
        counter("total_txns", *_TRANSACTIONS, kind="total"),
        counter("spill_txns", *_TRANSACTIONS, kind="spilled"),
        counter("stream_txns", *_TRANSACTIONS, kind="streamed"),
    ),
    by={"slot": "slot_name"},
)

_SLOT_FILES = Table(
    "slot_files",
    {
        15: """
        SELECT s.slot_name, count(f.name) AS files, coalesce(sum(f.size), 0) AS bytes
        FROM pg_replication_slots s CROSS JOIN LATERAL pg_ls_replslotdir(s.slot_name) f
        GROUP BY 1 ORDER BY 3 DESC LIMIT {top}"""
    },
    (
        gauge("files", "postgresql.slot.files", Unit.COUNT, "Files that the slot keeps beside WAL."),
        gauge("bytes", "postgresql.slot.files_size", Unit.BYTES, "Their size."),
    ),
    by={"slot": "slot_name"},
)

_REPLAYED = since("pg_last_xact_replay_timestamp()")
_RECOVERY = Table(
    "recovery",
    {
        13: f"""
        SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
               ELSE {_REPLAYED} END AS lag, {_REPLAYED} AS last,
               CASE WHEN pg_last_wal_receive_lsn() IS NOT NULL THEN
                 greatest(0, pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())) END AS unreplayed,
               pg_is_wal_replay_paused()::int AS paused"""
    },
    (
        gauge(
            "lag",
            "postgresql.wal.delay",
            Unit.SECONDS,
            "Age of the last replayed transaction, 0 if all that was received is replayed.",
            unless="no transaction was replayed yet",
            aliases=("database_replication_lag",),
        ),
        gauge(
            "last",
            "postgresql.replication.last_replay",
            Unit.SECONDS,
            "Age of the last replayed transaction.",
            unless="no transaction was replayed yet",
        ),
        gauge(
            "unreplayed",
            "postgresql.replication.unreplayed",
            Unit.BYTES,
            "WAL received and not yet replayed.",
            unless="WAL does not come by streaming",
        ),
        gauge("paused", "postgresql.replication.paused", Unit.COUNT, "1 if replay is paused."),
    ),
    role=Role.STANDBY,
)

_RECEIVER = Table(
    "wal_receiver",
    {
        13: """
        SELECT coalesce(sender_host || ':' || sender_port, 'unknown') AS upstream, coalesce(slot_name, '') AS slot_name,
               (status = 'streaming')::int AS streaming, pg_wal_lsn_diff(receive_start_lsn, '0/0') AS start,
               receive_start_tli, pg_wal_lsn_diff(written_lsn, '0/0') AS written,
               pg_wal_lsn_diff(flushed_lsn, '0/0') AS flushed, received_tli,
               extract(epoch FROM last_msg_send_time) AS sent, extract(epoch FROM last_msg_receipt_time) AS received,
               pg_wal_lsn_diff(latest_end_lsn, '0/0') AS latest, extract(epoch FROM latest_end_time) AS latest_time
        FROM pg_stat_wal_receiver WHERE pid IS NOT NULL"""
    },
    (
        gauge("streaming", "postgresql.wal_receiver.streaming", Unit.COUNT, "1 if WAL streams in."),
        gauge("start", "postgresql.wal_receiver.start_position", Unit.BYTES, "Position at which streaming began."),
        gauge("receive_start_tli", "postgresql.wal_receiver.start_timeline", Unit.COUNT, "Timeline at that time."),
        gauge("received_tli", "postgresql.wal_receiver.timeline", Unit.COUNT, "Timeline received."),
        gauge("written", "postgresql.wal_receiver.written_position", Unit.BYTES, "Position written, not yet safe."),
        gauge("flushed", "postgresql.wal_receiver.flushed_position", Unit.BYTES, "Position flushed to disk."),
        gauge("sent", "postgresql.wal_receiver.sent_time", Unit.SECONDS, "When the last message was sent, Unix time."),
        gauge("received", "postgresql.wal_receiver.received_time", Unit.SECONDS, "When it came, Unix time."),
        gauge("latest", "postgresql.wal_receiver.latest_position", Unit.BYTES, "Position last told upstream."),
        gauge("latest_time", "postgresql.wal_receiver.latest_time", Unit.SECONDS, "When that was, as Unix time."),
    ),
    by={"upstream": "upstream", "slot": "slot_name"},
    role=Role.STANDBY,
)

_PREFETCHED = ("postgresql.recovery.prefetch", Unit.COUNT, "Blocks that recovery prefetched or left, by why.")

_PREFETCH = Table(
    "recovery_prefetch",
    {15: "SELECT prefetch, hit, skip_init, skip_new, skip_fpw, skip_rep FROM pg_stat_recovery_prefetch"},
    tuple(
        counter(column, *_PREFETCHED, result=column)
        for column in ("prefetch", "hit", "skip_init", "skip_new", "skip_fpw", "skip_rep")
    ),
    role=Role.STANDBY,
)

_SUBSCRIPTION = """
SELECT s.subname, s.subenabled::int AS enabled, count(t.pid) AS workers,
       max(extract(epoch FROM clock_timestamp() - t.last_msg_receipt_time)) AS silence,
       max(extract(epoch FROM clock_timestamp() - t.latest_end_time)) AS behind %s
FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database()
LEFT JOIN pg_stat_subscription t ON t.subid = s.oid %s GROUP BY s.oid, 1, 2 ORDER BY 1 LIMIT {top}"""
_NOT_RUNNING = "no worker of the subscription runs"

_SUBSCRIPTIONS = Table(
    "subscriptions",
    {
        13: _SUBSCRIPTION % ("", ""),
        15: _SUBSCRIPTION
        % (
            ", max(e.apply_error_count) AS apply_errors, max(e.sync_error_count) AS sync_errors",
            "LEFT JOIN pg_stat_subscription_stats e ON e.subid = s.oid",
        ),
    },
    (
        gauge("enabled", "postgresql.subscription.enabled", Unit.COUNT, "1 if the subscription is enabled."),
        gauge("workers", "postgresql.subscription.workers", Unit.PROCESSES, "Workers that run for it."),
        gauge(
            "silence",
            "postgresql.subscription.silence",
            Unit.SECONDS,
            "Time since the publisher was heard.",
            unless=_NOT_RUNNING,
        ),
        gauge(
            "behind",
            "postgresql.subscription.behind",
            Unit.SECONDS,
            "Time since a position was confirmed to the publisher.",
            unless=_NOT_RUNNING,
        ),
        counter("apply_errors", "postgresql.subscription.errors", Unit.ERRORS, "Errors of it.", phase="apply"),
        counter("sync_errors", "postgresql.subscription.errors", Unit.ERRORS, "Errors of it.", phase="sync"),
    ),
    by={"subscription": "subname"},
)

PROBES: tuple[Probe, ...] = (
    _REPLICAS,
    _SLOTS,
    _DECODING,
    _SLOT_FILES,
    _RECOVERY,
    _RECEIVER,
    _PREFETCH,
    _SUBSCRIPTIONS,
)
