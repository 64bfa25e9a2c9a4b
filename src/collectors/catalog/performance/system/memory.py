"""Memory, huge pages, slab, paging and swap.

Sources: ``/proc/meminfo``, ``/proc/vmstat`` and ``/proc/swaps`` as in proc(5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from collectors.catalog.performance.system.area import Area, HostFiles, Reading, numbers, sample, undefined, unescaped
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_LIMIT = MetricSpec("system.memory.limit", Kind.GAUGE, Unit.BYTES, "Memory of the system.")
_USAGE = MetricSpec(
    "system.memory.usage",
    Kind.GAUGE,
    Unit.BYTES,
    "Memory by state; used is what is not available to new programs, so that the states overlap.",
    labels=("system.memory.state",),
)
_UTILIZATION = MetricSpec(
    "system.memory.utilization",
    Kind.GAUGE,
    Unit.RATIO,
    "Share of memory in each state.",
    labels=("system.memory.state",),
)
_USED = MetricSpec(
    "collectors.system.memory.utilization",
    Kind.GAUGE,
    Unit.RATIO,
    "Share of memory that is not available to new programs.",
    aliases=("memory_usage",),
    scale=100.0,
)
_AVAILABLE = MetricSpec(
    "system.memory.linux.available",
    Kind.GAUGE,
    Unit.BYTES,
    "Estimate of the memory that new programs could have without swapping.",
)
_SHARED = MetricSpec("system.memory.linux.shared", Kind.GAUGE, Unit.BYTES, "Shared memory, mostly of tmpfs.")
_SLAB = MetricSpec(
    "system.memory.linux.slab.usage",
    Kind.GAUGE,
    Unit.BYTES,
    "Memory in which the kernel caches its objects.",
    labels=("system.memory.linux.slab.state",),
)
_COMMITTED = MetricSpec(
    "collectors.system.memory.committed",
    Kind.GAUGE,
    Unit.BYTES,
    "Memory promised to programs, whether they use it or not.",
)
_COMMIT_LIMIT = MetricSpec(
    "collectors.system.memory.commit_limit", Kind.GAUGE, Unit.BYTES, "Memory that strict overcommitment may promise."
)
_UNWRITTEN = MetricSpec(
    "collectors.system.memory.unwritten",
    Kind.GAUGE,
    Unit.BYTES,
    "File data not yet on disk: dirty waits to be written, writeback is being written.",
    labels=("state",),
)
_HUGE_LIMIT = MetricSpec("system.memory.linux.hugepages.limit", Kind.GAUGE, Unit.PAGES, "Huge pages in the pool.")
_HUGE_SIZE = MetricSpec("system.memory.linux.hugepages.page_size", Kind.GAUGE, Unit.BYTES, "Size of a huge page.")
_HUGE_RESERVED = MetricSpec(
    "system.memory.linux.hugepages.reserved", Kind.GAUGE, Unit.PAGES, "Huge pages promised but not yet allocated."
)
_HUGE_SURPLUS = MetricSpec(
    "system.memory.linux.hugepages.surplus", Kind.GAUGE, Unit.PAGES, "Huge pages above the persistent pool."
)
_HUGE_USAGE = MetricSpec(
    "system.memory.linux.hugepages.usage",
    Kind.GAUGE,
    Unit.PAGES,
    "Huge pages by state.",
    labels=("system.memory.linux.hugepages.state",),
)
_HUGE_UTILIZATION = MetricSpec(
    "system.memory.linux.hugepages.utilization",
    Kind.GAUGE,
    Unit.RATIO,
    "Share of the huge pages in each state, undefined without a pool.",
    labels=("system.memory.linux.hugepages.state",),
    nullable=True,
)
_SWAP_USAGE = MetricSpec(
    "system.paging.usage",
    Kind.GAUGE,
    Unit.BYTES,
    "Swap space by device and state.",
    labels=("system.device", "system.paging.state"),
)
_SWAP_UTILIZATION = MetricSpec(
    "system.paging.utilization",
    Kind.GAUGE,
    Unit.RATIO,
    "Share of swap space in each state by device.",
    labels=("system.device", "system.paging.state"),
)
_FAULTS = MetricSpec(
    "system.paging.faults",
    Kind.COUNTER,
    Unit.FAULTS,
    "Page faults since boot; a major one waited for a disk.",
    labels=("system.paging.fault.type",),
)
_OPERATIONS = MetricSpec(
    "system.paging.operations",
    Kind.COUNTER,
    Unit.OPERATIONS,
    "Pages swapped in and out since boot.",
    labels=("system.paging.direction",),
)
_OOM_KILLS = MetricSpec(
    "collectors.system.memory.oom_kills",
    Kind.COUNTER,
    Unit.PROCESSES,
    "Processes killed since boot because memory ran out, in the whole system.",
)

_BYTES: tuple[tuple[str, MetricSpec, tuple[str, ...]], ...] = (
    ("MemAvailable", _AVAILABLE, ()),
    ("Shmem", _SHARED, ()),
    ("SReclaimable", _SLAB, ("reclaimable",)),
    ("SUnreclaim", _SLAB, ("unreclaimable",)),
    ("Committed_AS", _COMMITTED, ()),
    ("CommitLimit", _COMMIT_LIMIT, ()),
    ("Dirty", _UNWRITTEN, ("dirty",)),
    ("Writeback", _UNWRITTEN, ("writeback",)),
    ("Hugepagesize", _HUGE_SIZE, ()),
    ("HugePages_Total", _HUGE_LIMIT, ()),
    ("HugePages_Rsvd", _HUGE_RESERVED, ()),
    ("HugePages_Surp", _HUGE_SURPLUS, ()),
)


@dataclass(frozen=True, slots=True)
class Swap:
    """A swap device or file, in bytes."""

    device: str
    size: int
    used: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What is read of memory: ``info`` in bytes (HugePages lines in pages), ``vm`` in the kernel's units."""

    info: Mapping[str, int]
    vm: Mapping[str, int]
    swaps: tuple[Swap, ...]


