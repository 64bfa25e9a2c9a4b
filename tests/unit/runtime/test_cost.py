"""Each collector is charged for what its own code did, and for nothing of the others'."""

from __future__ import annotations

import asyncio
import time

import pyarrow as pa
import pytest
from tests.support.clock import ManualClock

from collectors.clock import SYSTEM_CLOCK
from collectors.runtime.cost import Cost, MeteredLake, Steps, charge, metered


class Ticks:
    """CPU time that a test spends by hand."""

    def __init__(self) -> None:
        self.spent = 0.0

    def __call__(self) -> float:
        return self.spent


async def test_steps_are_charged_to_their_own_run_although_runs_interleave() -> None:
    ticks, clock = Ticks(), ManualClock()
    costs, steps = [Cost(), Cost()], [Steps(), Steps()]
    waits: list[int] = []

    async def work(number: int) -> int:
        for step in range(3):
            ticks.spent += 10**number
            clock._monotonic += (number + 1) * (step + 1)
            await SYSTEM_CLOCK.sleep(0)
        return number

    async def run(number: int) -> int:
        return await metered(work(number), costs[number], steps[number], clock, ticks, lambda: waits.append(number))

    assert await asyncio.gather(run(0), run(1)) == [0, 1]
    assert [c.cpu_seconds for c in costs] == [3.0, 30.0]
    assert [s.longest for s in steps] == [3.0, 6.0]
    assert waits == [0, 1], "told once each, at the first wait"


async def test_what_a_run_raises_or_is_thrown_passes_through() -> None:
    cost, steps, clock, ticks = Cost(), Steps(), ManualClock(), Ticks()
    seen: list[str] = []

    async def fail() -> None:
        raise ValueError("mine")

    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            ticks.spent += 1
        return "done"

    def meter(run: object) -> object:
        return metered(run, cost, steps, clock, ticks, lambda: None)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="mine"):
        await meter(fail())  # type: ignore[misc]

    async def outer() -> object:
        return await meter(stubborn())  # type: ignore[misc]

    task = asyncio.create_task(outer())
    await SYSTEM_CLOCK.sleep(0)
    task.cancel()
    assert await task == "done"
    assert seen == ["cancelled"]
    assert cost.cpu_seconds == 1


async def test_real_cpu_time_is_counted_and_waiting_is_not() -> None:
    cost = Cost()

    async def work() -> None:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        await SYSTEM_CLOCK.sleep(0.05)

    await metered(work(), cost, Steps(), SYSTEM_CLOCK, time.thread_time, lambda: None)
    assert cost.cpu_seconds >= 0.02


class Lake:
    """A lake whose queries take two seconds."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.fails = False

    async def query(self, _: object) -> pa.Table:
        self.clock._monotonic += 2.0
        if self.fails:
            raise OSError("disk")
        return pa.table({"a": pa.array([1, 2, 3], pa.int64())})


async def test_queries_are_charged_to_the_run_that_asks_even_from_its_threads_and_when_they_fail() -> None:
    clock = ManualClock()
    inner = Lake(clock)
    lake = MeteredLake(inner, clock)  # type: ignore[arg-type]
    cost = Cost()

    async def work() -> None:
        await lake.query(None)  # type: ignore[arg-type]
        await asyncio.to_thread(charge, queries=1, seconds=0.5, size=100)
        inner.fails = True
        with pytest.raises(OSError, match="disk"):
            await lake.query(None)  # type: ignore[arg-type]

    await metered(work(), cost, Steps(), clock, Ticks(), lambda: None)
    assert (cost.queries, cost.query_seconds, cost.bytes_read) == (3, 4.5, 124)
    charge(queries=1)
    assert cost.queries == 3, "outside a run nobody is charged"
    total = Cost()
    total.add(cost)
    total.add(cost)
    assert (total.queries, total.query_seconds, total.bytes_read) == (6, 9.0, 248)
