"""Replication: the role, the link of a replica, and the replicas of a master."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.catalog.performance.redis.area import Area, Reading, nothing, printable, sample, undefined
from collectors.catalog.performance.redis.info import assignments, number
from collectors.catalog.performance.redis.info_field import OWN, Field, counter, gauge
from collectors.catalog.performance.redis.info_field import area as fields_area
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_B, _S, _N = Unit.BYTES, Unit.SECONDS, Unit.COUNT
_NO_LINK = "the replica is not linked to its master"

FIELDS: tuple[Field, ...] = (
    gauge("connected_slaves", "redis.slaves.connected", _N, "Connected replicas."),
    gauge("master_repl_offset", "redis.replication.offset", _B, "Offset of the replication stream."),
    gauge(
        "second_repl_offset",
        f"{OWN}replication.second_offset",
        _B,
        "Offset to which the former master's stream is known.",
        never="there was no other master before",
    ),
    gauge(
        "slave_repl_offset", "redis.replication.replica_offset", _B, "Offset of the stream this replica has processed."
    ),
    gauge("slave_read_repl_offset", f"{OWN}replication.read_offset", _B, "Offset of the stream this replica has read."),
    gauge("repl_backlog_active", f"{OWN}replication.backlog.active", _N, "Whether there is a backlog."),
    gauge("repl_backlog_size", f"{OWN}replication.backlog.size", _B, "Size of the backlog."),
    gauge(
        "repl_backlog_first_byte_offset",
        "redis.replication.backlog_first_byte_offset",
        _B,
        "Offset of the backlog's first byte.",
    ),
    gauge("repl_backlog_histlen", f"{OWN}replication.backlog.length", _B, "Bytes in the backlog."),
    counter("sync_full", f"{OWN}replication.full_syncs", Unit.EVENTS, "Full synchronisations of replicas."),
    counter(
        "sync_partial_ok",
        f"{OWN}replication.partial_syncs",
        Unit.EVENTS,
        "Partial synchronisations that were possible.",
    ),
    counter(
        "sync_partial_err",
        f"{OWN}replication.partial_syncs_refused",
        Unit.EVENTS,
        "Partial synchronisations that were not.",
    ),
    gauge("slave_priority", f"{OWN}replication.priority", _N, "Priority of this replica at a failover; 0 is never."),
    gauge("slave_read_only", f"{OWN}replication.read_only", _N, "Whether this replica refuses writes."),
    gauge(
        "min_slaves_good_slaves",
        f"{OWN}replication.good_replicas",
        _N,
        "Replicas good enough for min-replicas-to-write.",
    ),
    gauge("replicas_waiting_psync", f"{OWN}replication.waiting_replicas", _N, "Replicas that wait to be synchronised."),
    gauge("master_link_status", f"{OWN}replication.link_up", _N, "Whether this replica is linked to its master."),
    gauge(
        "master_last_io_seconds_ago",
        f"{OWN}replication.last_io_age",
        _S,
        "Time since the master was last heard of.",
        never=_NO_LINK,
    ),
    gauge(
        "master_link_down_since_seconds",
        f"{OWN}replication.link_down_time",
        _S,
        "Time since the link to the master is down.",
        never="the link was never up",
    ),
    gauge("master_sync_in_progress", f"{OWN}replication.syncing", _N, "Whether this replica is being synchronised."),
    gauge(
        "master_sync_left_bytes",
        f"{OWN}replication.sync_left",
        _B,
        "Bytes left of the synchronisation.",
        never="the size is not known",
    ),
    gauge("master_sync_read_bytes", f"{OWN}replication.sync_read", _B, "Bytes of the synchronisation that were read."),
)

_ROLE = MetricSpec("redis.role", Kind.GAUGE, _N, "1 for the role the server has.", labels=("role",))
_REPLICA_OFFSET = MetricSpec(
    f"{OWN}replica.offset", Kind.GAUGE, _B, "Offset a replica has acknowledged.", labels=("replica",)
)
_REPLICA_BEHIND = MetricSpec(
    f"{OWN}replica.behind", Kind.GAUGE, _B, "Bytes of the stream a replica has not acknowledged.", labels=("replica",)
)
_REPLICA_LAG = MetricSpec(
    f"{OWN}replica.lag",
    Kind.GAUGE,
    _S,
    "Time since a replica's last acknowledgement, undefined before its first.",
    labels=("replica",),
    nullable=True,
)
_REPLICA_ONLINE = MetricSpec(
    f"{OWN}replica.online", Kind.GAUGE, _N, "Whether a replica follows the stream.", labels=("replica",)
)

_MAX_REPLICAS = 100


def _derive(now: Reading, before: Reading | None) -> Iterator[Sample]:
    yield from _FIELDS.derive(now, before)
    info = now.info
    role = info.fields.get("role")
    if role:
        yield sample(_ROLE, 1, role)
    ours = info.number("master_repl_offset") or 0
    lines = (value for name, value in info.starting_with("slave") if name.isdigit())
    for _, line in zip(range(_MAX_REPLICAS), lines, strict=False):
        replica = assignments(line)
        where = printable(f"{replica['ip']}:{replica['port']}")
        yield sample(_REPLICA_ONLINE, float(replica["state"] == "online"), where)
        offset = int(replica["offset"])
        yield sample(_REPLICA_OFFSET, offset, where)
        yield sample(_REPLICA_BEHIND, max(0, ours - offset), where)
        lag = number(replica["lag"])
        if lag is not None and lag >= 0:
            yield sample(_REPLICA_LAG, lag, where)
        else:
            yield undefined(_REPLICA_LAG, "it has acknowledged nothing yet", where)


_FIELDS = fields_area("replication", FIELDS)
AREA = Area(
    "replication",
    (*_FIELDS.emits, _ROLE, _REPLICA_OFFSET, _REPLICA_BEHIND, _REPLICA_LAG, _REPLICA_ONLINE),
    nothing,
    _derive,
)
