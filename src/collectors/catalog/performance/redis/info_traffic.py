"""Fields of INFO about commands, keys and bytes."""

from __future__ import annotations

from collectors.catalog.performance.redis.info_field import OWN, Field, area, counter, family, gauge
from collectors.model.metric import Kind, MetricSpec, Unit

_B, _S, _N, _R = Unit.BYTES, Unit.SECONDS, Unit.COUNT, Unit.RATIO

_REPLY_BUFFER = MetricSpec(
    f"{OWN}clients.reply_buffer_resizes",
    Kind.COUNTER,
    Unit.EVENTS,
    "Times a client's reply buffer was made larger or smaller.",
    labels=("direction",),
)
_SOCKET = MetricSpec(
    f"{OWN}net.operations", Kind.COUNTER, Unit.OPERATIONS, "Reads and writes of sockets.", labels=("direction",)
)
_RATE = MetricSpec(
    f"{OWN}net.rate",
    Kind.GAUGE,
    Unit.BYTES,
    "Bytes a second just now, by direction.",
    labels=("direction",),
)
_SPECIAL = MetricSpec(
    f"{OWN}net.special", Kind.COUNTER, Unit.BYTES, "Bytes that are no client's, by purpose.", labels=("purpose",)
)
_STORAGE = MetricSpec(
    f"{OWN}storage_provider.reads",
    Kind.COUNTER,
    Unit.OPERATIONS,
    "Reads of a KeyDB's second storage by outcome.",
    labels=("outcome",),
)

FIELDS: tuple[Field, ...] = (
    counter("total_connections_received", "redis.connections.received", Unit.EVENTS, "Connections accepted."),
    counter("rejected_connections", "redis.connections.rejected", Unit.EVENTS, "Connections refused at maxclients."),
    counter("total_commands_processed", "redis.commands.processed", Unit.OPERATIONS, "Commands processed."),
    gauge("instantaneous_ops_per_sec", "redis.commands", Unit.HERTZ, "Commands a second, just now."),
    counter("total_net_input_bytes", "redis.net.input", _B, "Bytes received."),
    counter("total_net_output_bytes", "redis.net.output", _B, "Bytes sent."),
    *family(
        _SPECIAL,
        {
            "replication_input": "total_net_repl_input_bytes",
            "replication_output": "total_net_repl_output_bytes",
            "slot_import": "total_net_cluster_slot_import_bytes",
            "slot_export": "total_net_cluster_slot_export_bytes",
        },
    ),
    *family(
        _RATE,
        {
            "input": "instantaneous_input_kbps",
            "output": "instantaneous_output_kbps",
            "replication_input": "instantaneous_input_repl_kbps",
            "replication_output": "instantaneous_output_repl_kbps",
        },
        scale=1024,
    ),
    *family(_SOCKET, {"read": "total_reads_processed", "write": "total_writes_processed"}),
    *family(_REPLY_BUFFER, {"larger": "reply_buffer_expands", "smaller": "reply_buffer_shrinks"}),
    counter("keyspace_hits", "redis.keyspace.hits", Unit.OPERATIONS, "Look-ups that found their key."),
    counter("keyspace_misses", "redis.keyspace.misses", Unit.OPERATIONS, "Look-ups that found nothing."),
    counter("expired_keys", "redis.keys.expired", Unit.EVENTS, "Keys that expired."),
    counter("expired_subkeys", f"{OWN}fields.expired", Unit.EVENTS, "Fields of hashes that expired."),
    counter("expired_fields", f"{OWN}fields.expired", Unit.EVENTS, "Fields of hashes that expired."),
    counter("evicted_keys", "redis.keys.evicted", Unit.EVENTS, "Keys evicted because of maxmemory."),
    gauge(
        "expired_stale_perc",
        f"{OWN}expiry.stale_ratio",
        _R,
        "Estimated share of keys that are past their time.",
        scale=0.01,
    ),
    counter(
        "expired_time_cap_reached_count",
        f"{OWN}expiry.stopped_early",
        Unit.EVENTS,
        "Times the search for expired keys was ended by its time limit.",
    ),
    counter("expire_cycle_cpu_milliseconds", f"{OWN}expiry.time", _S, "CPU time spent on expiring keys.", scale=1e-3),
    gauge(
        "slave_expires_tracked_keys", f"{OWN}expiry.replica_tracked_keys", _N, "Keys a writable replica expires itself."
    ),
    counter("total_error_replies", f"{OWN}errors.replies", Unit.ERRORS, "Answers that were errors."),
    counter(
        "unexpected_error_replies", f"{OWN}errors.unexpected", Unit.ERRORS, "Errors of replication and persistence."
    ),
    counter(
        "dump_payload_sanitizations",
        f"{OWN}dump.sanitizations",
        Unit.OPERATIONS,
        "Payloads of RESTORE and replicas that were checked in depth.",
    ),
    gauge("latest_fork_usec", "redis.latest_fork", _S, "Time the last fork took.", scale=1e-6),
    counter("total_forks", f"{OWN}forks", Unit.EVENTS, "Forks since the start."),
    gauge("migrate_cached_sockets", f"{OWN}migrate.cached_sockets", _N, "Sockets kept open for MIGRATE."),
    gauge("cached_keys", f"{OWN}keys.cached", _N, "Keys a KeyDB with second storage has in memory."),
    *family(_STORAGE, {"hit": "storage_provider_read_hits", "miss": "storage_provider_read_misses"}),
)

AREA = area("traffic", FIELDS)
