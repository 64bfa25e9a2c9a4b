"""The control group this process runs in, hence its container's limits, usage, throttling and OOM kills.

Sources: the kernel's ``Documentation/admin-guide/cgroup-v2.rst`` and ``cgroup-v1/``. ``/proc/self/cgroup`` says
which group it is; inside a container its path may be the host's and not exist, and then the mounted root is the
group. A limit is the tightest one on the way up to the root.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from posixpath import dirname

from collectors.catalog.performance.system.area import (
    NO_BASELINE,
    NO_TIME_PASSED,
    Area,
    HostFiles,
    Reading,
    grown,
    numbers,
    sample,
    undefined,
)
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_CPU_TIME = MetricSpec(
    "container.cpu.time",
    Kind.COUNTER,
    Unit.SECONDS,
    "CPU time of the collector's control group.",
    labels=("cpu.mode",),
)
_CPU_USAGE = MetricSpec(
    "container.cpu.usage",
    Kind.GAUGE,
    Unit.CPUS,
    "CPUs that the collector's control group kept busy since the previous reading.",
    nullable=True,
)
_CPU_LIMIT = MetricSpec(
    "collectors.container.cpu.limit",
    Kind.GAUGE,
    Unit.CPUS,
    "CPUs that the control group may keep busy, by its quota; to be read next to system.cpu.logical.count.",
    nullable=True,
)
_PERIODS = MetricSpec(
    "collectors.container.cpu.periods",
    Kind.COUNTER,
    Unit.COUNT,
    "Scheduling periods in which the control group ran under a quota, and those in which it was throttled.",
    labels=("state",),
)
_THROTTLED = MetricSpec(
    "collectors.container.cpu.throttled_time",
    Kind.COUNTER,
    Unit.SECONDS,
    "Time in which the control group was throttled by its CPU quota.",
)
_MEMORY_USAGE = MetricSpec(
    "container.memory.usage", Kind.GAUGE, Unit.BYTES, "Memory charged to the control group, page cache included."
)
_MEMORY_WORKING_SET = MetricSpec(
    "container.memory.working_set",
    Kind.GAUGE,
    Unit.BYTES,
    "Memory charged to the control group without the file pages it could give back first.",
)
_MEMORY_RSS = MetricSpec(
    "container.memory.rss", Kind.GAUGE, Unit.BYTES, "Anonymous memory charged to the control group."
)
_MEMORY_LIMIT = MetricSpec(
    "collectors.container.memory.limit",
    Kind.GAUGE,
    Unit.BYTES,
    "Memory that the control group may have; to be read next to system.memory.limit.",
    nullable=True,
)
_MEMORY_UTILIZATION = MetricSpec(
    "collectors.container.memory.utilization",
    Kind.GAUGE,
    Unit.RATIO,
    "Working set as a share of the control group's memory limit.",
    nullable=True,
)
_OOM_KILLS = MetricSpec(
    "collectors.container.memory.oom_kills",
    Kind.COUNTER,
    Unit.PROCESSES,
    "Processes of the control group killed because its memory ran out.",
)
_PROCESSES = MetricSpec("collectors.container.threads.usage", Kind.GAUGE, Unit.THREADS, "Threads in the control group.")
_PROCESSES_LIMIT = MetricSpec(
    "collectors.container.threads.limit",
    Kind.GAUGE,
    Unit.THREADS,
    "Threads that the control group may have.",
    nullable=True,
)

_NO_LIMIT = "no limit is set"
_NOT_ACCOUNTED = "the control group does not account for it"
_V1_UNLIMITED = 1 << 62
"""Version 1 writes no limit as the largest signed integer, rounded down to a page."""


@dataclass(frozen=True, slots=True)
class Group:
    """What is read of a control group of either version; None for what it does not tell, or has no limit of.

    Times in seconds, memory in bytes, ``cpu_limit`` in CPUs.
    """

    cpu_user: float | None = None
    cpu_system: float | None = None
    cpu_limit: float | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    throttled_s: float | None = None
    memory: int | None = None
    memory_limit: int | None = None
    working_set: int | None = None
    rss: int | None = None
    oom_kills: int | None = None
    threads: int | None = None
    threads_limit: int | None = None


def parse_membership(text: str) -> dict[str, str]:
    """Parse ``/proc/self/cgroup``: paths by controller of version 1, and that of version 2 under the empty name."""
    paths = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def parse_cpu_max(text: str) -> float | None:
    """Parse ``cpu.max``, quota and period in microseconds, into CPUs; None if there is no quota."""
    quota, _, period = text.partition(" ")
    return None if quota == "max" else int(quota) / int(period)


def parse_limit(text: str) -> int | None:
    """Parse a limit of either version; None if there is none."""
    value = text.strip()
    return None if value == "max" or int(value) >= _V1_UNLIMITED else int(value)


def _read(files: HostFiles, _: Group | None) -> Group | None:
    paths = parse_membership(files.proc("self/cgroup") or "")
    if files.cgroup("cgroup.controllers") is not None:
        group = _version_2(files, paths.get("", "/"))
    else:
        group = _version_1(files, paths)
    return None if group == Group() else group


def _version_2(files: HostFiles, path: str) -> Group:
    at = _visible(files, path.strip("/"), "cgroup.controllers", otherwise="")
    cpu = numbers(files.cgroup(f"{at}/cpu.stat") or "")
    usage = files.cgroup(f"{at}/memory.current")
    stat = numbers(files.cgroup(f"{at}/memory.stat") or "")
    threads = files.cgroup(f"{at}/pids.current")
    return Group(
        cpu_user=_scaled(cpu.get("user_usec"), 1e6),
        cpu_system=_scaled(cpu.get("system_usec"), 1e6),
        cpu_limit=min((v for text in _upwards(files, at, "cpu.max") if (v := parse_cpu_max(text))), default=None),
        periods=cpu.get("nr_periods"),
        throttled_periods=cpu.get("nr_throttled"),
        throttled_s=_scaled(cpu.get("throttled_usec"), 1e6),
        memory=int(usage) if usage else None,
        memory_limit=_tightest(files, at, "memory.max"),
        working_set=_working_set(usage, stat.get("inactive_file")),
        rss=stat.get("anon") if usage else None,
        oom_kills=numbers(files.cgroup(f"{at}/memory.events") or "").get("oom_kill"),
        threads=int(threads) if threads else None,
        threads_limit=_tightest(files, at, "pids.max"),
    )


def _version_1(files: HostFiles, paths: Mapping[str, str]) -> Group:
    cpu = _directory(files, "cpu", paths, "cpu.shares")
    accounting = _directory(files, "cpuacct", paths, "cpuacct.usage")
    memory = _directory(files, "memory", paths, "memory.usage_in_bytes")
    pids = _directory(files, "pids", paths, "pids.current")
    times = numbers(files.cgroup(f"{accounting}/cpuacct.stat") or "")
    throttling = numbers(files.cgroup(f"{cpu}/cpu.stat") or "")
    usage = files.cgroup(f"{memory}/memory.usage_in_bytes")
    limit = files.cgroup(f"{memory}/memory.limit_in_bytes")
    stat = numbers(files.cgroup(f"{memory}/memory.stat") or "")
    limits = [parse_limit(limit) if limit else None, stat.get("hierarchical_memory_limit")]
    threads = files.cgroup(f"{pids}/pids.current")
    return Group(
        cpu_user=_scaled(times.get("user"), files.ticks_per_second),
        cpu_system=_scaled(times.get("system"), files.ticks_per_second),
        cpu_limit=min(_version_1_quotas(files, cpu), default=None),
        periods=throttling.get("nr_periods"),
        throttled_periods=throttling.get("nr_throttled"),
        throttled_s=_scaled(throttling.get("throttled_time"), 1e9),
        memory=int(usage) if usage else None,
        memory_limit=min((v for v in limits if v is not None and v < _V1_UNLIMITED), default=None),
        working_set=_working_set(usage, stat.get("total_inactive_file")),
        rss=stat.get("total_rss"),
        oom_kills=numbers(files.cgroup(f"{memory}/memory.oom_control") or "").get("oom_kill"),
        threads=int(threads) if threads else None,
        threads_limit=_tightest(files, pids, "pids.max"),
    )


def _directory(files: HostFiles, controller: str, paths: Mapping[str, str], file: str) -> str:
    """Return where a controller of version 1 keeps this process's group, as far as it can be seen."""
    own = f"{controller}/{paths.get(controller, '/').strip('/')}".rstrip("/")
    return _visible(files, own, file, otherwise=controller)


