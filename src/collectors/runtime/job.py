"""What the scheduler knows of one collector."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from collectors.runtime.bulkhead import SourceShare, TenantShare
from collectors.runtime.cost import Cost
from collectors.runtime.schedule import Grid, Overlap, spread

Work = Callable[["Job"], Coroutine[Any, Any, float | None]]
"""One attempt at a run: returns None when the run is over, else the seconds after which to try again."""


class Job:
    """One collector's place in the schedule, from start to stop. Only the scheduler and the job's work touch it.

    ``mark`` changes with each step of its life, which makes void what was put in the timetable before. ``due``,
    ``began``, ``deadline`` are monotonic seconds of its present run, ``attempt`` counts from 1 within it. It is ``cut``
    once its deadline has passed, ``abandoned`` while it goes on in spite of that, and its work sets ``answered`` or
    ``congested`` by what the source did.
    """

    __slots__ = (
        "abandoned",
        "answered",
        "armed",
        "attempt",
        "began",
        "cancels",
        "congested",
        "cost",
        "cut",
        "deadline",
        "done",
        "due",
        "grid",
        "key",
        "lateness",
        "mark",
        "overlap",
        "priority",
        "queried",
        "removed",
        "skipped",
        "source",
        "task",
        "tenant",
        "timeout",
        "unloaded",
        "unloaded_at",
        "work",
    )

    def __init__(
        self,
        key: str,
        work: Work,
        tenant: TenantShare[Job],
        source: SourceShare[Job] | None,
        *,
        interval: float,
        timeout: float,
        priority: int = 5,
        overlap: Overlap = Overlap.SKIP,
        cost: Cost | None = None,
    ) -> None:
        self.key = key
        self.work = work
        self.tenant = tenant
        self.source = source
        self.grid = Grid(interval, spread(key) * interval)
        self.timeout = timeout
        self.priority = priority
        self.overlap = overlap
        self.cost = cost or Cost()
        self.mark = 0
        self.attempt = 0
        self.due = self.began = self.deadline = self.lateness = self.queried = 0.0
        self.unloaded = math.inf
        self.unloaded_at = 0.0
        self.skipped = self.cancels = 0
        self.armed = self.cut = self.answered = self.congested = self.abandoned = self.removed = False
        self.task: asyncio.Task[None] | None = None
        self.done: asyncio.Future[None] | None = None

    # As with asyncio.timeout(), a cancellation at the deadline comes out of the block as TimeoutError. Unlike there,
    # the injected clock decides, and a run that never waits pays nothing for its deadline.

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is asyncio.CancelledError and self.cut and self.absorb_cancel() and not self.removed:
            raise TimeoutError from error

    def expired(self) -> bool:
        """Whether the run was cut at its deadline."""
        return self.cut

    def absorb_cancel(self) -> bool:
        """Take back the cancellations that are ours; False if somebody else's remains."""
        task = asyncio.current_task()
        assert task is not None
        for _ in range(self.cancels):
            task.uncancel()
        self.cancels = 0
        return not task.cancelling()
