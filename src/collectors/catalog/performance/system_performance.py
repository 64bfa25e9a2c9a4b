"""CPU, memory, disks, filesystems, network, processes, pressure and limits of the Linux host or container."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from collectors.catalog.performance.system import (
    cgroup,
    cpu,
    disk,
    filesystem,
    kernel,
    memory,
    network,
    pressure,
    process,
)
from collectors.catalog.performance.system.area import Area, Reading
from collectors.config.collector import CollectorConfig
from collectors.contract.collector import Sampling
from collectors.contract.example import Example
from collectors.drivers.procfs import Procfs
from collectors.errors import CollectorsError, LifecycleError, SourceUnavailable
from collectors.model.metric import Collection, Issue, Sample, Window
from collectors.model.status import Stability

_FIXED_AREAS: tuple[Area[Any], ...] = (
    cpu.AREA,
    memory.AREA,
    pressure.AREA,
    disk.AREA,
    network.AREA,
    kernel.AREA,
    cgroup.AREA,
)

_SMALL_HOST = {
    "proc/stat": "cpu  400 0 100 500 0 0 0 0 0 0\ncpu0 400 0 100 500 0 0 0 0 0 0\nbtime 1770000000\nctxt 12\n",
    "proc/meminfo": "MemTotal: 1000 kB\nMemFree: 250 kB\nMemAvailable: 500 kB\nBuffers: 10 kB\nCached: 200 kB\n",
    "proc/loadavg": "0.50 0.25 0.10 1/80 4242\n",
    "proc/self/mountinfo": "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n",
    "proc/self/cgroup": "0::/\n",
}


class SystemPerformanceConfig(CollectorConfig):
    """How the host is looked at."""

    top_processes: int = Field(default=10, ge=0, le=100)
    """Commands reported by CPU and by memory; 0 leaves processes out, which saves a file read for each."""

    filesystem_timeout_seconds: float = Field(default=2.0, gt=0)
    """How long a filesystem may take to say how full it is, before it is reported as an issue."""


class SystemPerformanceCollector(Sampling[SystemPerformanceConfig]):
    """Report CPU, memory, disk, network, process, pressure and cgroup state of the Linux host or container.

    Metrics are named by OpenTelemetry's semantic conventions, and ``collectors.system.*`` or
    ``collectors.container.*`` where these have none. The aliases ``cpu_usage``, ``memory_usage`` and
    ``disk_usage`` stand for metrics of their own, because a threshold is compared with every sample of a metric
    and a core that is 95 % idle is no alarm: all CPUs together, memory as a whole, and each filesystem by itself.

    What a kernel or container lacks is left out; a file that may not be read, cannot be parsed, or a filesystem
    that does not answer, becomes an issue. Ratios over time compare with the previous reading, the first of which
    ``open`` takes. Counters are passed on as the kernel keeps them; after a reset a ratio counts from zero.
    """

    name: ClassVar[str] = "system_performance"
    Config = SystemPerformanceConfig
    stability = Stability.BETA
    emits = (*(spec for area in _FIXED_AREAS for spec in area.emits), *process.EMITS, *filesystem.EMITS)

    _files: Procfs | None = None
    _areas: tuple[Area[Any], ...] = ()
    _before: dict[str, Reading[Any]]

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example("small_host", files=_SMALL_HOST)
        yield Example("without_processes", {"top_processes": 0}, files=_SMALL_HOST)
        yield Example("not_linux", fails=SourceUnavailable)

    @classmethod
    def recorded(cls, folder: Path) -> Mapping[str, Any]:
        """Return a reader of the kernel's files under ``folder``; each filesystem has 100 blocks, 40 of them used."""
        room = os.statvfs_result((4096, 4096, 100, 60, 50, 1000, 900, 900, 0, 255))
        roots = (str(folder / "proc"), str(folder / "sys"), str(folder / "sys/fs/cgroup"))
        return {"procfs": Procfs(*roots, statvfs=lambda _: room, ticks_per_second=100, page_size=4096)}

    async def open(self) -> None:
        top = self.config.top_processes
        self._areas = (*_FIXED_AREAS, process.area(top)) if top else _FIXED_AREAS
        self._files = self.context.drivers.get("procfs") or Procfs()
        self._before = {}
        self._before, _ = await self._files.run(self._read)

    async def collect(self, window: Window) -> Collection:  # noqa: ARG002  # the kernel only knows the present
        files = self._opened()
        now, issues = await files.run(self._read)
        if not now:
            raise SourceUnavailable("nothing of /proc and /sys can be read; this collector needs a Linux host")
        samples: list[Sample] = []
        for area in self._areas:
            if area.name in now:
                try:
                    samples += tuple(area.derive(now[area.name], self._before.get(area.name)))
                except (ValueError, LookupError):
                    issues.append(_malformed(area.name))
        self._before = now
        room, unanswered = await self._filesystems(files)
        return Collection(samples=(*samples, *room), issues=(*issues, *unanswered))

    async def close(self) -> None:
        files, self._files = self._files, None
        if files is not None:
            await files.close()

    def _opened(self) -> Procfs:
        if self._files is None:
            raise LifecycleError("open system_performance before collecting from it")
        return self._files

    def _read(self) -> tuple[dict[str, Reading[Any]], list[Issue]]:
        """Read every area; runs in a thread, so that a slow kernel file holds nobody up."""
        files, readings, issues = self._opened(), {}, []
        for area in self._areas:
            before = self._before.get(area.name)
            try:
                values = area.read(files, before.values if before else None)
            except CollectorsError as error:
                issues.append(Issue(error.code, str(error), area.name))
            except (ValueError, LookupError):
                issues.append(_malformed(area.name))
            else:
                if values is not None:
                    readings[area.name] = Reading(values, self.context.clock.monotonic())
                elif area.expected:
                    issues.append(Issue("absent", "this host does not show it", area.name))
        return readings, issues

    async def _filesystems(self, files: Procfs) -> tuple[list[Sample], list[Issue]]:
        try:
            mounts = filesystem.parse_mountinfo(files.proc("self/mountinfo") or "")
        except CollectorsError as error:
            return [], [Issue(error.code, str(error), "filesystem")]
        except ValueError:
            return [], [Issue("malformed", "mountinfo is not what its manual says", "filesystem")]
        rooms = await files.spaces([m.mountpoint for m in mounts], self.config.filesystem_timeout_seconds)
        samples: list[Sample] = []
        issues: list[Issue] = []
        for mount in mounts:
            room = rooms[mount.mountpoint]
            if isinstance(room, CollectorsError):
                issues.append(Issue(room.code, str(room), mount.mountpoint))
            else:
                samples += filesystem.derive(mount, room)
        return samples, issues


def _malformed(area: str) -> Issue:
    return Issue("malformed", "the kernel's text is not what its manual says", area)


if __name__ == "__main__":
    from collectors.catalog.show import show

    show(SystemPerformanceCollector())