def _visible(files: HostFiles, at: str, file: str, *, otherwise: str) -> str:
    """Return ``at`` if it has the file and lies below the root: a path outside our namespace begins with ``..``."""
    return at if ".." not in at.split("/") and files.cgroup(f"{at}/{file}") is not None else otherwise


def _upwards(files: HostFiles, at: str, file: str) -> Iterator[str]:
    """Yield the texts of a file in the group and in every group above it."""
    while True:
        text = files.cgroup(f"{at}/{file}")
        if text is not None:
            yield text
        if not at:
            return
        at = dirname(at)


def _tightest(files: HostFiles, at: str, file: str) -> int | None:
    limits = (parse_limit(text) for text in _upwards(files, at, file))
    return min((limit for limit in limits if limit is not None), default=None)


def _version_1_quotas(files: HostFiles, at: str) -> Iterator[float]:
    quotas = _upwards(files, at, "cpu.cfs_quota_us")
    periods = _upwards(files, at, "cpu.cfs_period_us")
    for quota, period in zip(quotas, periods, strict=False):
        if int(quota) > 0:  # -1 is no quota
            yield int(quota) / int(period)


def _scaled(value: int | None, by: float) -> float | None:
    return None if value is None else value / by


def _working_set(usage: str | None, inactive_file: int | None) -> int | None:
    return None if usage is None or inactive_file is None else max(0, int(usage) - inactive_file)


