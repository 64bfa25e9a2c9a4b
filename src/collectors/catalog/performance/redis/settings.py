"""Settings that the other figures are to be read with.

Source: CONFIG GET, by name and never by ``*``, which would bring passwords along.
"""

from __future__ import annotations

from collections.abc import Iterator

from collectors.catalog.performance.redis.area import Area, Reading, pairs, printable, sample
from collectors.catalog.performance.redis.info import Info, number
from collectors.catalog.performance.redis.info_field import OWN
from collectors.drivers.redis import Command
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_VALUE = MetricSpec(
    f"{OWN}setting", Kind.GAUGE, Unit.COUNT, "A setting that is a number, in its own unit.", labels=("setting",)
)
_TEXT = MetricSpec(
    f"{OWN}setting.text", Kind.GAUGE, Unit.COUNT, "1 for the text a setting has.", labels=("setting", "value")
)
_LIMIT = MetricSpec(
    f"{OWN}setting.output_buffer_limit",
    Kind.GAUGE,
    Unit.BYTES,
    "Output a client of a class may leave unread: at once (hard), or for a time (soft).",
    labels=("class", "limit"),
)
_SECONDS = MetricSpec(
    f"{OWN}setting.output_buffer_limit_time",
    Kind.GAUGE,
    Unit.SECONDS,
    "How long a client of a class may be above its soft limit.",
    labels=("class",),
)

_LIMITS = "client-output-buffer-limit"
TEXTS = ("maxmemory-policy", "appendfsync", "appendonly", "save", "activedefrag", "protected-mode")
NUMBERS = (
    "acllog-max-len", "active-defrag-cycle-max", "active-defrag-threshold-lower", "active-expire-effort",
    "auto-aof-rewrite-min-size", "auto-aof-rewrite-percentage", "busy-reply-threshold", "client-query-buffer-limit",
    "cluster-link-sendbuf-limit", "cluster-migration-barrier", "cluster-node-timeout",
    "cluster-replica-validity-factor",
    "commandlog-execution-slower-than", "commandlog-large-reply-max-len", "commandlog-large-request-max-len",
    "commandlog-reply-larger-than", "commandlog-request-larger-than", "commandlog-slow-execution-max-len", "databases",
    "hash-max-listpack-entries", "hash-max-listpack-value", "hash-max-ziplist-entries", "hash-max-ziplist-value", "hz",
    "io-threads", "latency-monitor-threshold", "lfu-decay-time", "lfu-log-factor", "list-max-listpack-size",
    "lua-time-limit", "maxclients", "maxmemory", "maxmemory-clients", "maxmemory-eviction-tenacity",
    "maxmemory-samples", "min-replicas-max-lag", "min-replicas-to-write", "proto-max-bulk-len", "repl-backlog-size",
    "repl-backlog-ttl", "repl-diskless-sync-delay", "repl-ping-replica-period", "repl-timeout", "replica-priority",
    "set-max-intset-entries", "shutdown-timeout", "slowlog-log-slower-than", "slowlog-max-len",
    "stream-node-max-bytes", "stream-node-max-entries", "tcp-backlog", "tcp-keepalive", "timeout",
    "tracking-table-max-keys", "zset-max-listpack-entries", "zset-max-listpack-value", "zset-max-ziplist-entries",
)  # fmt: skip
_NAMES = (*NUMBERS, *TEXTS, _LIMITS)


def _asks(info: Info) -> tuple[Command, ...]:
    if info.mode == "sentinel":
        return ()
    if info.major >= 7:  # the first that takes more than one name
        return (("CONFIG", "GET", *_NAMES),)
    return tuple(("CONFIG", "GET", name) for name in _NAMES)


def _derive(now: Reading, before: Reading | None) -> Iterator[Sample]:  # noqa: ARG001  # as areas are called
    told: dict[str, str] = {}
    for command in _asks(now.info):
        told |= pairs(now.replies.get(command, []))
    for name in NUMBERS:
        value = number(told.get(name, ""))
        if value is not None:
            yield sample(_VALUE, value, name)
    for name in TEXTS:
        if name in told:
            yield sample(_TEXT, 1, name, printable(told[name]))
    words = told.get(_LIMITS, "").split()
    for kind, hard, soft, seconds in zip(*[iter(words)] * 4, strict=True):
        yield sample(_LIMIT, int(hard), kind, "hard")
        yield sample(_LIMIT, int(soft), kind, "soft")
        yield sample(_SECONDS, int(seconds), kind)


AREA = Area("settings", (_VALUE, _TEXT, _LIMIT, _SECONDS), _asks, _derive)
