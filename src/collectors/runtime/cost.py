"""What collectors cost: CPU time on the event loop, queries, bytes."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from collectors.clock import Clock
from collectors.contract.collector import TenantLake

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow as pa

T = TypeVar("T")

_current: ContextVar[Cost | None] = ContextVar("cost", default=None)


@dataclass(slots=True)
class Cost:
    """Totals of one collector, or of a tenant's.

    ``cpu_seconds`` is the event-loop thread's CPU time while the collector's own code ran on it. Work that a driver
    does in other threads is not in it; the time of queries is in ``query_seconds``, as the clock on the wall saw it.
    """

    cpu_seconds: float = 0.0
    queries: int = 0
    query_seconds: float = 0.0
    bytes_read: int = 0

    def add(self, other: Cost) -> None:
        """Add another's totals."""
        self.cpu_seconds += other.cpu_seconds
        self.queries += other.queries
        self.query_seconds += other.query_seconds
        self.bytes_read += other.bytes_read


def charge(*, queries: int = 0, seconds: float = 0.0, size: int = 0) -> None:
    """Charge the collector that is running here, in this task or a thread it started; nothing outside a run."""
    cost = _current.get()
    if cost is not None:
        cost.queries += queries
        cost.query_seconds += seconds
        cost.bytes_read += size


class MeteredLake:
    """A tenant's lake that charges each query to the collector that asks."""

    def __init__(self, lake: TenantLake, clock: Clock) -> None:
        self._lake = lake
        self._clock = clock

    async def query(self, expression: ir.Table) -> pa.Table:
        """Run an Ibis expression and return its rows; a query that fails or is cut costs its time too."""
        began = self._clock.monotonic()
        size = 0
        try:
            table = await self._lake.query(expression)
            size = table.nbytes
            return table
        finally:
            charge(queries=1, seconds=self._clock.monotonic() - began, size=size)


@dataclass(slots=True)
class Steps:
    """How a run went on the event loop: ``longest`` is the most seconds it kept everybody else from running."""

    longest: float = 0.0


@types.coroutine
def metered(
    run: Coroutine[Any, Any, T],
    cost: Cost,
    steps: Steps,
    clock: Clock,
    cpu: Callable[[], float],
    suspended: Callable[[], None],
) -> Generator[Any, Any, T]:
    """Await ``run`` and charge ``cost`` for each of its steps between two awaits; ``suspended`` is called at the first.

    Measuring step by step leaves out what other tasks do while this one waits, as measuring around the whole would not.
    """
    token = _current.set(cost)
    error: BaseException | None = None
    value: Any = None
    waited = False
    try:
        while True:
            began, began_cpu = clock.monotonic(), cpu()
            try:
                awaited = run.send(value) if error is None else run.throw(error)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # a coroutine's StopIteration carries its result
            finally:
                cost.cpu_seconds += cpu() - began_cpu
                steps.longest = max(steps.longest, clock.monotonic() - began)
            if not waited:
                waited = True
                suspended()
            error = None
            try:
                value = yield awaited
            except BaseException as raised:  # noqa: BLE001  # cancellation too is the run's, which decides what to do
                error, value = raised, None
    finally:
        run.close()
        _current.reset(token)
