"""Keys of each database, and how often look-ups find what they look for.

Source: the sections keyspace and stats of INFO.
"""

from __future__ import annotations

from collections.abc import Iterator

from collectors.catalog.performance.redis.area import NO_BASELINE, Area, Reading, nothing, sample, undefined
from collectors.catalog.performance.redis.info import assignments
from collectors.catalog.performance.redis.info_field import OWN
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_KEYS = MetricSpec("redis.db.keys", Kind.GAUGE, Unit.COUNT, "Keys of a database.", labels=("db",))
_EXPIRES = MetricSpec(
    "redis.db.expires", Kind.GAUGE, Unit.COUNT, "Keys of a database that will expire.", labels=("db",)
)
_TTL = MetricSpec(
    "redis.db.avg_ttl",
    Kind.GAUGE,
    Unit.SECONDS,
    "Estimated mean time to live of a database's keys that will expire, undefined if there are none.",
    labels=("db",),
    nullable=True,
)
_CACHED = MetricSpec(
    f"{OWN}db.cached", Kind.GAUGE, Unit.COUNT, "Keys of a KeyDB's database that are in memory.", labels=("db",)
)
_HIT_RATIO = MetricSpec(
    f"{OWN}keyspace.hit_ratio",
    Kind.GAUGE,
    Unit.RATIO,
    "Share of the look-ups since the previous reading that found their key, undefined if there were none.",
    aliases=("hit_rate",),
    nullable=True,
    scale=100.0,
)
_FILLED = MetricSpec(
    f"{OWN}memory.utilization",
    Kind.GAUGE,
    Unit.RATIO,
    "Memory used for a byte of maxmemory, undefined without a limit.",
    aliases=("memory_usage",),
    nullable=True,
    scale=100.0,
)
_CLIENTS_FILLED = MetricSpec(
    f"{OWN}clients.utilization",
    Kind.GAUGE,
    Unit.RATIO,
    "Connected clients for each that may be connected, undefined if the limit is not told.",
    aliases=("client_usage",),
    nullable=True,
    scale=100.0,
)


def _derive(now: Reading, before: Reading | None) -> Iterator[Sample]:
    info = now.info
    for name, text in info.starting_with("db"):
        if not name.isdigit():
            continue
        counts = assignments(text)
        expiring = int(counts["expires"])
        yield sample(_KEYS, int(counts["keys"]), name)
        yield sample(_EXPIRES, expiring, name)
        if expiring:
            yield sample(_TTL, int(counts["avg_ttl"]) * 1e-3, name)
        else:
            yield undefined(_TTL, "no key of this database will expire", name)
        if "cached_keys" in counts:
            yield sample(_CACHED, int(counts["cached_keys"]), name)
    if "keyspace_hits" in info.fields:
        yield _hit_ratio(now, before)
    used, limit = info.number("used_memory"), info.number("maxmemory")
    if used is not None:
        yield sample(_FILLED, used / limit) if limit else undefined(_FILLED, "there is no maxmemory")
    clients, most = info.number("connected_clients"), info.number("maxclients")
    if clients is not None:
        yield sample(_CLIENTS_FILLED, clients / most) if most else undefined(_CLIENTS_FILLED, "maxclients is not told")


def _hit_ratio(now: Reading, before: Reading | None) -> Sample:
    if before is None:
        return undefined(_HIT_RATIO, NO_BASELINE)
    hits, misses = (
        max(0.0, (now.info.number(name) or 0) - (before.info.number(name) or 0))
        for name in ("keyspace_hits", "keyspace_misses")
    )
    if not hits + misses:
        return undefined(_HIT_RATIO, "nothing was looked up since the previous reading")
    return sample(_HIT_RATIO, hits / (hits + misses))


AREA = Area("keyspace", (_KEYS, _EXPIRES, _TTL, _CACHED, _HIT_RATIO, _FILLED, _CLIENTS_FILLED), nothing, _derive)
