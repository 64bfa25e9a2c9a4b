"""The slow log, and Valkey's command logs of large requests and replies.

Sources: SLOWLOG and COMMANDLOG. The id of the newest entry tells how many there were, even those the log has already
forgotten. Entries are told by command only: their arguments, clients and names may be personal.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from collectors.catalog.performance.redis.area import NO_BASELINE, Area, Reading, printable, sample, undefined
from collectors.catalog.performance.redis.info import Info
from collectors.catalog.performance.redis.info_field import OWN
from collectors.drivers.redis import Command
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

_LENGTH = MetricSpec(f"{OWN}slowlog.length", Kind.GAUGE, Unit.COUNT, "Entries in the slow log.")
_ENTRIES = MetricSpec(
    f"{OWN}slowlog.entries", Kind.COUNTER, Unit.EVENTS, "Slow commands since the start, 0 if the log was reset."
)
_NEW = MetricSpec(
    f"{OWN}slowlog.new",
    Kind.GAUGE,
    Unit.EVENTS,
    "Slow commands since the previous reading, undefined for the first.",
    nullable=True,
)
_LAST = MetricSpec(
    f"{OWN}slowlog.last_duration",
    Kind.GAUGE,
    Unit.SECONDS,
    "Time the last slow command took, undefined while the log is empty.",
    nullable=True,
)
_COUNT = MetricSpec(
    f"{OWN}slowlog.command.count",
    Kind.GAUGE,
    Unit.COUNT,
    "Entries of a command among the newest of the slow log.",
    labels=("command",),
)
_LONGEST = MetricSpec(
    f"{OWN}slowlog.command.longest",
    Kind.GAUGE,
    Unit.SECONDS,
    "Longest time of a command among the newest entries of the slow log.",
    labels=("command",),
)
_NEW_TIME = MetricSpec(
    f"{OWN}slowlog.new_duration",
    Kind.GAUGE,
    Unit.SECONDS,
    "Time that slow commands took since the previous reading, of those the log still holds.",
    nullable=True,
)
_LOG_LENGTH = MetricSpec(
    f"{OWN}commandlog.length", Kind.GAUGE, Unit.COUNT, "Entries in a command log of a Valkey.", labels=("type",)
)

_LEN: Command = ("SLOWLOG", "LEN")
_TYPES = ("slow", "large-request", "large-reply")
_EMPTY = "the slow log is empty"


def _get(most: int) -> Command:
    return ("SLOWLOG", "GET", str(most))


def _asks(most: int, info: Info) -> tuple[Command, ...]:
    if info.mode == "sentinel":
        return ()
    logs = tuple(("COMMANDLOG", "LEN", kind) for kind in _TYPES) if info.product == "valkey" else ()
    return (_LEN, _get(most), *logs)


def _derive(most: int, now: Reading, before: Reading | None) -> Iterator[Sample]:
    if _LEN in now.replies:
        yield sample(_LENGTH, now.replies[_LEN])
    for kind in _TYPES:
        length = now.replies.get(("COMMANDLOG", "LEN", kind))
        if length is not None:
            yield sample(_LOG_LENGTH, length, kind)
    entries = now.replies.get(_get(most))
    if entries is None:
        return
    newest = _newest(entries)
    yield sample(_ENTRIES, newest + 1)
    yield sample(_LAST, entries[0][2] * 1e-6) if entries else undefined(_LAST, _EMPTY)
    seen = before.replies.get(_get(most)) if before else None
    if seen is None:
        yield undefined(_NEW, NO_BASELINE)
        yield undefined(_NEW_TIME, NO_BASELINE)
    else:
        known = _newest(seen)
        yield sample(_NEW, newest - known if newest >= known else newest + 1)
        yield sample(_NEW_TIME, sum(entry[2] for entry in entries if entry[0] > known) * 1e-6)
    durations: dict[str, list[int]] = {}
    for entry in entries:
        durations.setdefault(printable(entry[3][0].lower(), 32), []).append(entry[2])
    for command, taken in durations.items():
        yield sample(_COUNT, len(taken), command)
        yield sample(_LONGEST, max(taken) * 1e-6, command)


def _newest(entries: list[list[int]]) -> int:
    """Return the id of the newest entry, -1 of an empty log."""
    return int(entries[0][0]) if entries else -1


def area(most: int) -> Area:
    """Return the area that looks at the ``most`` newest entries."""
    emits = (_LENGTH, _ENTRIES, _NEW, _NEW_TIME, _LAST, _COUNT, _LONGEST, _LOG_LENGTH)
    return Area("slow_log", emits, partial(_asks, most), partial(_derive, most))


EMITS = area(1).emits