def _derive(now: Reading[Group], before: Reading[Group] | None) -> Iterator[Sample]:
    group = now.values
    for mode, seconds in (("user", group.cpu_user), ("system", group.cpu_system)):
        if seconds is not None:
            yield sample(_CPU_TIME, seconds, mode)
    yield _cpu_usage(now, before)
    for state, count in (("elapsed", group.periods), ("throttled", group.throttled_periods)):
        if count is not None:
            yield sample(_PERIODS, count, state)
    for spec, value in (
        (_THROTTLED, group.throttled_s),
        (_MEMORY_USAGE, group.memory),
        (_MEMORY_WORKING_SET, group.working_set),
        (_MEMORY_RSS, group.rss),
        (_OOM_KILLS, group.oom_kills),
        (_PROCESSES, group.threads),
    ):
        if value is not None:
            yield sample(spec, value)
    for spec, limit in (
        (_CPU_LIMIT, group.cpu_limit),
        (_MEMORY_LIMIT, group.memory_limit),
        (_PROCESSES_LIMIT, group.threads_limit),
    ):
        yield undefined(spec, _NO_LIMIT) if limit is None else sample(spec, limit)
    if group.working_set is None:
        yield undefined(_MEMORY_UTILIZATION, _NOT_ACCOUNTED)
    elif not group.memory_limit:
        yield undefined(_MEMORY_UTILIZATION, _NO_LIMIT)
    else:
        yield sample(_MEMORY_UTILIZATION, group.working_set / group.memory_limit)


def _cpu_usage(now: Reading[Group], before: Reading[Group] | None) -> Sample:
    used = _cpu_seconds(now.values)
    earlier = _cpu_seconds(before.values) if before else None
    if used is None:
        return undefined(_CPU_USAGE, _NOT_ACCOUNTED)
    if before is None or earlier is None:
        return undefined(_CPU_USAGE, NO_BASELINE)
    if now.at <= before.at:
        return undefined(_CPU_USAGE, NO_TIME_PASSED)
    return sample(_CPU_USAGE, grown(used, earlier) / (now.at - before.at))


def _cpu_seconds(group: Group) -> float | None:
    return None if group.cpu_user is None or group.cpu_system is None else group.cpu_user + group.cpu_system


AREA: Area[Group] = Area(
    name="cgroup",
    emits=(
        _CPU_TIME,
        _CPU_USAGE,
        _CPU_LIMIT,
        _PERIODS,
        _THROTTLED,
        _MEMORY_USAGE,
        _MEMORY_WORKING_SET,
        _MEMORY_RSS,
        _MEMORY_LIMIT,
        _MEMORY_UTILIZATION,
        _OOM_KILLS,
        _PROCESSES,
        _PROCESSES_LIMIT,
    ),
    read=_read,
    derive=_derive,
)
