"""What the server's memory doctor looks at, as numbers and as its verdicts.

Sources: MEMORY STATS; the thresholds are those of MEMORY DOCTOR (``getMemoryDoctorReport`` in ``object.c``, Redis 7.0),
which answers in prose. Each verdict is 1 where the doctor would speak up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from collectors.catalog.performance.redis.area import Area, Reading, pairs, sample
from collectors.catalog.performance.redis.info import Info
from collectors.catalog.performance.redis.info_field import OWN
from collectors.drivers.redis import Command
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_VERDICT = MetricSpec(
    f"{OWN}memory.doctor",
    Kind.GAUGE,
    Unit.COUNT,
    "1 where the server's memory doctor would complain, by what it would complain of.",
    labels=("complaint",),
)
_PER_KEY = MetricSpec(f"{OWN}memory.per_key", Kind.GAUGE, Unit.BYTES, "Net memory used for a key, on average.")
_DATABASE = MetricSpec(
    f"{OWN}memory.database_overhead",
    Kind.GAUGE,
    Unit.BYTES,
    "Memory of a database's hash tables, by table.",
    labels=("db", "table"),
)

_STATS: Command = ("MEMORY", "STATS")
_MIB = 1024 * 1024
_TABLES = {"main": "overhead.hashtable.main", "expires": "overhead.hashtable.expires"}


def _asks(info: Info) -> tuple[Command, ...]:
    return (_STATS,) if info.mode != "sentinel" else ()


def _derive(now: Reading, before: Reading | None) -> Iterator[Sample]:  # noqa: ARG001  # as areas are called
    if _STATS not in now.replies:
        return
    stats = pairs(now.replies[_STATS])
    yield sample(_PER_KEY, int(stats["keys.bytes-per-key"]))
    for name, value in stats.items():
        if name.startswith("db.") and isinstance(value, list):
            tables = pairs(value)
            for table, key in _TABLES.items():
                if key in tables:
                    yield sample(_DATABASE, int(tables[key]), name.removeprefix("db."), table)
    for complaint, holds in _verdicts(stats, now.info).items():
        yield sample(_VERDICT, float(holds), complaint)


def _verdicts(stats: Mapping[str, str | int], info: Info) -> Mapping[str, bool]:
    """Judge as the doctor does; with less than 5 MiB it says no more than that the instance is empty."""
    total = int(stats["total.allocated"])
    clients = int(info.number("connected_clients") or 0)
    replicas = int(info.number("connected_slaves") or 0)
    normal = int(stats["clients.normal"]) / clients if clients else 0.0
    slaves = int(stats["clients.slaves"]) / replicas if replicas else 0.0
    resident = int(info.number("used_memory_rss") or 0)

    def above(ratio: str, limit: float, excess: str) -> bool:
        return float(stats[ratio]) > limit and int(stats[excess]) > 10 * _MIB

    worth_judging = total >= 5 * _MIB
    verdicts = {
        "peak": int(stats["peak.allocated"]) / total > 1.5 if total else False,
        "fragmentation": resident > 0 and above("fragmentation", 1.4, "fragmentation.bytes"),
        "allocator_fragmentation": above("allocator-fragmentation.ratio", 1.1, "allocator-fragmentation.bytes"),
        "allocator_resident": above("allocator-rss.ratio", 1.1, "allocator-rss.bytes"),
        "process_overhead": above("rss-overhead.ratio", 1.1, "rss-overhead.bytes"),
        "replica_buffers": slaves > 10 * _MIB,
        "client_buffers": normal > 200 * 1024,
        "scripts": (info.number("number_of_cached_scripts") or 0) > 1000,
    }
    return {"empty": not worth_judging, **{name: worth_judging and holds for name, holds in verdicts.items()}}


AREA = Area("memory_doctor", (_VERDICT, _PER_KEY, _DATABASE), _asks, _derive)
