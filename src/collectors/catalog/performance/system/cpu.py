"""CPU: time by mode and core, utilization, frequency, load, and the kernel's event counters.

Sources: ``/proc/stat``, ``/proc/loadavg`` and ``/proc/cpuinfo`` as in proc(5); ``cpufreq`` and ``topology`` of
``/sys/devices/system/cpu`` as in the kernel's ABI documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from collectors.catalog.performance.system.area import (
    NO_BASELINE,
    NO_TIME_PASSED,
    Area,
    HostFiles,
    Reading,
    sample,
    undefined,
)
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_TIME = MetricSpec(
    "system.cpu.time",
    Kind.COUNTER,
    Unit.SECONDS,
    "Seconds each logical CPU spent in each mode; user includes guests, interrupt both hard and soft ones.",
    labels=("cpu.mode", "cpu.logical_number"),
)
_UTILIZATION = MetricSpec(
    "system.cpu.utilization",
    Kind.GAUGE,
    Unit.RATIO,
    "Share of each logical CPU's time since the previous reading that it spent in each mode.",
    labels=("cpu.mode", "cpu.logical_number"),
    nullable=True,
)
_BUSY = MetricSpec(
    "collectors.system.cpu.utilization",
    Kind.GAUGE,
    Unit.RATIO,
    "Share of all CPUs' time since the previous reading that was neither idle nor waiting for input or output.",
    aliases=("cpu_usage",),
    nullable=True,
    scale=100.0,
)
_FREQUENCY = MetricSpec(
    "system.cpu.frequency",
    Kind.GAUGE,
    Unit.HERTZ,
    "Operating frequency of the logical CPU.",
    labels=("cpu.logical_number",),
)
_LOGICAL = MetricSpec("system.cpu.logical.count", Kind.GAUGE, Unit.CPUS, "Logical CPUs that are online.")
_PHYSICAL = MetricSpec("system.cpu.physical.count", Kind.GAUGE, Unit.CPUS, "Physical cores that are online.")
_LOAD = MetricSpec(
    "collectors.system.load_average",
    Kind.GAUGE,
    Unit.THREADS,
    "Threads running or in uninterruptible sleep, averaged exponentially over the window.",
    labels=("window",),
)
_CONTEXT_SWITCHES = MetricSpec(
    "collectors.system.context_switches", Kind.COUNTER, Unit.COUNT, "Context switches on all CPUs since boot."
)
_INTERRUPTS = MetricSpec(
    "collectors.system.interrupts",
    Kind.COUNTER,
    Unit.COUNT,
    "Interrupts serviced since boot, hardware ones and softirqs.",
    labels=("type",),
)
_CREATED = MetricSpec("system.process.created", Kind.COUNTER, Unit.PROCESSES, "Processes created since boot.")
_QUEUE = MetricSpec(
    "collectors.system.run_queue",
    Kind.GAUGE,
    Unit.THREADS,
    "Threads that are runnable, and threads blocked until input or output completes.",
    labels=("state",),
)
_BOOT_TIME = MetricSpec(
    "collectors.system.boot_time", Kind.GAUGE, Unit.SECONDS, "Unix time at which the system booted."
)

_MODES = ("user", "nice", "system", "idle", "iowait", "interrupt", "steal")
_IDLE = frozenset({"idle", "iowait"})
_CPU_DIRECTORY = "devices/system/cpu"
_CPUINFO_MHZ = re.compile(r"^processor\s*:\s*(\d+)|^cpu MHz\s*:\s*([\d.]+)", re.MULTILINE)

ModeTicks = tuple[int, ...]
"""Ticks in each of ``_MODES``."""


@dataclass(frozen=True, slots=True)
class Stat:
    """``/proc/stat``: ticks of all CPUs together and of each by its number, and the first number of other lines."""

    total: ModeTicks
    cores: Mapping[str, ModeTicks]
    counters: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Cpu:
    """What is read of the CPUs."""

    stat: Stat
    ticks_per_second: int
    load: tuple[float, ...]
    hertz: Mapping[str, float]
    physical: int | None


def parse_stat(text: str) -> Stat:
    """Parse ``/proc/stat``; columns that old kernels lack count as zero."""
    total: ModeTicks = ()
    cores: dict[str, ModeTicks] = {}
    counters: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        if name.startswith("cpu"):
            user, nice, system, idle, iowait, irq, softirq, steal, *_ = *map(int, rest.split()), 0, 0, 0, 0
            ticks = (user, nice, system, idle, iowait, irq + softirq, steal)
            if name == "cpu":
                total = ticks
            else:
                cores[name[3:]] = ticks
        elif rest:  # the interrupt lines go on with hundreds of numbers that add up to the first
            counters[name] = int(rest.split(" ", 1)[0])
    return Stat(total, cores, counters)


def parse_cpuinfo_hertz(text: str) -> dict[str, float]:
    """Parse the ``cpu MHz`` lines of ``/proc/cpuinfo`` into hertz by processor."""
    hertz, processor = {}, ""
    for number, megahertz in _CPUINFO_MHZ.findall(text):
        if number:
            processor = number
        else:
            hertz[processor] = float(megahertz) * 1e6
    return hertz


def shares(now: ModeTicks, before: ModeTicks) -> tuple[float, ...] | None:
    """Return the share of each mode in the time between two readings, None if there was none.

    The kernel lets idle and iowait step back a little, and a container restored elsewhere restarts at zero: a
    mode that went back counts as not having been used.
    """
    spent = [max(0, n - b) for n, b in zip(now, before, strict=True)]
    total = sum(spent)
    return tuple(s / total for s in spent) if total else None


def _read(files: HostFiles, before: Cpu | None) -> Cpu | None:
    text = files.proc("stat")
    if text is None:
        return None
    stat = parse_stat(text)
    same_cores = before is not None and before.stat.cores.keys() == stat.cores.keys()
    return Cpu(
        stat=stat,
        ticks_per_second=files.ticks_per_second,
        load=tuple(map(float, (files.proc("loadavg") or "").split()[:3])),
        hertz=_hertz(files, stat.cores),
        physical=before.physical if before is not None and same_cores else _physical_cores(files, stat.cores),
    )


def _hertz(files: HostFiles, cores: Mapping[str, ModeTicks]) -> dict[str, float]:
    hertz = {}
    for core in cores:
        text = files.sys(f"{_CPU_DIRECTORY}/cpu{core}/cpufreq/scaling_cur_freq")
        if text is None:  # virtual machines have no cpufreq, and then no core has it
            return parse_cpuinfo_hertz(files.proc("cpuinfo") or "")
        hertz[core] = int(text) * 1e3
    return hertz


def _physical_cores(files: HostFiles, cores: Mapping[str, ModeTicks]) -> int | None:
    found = set()
    for core in cores:
        package = files.sys(f"{_CPU_DIRECTORY}/cpu{core}/topology/physical_package_id")
        core_id = files.sys(f"{_CPU_DIRECTORY}/cpu{core}/topology/core_id")
        if package is None or core_id is None:
            return None
        found.add((package.strip(), core_id.strip()))
    return len(found) or None


def _derive(now: Reading[Cpu], before: Reading[Cpu] | None) -> Iterator[Sample]:
    cpu = now.values
    earlier = before.values.stat if before else None
    for core, ticks in cpu.stat.cores.items():
        for mode, value in zip(_MODES, ticks, strict=True):
            yield sample(_TIME, value / cpu.ticks_per_second, mode, core)
        if earlier is not None and core in earlier.cores:  # a core that came online has no baseline yet
            yield from _utilization(core, shares(ticks, earlier.cores[core]))
    yield _busy(cpu.stat.total, earlier)
    for core, hertz in cpu.hertz.items():
        yield sample(_FREQUENCY, hertz, core)
    yield sample(_LOGICAL, len(cpu.stat.cores))
    if cpu.physical is not None:
        yield sample(_PHYSICAL, cpu.physical)
    for window, load in zip(("1m", "5m", "15m"), cpu.load, strict=False):
        yield sample(_LOAD, load, window)
    for key, spec, labels in _COUNTERS:
        if key in cpu.stat.counters:
            yield sample(spec, cpu.stat.counters[key], *labels)


_COUNTERS: tuple[tuple[str, MetricSpec, tuple[str, ...]], ...] = (
    ("ctxt", _CONTEXT_SWITCHES, ()),
    ("intr", _INTERRUPTS, ("hardware",)),
    ("softirq", _INTERRUPTS, ("softirq",)),
    ("processes", _CREATED, ()),
    ("procs_running", _QUEUE, ("running",)),
    ("procs_blocked", _QUEUE, ("blocked",)),
    ("btime", _BOOT_TIME, ()),
)


def _utilization(core: str, share: tuple[float, ...] | None) -> Iterator[Sample]:
    for at, mode in enumerate(_MODES):
        if share is None:
            yield undefined(_UTILIZATION, NO_TIME_PASSED, mode, core)
        else:
            yield sample(_UTILIZATION, share[at], mode, core)


def _busy(total: ModeTicks, earlier: Stat | None) -> Sample:
    if earlier is None:
        return undefined(_BUSY, NO_BASELINE)
    share = shares(total, earlier.total)
    if share is None:
        return undefined(_BUSY, NO_TIME_PASSED)
    return sample(_BUSY, sum(s for mode, s in zip(_MODES, share, strict=True) if mode not in _IDLE))


AREA: Area[Cpu] = Area(
    name="cpu",
    emits=(
        _TIME,
        _UTILIZATION,
        _BUSY,
        _FREQUENCY,
        _LOGICAL,
        _PHYSICAL,
        _LOAD,
        _CONTEXT_SWITCHES,
        _INTERRUPTS,
        _CREATED,
        _QUEUE,
        _BOOT_TIME,
    ),
    read=_read,
    derive=_derive,
    expected=True,
)
