"""When runs are due: a fixed grid of the monotonic clock, and the timetable of all that is to come."""

from __future__ import annotations

import heapq
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar


def spread(key: str) -> float:
    """Return a fraction of [0, 1) that is the same for ``key`` in every process: jitter without chance."""
    return zlib.crc32(key.encode()) / 2**32


@dataclass(frozen=True, slots=True)
class Grid:
    """The monotonic seconds ``phase + k * interval`` for whole k.

    Points are multiplied out rather than added up, so that neither rounding nor slow runs can make them drift.
    """

    interval: float
    phase: float

    def after(self, moment: float) -> float:
        """Return the first point later than ``moment``."""
        k = math.floor((moment - self.phase) / self.interval) + 1
        point = self.phase + k * self.interval
        # Rounding may put the computed point on the moment itself.
        return point if point > moment else self.phase + (k + 1) * self.interval


class Overlap(StrEnum):
    """What happens to a due time that passes while the run before still goes on."""

    SKIP = "skip"
    """It is left out; the next run comes at the next due time."""
    CATCH_UP = "catch_up"
    """One run, for all due times that passed, begins when the run before ends."""


def next_due(grid: Grid, due: float, now: float, overlap: Overlap) -> tuple[float, int]:
    """Return when to run after a run that was due at ``due`` and ended ``now``, and how many due times are left out.

    The first run of a collector comes before its grid begins; half an interval is kept free after it.
    """
    following = grid.after(due + grid.interval / 2)
    if following > now:
        return following, 0
    passed = round((grid.after(now) - following) / grid.interval)
    if overlap is Overlap.CATCH_UP:
        return following + (passed - 1) * grid.interval, passed - 1
    return grid.after(now), passed


class Marked(Protocol):
    """What a timetable's entry is for: the entry holds as long as the mark stays the same."""

    mark: int


M = TypeVar("M", bound=Marked)


class Timetable(Generic[M]):
    """What is to be done when, as a binary heap: one entry costs some 100 bytes and no task.

    An entry is cancelled by changing its subject's mark; it is thrown away when its time comes.
    """

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[M, float], None], M, int]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next(self) -> float:
        """The monotonic second of the earliest entry, infinite without one."""
        return self._heap[0][0] if self._heap else math.inf

    def put(self, when: float, action: Callable[[M, float], None], subject: M) -> None:
        """Have ``action(subject, now)`` done at ``when``, unless the subject's mark changes before."""
        self._count += 1  # breaks ties, so that what was put first is done first
        heapq.heappush(self._heap, (when, self._count, action, subject, subject.mark))

    def run(self, now: float) -> None:
        """Do all that is due at ``now``."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, _, action, subject, mark = heapq.heappop(heap)
            if subject.mark == mark:
                action(subject, now)
