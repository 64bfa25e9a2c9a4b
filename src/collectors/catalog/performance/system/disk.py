"""Disks: bytes, operations, merges and time by device and direction.

Source: ``/proc/diskstats`` as in the kernel's ``Documentation/admin-guide/iostats.rst``; a sector is 512 bytes
whatever the device's own is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from collectors.catalog.performance.system.area import Area, HostFiles, Reading, sample
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_BY_DIRECTION = ("system.device", "disk.io.direction")
_IO = MetricSpec(
    "system.disk.io", Kind.COUNTER, Unit.BYTES, "Bytes read from and written to the disk.", labels=_BY_DIRECTION
)
_OPERATIONS = MetricSpec(
    "system.disk.operations", Kind.COUNTER, Unit.OPERATIONS, "Reads and writes completed.", labels=_BY_DIRECTION
)
_MERGED = MetricSpec(
    "system.disk.merged",
    Kind.COUNTER,
    Unit.OPERATIONS,
    "Reads and writes that were merged into a neighbouring one.",
    labels=_BY_DIRECTION,
)
_OPERATION_TIME = MetricSpec(
    "system.disk.operation_time",
    Kind.COUNTER,
    Unit.SECONDS,
    "Time each operation took, added up, so that parallel ones count each.",
    labels=_BY_DIRECTION,
)
_IO_TIME = MetricSpec(
    "system.disk.io_time",
    Kind.COUNTER,
    Unit.SECONDS,
    "Time in which the disk had any operation under way.",
    labels=("system.device",),
)
_IN_FLIGHT = MetricSpec(
    "collectors.system.disk.pending",
    Kind.GAUGE,
    Unit.OPERATIONS,
    "Operations under way or queued at the disk.",
    labels=("system.device",),
)

_SECTOR = 512

EXCLUDED = re.compile(r"(loop|ram|zram|fd|sr)\d+|([hs]|v|xv)d[a-z]+\d+|(nvme\d+n|mmcblk)\d+p\d+")
"""Devices that are no disk of their own: virtual ones, floppies, optical drives and partitions."""

Disks = Mapping[str, tuple[int, ...]]
"""The counters after the device's name, by device."""


def parse_diskstats(text: str) -> Disks:
    """Parse ``/proc/diskstats``: major, minor, name, then at least 11 counters."""
    rows = (line.split() for line in text.splitlines())
    return {row[2]: tuple(map(int, row[3:14])) for row in rows if not EXCLUDED.fullmatch(row[2])}


def _read(files: HostFiles, _: Disks | None) -> Disks | None:
    text = files.proc("diskstats")
    return None if text is None else parse_diskstats(text)


def _derive(now: Reading[Disks], _: Reading[Disks] | None) -> Iterator[Sample]:
    for device, counters in now.values.items():
        for direction, (done, merged, sectors, took_ms) in (("read", counters[0:4]), ("write", counters[4:8])):
            yield sample(_IO, sectors * _SECTOR, device, direction)
            yield sample(_OPERATIONS, done, device, direction)
            yield sample(_MERGED, merged, device, direction)
            yield sample(_OPERATION_TIME, took_ms / 1000, device, direction)
        yield sample(_IN_FLIGHT, counters[8], device)
        yield sample(_IO_TIME, counters[9] / 1000, device)


AREA: Area[Disks] = Area(
    name="disk",
    emits=(_IO, _OPERATIONS, _MERGED, _OPERATION_TIME, _IO_TIME, _IN_FLIGHT),
    read=_read,
    derive=_derive,
)
