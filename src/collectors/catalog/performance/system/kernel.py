"""What the kernel has in common for all: uptime, file handles, entropy.

Sources: ``/proc/uptime`` and ``/proc/sys`` as in proc(5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from collectors.catalog.performance.system.area import Area, HostFiles, Reading, sample
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_UPTIME = MetricSpec("system.uptime", Kind.GAUGE, Unit.SECONDS, "Time since the system booted.")
_FILES = MetricSpec(
    "collectors.system.file_descriptors.usage", Kind.GAUGE, Unit.COUNT, "File handles in use in the whole system."
)
_FILES_LIMIT = MetricSpec(
    "collectors.system.file_descriptors.limit", Kind.GAUGE, Unit.COUNT, "File handles the whole system may have."
)
_ENTROPY = MetricSpec(
    "collectors.system.entropy.available",
    Kind.GAUGE,
    Unit.COUNT,
    "Bits of entropy in the kernel's pool; always 256 since Linux 5.18 once it is seeded.",
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """What is read of the kernel; None for what it does not tell."""

    uptime: float | None
    files: tuple[int, int] | None
    entropy: int | None


def parse_file_nr(text: str) -> tuple[int, int]:
    """Parse ``/proc/sys/fs/file-nr``, allocated, unused and most: return how many are in use, and the most."""
    allocated, unused, most = map(int, text.split())
    return allocated - unused, most


def _read(files: HostFiles, _: Kernel | None) -> Kernel | None:
    uptime = files.proc("uptime")
    file_nr = files.proc("sys/fs/file-nr")
    entropy = files.proc("sys/kernel/random/entropy_avail")
    kernel = Kernel(
        uptime=float(uptime.split()[0]) if uptime else None,
        files=parse_file_nr(file_nr) if file_nr else None,
        entropy=int(entropy) if entropy else None,
    )
    return None if kernel == Kernel(None, None, None) else kernel


def _derive(now: Reading[Kernel], _: Reading[Kernel] | None) -> Iterator[Sample]:
    kernel = now.values
    if kernel.uptime is not None:
        yield sample(_UPTIME, kernel.uptime)
    if kernel.files is not None:
        yield sample(_FILES, kernel.files[0])
        yield sample(_FILES_LIMIT, kernel.files[1])
    if kernel.entropy is not None:
        yield sample(_ENTROPY, kernel.entropy)


AREA: Area[Kernel] = Area(name="kernel", emits=(_UPTIME, _FILES, _FILES_LIMIT, _ENTROPY), read=_read, derive=_derive)