def parse_meminfo(text: str) -> dict[str, int]:
    """Parse ``/proc/meminfo``: bytes, and counts where the line has no unit."""
    values = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        number, _, unit = rest.strip().partition(" ")
        values[name] = int(number) * (1024 if unit == "kB" else 1)
    return values


def parse_swaps(text: str) -> tuple[Swap, ...]:
    """Parse ``/proc/swaps``: a heading, then name, type, size and use in KiB, priority."""
    rows = (line.rsplit(None, 4) for line in text.splitlines()[1:])
    return tuple(Swap(unescaped(row[0]), int(row[2]) * 1024, int(row[3]) * 1024) for row in rows)


def _read(files: HostFiles, _: Memory | None) -> Memory | None:
    text = files.proc("meminfo")
    if text is None:
        return None
    return Memory(parse_meminfo(text), numbers(files.proc("vmstat") or ""), parse_swaps(files.proc("swaps") or ""))


def _derive(now: Reading[Memory], _: Reading[Memory] | None) -> Iterator[Sample]:
    info, vm = now.values.info, now.values.vm
    total = info["MemTotal"]
    free, buffers, cached = (info.get(key, 0) for key in ("MemFree", "Buffers", "Cached"))
    # Kernels before 3.14 do not estimate what is available; this is what was used before.
    available = info.get("MemAvailable", free + buffers + cached + info.get("SReclaimable", 0))
    yield sample(_LIMIT, total)
    for state, value in (("used", total - available), ("free", free), ("buffers", buffers), ("cached", cached)):
        yield sample(_USAGE, value, state)
        yield sample(_UTILIZATION, value / total, state)
    yield sample(_USED, (total - available) / total)
    for key, spec, labels in _BYTES:
        if key in info:
            yield sample(spec, info[key], *labels)
    yield from _huge_pages(info)
    for swap in now.values.swaps:
        for state, value in (("used", swap.used), ("free", swap.size - swap.used)):
            yield sample(_SWAP_USAGE, value, swap.device, state)
            if swap.size:
                yield sample(_SWAP_UTILIZATION, value / swap.size, swap.device, state)
    if "pgfault" in vm and "pgmajfault" in vm:
        yield sample(_FAULTS, vm["pgmajfault"], "major")
        yield sample(_FAULTS, vm["pgfault"] - vm["pgmajfault"], "minor")
    for key, spec, labels in _VMSTAT:
        if key in vm:
            yield sample(spec, vm[key], *labels)


_VMSTAT: tuple[tuple[str, MetricSpec, tuple[str, ...]], ...] = (
    ("pswpin", _OPERATIONS, ("in",)),
    ("pswpout", _OPERATIONS, ("out",)),
    ("oom_kill", _OOM_KILLS, ()),
)


def _huge_pages(info: Mapping[str, int]) -> Iterator[Sample]:
    if "HugePages_Total" not in info:
        return
    total, free = info["HugePages_Total"], info["HugePages_Free"]
    for state, pages in (("used", total - free), ("free", free)):
        yield sample(_HUGE_USAGE, pages, state)
        if total:
            yield sample(_HUGE_UTILIZATION, pages / total, state)
        else:
            yield undefined(_HUGE_UTILIZATION, "the pool of huge pages is empty", state)


AREA: Area[Memory] = Area(
    name="memory",
    emits=(
        _LIMIT,
        _USAGE,
        _UTILIZATION,
        _USED,
        _AVAILABLE,
        _SHARED,
        _SLAB,
        _COMMITTED,
        _COMMIT_LIMIT,
        _UNWRITTEN,
        _HUGE_LIMIT,
        _HUGE_SIZE,
        _HUGE_RESERVED,
        _HUGE_SURPLUS,
        _HUGE_USAGE,
        _HUGE_UTILIZATION,
        _SWAP_USAGE,
        _SWAP_UTILIZATION,
        _FAULTS,
        _OPERATIONS,
        _OOM_KILLS,
    ),
    read=_read,
    derive=_derive,
    expected=True,
)
