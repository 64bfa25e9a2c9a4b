"""Filesystems: room and inodes by mount point.

Sources: ``/proc/self/mountinfo`` as in proc(5) says what is mounted, ``statvfs`` how full it is. This is no
``Area``: a dead network mount never answers ``statvfs``, so the asking has a deadline and happens elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from collectors.catalog.performance.system.area import sample, unescaped
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_LABELS = ("system.device", "system.filesystem.type", "system.filesystem.mode", "system.filesystem.mountpoint")
_LIMIT = MetricSpec("system.filesystem.limit", Kind.GAUGE, Unit.BYTES, "Size of the filesystem.", labels=_LABELS)
_USAGE = MetricSpec(
    "system.filesystem.usage",
    Kind.GAUGE,
    Unit.BYTES,
    "Room by state; used, free and reserved for root add up to the size.",
    labels=(*_LABELS, "system.filesystem.state"),
)
_UTILIZATION = MetricSpec(
    "system.filesystem.utilization",
    Kind.GAUGE,
    Unit.RATIO,
    "Share of the filesystem's size in each state.",
    labels=(*_LABELS, "system.filesystem.state"),
)
_FULL = MetricSpec(
    "collectors.system.filesystem.utilization",
    Kind.GAUGE,
    Unit.RATIO,
    "Used room as a share of what ordinary users may use, as df shows it.",
    labels=("system.filesystem.mountpoint",),
    aliases=("disk_usage",),
    scale=100.0,
)
_INODES = MetricSpec(
    "collectors.system.filesystem.inodes",
    Kind.GAUGE,
    Unit.COUNT,
    "Inodes by state; filesystems that make them on demand report none.",
    labels=("system.filesystem.mountpoint", "system.filesystem.state"),
)
EMITS = (_LIMIT, _USAGE, _UTILIZATION, _FULL, _INODES)

PSEUDO = frozenset((
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "fuse.lxcfs", "fusectl", "hugetlbfs", "iso9660", "mqueue", "nsfs", "proc", "pstore", "ramfs", "rpc_pipefs",
    "securityfs", "selinuxfs", "squashfs", "sysfs", "tmpfs", "tracefs",
))  # fmt: skip
"""Types that hold no data on a disk, and images that are always full."""


class Room(Protocol):
    """Bytes and inodes of a filesystem, as ``statvfs`` tells them."""

    @property
    def used(self) -> int: ...
    @property
    def free(self) -> int: ...
    @property
    def reserved(self) -> int: ...
    @property
    def inodes_used(self) -> int: ...
    @property
    def inodes_free(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted filesystem; ``mode`` is ``rw`` or ``ro``."""

    mountpoint: str
    device: str
    type: str
    mode: str


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Parse ``/proc/self/mountinfo`` into the real filesystems, each once, at its shortest mount point.

    A filesystem that is mounted several times, as a container's volumes and its ``/etc/hosts`` are, is told by
    its device number. An overlay counts only as root: that is a container's own disk.
    """
    found: dict[str, Mount] = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        _, _, number, _, mountpoint, options, *_ = left.split(" ")
        kind, device, *_ = right.split(" ")
        mountpoint = unescaped(mountpoint)
        if kind in PSEUDO or (kind == "overlay" and mountpoint != "/"):
            continue
        if number not in found or len(mountpoint) < len(found[number].mountpoint):
            found[number] = Mount(mountpoint, unescaped(device), kind, options.split(",", 1)[0])
    return tuple(found.values())


def derive(mount: Mount, room: Room) -> Iterator[Sample]:
    """Make the samples of one filesystem."""
    labels = (mount.device, mount.type, mount.mode, mount.mountpoint)
    size = room.used + room.free + room.reserved
    yield sample(_LIMIT, size, *labels)
    for state, value in (("used", room.used), ("free", room.free), ("reserved", room.reserved)):
        yield sample(_USAGE, value, *labels, state)
        if size:
            yield sample(_UTILIZATION, value / size, *labels, state)
    if room.used + room.free:
        yield sample(_FULL, room.used / (room.used + room.free), mount.mountpoint)
    if room.inodes_used + room.inodes_free:
        yield sample(_INODES, room.inodes_used, mount.mountpoint, "used")
        yield sample(_INODES, room.inodes_free, mount.mountpoint, "free")
