"""Processes: how many in which state, and who uses most CPU and memory.

Source: ``/proc/<pid>/stat`` as in proc(5), one file a process. Consumers are told by command name, never by pid,
and only the largest few are reported, so that the number of series stays small. A command's memory is the sum
of its processes' resident sets, in which shared pages count each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from heapq import nlargest

from collectors.catalog.performance.system.area import Area, HostFiles, Reading, sample
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_COUNT = MetricSpec(
    "system.process.count", Kind.GAUGE, Unit.PROCESSES, "Processes by state.", labels=("process.state",)
)
_LIMIT = MetricSpec(
    "system.process.limit", Kind.GAUGE, Unit.THREADS, "Threads that may exist at once in the whole system."
)
_THREADS = MetricSpec("collectors.system.threads", Kind.GAUGE, Unit.THREADS, "Threads of all processes.")
_TOP_CPU = MetricSpec(
    "collectors.system.top.cpu.utilization",
    Kind.GAUGE,
    Unit.RATIO,
    "Share of all CPUs' time since the previous reading used by the commands that used most.",
    labels=("process.command",),
)
_TOP_MEMORY = MetricSpec(
    "collectors.system.top.memory.usage",
    Kind.GAUGE,
    Unit.BYTES,
    "Resident memory of the commands that have most.",
    labels=("process.command",),
)

EMITS = (_COUNT, _LIMIT, _THREADS, _TOP_CPU, _TOP_MEMORY)

_STATES = {"R": "running", "D": "uninterruptible", "T": "stopped", "t": "stopped", "Z": "defunct", "X": "defunct"}
_SLEEPING = "sleeping"  # S, and I: idle kernel threads
_KTHREADD = "2"


@dataclass(frozen=True, slots=True)
class Process:
    """What is read of one process: CPU time in ticks, resident memory in pages."""

    key: tuple[str, str]
    """Process id and start time: an id alone is used again."""
    command: str
    state: str
    threads: int
    ticks: int
    pages: int


@dataclass(frozen=True, slots=True)
class Processes:
    """All visible processes, and what their numbers are to be read with."""

    every: Mapping[tuple[str, str], Process]
    limit: int | None
    ticks_per_second: int
    page_size: int
    cpus: int


def parse_process(text: str) -> Process:
    """Parse ``/proc/<pid>/stat``; the command stands in parentheses and may contain any character.

    Kernel threads go by one name, since theirs hold numbers that change with every device and core.
    """
    pid, _, rest = text.partition(" (")
    command, _, rest = rest.rpartition(") ")
    fields = rest.split()  # fields[0] is field 3 of the manual page, the state
    if _KTHREADD in (pid, fields[1]):
        command = "[kernel]"
    return Process(
        key=(pid, fields[19]),
        command=command,
        state=_STATES.get(fields[0], _SLEEPING),
        threads=int(fields[17]),
        ticks=int(fields[11]) + int(fields[12]),
        pages=int(fields[21]),
    )


def _read(files: HostFiles, before: Processes | None) -> Processes | None:
    every = {process.key: process for process in map(parse_process, files.processes())}
    if not every:
        return None
    limits = [files.proc("sys/kernel/pid_max"), files.proc("sys/kernel/threads-max")]
    return Processes(
        every=every,
        limit=min((int(text) for text in limits if text), default=None),
        ticks_per_second=files.ticks_per_second,
        page_size=files.page_size,
        cpus=before.cpus if before else _cpus(files.proc("stat") or ""),
    )


def _cpus(stat: str) -> int:
    return sum(line.startswith("cpu") for line in stat.splitlines()) - 1


def _derive(top: int, now: Reading[Processes], before: Reading[Processes] | None) -> Iterator[Sample]:
    processes = now.values
    states = Counter(process.state for process in processes.every.values())
    for state in (_SLEEPING, *dict.fromkeys(_STATES.values())):
        yield sample(_COUNT, states[state], state)
    yield sample(_THREADS, sum(process.threads for process in processes.every.values()))
    if processes.limit is not None:
        yield sample(_LIMIT, processes.limit)
    memory: Counter[str] = Counter()
    for process in processes.every.values():
        memory[process.command] += process.pages * processes.page_size
    for command, value in _largest(memory, top):
        yield sample(_TOP_MEMORY, value, command)
    if before is not None and now.at > before.at and processes.cpus > 0:
        capacity = (now.at - before.at) * processes.cpus * processes.ticks_per_second
        for command, ticks in _largest(_ticks_by_command(processes.every, before.values.every), top):
            yield sample(_TOP_CPU, ticks / capacity, command)


def _ticks_by_command(
    now: Mapping[tuple[str, str], Process], before: Mapping[tuple[str, str], Process]
) -> Counter[str]:
    """Add up the ticks since before; a process that was not there then has used all its ticks since."""
    ticks: Counter[str] = Counter()
    for key, process in now.items():
        earlier = before.get(key)
        ticks[process.command] += max(0, process.ticks - (earlier.ticks if earlier else 0))
    return ticks


def _largest(by_command: Counter[str], top: int) -> list[tuple[str, int]]:
    used = ((command, value) for command, value in by_command.items() if value)
    return nlargest(top, used, key=lambda pair: (pair[1], pair[0]))


def area(top: int) -> Area[Processes]:
    """Return the area that reports the ``top`` commands by CPU, and by memory."""
    return Area(name="process", emits=EMITS, read=_read, derive=partial(_derive, top))
